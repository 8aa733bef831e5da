"""Which frames the model has wrong, by pfn, and which of them nothing but the end snapshot tells of.

A softirq that finds its CPU in the middle of the per-CPU lists frees single pages straight into the
buddy. No event says so; where the page leaves the buddy later, that tells. A page that is still there
at the end is told of by the end snapshot alone, and then validation counts it as wrong.
"""

from dataclasses import replace

import numpy as np

from replay.buddy.frames import AMBIGUOUS, FrameModel, Frames
from replay.buddy.hindsight import FreeAtEnd, FreeFinder
from replay.buddy.ops import meaning_of
from replay.comparison import Comparison, Subject
from replay.geometry import Geometry
from replay.stretches import event_columns
from replay.survey import Survey
from replay.validation import Verdict
from tracer import FrameState, Trace

# One softirq frees some dozens of pages; these workloads change 100,000 frames and more. Where all frees
# are recorded, a page whose drain was missed looks just the same, so fewer are let through. The buddy
# layer keeps few frees: there nearly no page that was missed is one of which the end tells.
LATE_SHARE, LATE_SHARE_OF_ALL_FREES = 1e-3, 1e-4
IMPOSSIBLE = ("exit_of_used", "entry_of_free")


def finder_of(trace: Trace, geometry: Geometry, end: FreeAtEnd | None) -> FreeFinder:
    """It has heard the whole trace."""
    finder = FreeFinder(trace.rows, geometry.frames, meaning_of(trace, own_reporting=True), end)
    for columns in event_columns(trace):
        finder.feed(columns)
    return finder


def told_by_end(trace: Trace) -> set[int]:
    """Frames that were freed one by one, that no event has moved since, and that the end snapshot has in
    the buddy, wherever in its reading they were freed.
    """
    geometry, shot = Geometry.of(trace.manifest.guest, trace.zones), trace.manifest.snapshots[-1]
    there = Frames.of(trace.frames(shot.name), geometry.frames).state == FrameState.BUDDY
    finder = finder_of(trace, geometry, FreeAtEnd(there, shot.end_ns))
    return set(finder.direct().at_end.tolist())


def wrong_frames(trace: Trace, found: Comparison) -> set[int]:
    """The frames that the model, begun with one snapshot, has wrong at the next. The end tells it nothing."""
    geometry, meaning = Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace, own_reporting=True)
    told = Survey.of(trace, geometry, meaning)
    survey = replace(told, direct=finder_of(trace, geometry, None).direct())
    subject = Subject(trace, survey, geometry, meaning, [])
    before, after = subject.frames(found.before.name), subject.frames(found.snapshot.name)
    model = FrameModel(meaning, geometry, before, found.before.end_ns, after)
    for columns in survey.batches():
        model.play(columns)
    differs = model.free != (after.state == FrameState.BUDDY)
    limbo = model.free & (after.state == FrameState.LIMBO)
    return set(np.flatnonzero(differs & ~limbo & (model.seen & AMBIGUOUS == 0)).tolist())


def assert_the_end_tells_of_all_that_is_wrong(verdict: Verdict) -> None:
    """At the last snapshot: no step was impossible, and each wrong frame is one of which nothing else
    tells. These are few, and nothing else is wrong.
    """
    trace, last = verdict.trace, verdict.last
    wrong, changed = wrong_frames(trace, last), sum(c.counts["frames_changed"] for c in verdict.comparisons)
    print(f"{len(wrong)} frames are told of by the end alone, {changed} have changed; {last.counts}")
    assert [last.counts[name] for name in IMPOSSIBLE] == [0, 0]
    assert wrong <= told_by_end(trace)
    share = LATE_SHARE_OF_ALL_FREES if "frame" in trace.manifest.layers else LATE_SHARE
    assert last.counts["frames_wrong"] == len(wrong) <= share * changed

"""The model against one snapshot, and against the samples on the way, from the snapshot before it on.

Two comparisons. Frame by frame, each frame at the moment it was read; and the free blocks of each
zone and order with /proc/buddyinfo (`counting`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.frames import (
    AMBIGUOUS,
    CHANGED,
    FAR_FUTURE_NS,
    IMPOSSIBLE,
    SCANNED,
    FrameModel,
    Frames,
)
from replay.buddy.full import FullModel
from replay.buddy.rules import rules_of
from replay.buddy.steps import (
    ENTRY_OF_FREE,
    EXIT_OF_USED,
    OUTSIDE,
    STEPS,
    UNKNOWN_OPS,
    Columns,
)
from replay.counting import SAMPLE, Counted, Counting, Reading, scanned
from replay.geometry import Geometry
from replay.pricing import Price, price_of
from replay.start import Start
from replay.stretches import Brought
from replay.survey import Survey
from tracer import FrameState, Op, Snapshot, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """How right the model is at one snapshot.

    Attributes:
        before, snapshot: between which two the model lived.
        counts: steps, impossible ones and frames, by the names of `fidelity`.
        wrong_by_cause: frames wrong by what is behind it (`drift.CAUSES`).
        counted: samples on the way, then the snapshot's own buddyinfo, zone by zone.
        prices: what guessed types cost at `before` and at `snapshot`, None where that was not read.
    """

    before: Snapshot
    snapshot: Snapshot
    counts: dict[str, int]
    wrong_by_cause: dict[str, int]
    counted: list[Counted]
    prices: tuple[Price | None, Price | None]

    @property
    def orders(self) -> list[Counted]:
        """The zones of the snapshot's own buddyinfo."""
        return [each for each in self.counted if each.reading.name != SAMPLE]

    @property
    def wrong_share(self) -> float:
        """Frames wrong as a share of the frames that changed."""
        return self.counts["frames_wrong"] / max(self.counts["frames_changed"], 1)

    @property
    def impossible_share(self) -> float:
        """Impossible steps as a share of all steps."""
        impossible = self.counts["exit_of_used"] + self.counts["entry_of_free"]
        return impossible / max(self.counts["steps"], 1)


@dataclass(frozen=True)
class Subject:
    """What intervals have in common.

    Attributes:
        meaning: with the guest's own reporting, where it was recorded.
        readings: all samples.
    """

    trace: Trace
    survey: Survey
    geometry: Geometry
    meaning: "NDArray[np.uint8]"
    readings: list[Reading]

    @property
    def own_reporting(self) -> bool:
        """Are isolations by the guest's own reporting in the trace? What it held then is on no list, and
        comes back as recorded.
        """
        return any(probe.op == Op.REPORTING_ISOLATE for probe in self.trace.manifest.probes)

    def frames(self, name: str) -> Frames:
        """The frames of a snapshot. Limbo is in use where its return is in the trace."""
        frames = Frames.of(self.trace.frames(name), self.geometry.frames)
        if self.own_reporting:
            frames.state[frames.state == FrameState.LIMBO] = FrameState.USED
        return frames


class Interval:
    """The model between two snapshots: feed it the trace's pieces (`stretches.pieces`, cut at its
    `instants`), then ask for its comparison. It holds frames only while it lives.
    """

    def __init__(self, subject: Subject, before: Snapshot, after: Snapshot) -> None:
        self.subject, self.before, self.after = subject, before, after
        trace = subject.trace
        self._first = before is trace.start
        self._last = after is trace.manifest.snapshots[-1]
        self._read_ns = (
            min((info.read_begin_ns for info in after.buddyinfo), default=after.end_ns),
            max((info.read_end_ns for info in after.buddyinfo), default=after.end_ns),
        )
        self._readings = [
            each
            for each in subject.readings
            if before.end_ns < each.begin_ns and each.end_ns < self._read_ns[0]
        ]
        self._over_ns = FAR_FUTURE_NS if self._last else max(after.end_ns, self._read_ns[1])
        self._models: _Models | None = None
        self._result: Comparison | None = None

    @property
    def instants(self) -> list[int]:
        """Where events have to be cut: at its begin, at its end, and around each read of buddyinfo."""
        reads = [instant for each in self._readings for instant in (each.begin_ns, each.end_ns)]
        return [self.before.begin_ns - 1, self.before.end_ns, self.after.end_ns, *self._read_ns, *reads]

    def feed(self, until_ns: int, columns: Columns) -> None:
        """Hear a piece of the events, the one that belongs to the instant `until_ns`."""
        if self._result or (until_ns < self.before.begin_ns and not self._first):
            return
        if until_ns > self._over_ns:
            self.finish()
            return
        models, ranges = self._models or _Models(self), scanned(columns)
        self._models = models
        if until_ns <= self.after.end_ns or self._last:
            models.judged.play(columns)
            models.judged.mark_scanned(*ranges)
        if until_ns <= self.before.end_ns:
            if not self._first:
                # The interval before has told of these.
                models.judged.counters[[OUTSIDE, UNKNOWN_OPS]] = 0
            models.brought.play(columns)
        elif until_ns <= self._read_ns[1]:
            models.counting.feed(until_ns, columns, ranges[0])

    def readings(self, end: Frames) -> Iterator[Reading]:
        """What the model is counted against: the samples, then the snapshot's buddyinfo."""
        yield from self._readings
        names = [(zone.node, zone.name) for zone in self.subject.geometry.zones]
        filters = self.subject.trace.manifest.filters
        recorded = filters.zones if filters else None
        blocks = {
            names.index((info.node, info.zone)): np.array(info.blocks, np.int64)
            for info in self.after.buddyinfo
            if (info.node, info.zone) in names and (recorded is None or info.zone in recorded)
        }
        held = np.flatnonzero(end.state == FrameState.LIMBO)
        yield Reading(self.after.name, *self._read_ns, blocks, held)

    def finish(self) -> Comparison:
        """What came of it; its frames are let go."""
        if self._result is None:
            models = self._models or _Models(self)
            counted = models.counting.finish()
            told_by_end = self.subject.survey.direct.at_end if self._last else np.empty(0, np.int64)
            counts, causes = _compare_frames(models, told_by_end)
            orders = [each for each in counted if each.reading.name != SAMPLE]
            counts["orders_checked"] = sum(len(each.kernel) for each in orders)
            counts["orders_wrong"] = sum(each.wrong for each in orders)
            zones = self.subject.geometry.zones
            price = price_of(models.counting.model.full.area, zones, self.after.page_types)
            prices = models.price, price
            self._result = Comparison(self.before, self.after, counts, causes, counted, prices)
            self._models = None
        return self._result


class _Models:
    """What an interval holds while it lives: `judged`, each frame up to its own second read;
    `brought`, the first snapshot until it is over; `counting`, the lists since then.
    """

    def __init__(self, interval: Interval) -> None:
        subject, before = interval.subject, interval.before
        self._interval = interval
        self.start, self.end = subject.frames(before.name), subject.frames(interval.after.name)
        model = (subject.meaning, subject.geometry, self.start, before.end_ns)
        self.judged = FrameModel(*model, self.end)
        self.brought = Brought.begin(subject.trace, before, subject.geometry, subject.meaning, self.start)
        self._counting: Counting | None = None
        self.price: Price | None = None

    @property
    def counting(self) -> Counting:
        """The full model, from the end of the first snapshot on."""
        if self._counting is None:
            subject = self._interval.subject
            start = Start.of(subject.trace, self.brought)
            start = start.typed(subject.trace, subject.geometry, subject.survey.types)
            rules = rules_of(subject.trace.manifest.guest)
            model = FullModel.at(start, subject.meaning, subject.geometry, rules)
            self.price = price_of(model.full.area, subject.geometry.zones, self._interval.before.page_types)
            self._counting = Counting(model, self._interval.readings(self.end))
        return self._counting


def _compare_frames(
    models: _Models, told_by_end: "NDArray[np.int64]"
) -> tuple[dict[str, int], dict[str, int]]:
    """Frames whose model state and snapshot differ; an event inside a read leaves a frame out, and
    so does a frame of which nothing is known. Frames that the model has right only since this very
    snapshot told of them count as wrong; not those freed before the first snapshot, which has them too.
    """
    model, start, end = models.judged, models.start, models.end
    known = ((model.seen & AMBIGUOUS) == 0) & (model.state != FrameState.UNKNOWN)
    known &= end.state != FrameState.UNKNOWN
    model_free, kernel_free = model.free, end.state == FrameState.BUDDY
    start_free = (start.state == FrameState.BUDDY) | (start.state == FrameState.LIMBO)
    changed = ((model.seen & CHANGED) != 0) | (start_free != kernel_free)
    model_free[told_by_end[(model.seen[told_by_end] & CHANGED) != 0]] = False
    differs = known & (model_free != kernel_free)
    limbo = differs & model_free & (end.state == FrameState.LIMBO)
    wrong = differs & ~limbo
    counters = model.counters
    return {
        "steps": int(counters[STEPS]),
        "exit_of_used": int(counters[EXIT_OF_USED]),
        "entry_of_free": int(counters[ENTRY_OF_FREE]),
        "outside": int(counters[OUTSIDE]),
        "unknown_ops": int(counters[UNKNOWN_OPS]),
        "frames_checked": int((known & (end.state != FrameState.ABSENT)).sum()),
        "frames_changed": int((changed & known).sum()),
        "frames_wrong": int(wrong.sum()),
        "frames_limbo": int(limbo.sum()),
    }, _causes(wrong, model.seen)


def _causes(wrong: "NDArray[np.bool_]", seen: "NDArray[np.uint8]") -> dict[str, int]:
    """Wrong frames by what is behind it: an isolation by compaction, unseen but for its range; a step
    that was impossible; or a step that nobody saw at all.
    """
    scanned_over = wrong & ((seen & SCANNED) != 0)
    impossible = wrong & ~scanned_over & ((seen & IMPOSSIBLE) != 0)
    rest = int(wrong.sum()) - int(scanned_over.sum()) - int(impossible.sum())
    return {"isolation": int(scanned_over.sum()), "impossible": int(impossible.sum()), "unseen": rest}

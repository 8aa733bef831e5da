"""A span of a trace as a trace of its own.

It begins with the model's frame states at the cut, so that it replays as that span of the whole
does. Here, and not in `tracer`, since only a replay knows what an event means.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.frames import FAR_FUTURE_NS, FrameModel, Frames, free_blocks, untouched
from replay.buddy.ops import meaning_of
from replay.buddy.steps import Columns
from replay.geometry import Geometry
from replay.start import Start, refuse_filtered
from replay.stretches import Brought, first_after, pieces, stretches
from replay.survey import Survey
from tracer import (
    CHUNK_FRAMES,
    BuddyInfo,
    Fault,
    FrameState,
    Loss,
    Manifest,
    Probe,
    Snapshot,
    Trace,
    TraceOutput,
    Zone,
    open_trace,
    over_time,
    refuse_itself,
    short_duration,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """The instants [from_ns, to_ns) of a trace, by its own clock. A slice `from_start` begins as the
    trace does; one to the end has `to_ns` FAR_FUTURE_NS.
    """

    from_ns: int
    to_ns: int
    from_start: bool

    @classmethod
    def of(cls, trace: Trace, after_ns: int, until_ns: int) -> "Span":
        """The span between two times into the trace.

        Raises:
            Fault: when nothing lies between them.
        """
        first_ns, last_ns = trace.span_ns
        whole = short_duration(last_ns - first_ns)
        if after_ns >= until_ns:
            raise Fault(
                f"nothing lies between {short_duration(after_ns)} and {short_duration(until_ns)}",
                "--to is not later than --from",
                "swap them, or choose others",
            )
        if after_ns > last_ns - first_ns:
            raise Fault(
                f"--from {short_duration(after_ns)} is after the end of {trace.place}",
                f"the trace lasts {whole}",
                "choose an earlier --from",
            )
        to_ns = first_ns + until_ns if first_ns + until_ns <= last_ns else FAR_FUTURE_NS
        return cls(first_ns + after_ns, to_ns, after_ns == 0)

    def holds(self, begin_ns: int, end_ns: int) -> bool:
        """Does [begin_ns, end_ns] lie wholly inside?"""
        return (self.from_start or self.from_ns <= begin_ns) and end_ns < self.to_ns

    def meets(self, begin_ns: int, end_ns: int) -> bool:
        """Does any of [begin_ns, end_ns] lie inside?"""
        return (self.from_start or self.from_ns <= end_ns) and begin_ns < self.to_ns

    def losses(self, losses: list[Loss]) -> list[Loss]:
        """Those that reach into it, cut to it; the events of one that straddles a cut may all have
        been lost inside, so they are all counted.
        """
        inside = [loss for loss in losses if self.meets(loss.begin_ns, loss.end_ns)]
        first_ns = min([loss.begin_ns for loss in inside], default=0) if self.from_start else self.from_ns
        return [
            Loss(max(loss.begin_ns, first_ns), min(loss.end_ns, self.to_ns - 1), loss.events)
            for loss in inside
        ]


def slice_trace(trace: Trace, out: Path, after_ns: int, until_ns: int, *, force: bool = False) -> Trace:
    """Cut what lies between two times into the trace (ns); returns the new trace.

    Raises:
        Fault: when the span is empty, `out` is the trace itself or cannot be written, or the frames
            at the cut cannot be known.
    """
    refuse_filtered(trace)
    if trace.place.local:
        refuse_itself(trace.path, out, "sliced")
    span = Span.of(trace, after_ns, until_ns)
    losses = span.losses(trace.losses)
    manifest = _manifest(trace, span)
    with TraceOutput(out, manifest, force=force) as output:
        shots = []
        for shot, tables in _snapshots(trace, span):
            shots.append(output.write_snapshot(shot, *tables))
        tally = _Tally(trace, span, losses)
        for index, columns in enumerate(_events(trace, span)):
            if index == 0:
                output.write_segment(columns, tally.count(columns), losses, *_beside(trace, span))
            else:
                output.write_segment(columns, tally.count(columns))
        probes = tally.probes()
        output.close(replace(manifest, snapshots=shots, probes=probes, late_events=tally.late))
    return open_trace(out)


def _manifest(trace: Trace, span: Span) -> Manifest:
    """The trace's, with a note of what was cut; snapshots and probes are still to come."""
    first_ns, last_ns = trace.span_ns
    begin = short_duration(span.from_ns - first_ns)
    end = short_duration(min(span.to_ns, last_ns) - first_ns)
    notes = [f"a slice of {trace.place.name}, from {begin} to {end}"]
    if not span.from_start:
        notes.append("the frame states at its start are the model's, not read from the guest")
    if any(segment.samples or segment.counters for segment in trace.segments):
        notes.append("its samples and counters count from the beginning of the whole")
    whole = trace.manifest
    cut_short = whole.status == "complete" or span.to_ns < FAR_FUTURE_NS
    return replace(
        whole,
        status="complete" if cut_short else "recovered",
        zones=over_time(whole.zones, [trace.zones]),  # as long as snapshots tell that are cut away
        snapshots=[],
        discarded_events=0,
        end_ns=min(span.to_ns - 1, last_ns),
        notes=whole.notes + notes,
        converted=None,
    )


# Snapshots


def _snapshots(trace: Trace, span: Span) -> Iterator[tuple[Snapshot, list["pa.Table"]]]:
    """The snapshots of the slice, each with its frame runs and, where they were read, its lists."""
    cut_ns = span.from_ns - 1  # events up to here are in the first one
    if not span.from_start:
        yield _cut(trace, cut_ns)
    for shot in trace.manifest.snapshots:
        if span.holds(shot.begin_ns, shot.end_ns):
            lists = trace.lists(shot.name)
            yield shot, [trace.frames(shot.name), *([lists] if lists is not None else [])]
        elif shot in trace.resyncs and shot.begin_ns <= cut_ns < shot.end_ns < span.to_ns:
            yield _under_way(trace, shot, cut_ns)


@dataclass
class _Cut:
    """The model at an instant, and the snapshot it last heard of."""

    model: FrameModel
    brought: Brought | None


def _model_at(trace: Trace, geometry: Geometry, cut_ns: int) -> _Cut:
    """The model after all events up to `cut_ns`, corrected by the resyncs that are over by then."""
    meaning = meaning_of(trace)
    cut: _Cut | None = None
    if trace.start is None:
        begin = Start.unknown(trace, geometry)
        chunks = np.zeros(len(begin.state), np.int64)
        frames = Frames(begin.state, chunks, chunks, begin.reported_heads)
        cut = _Cut(FrameModel(meaning, geometry, frames, 0), None)
    batches = Survey.of(trace, geometry, meaning).batches()
    for stretch in stretches(trace, batches, geometry, meaning):
        if isinstance(stretch, Brought):
            if cut is None:
                cut = _Cut(stretch.model, stretch)
            elif stretch.shot.end_ns <= cut_ns:
                cut.model.correct(stretch.model.settled)
                cut.model.seen = stretch.model.seen
                cut.brought = stretch
            else:
                break
        elif cut is not None:
            until = first_after(stretch["ts_ns"], cut_ns)
            cut.model.play({name: values[:until] for name, values in stretch.items()})
            if until < len(stretch["ts_ns"]):
                break
    if cut is None:
        raise AssertionError
    return cut


def _cut(trace: Trace, cut_ns: int) -> tuple[Snapshot, list["pa.Table"]]:
    """A start snapshot that says what the model holds at an instant."""
    geometry = Geometry.of(trace.manifest.guest, trace.zones)
    cut = _model_at(trace, geometry, cut_ns)
    state = cut.model.settled
    heads = _still_reported(cut, state, geometry)
    read_ns = np.full(-(-len(state) // CHUNK_FRAMES), cut_ns, np.int64)
    zones, buddyinfo = _last_counts(trace, cut.brought, cut_ns)
    shot = Snapshot("start", cut_ns, cut_ns, zones, buddyinfo)
    return shot, [Frames(state, read_ns, read_ns, heads).runs()]


def _still_reported(cut: _Cut, state: "NDArray[np.uint8]", geometry: Geometry) -> "NDArray[np.int64]":
    """Heads of blocks that were reported in the last snapshot, and are the same blocks since."""
    if cut.brought is None:
        return np.empty(0, np.int64)
    read = cut.brought.frames
    kept = [np.empty(0, np.int64)]
    for zone in range(len(geometry.zones)):
        then = free_blocks(read.state == FrameState.BUDDY, geometry, zone)
        now = free_blocks(state == FrameState.BUDDY, geometry, zone)
        for order, heads in enumerate(now):
            same = np.intersect1d(np.intersect1d(heads, then[order]), read.reported_heads)
            kept.append(same[untouched(cut.model.seen, same, order)])
    return np.sort(np.concatenate(kept))


def _last_counts(trace: Trace, brought: Brought | None, cut_ns: int) -> tuple[list[Zone], list[BuddyInfo]]:
    """What the kernel last said of its zones before the cut: in a snapshot, or in a sample since."""
    zones = brought.shot.zones if brought else trace.zones
    infos = brought.shot.buddyinfo if brought else []
    since_ns = brought.shot.end_ns if brought else 0
    names = {index: (zone.node, zone.name) for index, zone in enumerate(trace.manifest.zones)}
    latest: dict[tuple[int, str], dict[str, Any]] = {}
    for row in trace.samples.to_pylist():
        if since_ns < row["read_begin_ns"] and row["read_end_ns"] <= cut_ns and row["zone"] in names:
            latest[names[row["zone"]]] = row
    counts = ("managed", "free", "min", "low", "high", "boost")
    told = [(zone, latest.get((zone.node, zone.name))) for zone in zones]
    old = {(info.node, info.zone): info for info in infos}
    new = {
        key: BuddyInfo(*key, row["free_blocks"], row["read_begin_ns"], row["read_end_ns"])
        for key, row in latest.items()
    }
    return (
        [replace(zone, **{name: row[name] for name in counts}) if row else zone for zone, row in told],
        list((old | new).values()),
    )


def _under_way(trace: Trace, shot: Snapshot, cut_ns: int) -> tuple[Snapshot, list["pa.Table"]]:
    """A resync that was being read at the cut: the chunks read before it, brought to it."""
    geometry, meaning = Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace)
    brought = Brought.begin(trace, shot, geometry, meaning)
    batches = Survey.of(trace, geometry, meaning).batches()
    for until_ns, columns in pieces(batches, [shot.begin_ns - 1, cut_ns]):
        if until_ns > cut_ns:
            break
        if until_ns == cut_ns:
            brought.play(columns)
    read, cut = brought.frames, cut_ns + 1
    frames = replace(
        read,
        state=brought.model.state,
        begin_ns=np.maximum(read.begin_ns, cut),
        end_ns=np.maximum(read.end_ns, cut),
        reported_heads=read.reported_heads[brought.model.seen[read.reported_heads] == 0],
    )
    return replace(shot, begin_ns=cut, lists=False, parts=[]), [frames.runs()]


# Events


def _events(trace: Trace, span: Span) -> Iterator[Columns]:
    """The events of the span with all their columns, none of the pieces empty."""
    cuts = [] if span.from_start else [span.from_ns - 1]
    if span.to_ns < FAR_FUTURE_NS:
        cuts.append(span.to_ns - 1)
    batches = (
        {name: batch.column(name).to_numpy() for name in batch.schema.names}
        for batch in trace.batches(trace.columns)
    )
    for until_ns, columns in pieces(batches, cuts):
        if until_ns > span.to_ns:
            return
        before = until_ns < span.from_ns and not span.from_start
        if len(columns["ts_ns"]) and not before:
            yield columns


def _beside(trace: Trace, span: Span) -> tuple["pa.Table", "pa.Table"]:
    """The samples and counters of the span."""
    samples, counters = trace.samples, trace.counters
    inside = [
        span.holds(begin, end)
        for begin, end in zip(
            samples["read_begin_ns"].to_pylist(), samples["read_end_ns"].to_pylist(), strict=True
        )
    ]
    noted = [span.holds(ts_ns, ts_ns) for ts_ns in counters["ts_ns"].to_pylist()]
    return samples.filter(np.array(inside, bool)), counters.filter(np.array(noted, bool))


class _Tally:
    """The loss equation of the slice: what is kept is counted; filtered are those of the segments
    it lies in, since the recording tells no closer; lost is what its own losses say, shared out as the
    probes lost in those segments, and what the segments lost at no known time.

    Attributes:
        late: events stored after a later one.
    """

    def __init__(self, trace: Trace, span: Span, losses: list[Loss]) -> None:
        self.late = 0
        self._latest_ns = -1
        self._kept = np.zeros(256, np.int64)
        self._probes = _between(trace, span)
        self._lost = _shared_out(trace, self._probes, _lost(trace, span, losses, self._probes))

    def count(self, columns: Columns) -> list[Probe]:
        """Take in the events of a segment; the probes' counters after it."""
        ts_ns = np.concatenate(([self._latest_ns], columns["ts_ns"]))
        self.late += int((ts_ns[1:] < np.maximum.accumulate(ts_ns)[:-1]).sum())
        self._latest_ns = int(ts_ns.max())
        self._kept += np.bincount(columns["op"], minlength=256)
        return self.probes()

    def probes(self) -> list[Probe]:
        """The probes' counters now."""
        left = self._kept.copy()
        told = []
        for probe, lost in zip(self._probes, self._lost, strict=True):
            kept, left[probe.op] = int(left[probe.op]), 0
            skipped = probe.skipped if probe.skipped is None else min(probe.skipped, lost)
            hits = kept + lost + probe.filtered
            told.append(replace(probe, hits=hits, kept=kept, lost=lost, skipped=skipped))
        return told


def _lost(trace: Trace, span: Span, losses: list[Loss], probes: list[Probe]) -> int:
    """Events the span lost: those of its own losses, and what the segments it lies in (`probes`) lost
    without any loss of the trace telling when.
    """
    met = [part for part in trace.segments if span.meets(part.first_ts_ns, part.last_ts_ns)]
    told = sum(loss.events for part in met for loss in part.losses)
    nowhere = max(trace.manifest.lost - sum(loss.events for loss in trace.losses), 0)
    unlocated = min(max(sum(probe.lost for probe in probes) - told, 0), nowhere)
    return min(sum(loss.events for loss in losses) + unlocated, trace.manifest.lost)


def _shared_out(trace: Trace, probes: list[Probe], lost: int) -> list[int]:
    """`lost` events by probe, in proportion to what each lost in the segments of the span, or, where
    that is too little (a loss is told a segment later), in the whole trace.
    """
    shares = [probe.lost for probe in probes]
    if sum(shares) < lost:
        shares = [probe.lost for probe in trace.manifest.probes]
    total = max(sum(shares), 1)
    ends = [lost * sum(shares[: index + 1]) // total for index in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _between(trace: Trace, span: Span) -> list[Probe]:
    """What was lost and filtered in the segments that the span lies in; nothing kept yet."""
    met = [k for k, part in enumerate(trace.segments) if span.meets(part.first_ts_ns, part.last_ts_ns)]
    before, after = [], trace.manifest.probes
    if met:
        before = trace.segments[met[0] - 1].probes if met[0] else []
        after = after if met[-1] == len(trace.segments) - 1 else trace.segments[met[-1]].probes
    earlier = {(probe.name, probe.op): probe for probe in before}
    none = Probe("", "", 0)
    told = []
    for probe in after:
        was = earlier.get((probe.name, probe.op), none)
        skipped = None if probe.skipped is None else max(probe.skipped - (was.skipped or 0), 0)
        lost, filtered = max(probe.lost - was.lost, 0), max(probe.filtered - was.filtered, 0)
        told.append(replace(probe, hits=0, kept=0, lost=lost, filtered=filtered, skipped=skipped))
    return told

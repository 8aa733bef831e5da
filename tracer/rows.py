"""Rows that no trace can hold: refused with their place where they are read, or counted and told of.

Checks of a file give a line of warning for what can be read but contradicts something else.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracer.checks import MOST_COUNT, MOST_NS
from tracer.format import (
    CHUNK_FRAMES,
    COUNTER_COLUMNS,
    MANIFEST,
    PFN_BITS,
    SAMPLE_COLUMNS,
    FrameState,
    Guest,
    Manifest,
    Op,
    Segment,
    Snapshot,
    Zone,
    damaged,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Longs = NDArray[np.int64]
    Marks = NDArray[np.bool_]

_STEP = 1 << 20  # runs that are looked at at once: where memory is in shreds, they are many
_AROUND = ("ts_ns", "read_begin_ns", "read_end_ns", "zone", "free_blocks", "op", "cpu")
_SAMPLED = [name for name in SAMPLE_COLUMNS if name not in _AROUND]
_COUNTED = [name for name in COUNTER_COLUMNS if name not in _AROUND]


def _refuse(where: str, bad: "Marks", how: str, *values: "NDArray[np.generic]", row: int = 0) -> None:
    """Refuse the first row marked as bad; its `values` fill `how`. `row`: the number of the first one."""
    if bad.any():
        at = int(np.argmax(bad))
        raise damaged(f"{where} row {row + at}", how.format(*(value[at] for value in values)))


def _longs(table: pa.Table, *names: str) -> "list[Longs]":
    return [table[name].to_numpy().astype(np.int64) for name in names]


def _refuse_windows(where: str, begin_ns: "Longs", end_ns: "Longs", shot: Snapshot, row: int = 0) -> None:
    backwards = end_ns < begin_ns
    _refuse(where, backwards, "its read ends at {1} ns, and begins at {0} ns", begin_ns, end_ns, row=row)
    outside = (begin_ns < shot.begin_ns) | (end_ns > shot.end_ns)
    how = f"it was read in {{}}..{{}} ns, its snapshot in {shot.begin_ns}..{shot.end_ns} ns"
    _refuse(where, outside, how, begin_ns, end_ns, row=row)


# Frame runs


def check_runs(where: str, runs: pa.Table, shot: Snapshot, zones: list[Zone]) -> Iterator[str]:
    """Runs of frames (`FRAME_COLUMNS`) of a snapshot. `zones`: those that a reader knows.

    Raises:
        Fault: when a run is empty, leaves its chunk, has no possible state, overlaps the one before it
            or comes after it, or was read at another time than its chunk or snapshot.
    """
    spans, heads, outside = _spans(zones), 0, 0
    missing = sum(stop - start for start, stop in spans)
    for begin in range(0, runs.num_rows, _STEP):
        before = min(begin, 1)  # each step looks at the last row of the one before it, too
        part = runs.slice(begin - before, _STEP + before)
        _refuse_runs(where, part, shot, begin - before)
        part = part.slice(before)
        first, count, state = _longs(part, "pfn", "count", "state")
        heads += int((part["reported_head"].to_numpy() & (state != FrameState.BUDDY)).sum())
        there = state != FrameState.ABSENT
        outside += int(count[there].sum())
        for start, stop in spans:
            inside = np.maximum(np.minimum(first + count, stop) - np.maximum(first, start), 0)
            outside -= int(inside[there].sum())
            missing -= int(inside.sum())
    if heads:
        yield f"{where}: {heads} reported blocks are not in the buddy: they are not taken for reported"
    if outside:
        yield f"{where}: {outside} frames lie outside every zone: left out"
    if missing:
        yield f"{where}: {missing} frames of the zones are in no run: taken for absent"


def _refuse_runs(where: str, runs: pa.Table, shot: Snapshot, row: int) -> None:
    """Refuse runs that cannot be, or cannot follow each other. `row`: the number of the first one."""
    pfn = runs["pfn"].to_numpy()
    _refuse(where, pfn >> np.uint64(PFN_BITS) > 0, f"pfn {{}} has more than {PFN_BITS} bits", pfn, row=row)
    first, count, state = _longs(runs, "pfn", "count", "state")
    end, chunk = first + count, first // CHUNK_FRAMES
    bad = (count < 1) | (chunk != (end - 1) // CHUNK_FRAMES)
    _refuse(where, bad, "the run at pfn {} has {} frames and leaves its chunk", first, count, row=row)
    begins_inside = np.append(False, first[1:] < end[:-1])
    _refuse(where, begins_inside, "the run at pfn {} begins before the run before it ends", first, row=row)
    _refuse(where, state > max(FrameState), "frame state {} is not in 0..4", state, row=row)
    begin_ns, end_ns = _longs(runs, "read_begin_ns", "read_ts_ns")
    _refuse_windows(where, begin_ns, end_ns, shot, row)
    differs = (begin_ns[1:] != begin_ns[:-1]) | (end_ns[1:] != end_ns[:-1])
    apart = np.append(False, (chunk[1:] == chunk[:-1]) & differs)
    _refuse(where, apart, "the run at pfn {} was read at another time than its chunk", first, row=row)


def _spans(zones: list[Zone]) -> list[tuple[int, int]]:
    """The zones' pfn ranges [start, end), joined where they overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((zone.start_pfn, zone.end_pfn) for zone in zones):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


# Free lists


def check_lists(where: str, lists: pa.Table, shot: Snapshot, guest: Guest) -> None:
    """Free lists (`LIST_COLUMNS`) of a snapshot.

    Raises:
        Fault: when a block is on two lists that were read at one time, or on one that cannot be. It may
            have moved between two reads: that is no contradiction.
    """
    zone, order, kind, position = _longs(lists, "zone", "order", "migratetype", "position")
    _refuse(where, zone >= len(shot.zones), f"zone {{}} is not one of {len(shot.zones)}", zone)
    _refuse(where, order > guest.max_order, f"order {{}} is more than {guest.max_order}", order)
    named = len(guest.migratetypes)
    _refuse(where, (kind < 0) | (kind >= named), f"migratetype {{}} is not one of {named}", kind)
    (first,) = _longs(lists, "pfn")
    size = np.int64(1) << order
    starts, ends = (
        np.array([getattr(zone, at) for zone in shot.zones], np.int64) for at in ("start_pfn", "end_pfn")
    )
    bad = (first & (size - 1) != 0) | (first < starts[zone]) | (first > ends[zone] - size)
    _refuse(where, bad, "pfn {} heads no block of order {} in its zone", first, order)
    begin_ns, end_ns = _longs(lists, "read_begin_ns", "read_ts_ns")
    _refuse_windows(where, begin_ns, end_ns, shot)
    at_once = np.lexsort((first, end_ns, begin_ns))
    reads = np.stack([begin_ns, end_ns])[:, at_once]
    same = (reads[:, 1:] == reads[:, :-1]).all(axis=0)
    twice = np.append(False, same & (first[at_once][1:] < (first + size)[at_once][:-1]))
    _refuse(where, _back(twice, at_once), "the block at pfn {} is on two lists", first)
    places = np.lexsort((position, kind, order, zone))
    rows = np.stack([zone, order, kind, position])[:, places]
    same = np.append(False, (rows[:, 1:] == rows[:, :-1]).all(axis=0))
    _refuse(where, _back(same, places), "position {} of its list is there twice", position)


def _back(marks: "Marks", places: "Longs") -> "Marks":
    """Marks of sorted rows, for the rows as they stand."""
    back = np.zeros(len(marks), np.bool_)
    back[places] = marks
    return back


# Samples and counters


class SampleRows:
    """Checks the samples of a trace, file after file."""

    def __init__(self, manifest: Manifest) -> None:
        self._zones, self._orders = manifest.zones, manifest.guest.max_order + 1
        self._latest_ns = np.full(len(manifest.zones), -MOST_NS, np.int64)

    def check(self, where: str, samples: pa.Table) -> Iterator[str]:
        """The next file (`SAMPLE_COLUMNS`).

        Raises:
            Fault: when a row is of no zone, has too few or too many orders or a count that cannot be,
                or begins before the one before it, of the same zone, ended.
        """
        zone, begin_ns, end_ns = _longs(samples, "zone", "read_begin_ns", "read_end_ns")
        zones = len(self._zones)
        _refuse(where, zone >= zones, f"zone {{}} is not one of {zones}", zone)
        far = (np.abs(begin_ns) > MOST_NS) | (np.abs(end_ns) > MOST_NS)
        _refuse(where, far, "its read was at {} ns", begin_ns)
        _refuse(where, end_ns < begin_ns, "its read ends at {} ns, and begins at {} ns", end_ns, begin_ns)
        blocks = samples["free_blocks"].combine_chunks()
        orders = pc.list_value_length(blocks).to_numpy(zero_copy_only=False)
        _refuse(where, orders != self._orders, f"it has {{}} orders, not {self._orders}", orders)
        _refuse_counts(where, samples, _SAMPLED, -1)
        self._refuse_disorder(where, zone, begin_ns, end_ns)
        sizes = np.int64(1) << np.arange(self._orders)
        free = blocks.flatten().to_numpy().astype(np.int64).reshape(-1, self._orders) @ sizes
        over = int((free > np.array([zone.spanned for zone in self._zones])[zone]).sum())
        if over:
            yield f"{where}: {over} samples have more free frames than their zone spans"

    def _refuse_disorder(self, where: str, zone: "Longs", begin_ns: "Longs", end_ns: "Longs") -> None:
        how = "its zone was read at {} ns, before the sample before it ended"
        for index in range(len(self._zones)):
            rows = np.flatnonzero(zone == index)
            ended_ns = np.append(self._latest_ns[index], end_ns[rows])[:-1]
            same_again = np.append(False, begin_ns[rows][1:] == begin_ns[rows][:-1])
            back = np.zeros(len(zone), np.bool_)
            back[rows] = (begin_ns[rows] < ended_ns) | same_again
            _refuse(where, back, how, begin_ns)
            if len(rows):
                self._latest_ns[index] = end_ns[rows[-1]]


def check_counters(where: str, counters: pa.Table) -> None:
    """The probes' counters (`COUNTER_COLUMNS`).

    Raises:
        Fault: when a count or an instant cannot be.
    """
    (ts_ns,) = _longs(counters, "ts_ns")
    _refuse(where, np.abs(ts_ns) > MOST_NS, "it was read at {} ns", ts_ns)
    _refuse_counts(where, counters, _COUNTED, 0)


def _refuse_counts(where: str, table: pa.Table, names: list[str], least: int) -> None:
    for name in names:
        (count,) = _longs(table, name)
        bad = (count < least) | (count > MOST_COUNT)
        _refuse(where, bad, f"{name} {{}} is not in {least}..{MOST_COUNT}", count)


# Events


class EventRows:
    """Checks a trace's events, batch after batch, in the order in which they are stored."""

    def __init__(self, manifest: Manifest, zones: list[Zone], *, thorough: bool = False) -> None:
        """`zones`: those that a reader knows. `thorough`: look at each event, not only where the extremes
        of a batch tell that one cannot be; what lies between two zones is found only so.
        """
        self._manifest, self._zones, self._thorough = manifest, zones, thorough
        self._pfns = min(zone.start_pfn for zone in zones), max(zone.end_pfn for zone in zones)
        self._latest_ns = -MOST_NS
        self._late = self._untyped = self._twice = 0
        self._last: tuple[int, ...] = ()
        self._odd: Counter[str] = Counter()

    def check(self, segment: Segment, batch: pa.RecordBatch, before: int) -> None:
        """The next batch of a segment, of which `before` rows came already.

        Raises:
            Fault: when an event's time is not in the span that the index tells.
        """
        columns = {name: batch[name].to_numpy() for name in batch.schema.names if batch.num_rows}
        if "ts_ns" in columns:
            ts_ns = columns["ts_ns"]
            # The one look at each event: hardly any has the time of the one before it, or an earlier one.
            still = np.flatnonzero(ts_ns[1:] <= ts_ns[:-1]) + 1
            self._check_times(segment, ts_ns, before, back=bool((ts_ns[still] < ts_ns[still - 1]).any()))
            if columns.keys() >= set(_ONE_EVENT):
                self._count_repeated(columns, still)
        if "migratetype" in columns:
            kind, named = columns["migratetype"], len(self._manifest.guest.migratetypes)
            if kind.max() >= named or kind.min() < -1:
                self._untyped += int(((kind >= named) | (kind < -1)).sum())
        if columns.keys() >= {"op", "pfn", "order"} and (self._thorough or self._looks_odd(columns)):
            self._odd.update(_odd_events(columns, self._manifest.guest.max_order, self._zones))

    def _check_times(self, segment: Segment, ts_ns: "Longs", before: int, *, back: bool) -> None:
        """`back`: time goes back inside the batch."""
        first_ns, last_ns = segment.first_ts_ns, segment.last_ts_ns
        least, most = (ts_ns.min(), ts_ns.max()) if back else (ts_ns[0], ts_ns[-1])
        if least < first_ns or most > last_ns:
            row = int(np.argmax((ts_ns < first_ns) | (ts_ns > last_ns)))
            raise damaged(
                f"{segment.file} row {before + row}",
                f"ts_ns {ts_ns[row]} is not in {first_ns}..{last_ns}, which the index says",
            )
        if back or least < self._latest_ns:
            latest = np.maximum.accumulate(np.append(self._latest_ns, ts_ns))
            self._late += int((ts_ns < latest[:-1]).sum())
        self._latest_ns = max(self._latest_ns, int(most))

    def _count_repeated(self, columns: "dict[str, NDArray[Any]]", still: "Longs") -> None:
        """Count rows that are the row before again. `still`: rows that are not later than that."""
        same = np.ones(len(still), np.bool_)
        for name in _ONE_EVENT:
            same &= columns[name][still] == columns[name][still - 1]
        first, last = (tuple(int(columns[name][row]) for name in _ONE_EVENT) for row in (0, -1))
        self._twice += int(same.sum()) + (first == self._last)
        self._last = last

    def _looks_odd(self, columns: "dict[str, NDArray[Any]]") -> bool:
        op, pfn, order = columns["op"], columns["pfn"], columns["order"]
        known = min(Op) <= op.min() and op.max() <= max(Op)
        first, end = self._pfns
        return not (
            known and order.max() <= self._manifest.guest.max_order and first <= pfn.min() and pfn.max() < end
        )

    @property
    def warnings(self) -> Iterator[str]:
        """What was wrong with them, when all have come."""
        told = self._manifest.late_events
        if self._late > told:
            yield f"time goes back at {self._late} events; {MANIFEST} counts {told}"
        if self._twice:
            yield f"{self._twice} events are the event before them again"
        if self._untyped:
            yield f"{self._untyped} events have a migratetype that the guest does not name: taken for unknown"
        for why, count in self._odd.items():
            if count:
                yield f"{count} events {why}: a replay leaves them out"


_ONE_EVENT = ("ts_ns", "op", "pfn", "order")
# Ops whose rows name no block.
_NO_BLOCK = [int(op) for op in (Op.NOTIFY, Op.PASS_START, Op.PASS_END, Op.REPORT)]


def _odd_events(columns: "dict[str, NDArray[Any]]", max_order: int, zones: list[Zone]) -> dict[str, int]:
    """How many events no replay can use, by why."""
    op, pfn, order = columns["op"], columns["pfn"], columns["order"]
    known = np.isin(op, [int(each) for each in Op])
    placed = known & ~np.isin(op, _NO_BLOCK)
    large = order > max_order
    inside = np.zeros(len(pfn), np.bool_)
    for start, end in ((np.uint64(zone.start_pfn), np.uint64(zone.end_pfn)) for zone in zones):
        inside |= (pfn >= start) & (pfn < end)
    return {
        "have an op that is not known": int((~known).sum()),
        f"have an order above {max_order}": int((placed & large).sum()),
        "lie outside every zone": int((placed & ~large & ~inside).sum()),
    }

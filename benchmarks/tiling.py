"""A big trace made of a real one by tiling it in time: its events again and again, each time later.

Usage: python -m benchmarks.tiling OUT.trace [--of TRACE] [--events 100M]. Prints what became of it.

A tile is all events after the start snapshot, with the pfns they had; between two tiles a bridge of
entries and exits (the largest aligned blocks, a microsecond apart) takes the buddy from where the tile
ended back to where it began, so that no step is impossible because of tiling, and each tile after the
first does the same again. Memory that the guest first managed on the way is managed, and in use, from
the start. What a tile does not have: snapshots in between, so what a resync corrected stays as the
events tell it, samples, counters, free lists, and the losses of the source, which its notes tell of.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.harness import TRACE
from replay.buddy.frames import FrameModel, Frames, free_blocks
from replay.buddy.hindsight import can_be_told
from replay.buddy.ops import Meaning, meaning_of
from replay.geometry import Geometry
from replay.start import Start, refuse_filtered, start_of
from replay.stretches import first_after, stretches
from replay.survey import Survey
from tracer import (
    CHUNK_FRAMES,
    BuddyInfo,
    Fault,
    FrameState,
    Manifest,
    Op,
    Probe,
    Snapshot,
    Trace,
    TraceWriter,
    Zone,
    human_bytes,
    open_trace,
    segment_of,
)
from tracer.recording.merger import GROUP_ROWS, MAX_BYTES, MAX_SPAN_NS

BRIDGE_STEP_NS = 1000
# Tiles repeat at whole multiples of this: so do jiffies and the steps of the timer wheel at any usual HZ.
PERIOD_STEP_NS = 320_000_000
Blocks = tuple[int, NDArray[np.int64], NDArray[np.int64]]  # an op, and the pfns and orders it is told of
ALLOCATED = Probe("kmem:mm_page_alloc", "tracepoint", Op.PAGE_ALLOC)  # of bridges only
NO_HEADS = np.empty(0, np.int64)
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Tile:
    """A trace, ready to be repeated.

    Attributes:
        begins: `FrameState` per frame at `begin_ns`, uint8.
        ends: the same after all events, at `end_ns`.
        events: all columns of the trace, those of after `begin_ns`.
        bridge: the same columns; from `ends` back to `begins`.
    """

    trace: Trace
    geometry: Geometry
    begin_ns: int
    end_ns: int
    begins: NDArray[np.uint8]
    ends: NDArray[np.uint8]
    reported_heads: NDArray[np.int64]
    events: pa.Table
    bridge: pa.Table

    @classmethod
    def of(cls, trace: Trace) -> "Tile":
        """Read a trace.

        Raises:
            Fault: when it cannot be read, or nothing says where it begins.
        """
        if trace.start is None:
            raise Fault(
                f"{trace.path} cannot be tiled",
                "it has no start snapshot",
                "choose one that was recorded here",
            )
        refuse_filtered(trace)
        geometry = Geometry.of(trace.manifest.guest, trace.zones)
        start, ends = _both_ends(trace, geometry)
        appears = (start.state == FrameState.ABSENT) & (ends != FrameState.ABSENT)
        begins = np.where(appears, np.uint8(FrameState.USED), start.state)
        batches = trace.batches(trace.columns)
        events = pa.Table.from_batches(batches).combine_chunks()
        events = events.slice(first_after(events["ts_ns"].to_numpy(), start.now_ns))
        steps = _bridge(meaning_of(trace), geometry, events, ends, begins)
        bridge = _events(steps, trace.span_ns[1] + BRIDGE_STEP_NS, events.schema)
        span_ns = start.now_ns, trace.span_ns[1]
        return cls(trace, geometry, *span_ns, begins, ends, start.reported_heads, events, bridge)

    @cached_property
    def period_ns(self) -> int:
        """From tile to tile."""
        needed_ns = self.end_ns - self.begin_ns + BRIDGE_STEP_NS * (self.bridge.num_rows + 1)
        steps = -(-needed_ns // PERIOD_STEP_NS)
        return int(steps) * PERIOD_STEP_NS

    @property
    def rows(self) -> int:
        """Events from tile to tile."""
        return int(self.events.num_rows + self.bridge.num_rows)

    @property
    def bridge_share(self) -> float:
        """The bridge's share of all events."""
        return float(self.bridge.num_rows) / self.rows

    def tiles_of(self, events: int) -> int:
        """How many tiles come nearest to so many events, at least one."""
        return max(round(events / self.rows), 1)

    def at(self, number: int, *, bridge: bool) -> pa.Table:
        """The events of one tile, with the bridge to the next."""
        table = pa.concat_tables([self.events, self.bridge] if bridge else [self.events])
        moved = pa.array(table["ts_ns"].to_numpy() + number * self.period_ns)
        return table.set_column(table.schema.get_field_index("ts_ns"), "ts_ns", moved)


def _both_ends(trace: Trace, geometry: Geometry) -> tuple[Start, NDArray[np.uint8]]:
    """Where a replay starts, and the frames after all events; snapshots in between correct nothing."""
    meaning = meaning_of(trace)
    told = stretches(trace, Survey.of(trace, geometry, meaning).batches(), geometry, meaning)
    start = start_of(trace, geometry, told)
    model = FrameModel(meaning, geometry, _frames(start.state, start.now_ns), start.now_ns)
    for stretch in told:
        if isinstance(stretch, dict):
            model.play(stretch)
    return start, model.settled


def _frames(state: NDArray[np.uint8], at_ns: int, heads: NDArray[np.int64] = NO_HEADS) -> Frames:
    """Frames as if they had all been read at one instant; `heads`: of reported blocks."""
    read_ns = np.full(-(-len(state) // CHUNK_FRAMES), at_ns, np.int64)
    return Frames(state, read_ns, read_ns, heads)


def _bridge(
    meaning: NDArray[np.uint8],
    geometry: Geometry,
    tile: pa.Table,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
) -> list[Blocks]:
    """What takes the buddy from one state to another: what comes back to it, then what leaves.

    Then somebody allocates what the tile freed to per-CPU lists. That is nothing to the buddy, but
    without it the next tile would tell what became of those pages (`replay.buddy.hindsight`).
    """
    was, will = before == FrameState.BUDDY, after == FrameState.BUDDY
    enter, leave = _ops(meaning[:, : geometry.max_order + 1])
    steps = [(enter, *_blocks(will & ~was, geometry)), (leave, *_blocks(was & ~will, geometry))]
    if can_be_told(meaning):
        freed = _freed_apart(meaning, geometry, tile) & ~was & ~will
        steps.append((int(Op.PAGE_ALLOC), *_blocks(freed, geometry)))
    return steps


def _freed_apart(meaning: NDArray[np.uint8], geometry: Geometry, tile: pa.Table) -> NDArray[np.bool_]:
    """The frames of which a free was recorded that says nothing of the buddy."""
    op, pfn, order = (tile[name].to_numpy() for name in ("op", "pfn", "order"))
    apart = np.flatnonzero(op == Op.PAGE_FREE)
    apart = apart[meaning[Op.PAGE_FREE, order[apart]] == Meaning.NOTHING]
    frames = np.zeros(geometry.frames, np.bool_)
    for size in np.unique(order[apart]).tolist():
        heads = np.unique(pfn[apart][order[apart] == size]).astype(np.int64)
        frames[heads[:, None] + np.arange(1 << size)] = True
    return frames


def _events(steps: list[Blocks], first_ns: int, schema: pa.Schema) -> pa.Table:
    """Steps of the buddy as events of a trace with these columns."""
    rows = sum(len(pfns) for _, pfns, _ in steps)
    columns: dict[str, NDArray[np.generic]] = {
        "ts_ns": first_ns + BRIDGE_STEP_NS * np.arange(rows, dtype=np.int64),
        "op": np.concatenate([np.full(len(pfns), op) for op, pfns, _ in steps]),
        "pfn": np.concatenate([pfns for _, pfns, _ in steps]),
        "order": np.concatenate([orders for *_, orders in steps]),
        "migratetype": np.full(rows, -1),
    }
    filled = {field.name: columns.get(field.name, np.zeros(rows)) for field in schema}
    return pa.table({field.name: filled[field.name].astype(field.type.to_pandas_dtype()) for field in schema})


def _blocks(frames: NDArray[np.bool_], geometry: Geometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(pfns, orders) of the largest aligned blocks of these frames."""
    found = [
        (heads, np.full(len(heads), order))
        for zone in range(len(geometry.zones))
        for order, heads in enumerate(free_blocks(frames, geometry, zone))
    ]
    return np.concatenate([pfns for pfns, _ in found]), np.concatenate([orders for _, orders in found])


def _ops(meaning: NDArray[np.uint8]) -> tuple[int, int]:
    """The ops that say in this trace that a block of any order enters the buddy, and leaves it."""
    entries = (Op.PCPU_DRAIN, Op.BUDDY_FREE, Op.PAGE_FREE)
    exits = (Op.ZONE_LOCKED, Op.PAGE_ALLOC)
    enter = next(op for op in entries if (meaning[op] == Meaning.ENTER).all())
    leave = next(op for op in exits if (meaning[op] == Meaning.EXIT).all())
    return int(enter), int(leave)


# Writing


def tiled(tile: Tile, out: Path, tiles: int, *, force: bool = False) -> Trace:
    """Write so many tiles as a trace, and open it.

    Raises:
        Fault: when it cannot be written.
    """
    manifest = replace(_manifest(tile, tiles), status="recording", probes=[])
    writer = TraceWriter(out, manifest, force=force)
    first = _snapshot(tile, writer, "start", tile.begins, tile.begin_ns)
    kept = np.zeros(256, np.int64)
    segment: _Growing | None = None
    for number in range(tiles):
        segment = segment or _Growing(writer, tile)
        table = tile.at(number, bridge=number < tiles - 1)
        segment.append(table)
        kept += np.bincount(table["op"].to_numpy(), minlength=256)
        if segment.full or number == tiles - 1:
            segment.close(_counted(tile, kept, number + 1))
            segment = None
    end_ns = tile.end_ns + (tiles - 1) * tile.period_ns + 1
    last = _snapshot(tile, writer, "end", tile.ends, end_ns)
    whole = _manifest(tile, tiles)
    writer.close(replace(whole, snapshots=[first, last], probes=_counted(tile, kept, tiles)))
    return open_trace(out)


class _Growing:
    """A segment being written, about as large as the recorder's merged ones are."""

    def __init__(self, writer: TraceWriter, tile: Tile) -> None:
        self._writer = writer
        self._file = writer.open_part("events", writer.next_name, tile.events.schema)
        self._span_ns: list[int] = []

    def append(self, table: pa.Table) -> None:
        """Add a tile, in row groups of one size."""
        groups = -(-table.num_rows // GROUP_ROWS)
        cuts = np.linspace(0, table.num_rows, groups + 1).astype(int)
        for begin, end in pairwise(cuts):
            self._file.append(table.slice(begin, end - begin))
        ts_ns = table["ts_ns"].to_numpy()
        self._span_ns = [*self._span_ns[:1], int(ts_ns.min()), int(ts_ns.max())]

    @property
    def full(self) -> bool:
        """As large, or as long, as a segment gets."""
        spanned_ns = self._span_ns[-1] - self._span_ns[0]
        return self._file.size_bytes >= MAX_BYTES or spanned_ns >= MAX_SPAN_NS

    def close(self, probes: list[Probe]) -> None:
        """Make it part of the trace."""
        span_ns = self._span_ns[0], self._span_ns[-1]
        self._writer.append_segment(segment_of(self._file.close(), span_ns, probes, losses=[]))


def _counted(tile: Tile, kept: NDArray[np.int64], tiles: int) -> list[Probe]:
    """The probes' counters after so many tiles. What a probe of an op that others have, too, kept is
    counted at the first.
    """
    left, told = kept.copy(), []
    probes = tile.trace.manifest.probes
    if ALLOCATED.op not in {probe.op for probe in probes}:
        probes = [*probes, ALLOCATED]
    for probe in probes:
        count, left[probe.op] = int(left[probe.op]), 0
        filtered = probe.filtered * tiles
        told.append(
            replace(probe, hits=count + filtered, kept=count, lost=0, filtered=filtered, skipped=None)
        )
    return told


def _manifest(tile: Tile, tiles: int) -> Manifest:
    """The source's, with a note of what was done; snapshots and probes are still to come."""
    source, lost = tile.trace.manifest, tile.trace.manifest.lost
    name, share = tile.trace.path.name, f"{tile.bridge_share:.2%}"
    notes = [f"{tiles} tiles of {name}, {tile.period_ns} ns apart; bridges between them are {share} of all"]
    if lost:
        notes.append(f"each tile lacks the {lost} events that were lost when {name} was recorded")
    return replace(
        source,
        status="complete",
        snapshots=[],
        late_events=source.late_events * tiles,
        discarded_events=0,
        end_ns=None,
        notes=source.notes + notes,
    )


def _snapshot(tile: Tile, writer: TraceWriter, name: str, state: NDArray[np.uint8], at_ns: int) -> Snapshot:
    """Write what the buddy holds at an instant; what a kernel would have counted then."""
    zones = (tile.trace.manifest.snapshots[-1]).zones
    free = state == FrameState.BUDDY
    infos, counted = [], list[Zone]()
    for zone in zones:
        place = next(k for k, known in enumerate(tile.geometry.zones) if _same(known, zone))
        blocks = [len(heads) for heads in free_blocks(free, tile.geometry, place)]
        infos.append(BuddyInfo(zone.node, zone.name, blocks, at_ns, at_ns))
        counted.append(replace(zone, free=sum(n << order for order, n in enumerate(blocks))))
    heads = tile.reported_heads if name == "start" else NO_HEADS
    parts = writer.write_snapshot(name, _frames(state, at_ns, heads).runs())
    return Snapshot(name, at_ns, at_ns, counted, infos, parts=parts)


def _same(one: Zone, other: Zone) -> bool:
    return (one.node, one.name) == (other.node, other.name)


def count_of(text: str) -> int:
    """A number of events with a unit: 500K, 100M, 1G."""
    digits = text.rstrip("".join(UNITS)).strip()
    return int(float(digits) * UNITS[text[len(digits) :].strip()])


def main() -> None:
    """Tile a trace."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--of", type=Path, default=TRACE, metavar="TRACE")
    parser.add_argument("--events", type=count_of, default=100_000_000)
    parser.add_argument("--force", action="store_true")
    asked = parser.parse_args()
    try:
        tile = Tile.of(open_trace(asked.of))
        made = tiled(tile, asked.out, tile.tiles_of(asked.events), force=asked.force)
    except Fault as fault:
        sys.exit(str(fault))
    print(f"{made.path}: {made.rows:,} events, {human_bytes(made.size_bytes)}; {made.manifest.notes[-1]}")


if __name__ == "__main__":
    main()

"""What would be read of a synthetic guest: the states of its frames, its free lists, its counts."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
import pyarrow as pa

from replay.buddy.area import AREA, MAX_ORDER, NOBODY, PAGEBLOCK_ORDER, Area
from replay.buddy.frames import Frames
from replay.buddy.lists import slots_of
from replay.jit import Int, Words, compiled
from tracer import CHUNK_FRAMES, GUEST_COUNTS, ZONE_COUNTS, BuddyInfo, FrameState, Snapshot, Zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from replay.generating.machine import Machine

_PIECE = 1 << 24  # frames that are looked at at once: whole blocks and chunks
_BUDDY = int(FrameState.BUDDY)
_LIST_COLUMNS = {
    "zone": np.uint8,
    "order": np.uint8,
    "migratetype": np.int8,
    "position": np.uint32,
    "pfn": np.uint64,
}


@compiled(nb.void(AREA, nb.int64, nb.uint8[::1]))
def _mark_free(a: Area, first: Int, state: Words) -> None:
    """Mark the frames of the blocks that begin in [first, first + len(state))."""
    frame, end = first, min(first + len(state), len(a.blocks))
    while frame < end:
        size = np.int64(1)
        if a.blocks[frame].order >= 0:
            size = slots_of(a, np.int64(a.blocks[frame].order))
            for each in range(frame - first, frame - first + size):
                state[each] = _BUDDY
        frame += size


@compiled(nb.int64(AREA, nb.int64, nb.int64[:, ::1]))
def _walk(a: Area, zone: Int, rows: Words) -> Int:
    """Write (order, migratetype, position, pfn) of a zone's blocks of pageblock order and above; how many."""
    found = 0
    for order in range(a.shape[PAGEBLOCK_ORDER], a.shape[MAX_ORDER] + 1):
        for migratetype in range(a.lists.shape[2]):
            slot, position = np.int64(a.lists[zone, order, migratetype].head), 0
            while slot != NOBODY:
                rows[found, 0], rows[found, 1] = order, migratetype
                rows[found, 2], rows[found, 3] = position, slot
                slot, position, found = np.int64(a.blocks[slot].next), position + 1, found + 1
    return found


def zones_now(machine: "Machine") -> list[Zone]:
    """The zones, with what is free in them now."""
    free = machine.world.free.tolist()
    return [replace(zone, free=each) for zone, each in zip(machine.zones, free, strict=True)]


def snapshot(machine: "Machine", name: str, now_ns: int) -> tuple[Snapshot, pa.Table, pa.Table]:
    """All of the guest's memory, read at one instant: what the manifest says, frame runs and lists."""
    blocks = machine.world.area.nr_free.tolist()
    zones = zones_now(machine)
    counts = [
        BuddyInfo(zone.node, zone.name, each, now_ns, now_ns)
        for zone, each in zip(zones, blocks, strict=True)
    ]
    shot = Snapshot(name, now_ns, now_ns, zones, counts, lists=True)
    return shot, pa.concat_tables(_runs(machine, now_ns)), _lists(machine, now_ns)


def _runs(machine: "Machine", now_ns: int) -> "Iterator[pa.Table]":
    """Frame runs, piece by piece."""
    frames = -(-machine.zones[-1].end_pfn // CHUNK_FRAMES) * CHUNK_FRAMES
    for first in range(0, frames, _PIECE):
        state = np.full(min(_PIECE, frames - first), FrameState.ABSENT, np.uint8)
        for spans in machine.spans:
            inside = np.clip(spans - first, 0, len(state))
            for start, end in inside[inside[:, 0] < inside[:, 1]].tolist():
                state[start:end] = FrameState.USED
        _mark_free(machine.world.area, first, state)
        read_ns = np.full(len(state) // CHUNK_FRAMES, now_ns, np.int64)
        runs = Frames(state, read_ns, read_ns, np.empty(0, np.int64)).runs()
        pfn = runs["pfn"].to_numpy() + np.uint64(first)
        yield runs.set_column(0, "pfn", pa.array(pfn))


def _lists(machine: "Machine", now_ns: int) -> pa.Table:
    """The free lists of pageblock order and above, from head to tail."""
    area, found = machine.world.area, []
    for zone in range(len(machine.zones)):
        rows = np.empty((int(area.nr_free[zone, machine.recipe.block_order :].sum()), 4), np.int64)
        _walk(area, zone, rows)
        found.append(np.column_stack([np.full(len(rows), zone), rows]))
    rows = np.concatenate(found)
    columns: dict[str, NDArray[Any]] = {
        name: rows[:, place].astype(kind) for place, (name, kind) in enumerate(_LIST_COLUMNS.items())
    }
    read_ns = np.full(len(rows), now_ns, np.int64)
    return pa.table({**columns, "read_begin_ns": read_ns, "read_ts_ns": read_ns})


def sample(machine: "Machine", now_ns: int) -> pa.Table:
    """The counts of this instant, a row for each zone (`samples` of the format)."""
    zones, area = zones_now(machine), machine.world.area
    blocks = pa.array(area.nr_free.tolist(), pa.list_(pa.uint32()))
    instant, nothing = np.full(len(zones), now_ns, np.int64), np.zeros(len(zones), np.int64)
    counts = {name: np.array([getattr(zone, name, 0) for zone in zones]) for name in ZONE_COUNTS}  # pcp: none
    return pa.table(
        {
            "read_begin_ns": instant,
            "read_end_ns": instant,
            "zone": np.arange(len(zones), dtype=np.uint8),
            "free_blocks": blocks,
            **counts,
            **dict.fromkeys(GUEST_COUNTS, nothing - 1),  # what only a running guest has
            "lost_events": nothing,
        }
    )

"""Step 1's state as plain arrays: frames, units and pageblocks, and how it begins."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numba as nb
import numpy as np

from replay.buddy.reduced import NEVER_USED, NOT_SEEN
from replay.geometry import MOVABLE, Geometry
from tracer import FrameState

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ZONE = 255

TOTALS_DTYPE = np.dtype(
    [
        ("events", np.int64),  # this call: reduced events written
        ("counts", np.int64),  # this call: zone counts written
        ("now_ns", np.int64),
        ("steps", np.int64),
        ("exit_of_used", np.int64),
        ("entry_of_free", np.int64),
        ("outside", np.int64),
        ("unknown_ops", np.int64),
        ("clock_back", np.int64),
        ("free", np.int64),  # frames, now
        ("reportable", np.int64),
        ("managed", np.int64),
        ("corrected", np.int64),  # frames that a snapshot found otherwise
        ("bin", np.int64),
    ]
)
# Rows of the integrals: [frame seconds, frame nanoseconds].
FREE, REPORTABLE, MANAGED = range(3)


class Memory(NamedTuple):
    """Step 1's state. Frames: `free` (bitmap of uint64 words), `last_exit` (epoch). Units:
    `free_frames`, `epoch`, `zone`. Pageblocks: `type`, `stale` (a policy may have changed it since).
    """

    free: Any
    last_exit: Any
    free_frames: Any
    epoch: Any
    zone: Any
    type: Any
    stale: Any
    zone_free: Any
    zone_ns: Any  # (zones, 3): its last event, whether its count is told since, end of its millisecond
    integrals: Any
    totals: Any
    shape: Any  # order, max_order, pageblock_order
    bins_ns: Any  # instants at which `series` is told
    series: Any  # (FREE, REPORTABLE, MANAGED; bins): frames


MEMORY = nb.types.NamedTuple(
    [
        nb.uint64[::1],
        nb.uint32[::1],
        nb.uint16[::1],
        nb.uint32[::1],
        nb.uint8[::1],
        nb.int8[::1],
        nb.boolean[::1],
        nb.int64[::1],
        nb.int64[:, ::1],
        nb.int64[:, ::1],
        nb.types.Array(nb.from_dtype(TOTALS_DTYPE), 1, "C"),
        nb.int64[::1],
        nb.int64[::1],
        nb.int64[:, ::1],
    ],
    Memory,
)


# By `FrameState`: the epoch of a frame's last exit when a replay begins.
_FIRST_EXITS = np.zeros(256, np.uint32)
_FIRST_EXITS[FrameState.ABSENT], _FIRST_EXITS[FrameState.UNKNOWN] = NEVER_USED, NOT_SEEN


def fitted(state: "NDArray[np.uint8]", frames: int) -> "NDArray[np.uint8]":
    """`state` for exactly so many frames: what it does not tell of is absent."""
    missing = np.full(max(frames - len(state), 0), FrameState.ABSENT, np.uint8)
    return np.concatenate([state[:frames], missing])


def memory_at(
    geometry: Geometry, state: "NDArray[np.uint8]", start_ns: int, bins_ns: "NDArray[np.int64]"
) -> Memory:
    """The state at `start_ns`. `state`: `FrameState` per frame, limbo settled, uint8."""
    state = fitted(state, geometry.frames)
    in_zone = np.zeros(geometry.frames, bool)
    unit_zone = np.full(geometry.units, NO_ZONE, np.uint8)
    for index, zone in enumerate(geometry.zones):
        in_zone[zone.start_pfn : zone.end_pfn] = True
        unit_zone[-(-zone.start_pfn // (1 << geometry.order)) : zone.end_pfn >> geometry.order] = index
    free = (state == FrameState.BUDDY) & in_zone
    free_frames = free.reshape(geometry.units, -1).sum(axis=1, dtype=np.uint16)
    whole = (free_frames == 1 << geometry.order) & (unit_zone != NO_ZONE)
    blocks = max(geometry.frames >> geometry.pageblock_order, 1)
    totals = np.zeros(1, TOTALS_DTYPE)
    totals["now_ns"] = start_ns
    totals["free"] = free.sum()
    totals["reportable"] = int(whole.sum()) << geometry.order
    totals["managed"] = ((state != FrameState.ABSENT) & (state != FrameState.UNKNOWN) & in_zone).sum()
    return Memory(
        free=np.packbits(np.pad(free, (0, -len(free) % 64)), bitorder="little").view(np.uint64),
        last_exit=_FIRST_EXITS[state],
        free_frames=free_frames,
        epoch=whole.astype(np.uint32),
        zone=unit_zone,
        type=np.full(blocks + 1, MOVABLE, np.int8),
        stale=np.ones(blocks + 1, bool),
        zone_free=np.array([free[z.start_pfn : z.end_pfn].sum() for z in geometry.zones], np.int64),
        zone_ns=np.tile(np.array([start_ns, True, 0], np.int64), (len(geometry.zones), 1)),
        integrals=np.zeros((3, 2), np.int64),
        totals=totals,
        shape=np.array([geometry.order, geometry.max_order, geometry.pageblock_order], np.int64),
        bins_ns=bins_ns,
        series=np.zeros((3, len(bins_ns)), np.int64),
    )

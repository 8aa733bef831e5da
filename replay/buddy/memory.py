"""Step 1's state as plain arrays: frames, units and pageblocks, and how it begins."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numba as nb
import numpy as np

from replay.buddy.bitmap import all_set, bitmap_of, bits, mark, part_of, set_bit
from replay.buddy.reduced import NEVER_USED, NOT_SEEN
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from tracer import FrameState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.rules import Rules

NO_ZONE = 255
NOT_TOLD = -1  # a pageblock's type

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
        ("too_narrow", np.int64),  # an epoch is as large as `last_exit` can tell: widen it
        ("cpu", np.int64),  # of the event that is looked at
    ]
)
# Rows of the integrals: [frame seconds, frame nanoseconds].
FREE, REPORTABLE, MANAGED = range(3)


# Epochs of frames are kept in 16 bits; the last two numbers stand for NEVER_USED and NOT_SEEN.
WIDEST = 0xFFFD
# Indices of `shape`.
UNIT_ORDER, MAX_ORDER, PAGEBLOCK_ORDER, WIDEST_EPOCH, MIGRATETYPES, BY_PAGEBLOCK = range(6)


class Memory(NamedTuple):
    """Step 1's state. Frames: `free` and `exited` (its last exit is of its unit's epoch), bitmaps of
    uint64 words, and `last_exit` (epoch), the low 16 bits; `last_exit_high` is empty until an epoch
    needs more. Units: `epoch`, `zone`. Pageblocks: `type` (a policy may change it: then NOT_TOLD).
    """

    free: Any
    exited: Any
    last_exit: Any
    last_exit_high: Any
    epoch: Any
    zone: Any
    type: Any
    zone_free: Any
    zone_ns: Any  # (zones, 3): its last event, whether its count is told since, end of its millisecond
    integrals: Any
    totals: Any
    shape: Any  # see UNIT_ORDER and the next ones
    bins_ns: Any  # instants at which `series` is told
    series: Any  # (FREE, REPORTABLE, MANAGED; bins): frames


MEMORY = nb.types.NamedTuple(
    [
        nb.uint64[::1],
        nb.uint64[::1],
        nb.uint16[::1],
        nb.uint16[::1],
        nb.uint32[::1],
        nb.uint8[::1],
        nb.int8[::1],
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


_BUDDY, _ABSENT, _UNKNOWN = int(FrameState.BUDDY), int(FrameState.ABSENT), int(FrameState.UNKNOWN)


@compiled(nb.int64(MEMORY, nb.int64), inline=True)
def last_exit_of(m: Memory, frame: Int) -> Int:
    """The epoch of a frame's last exit, NEVER_USED or NOT_SEEN."""
    low = np.int64(m.last_exit[frame])
    if len(m.last_exit_high):
        return low | np.int64(m.last_exit_high[frame]) << 16
    return low if low <= WIDEST else low | 0xFFFF0000


@compiled(nb.void(MEMORY, nb.int64, nb.int64), inline=True)
def exit_all_now(m: Memory, first: Int, end: Int) -> None:
    """The last exit of frames [first, end) of one unit is of its epoch."""
    epoch = m.epoch[first >> m.shape[UNIT_ORDER]]
    for frame in range(np.uint64(first), np.uint64(end)):
        m.last_exit[frame] = epoch & np.uint32(0xFFFF)
    if len(m.last_exit_high):
        for frame in range(np.uint64(first), np.uint64(end)):
            m.last_exit_high[frame] = epoch >> np.uint32(16)
    for word in range(first >> 6, ((end - 1) >> 6) + 1):
        m.exited[word] |= part_of(word, first, end)


@compiled(nb.void(MEMORY, nb.int64), inline=True)
def exit_now(m: Memory, frame: Int) -> None:
    """A frame's last exit is of its unit's epoch."""
    epoch = m.epoch[frame >> m.shape[UNIT_ORDER]]
    m.last_exit[frame] = epoch & np.uint32(0xFFFF)
    if len(m.last_exit_high):
        m.last_exit_high[frame] = epoch >> np.uint32(16)
    set_bit(m.exited, frame)


@compiled(nb.void(MEMORY, nb.uint64[::1], nb.uint64[::1], nb.int64, nb.int64, nb.int64), inline=True)
def _begin_zone(m: Memory, free: Words, managed: Words, zone: Int, first: Int, end: Int) -> None:
    """Take over the free frames [first, end) of a zone, and count them."""
    for word in range(first >> 6, ((end - 1) >> 6) + 1):
        inside = part_of(word, first, end)
        m.free[word] |= free[word] & inside
        m.zone_free[zone] += bits(free[word] & inside)
        m.totals[0].managed += bits(managed[word] & inside)
    m.totals[0].free += m.zone_free[zone]


@compiled(nb.void(MEMORY, nb.uint64[::1]), inline=True)
def _begin_units(m: Memory, managed: Words) -> None:
    """The first epoch of units that are wholly free; what is in use elsewhere has exited in theirs."""
    for word in range(len(managed)):
        m.exited[word] = managed[word]
    size, unit = np.int64(1) << m.shape[UNIT_ORDER], 0
    while unit < len(m.epoch):
        if not m.free[unit * size >> 6]:  # nor is any unit that begins in this word
            unit = max(unit + 1, (((unit * size >> 6) + 1) << 6) >> m.shape[UNIT_ORDER])
            continue
        if m.zone[unit] != NO_ZONE and all_set(m.free, unit * size, size):
            m.epoch[unit] = 1
            m.totals[0].reportable += size
            mark(m.exited, unit * size, size, False)
        unit += 1


@compiled(nb.void(MEMORY, nb.uint8[::1], nb.uint64[::1], nb.uint64[::1], nb.int64[:, ::1]))
def _begin(m: Memory, state: Words, free: Words, managed: Words, bounds: Words) -> None:
    """Fill an empty memory with frames' states. `free`, `managed`: bitmaps of those that are."""
    for zone in range(len(bounds)):
        _begin_zone(m, free, managed, zone, bounds[zone, 0], bounds[zone, 1])
    _begin_units(m, managed)
    for word in range(len(managed)):
        if not ~managed[word]:
            continue
        for frame in range(word << 6, min((word + 1) << 6, len(m.last_exit))):
            if frame >= len(state) or state[frame] == _ABSENT:
                m.last_exit[frame] = NEVER_USED & 0xFFFF
            elif state[frame] == _UNKNOWN:
                m.last_exit[frame] = NOT_SEEN & 0xFFFF


def memory_at(
    geometry: Geometry,
    rules: "Rules",
    state: "NDArray[np.uint8]",
    start_ns: int,
    bins_ns: "NDArray[np.int64]",
) -> Memory:
    """The state at `start_ns`. `state`: `FrameState` per frame, limbo settled, uint8."""
    memory = empty_memory(geometry, rules, start_ns, bins_ns)
    bounds = np.array([(z.start_pfn, z.end_pfn) for z in geometry.zones], np.int64)
    free = bitmap_of(state == _BUDDY, geometry.frames)
    managed = bitmap_of(state < _ABSENT, geometry.frames)
    _begin(memory, np.ascontiguousarray(state), free, managed, bounds.reshape(-1, 2))
    return memory


def empty_memory(geometry: Geometry, rules: "Rules", start_ns: int, bins_ns: "NDArray[np.int64]") -> Memory:
    """All arrays, of frames of which nothing is told yet; what a replay holds of a guest."""
    zones, words = len(geometry.zones), -(-geometry.frames // 64)
    unit_zone = np.full(geometry.units, NO_ZONE, np.uint8)
    for index, zone in enumerate(geometry.zones):
        unit_zone[-(-zone.start_pfn // (1 << geometry.order)) : zone.end_pfn >> geometry.order] = index
    totals = np.zeros(1, TOTALS_DTYPE)
    totals["now_ns"] = start_ns
    orders = [geometry.order, geometry.max_order, geometry.pageblock_order]
    return Memory(
        free=np.zeros(words, np.uint64),
        exited=np.zeros(words, np.uint64),
        last_exit=np.zeros(geometry.frames, np.uint16),
        last_exit_high=np.zeros(0, np.uint16),
        epoch=np.zeros(geometry.units, np.uint32),
        zone=unit_zone,
        type=np.full(max(geometry.frames >> geometry.pageblock_order, 1) + 1, NOT_TOLD, np.int8),
        zone_free=np.zeros(zones, np.int64),
        zone_ns=np.tile(np.array([start_ns, True, 0], np.int64), (zones, 1)),
        integrals=np.zeros((3, 2), np.int64),
        totals=totals,
        shape=np.array([*orders, WIDEST, geometry.migratetypes, rules.by_pageblock], np.int64),
        bins_ns=bins_ns,
        series=np.zeros((3, len(bins_ns)), np.int64),
    )


def widened(memory: Memory) -> Memory:
    """The same, with 32 bits for the epoch of a frame's last exit: a unit had too many for 16."""
    high = np.zeros(len(memory.last_exit), np.uint16)
    high[memory.last_exit > WIDEST] = NEVER_USED >> 16
    memory.shape[WIDEST_EPOCH] = NOT_SEEN - 1
    memory.totals["too_narrow"] = 0
    return memory._replace(last_exit_high=high)

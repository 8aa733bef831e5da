"""From a recorded event to a step of the buddy: which zone, entry or exit, or why it is neither."""

from typing import Any, TypeAlias

import numba as nb
import numpy as np
from numpy.typing import NDArray

from replay.buddy.ops import ORDERS, Meaning
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled

(
    NOTHING, ENTER, EXIT, FALLBACK, BAD, UNKNOWN, PUT_BACK, ISOLATE, CLAIM, RESHUFFLE,
) = (int(meaning) for meaning in Meaning)  # fmt: skip

# What is counted of steps: places in the counters of `frames` and `playing`.
STEPS, EXIT_OF_USED, ENTRY_OF_FREE, OUTSIDE, UNKNOWN_OPS = COUNTERS = range(5)

# A batch of events: arrays by column name.
Columns: TypeAlias = dict[str, NDArray[Any]]
# What the event columns look like to a compiled function: they come from Parquet, read-only.
TS = nb.types.Array(nb.int64, 1, "C", readonly=True)
OP = nb.types.Array(nb.uint8, 1, "C", readonly=True)
PFN = nb.types.Array(nb.uint64, 1, "C", readonly=True)
ORDER = OP
TYPE = nb.types.Array(nb.int8, 1, "C", readonly=True)
AUX = PFN
CPU = nb.types.Array(nb.uint16, 1, "C", readonly=True)
MEANING = nb.uint8[:, ::1]
BOUNDS = nb.int64[:, ::1]


def event_arrays(
    columns: Columns,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """op, pfn, order, migratetype and aux of a batch."""
    return columns["op"], columns["pfn"], columns["order"], columns["migratetype"], columns["aux"]


def zone_bounds(geometry: Geometry) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """[start, end) pfn of each zone, shape (zones, 2)."""
    return np.array([(z.start_pfn, z.end_pfn) for z in geometry.zones], np.int64).reshape(-1, 2)


@compiled(nb.int64(nb.int64, nb.int64, BOUNDS, nb.int64), inline=True)
def zone_at(first: Int, size: Int, bounds: Words, likely: Int) -> Int:
    """The zone that frames [first, first + size) lie in wholly, or -1; `likely`: looked at first."""
    if bounds[likely, 0] <= first <= bounds[likely, 1] - size:
        return likely
    for zone in range(len(bounds)):
        if bounds[zone, 0] <= first <= bounds[zone, 1] - size:
            return zone
    return -1


_STEP = nb.types.UniTuple(nb.int64, 2)(nb.uint8, nb.int64, nb.int64, MEANING, BOUNDS, nb.int64[:, ::1])


@compiled(_STEP, inline=True)
def detail_of(op: Int, pfn: Int, order: Int, meaning: Words, bounds: Words, last: Words) -> tuple[Int, Int]:
    """(a `Meaning`, zone) of one event; of one that moves nothing (NOTHING, -1).

    `last`, shape (zones, 2): meaning and pfn of the zone's latest step. A fallback that claims a
    pageblock fires extfrag and zone_locked for one taking, next to each other under the zone lock
    and in either order (mm/page_alloc.c: before 6.10 extfrag comes first): the second is no exit.
    """
    what = np.int64(meaning[op, min(order, ORDERS - 1)])
    if what in (NOTHING, RESHUFFLE):
        return NOTHING, -1
    if what in (UNKNOWN, BAD):
        return what, -1
    size = np.int64(1) << order
    for zone in range(len(bounds)):
        if bounds[zone, 0] <= pfn <= bounds[zone, 1] - size:  # no sum: a damaged pfn may be near 2^63
            if pfn & (size - 1):
                return BAD, -1
            told = last[zone, 1] == pfn and last[zone, 0] + what == EXIT + FALLBACK
            last[zone, 0] = NOTHING if told else what
            last[zone, 1] = pfn
            if told:
                return (CLAIM if what == FALLBACK else NOTHING), zone
            return what, zone
    return BAD, -1


@compiled(_STEP, inline=True)
def step_of(op: Int, pfn: Int, order: Int, meaning: Words, bounds: Words, last: Words) -> tuple[Int, Int]:
    """(NOTHING | ENTER | EXIT | BAD | UNKNOWN, zone) of one event: what it does to its frames."""
    what, zone = detail_of(op, pfn, order, meaning, bounds, last)
    if what == PUT_BACK:
        return ENTER, zone
    if what in (FALLBACK, ISOLATE):
        return EXIT, zone
    return (NOTHING if what == CLAIM else what), zone

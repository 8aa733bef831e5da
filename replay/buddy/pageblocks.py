"""Types of pageblocks when a trace begins, as far as it tells: no snapshot shows them.

Known: from the free lists, where they were read, and of pageblocks with a reported head, which
`__isolate_free_page` turned movable. Inferred: the first type that an event tells of a pageblock.
Assumed: movable.
"""

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.memory import NOT_TOLD
from replay.buddy.neighbours import alike_until
from replay.buddy.steps import (
    AUX,
    BAD,
    BOUNDS,
    CLAIM,
    ENTER,
    EXIT,
    FALLBACK,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    PFN,
    TYPE,
    UNKNOWN,
    Columns,
    detail_of,
    event_arrays,
    zone_at,
    zone_bounds,
)
from replay.geometry import MOVABLE, Geometry
from replay.jit import Int, Words, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD = 1024  # events looked at in one go


@compiled(
    nb.int64(OP, PFN, ORDER, TYPE, MEANING, BOUNDS, nb.int64[:, ::1], nb.int8[::1], nb.int64, nb.int64),
    inline=True,
)
def _next_untold(
    op: Words,
    pfn: Words,
    order: Words,
    migratetype: Words,
    meaning: Words,
    bounds: Words,
    last: Words,
    types: Words,
    pageblock_order: Int,
    at: Int,
) -> Int:
    """The next event from `at` on that may tell a type: a frame in a pageblock of known type does not."""
    end = at
    while at < len(op):
        if at >= end:
            end = alike_until(op, order, migratetype, at, min(at + _AHEAD, len(op)))
        what, zone = np.int64(meaning[op[at], 0]), zone_at(np.int64(pfn[at]), 1, bounds, 0)
        if order[at] != 0 or what not in (ENTER, EXIT) or zone < 0 or last[zone, 0] == FALLBACK:
            return at
        i, until, shift = np.uint64(at), np.uint64(end), np.uint64(pageblock_order)
        lowest, frames = np.uint64(bounds[zone, 0]), np.uint64(bounds[zone, 1] - bounds[zone, 0])
        while i < until and pfn[i] - lowest < frames and types[pfn[i] >> shift] != NOT_TOLD:
            i += np.uint64(1)
        if np.int64(i) == at:
            return at
        last[zone, 0], last[zone, 1] = what, pfn[i - np.uint64(1)]
        at = np.int64(i)
    return at


@compiled(
    nb.void(OP, PFN, ORDER, TYPE, AUX, MEANING, BOUNDS, nb.int64[:, ::1], nb.int8[::1], nb.int64, nb.int64)
)
def _first_told(
    op: Words,
    pfn: Words,
    order: Words,
    migratetype: Words,
    aux: Words,
    meaning: Words,
    bounds: Words,
    last: Words,
    types: Words,
    pageblock_order: Int,
    migratetypes: Int,
) -> None:
    """Fill in the types that are not told yet, from events in time order."""
    model = (meaning, bounds, last, types, pageblock_order)
    i = _next_untold(op, pfn, order, migratetype, *model, 0)
    while i < len(op):
        first = np.int64(pfn[i])
        what, _ = detail_of(op[i], first, np.int64(order[i]), meaning, bounds, last)
        told = np.int64(migratetype[i])
        if what in (FALLBACK, CLAIM):
            told = np.int64((aux[i] >> np.uint64(16)) & np.uint64(255))  # what it was until then
        if what not in (NOTHING, UNKNOWN, BAD) and 0 <= told < migratetypes:
            end = first + (np.int64(1) << np.int64(order[i])) - 1
            for pageblock in range(first >> pageblock_order, (end >> pageblock_order) + 1):
                if types[pageblock] == NOT_TOLD:
                    types[pageblock] = told
        i = _next_untold(op, pfn, order, migratetype, *model, i + 1)


class FirstTypes:
    """The first type that the events tell of each pageblock: feed it all of them.

    Attributes:
        types: migratetype per pageblock, NOT_TOLD where none does, int8.
    """

    def __init__(self, geometry: Geometry, meaning: "NDArray[np.uint8]") -> None:
        self.types = np.full(geometry.pageblocks, NOT_TOLD, np.int8)
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._geometry, self._meaning, self._bounds = geometry, meaning, zone_bounds(geometry)

    def feed(self, columns: Columns) -> None:
        """The next events."""
        op, pfn, order, migratetype, aux = event_arrays(columns)
        model = (self._meaning, self._bounds, self._last, self.types, self._geometry.pageblock_order)
        _first_told(op, pfn, order, migratetype, aux, *model, self._geometry.migratetypes)


def types_at_start(known: "NDArray[np.int8]", told: "NDArray[np.int8]") -> "NDArray[np.int8]":
    """Migratetype of each pageblock: as `known`, else (NOT_TOLD) as the events tell, else MOVABLE."""
    types = np.where(known == NOT_TOLD, told, known)
    types[types == NOT_TOLD] = MOVABLE
    return types

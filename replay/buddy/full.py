"""The full model: the free lists of all orders, moved event by event (`playing`).

For what needs more than units of a reporting order: comparison with the kernel's own counts,
fragmentation, order 0. The lists of orders >= R are those that step 2 has at R, after each event.
State: 12 bytes a frame, and three bits.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.area import BY_PAGEBLOCK, new_area
from replay.buddy.bitmap import bitmap_of, mark
from replay.buddy.lists import insert, link, pageblock_type
from replay.buddy.playing import FULL, Full, play, take_out
from replay.buddy.steps import BOUNDS, COUNTERS, Columns, event_arrays, zone_bounds
from replay.jit import Int, Words, compiled
from tracer import FrameState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.rules import Rules
    from replay.geometry import Geometry
    from replay.start import Start

_USED, _BUDDY = int(FrameState.USED), int(FrameState.BUDDY)


@compiled(nb.void(FULL, nb.int64[::1], nb.int64[::1], nb.int64))
def _list_all(f: Full, heads: Words, migratetypes: Words, order: Int) -> None:
    """Put blocks on their lists' tails; a type of -1 is that of the pageblock."""
    for i in range(len(heads)):
        kind = pageblock_type(f.area, heads[i]) if migratetypes[i] < 0 else migratetypes[i]
        link(f.area, heads[i], order, kind, True)


@compiled(nb.void(FULL, nb.int64[::1]))
def _remove(f: Full, frames: Words) -> None:
    """Frames leave that no event took."""
    for frame in frames:
        mark(f.free, frame, 1, False)
        take_out(f, frame, 0, -1)


@compiled(nb.void(FULL, nb.uint8[::1], BOUNDS))
def _correct(f: Full, state: Words, bounds: Words) -> None:
    """Frames become what `state` says: first those in use leave, then those in the buddy enter."""
    for said in (_USED, _BUDDY):
        for zone in range(len(bounds)):
            for frame in range(bounds[zone, 0], min(bounds[zone, 1], len(state))):
                if state[frame] != said:
                    continue
                mark(f.strange, frame, 1, False)
                mark(f.unknown, frame, 1, False)
                was_free = mark(f.free, frame, 1, said == _BUDDY)
                if said == _USED and was_free:
                    take_out(f, frame, 0, -1)
                elif said == _BUDDY and not was_free:
                    insert(f.area, frame, 0, False)


class FullModel:
    """The free lists of all orders of one guest: feed it events in time order.

    Attributes:
        full: the state, see `Full`.
    """

    def __init__(
        self,
        meaning: "NDArray[np.uint8]",
        geometry: "Geometry",
        rules: "Rules",
        state: "NDArray[np.uint8]",
        types: "NDArray[np.int8] | None" = None,
    ) -> None:
        """`meaning`: see `ops`. `state`: `FrameState` per frame, limbo settled, uint8. `types`:
        migratetype per pageblock, int8. The lists are empty until `list_blocks`.
        """
        self.geometry, self._meaning, self._bounds = geometry, meaning, zone_bounds(geometry)
        state = state[: geometry.frames]
        self.full = Full(
            area=new_area(geometry, 0, rules, types),
            free=bitmap_of(state == FrameState.BUDDY, geometry.frames),
            strange=bitmap_of((state == FrameState.ABSENT) | (state == FrameState.UNKNOWN), geometry.frames),
            unknown=bitmap_of(state == FrameState.UNKNOWN, geometry.frames),
            last=np.full((len(geometry.zones), 2), -1, np.int64),
            counters=np.zeros(len(COUNTERS), np.int64),
            zone_steps=np.zeros((len(geometry.zones), 2), np.int64),
        )

    @property
    def nr_free(self) -> "NDArray[np.int64]":
        """Free blocks by zone and order, now; as /proc/buddyinfo. Not a copy."""
        counts: NDArray[np.int64] = self.full.area.nr_free
        return counts

    @classmethod
    def at(
        cls, start: "Start", meaning: "NDArray[np.uint8]", geometry: "Geometry", rules: "Rules"
    ) -> "FullModel":
        """The lists as a replay starts with them."""
        model = cls(meaning, geometry, rules, start.state, start.types)
        for order, heads, migratetypes in start.lists(replace(geometry, order=0)):
            model.list_blocks(heads, migratetypes, order)
        return model

    def play(self, columns: Columns, start: int = 0, stop: int | None = None) -> None:
        """Apply events (ts_ns, op, pfn, order, migratetype, aux) from `start` to `stop`."""
        op, pfn, order, migratetype, aux = event_arrays(columns)
        stop = len(op) if stop is None else stop
        limits = (self._meaning, self._bounds, start, stop, bool(self.full.area.shape[BY_PAGEBLOCK]))
        play(self.full, op, pfn, order, migratetype, aux, *limits)

    def list_blocks(self, heads: "NDArray[np.int64]", migratetypes: "NDArray[np.int64]", order: int) -> None:
        """Put blocks of one order on their lists (-1: of their pageblock's type), from head to tail."""
        _list_all(self.full, heads, migratetypes, order)

    def correct(self, state: "NDArray[np.uint8]") -> None:
        """Take over what a snapshot, limbo settled, says of the frames it knows (used or in the buddy).

        `state`: `FrameState` per frame, uint8. What it does not know stays as it is. No steps.
        """
        _correct(self.full, state, self._bounds)

    def remove(self, frames: "NDArray[np.int64]") -> None:
        """Take single frames off the lists, those of them that are free."""
        _remove(self.full, frames)

"""What compaction took out of the buddy, where its functions were not probed but its searches were recorded.

isolate_freepages_block (mm/compaction.c) goes over a range of frames under the zone lock, takes every free
block that begins in it, and tells the range and how many frames it took (mm_compaction_isolate_freepages)
once it has dropped the lock: other CPUs may be faster. So the blocks that leave the buddy (`Op.ISOLATE`) are
all that were free there when there were as many as it says: now, or else a moment ago. In a hurry (async) it
looks at every second to 32nd frame only, and tells how many it looked at: then they are those that such a
walk meets, if it looks at as many and takes as many.

Where nothing of this fits, a step was not seen before; that is counted. Then, if fewer are free than were
taken, all of them were; if more are, nobody knows which.

So the trace is read to find those blocks, and then once with them told. Where isolations themselves
were recorded, or nothing is known of the buddy, there is nothing to find.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.bitmap import all_set, bitmap_of, is_set, mark, part_of
from replay.buddy.bitmap import bits as bits_of
from replay.buddy.frames import blocks_in
from replay.buddy.ops import ORDERS, Meaning
from replay.buddy.steps import (
    AUX,
    BOUNDS,
    ENTER,
    EXIT,
    MEANING,
    OP,
    ORDER,
    PFN,
    PUT_BACK,
    Columns,
    step_of,
    zone_bounds,
)
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from tracer import FrameState, Op

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEARCH = int(Op.COMPACTION_ISOLATE)
_BY_COMPACTION = 1  # aux of an isolation, see FORMAT.md
_MOST_FRAMES = 1 << 16  # of a range, as aux tells it
_RECENT = 4096  # events: so far back the moment is looked for
_STRIDES = 6  # 1 to COMPACT_CLUSTER_MAX, each twice the one before
_ROOM = 4 * _MOST_FRAMES
_PFN, _ORDER = range(2)


def _none() -> "NDArray[np.int64]":
    return np.empty(0, np.int64)


def _no_blocks() -> "NDArray[np.int64]":
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class Taken:
    """Blocks that compaction took.

    Attributes:
        rows: numbers of the events before which they were, ascending.
        blocks: shape (blocks, 2): pfn, order.
        unclear: events that fit nothing that the model had free there, now or a moment ago.
    """

    rows: "NDArray[np.int64]" = field(default_factory=_none)
    blocks: "NDArray[np.int64]" = field(default_factory=_no_blocks)
    unclear: int = 0

    def tell(self, batches: Iterable[Columns]) -> Iterator[Columns]:
        """The same batches, with a row for each of these blocks where it was taken."""
        first_row = 0
        for columns in batches:
            rows = len(columns["op"])
            first, end = np.searchsorted(self.rows, (first_row, first_row + rows))
            mine, at = self.blocks[first:end], self.rows[first:end] - first_row
            first_row += rows
            yield _with(columns, mine, at) if len(mine) else columns


def _with(columns: Columns, blocks: "NDArray[np.int64]", at: "NDArray[np.int64]") -> Columns:
    """`at`: before which row each one goes. They have the time and the CPU of that row."""
    own = {"op": Op.ISOLATE, "migratetype": -1, "aux": _BY_COMPACTION}
    told = {"pfn": blocks[:, _PFN], "order": blocks[:, _ORDER]}
    return {
        name: np.insert(values, at, told.get(name, own.get(name, values[at])))
        for name, values in columns.items()
    }


def are_searches(columns: Columns) -> bool:
    """Is there an event of a search that took something?"""
    of_search = columns["op"] == _SEARCH
    return bool(of_search.any() and (columns["aux"][of_search] >> np.uint64(32)).any())


def can_be_found(meaning: "NDArray[np.uint8]", recorded: Iterable[int]) -> bool:
    """Whether searches tell of blocks that nothing else does."""
    return Op.ISOLATE not in set(recorded) and meaning[Op.ZONE_LOCKED, 0] == Meaning.EXIT


class TakenFinder:
    """Looks for them: feed it the events from the start on, and what snapshots say in between.

    Holds a bit for each frame, and 24 bytes for each block found.
    """

    def __init__(self, geometry: Geometry, meaning: "NDArray[np.uint8]") -> None:
        self._geometry, self._meaning = geometry, meaning
        self._bounds = zone_bounds(geometry)
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._free = bitmap_of(np.empty(0, np.bool_), geometry.frames)
        self._found, self._rows = np.empty((_ROOM, 2), np.int64), np.empty(_ROOM, np.int64)
        self._count = np.zeros(2, np.int64)
        self._parts = [(self._rows[:0], self._found[:0])]
        self._recent: Columns = {}

    def begin(self, state: "NDArray[np.uint8]") -> None:
        """Take over what a snapshot says of the frames (`FrameState`, limbo settled)."""
        self._free = bitmap_of(state == FrameState.BUDDY, self._geometry.frames)
        self._recent = {}  # from here back there is no way

    def feed(self, columns: Columns) -> None:
        """The next events; the column `row` numbers them."""
        before, names = self._recent, ("op", "pfn", "order", "aux", "row")
        events = {n: np.concatenate((before[n], columns[n])) if before else columns[n] for n in names}
        self._recent = {name: values[-_RECENT:] for name, values in events.items()}
        op, pfn, order, aux, row = events.values()
        model = (self._meaning, self._bounds, self._last, self._free, self._geometry.pageblock_order)
        at, rows = len(op) - len(columns["op"]), len(op)
        while at < rows:
            at = _find(op, pfn, order, aux, row, *model, at, self._rows, self._found, self._count)
            found = int(self._count[0])
            self._parts.append((self._rows[:found].copy(), self._found[:found].copy()))
            self._count[0] = 0

    def taken(self) -> Taken:
        """The blocks that were found."""
        parts = list(zip(*self._parts, strict=True))
        rows, blocks = np.concatenate(parts[0]), np.concatenate(parts[1])
        by_row = np.argsort(rows, kind="stable")  # the moment of a later one may be earlier
        return Taken(rows[by_row], blocks[by_row], int(self._count[1]))


def numbered(batches: Iterable[Columns]) -> Iterator[Columns]:
    """The same batches with a column `row`: the numbers of the events."""
    first_row = 0
    for columns in batches:
        rows = len(columns["op"])
        yield {**columns, "row": np.arange(first_row, first_row + rows)}
        first_row += rows


_BITS, _BLOCKS = nb.uint64[::1], nb.int64[:, ::1]


@compiled(nb.int64(_BITS, nb.int64, nb.int64), inline=True)
def _free_in(free: Words, first: Int, end: Int) -> Int:
    """How many frames of [first, end) are free."""
    total = 0
    for word in range(first >> 6, ((end - 1) >> 6) + 1):
        total += bits_of(free[word] & part_of(word, first, end))
    return total


_EVENTS = (OP, PFN, ORDER, MEANING)


@compiled(nb.int64(*_EVENTS, nb.int64, nb.int64, nb.int64), inline=True)
def _change(op: Words, pfn: Words, order: Words, meaning: Words, i: Int, first: Int, end: Int) -> Int:
    """By how many frames of [first, end) an event changed those that are free."""
    what = meaning[op[i], order[i] if order[i] < ORDERS else ORDERS - 1]
    if what not in (ENTER, PUT_BACK, EXIT):
        return 0
    block = np.int64(pfn[i])
    size = min(end, block + (np.int64(1) << np.int64(order[i]))) - max(first, block)
    return max(size, 0) if what != EXIT else -max(size, 0)


@compiled(nb.int64(*_EVENTS, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _moment(
    op: Words, pfn: Words, order: Words, meaning: Words, i: Int, first: Int, end: Int, more: Int
) -> Int:
    """The latest event before `i` before which `more` frames of [first, end) less were free; `i`: none."""
    for back in range(i - 1, max(i - _RECENT, 0) - 1, -1):
        change = _change(op, pfn, order, meaning, back, first, end)
        more -= change
        if change and not more:
            return back
    return i


@compiled(nb.void(*_EVENTS, _BITS, nb.int64, nb.int64, nb.int64, nb.int64, nb.boolean), inline=True)
def _replay(
    op: Words, pfn: Words, order: Words, meaning: Words, free: Words,
    begin: Int, stop: Int, first: Int, end: Int, forward: bool,
) -> None:  # fmt: skip
    """Do events [begin, stop) again to the frames of a range, or undo them, the last one first."""
    for step in range(begin, stop):
        i = step if forward else begin + stop - 1 - step
        change = _change(op, pfn, order, meaning, i, first, end)
        if change:
            mark(free, np.int64(pfn[i]), np.int64(1) << np.int64(order[i]), (change > 0) == forward)


@compiled(nb.int64(_BITS, nb.int64, nb.int64), inline=True)
def _order_at(free: Words, frame: Int, most_order: Int) -> Int:
    """Order of the free block that begins with this frame; -1 if none does."""
    if not is_set(free, frame):
        return -1
    order = 0
    while order < most_order:
        size = np.int64(1) << order
        if not all_set(free, frame ^ size, size):
            return order
        if frame & size:
            return -1
        order += 1
    return order


@compiled(nb.int64(_BITS, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64, _BLOCKS, nb.int64))
def _walk(
    free: Words, first: Int, end: Int, most_order: Int, scanned: Int, taken: Int, found: Words, at: Int
) -> Int:
    """The blocks that a walk in strides takes that looks at and takes so many frames; 0: none does."""
    for stride in range(_STRIDES):
        frame, looked, took, blocks = first, 0, 0, 0
        while frame < end:
            order = _order_at(free, frame, most_order)
            size = np.int64(1) << max(order, 0)
            if order >= 0:
                found[at + blocks, _PFN], found[at + blocks, _ORDER] = frame, order
                blocks, took = blocks + 1, took + size
            looked += size
            frame += size - 1 + (np.int64(1) << stride)
        if took == taken and looked == scanned:
            return blocks
    return 0


@compiled(
    nb.int64(
        OP, PFN, ORDER, AUX, nb.int64[::1], MEANING, BOUNDS, nb.int64[:, ::1], _BITS, nb.int64, nb.int64,
        nb.int64[::1], _BLOCKS, nb.int64[::1],
    )
)  # fmt: skip
def _find(
    op: Words, pfn: Words, order: Words, aux: Words, row: Words, meaning: Words, bounds: Words, last: Words,
    free: Words, most_order: Int, at: Int, rows: Words, found: Words, count: Words,
) -> Int:  # fmt: skip
    """Events from `at` on, until `found` may have no room left; returns the first one not done.

    `count`: blocks found, and events that were unclear.
    """
    frames = np.uint64(len(free)) * np.uint64(64)
    for i in range(at, len(op)):
        if op[i] != _SEARCH:
            what, _ = step_of(op[i], np.int64(pfn[i]), np.int64(order[i]), meaning, bounds, last)
            if what in (ENTER, EXIT):
                mark(free, np.int64(pfn[i]), np.int64(1) << np.int64(order[i]), what == ENTER)
            continue
        taken = np.int64((aux[i] >> np.uint64(32)) & np.uint64(0xFFFF))
        length = aux[i] & np.uint64(0xFFFF)
        if taken == 0 or length == 0 or length > frames or pfn[i] > frames - length:
            continue
        if len(found) - count[0] < _MOST_FRAMES:
            return i
        first, end, when, blocks = np.int64(pfn[i]), np.int64(pfn[i] + length), np.int64(i), np.int64(0)
        more = _free_in(free, first, end) - taken
        if more > 0:
            scanned = np.int64((aux[i] >> np.uint64(16)) & np.uint64(0xFFFF))
            blocks = _walk(free, first, end, most_order, scanned, taken, found, count[0])
        if more and not blocks:
            when = _moment(op, pfn, order, meaning, i, first, end, more)
            count[1] += when == i
            if when == i and more > 0:
                continue
            _replay(op, pfn, order, meaning, free, when, i, first, end, False)
        if not blocks:
            blocks = blocks_in(free, first, end, most_order, found, count[0])
        for block in range(count[0], count[0] + blocks):
            rows[block] = row[when]
            mark(free, found[block, _PFN], np.int64(1) << found[block, _ORDER], False)
        _replay(op, pfn, order, meaning, free, when, i, first, end, True)
        count[0] += blocks
    return len(op)

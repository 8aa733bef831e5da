"""Pages that went straight into the buddy when they were freed, known by what happened to them later.

A free of an order that per-CPU lists take tries their lock; where that fails the page enters the buddy
at once, and no event of the buddy says so (mm/page_alloc.c, __free_frozen_pages and free_one_page). The
lock is held by what the free interrupts: a softirq finds its own CPU in the middle of the per-CPU lists,
and then all that it frees, up to some hundred pages, goes this way.

Only later it shows: a page that was freed, that no drain has moved and nobody has allocated since, and
that leaves the buddy, must have entered it at its free. So must one of which nothing more is told, but
that the end snapshot has in the buddy. So the trace is read to find those frees, and then once with
them told as what they were, entries (`Op.BUDDY_FREE`). Never silently: `DirectFrees` has how many.

Where single pages' frees were not recorded, or each entry was, there is nothing to find.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from replay.buddy.bitmap import count
from replay.buddy.bitmap import mark as set_all
from replay.buddy.steps import ENTER, EXIT, FALLBACK, ISOLATE, MEANING, NOTHING, OP, ORDER, PFN, Columns
from replay.jit import Int, Words, compiled
from tracer import Op

_PAGE_FREE, _PAGE_ALLOC = int(Op.PAGE_FREE), int(Op.PAGE_ALLOC)
_OUT_ROWS = 1 << 16  # more than any block has frames, so that one exit always fits
# Below this many events four bytes a frame do.
_ROWS_32 = np.iinfo(np.uint32).max

_BITS = nb.uint64[::1]


def _either(signature: Callable[[Any], Any]) -> list[Any]:
    """A signature for either width of a frame's mark."""
    return [signature(nb.uint32[::1]), signature(nb.int64[::1])]


@compiled(_either(lambda marks: nb.void(marks, _BITS, nb.int64, nb.int64, nb.int64)), inline=True)
def _remember(freed: Words, marked: Words, frame: Int, size: Int, mark: Int) -> None:
    """Mark the frames of a block, or clear their marks (0)."""
    if mark == 0 and count(marked, frame, size) == 0:
        return
    for each in range(frame, frame + size):
        freed[each] = mark
    set_all(marked, frame, size, mark != 0)


@compiled(_either(lambda marks: nb.void(marks, _BITS, nb.int64, nb.int64)), inline=True)
def _forget(freed: Words, marked: Words, frame: Int, mark: Int) -> None:
    """Clear the marks of one free, of which `frame` bears one: the frames around it."""
    first = frame
    while first > 0 and freed[first - 1] == mark:
        first -= 1
    while first < len(freed) and freed[first] == mark:
        _remember(freed, marked, first, 1, 0)
        first += 1


@compiled(
    _either(lambda marks: nb.int64(marks, _BITS, nb.int64, nb.int64, nb.int64[::1], nb.int64)), inline=True
)
def _collect(freed: Words, marked: Words, frame: Int, size: Int, found: Words, rows: Int) -> Int:
    """A block leaves the buddy: note the frees that its frames bear marks of; how many are noted now."""
    if count(marked, frame, size):
        for each in range(frame, frame + size):
            if freed[each]:
                found[rows] = np.int64(freed[each]) - 1
                _forget(freed, marked, each, found[rows] + 1)
                rows += 1
    return rows


@compiled(nb.int64(OP, PFN, ORDER, _BITS, nb.int64, nb.int64), inline=True)
def _next_of_interest(op: Words, pfn: Words, order: Words, marked: Words, frames: Int, at: Int) -> Int:
    """The first event from `at` on that is a free, or of more than a frame, or of a frame with a mark."""
    i, end, most = np.uint64(at), np.uint64(len(op)), np.uint64(frames)
    while i < end and order[i] == 0 and op[i] != _PAGE_FREE:
        if pfn[i] < most and marked[pfn[i] >> np.uint64(6)] >> (pfn[i] & np.uint64(63)) & np.uint64(1):
            break
        i += np.uint64(1)
    return np.int64(i)


@compiled(
    _either(
        lambda marks: nb.int64(
            OP, PFN, ORDER, MEANING, marks, _BITS, nb.int64, nb.int64, nb.int64[::1], nb.int64[::1]
        )
    )
)
def _find(
    op: Words,
    pfn: Words,
    order: Words,
    meaning: Words,
    freed: Words,
    marked: Words,
    first_row: Int,
    at: Int,
    found: Words,
    rows: Words,
) -> Int:
    """Follow events from index `at` on; returns where it stopped, at the end or since `found` is full.

    `freed`: per frame its mark, 1 + the row of the free since which nothing has happened to it, or 0;
    `marked`: a bit for each frame that has one. `found`: rows of frees, `rows[0]` of them.
    """
    i = _next_of_interest(op, pfn, order, marked, len(freed), at)
    while i < len(op):
        what = np.int64(meaning[op[i], order[i] & 63])
        free = op[i] == _PAGE_FREE and what == NOTHING
        size, frame = np.int64(1) << np.int64(order[i] & 63), np.int64(pfn[i])
        if 0 < size <= len(found) and 0 <= frame <= len(freed) - size and frame & (size - 1) == 0:
            if free or op[i] == _PAGE_ALLOC or what == ENTER:
                _remember(freed, marked, frame, size, first_row + i + 1 if free else 0)
            elif what in (EXIT, FALLBACK, ISOLATE):
                if rows[0] + size > len(found):
                    return i
                rows[0] = _collect(freed, marked, frame, size, found, rows[0])
        i = _next_of_interest(op, pfn, order, marked, len(freed), i + 1)
    return len(op)


@dataclass(frozen=True)
class FreeAtEnd:
    """What the snapshot at the end has in the buddy.

    Attributes:
        frames: per frame, bool.
        begin_ns: when its reading began; what was freed later is not in it.
    """

    frames: NDArray[np.bool_]
    begin_ns: int


@dataclass(frozen=True)
class DirectFrees:
    """The frees of a trace that went straight into the buddy.

    Attributes:
        rows: which events they are, counted from the trace's first one, ascending, int64.
        at_end: the frames of those that the end snapshot alone tells of, ascending, int64: their state
            then cannot be held against it. The others left the buddy later.
    """

    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    at_end: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def tell(self, batches: Iterable[Columns]) -> Iterator[Columns]:
        """The same batches again, with these frees as entries (`Op.BUDDY_FREE`)."""
        first_row = 0
        for columns in batches:
            mine = _within(self.rows, first_row, len(columns["op"]))
            first_row += len(columns["op"])
            if not len(mine):
                yield columns
                continue
            op = columns["op"].copy()
            op[mine] = Op.BUDDY_FREE
            yield {**columns, "op": op}


class FreeFinder:
    """Looks for them: feed it the trace's events, all of them, then ask what they are.

    Holds 4 bytes for each of `frames` frames (8 from 2^32 events on) and a bit, and 8 for each free found.
    """

    def __init__(self, events: int, frames: int, meaning: NDArray[np.uint8], end: FreeAtEnd | None) -> None:
        self._meaning, self._end = meaning, end
        self._freed: NDArray[Any] = np.zeros(frames, np.uint32 if events < _ROWS_32 else np.int64)
        self._marked = np.zeros(-(-frames // 64), np.uint64)
        self._found, self._count = np.empty(_OUT_ROWS, np.int64), np.zeros(1, np.int64)
        self._parts = [self._found[:0]]
        self._rows = self._rows_before_end = 0

    def feed(self, columns: Columns) -> None:
        """The next events: ts_ns, op, pfn, order."""
        events = (columns["op"], columns["pfn"], columns["order"], self._meaning)
        at, rows = 0, len(columns["op"])
        while at < rows:
            at = _find(*events, self._freed, self._marked, self._rows, at, self._found, self._count)
            self._parts.append(self._found[: self._count[0]].copy())
            self._count[0] = 0
        if self._end is not None and rows and columns["ts_ns"][0] < self._end.begin_ns:
            self._rows_before_end = self._rows + int(np.searchsorted(columns["ts_ns"], self._end.begin_ns))
        self._rows += rows

    def direct(self) -> DirectFrees:
        """The frees that were found."""
        left = np.unique(np.concatenate(self._parts))
        if self._end is None:
            return DirectFrees(left)
        there = self._end.frames[: len(self._freed)]
        marks = self._freed[: len(there)]
        at_end = np.flatnonzero((marks != 0) & (marks <= self._rows_before_end) & there)
        rows = np.unique(marks[at_end]).astype(np.int64) - 1
        return DirectFrees(np.sort(np.concatenate((left, rows))), at_end)


def _within(sorted_rows: NDArray[np.int64], first_row: int, rows: int) -> NDArray[np.int64]:
    """Those of the batch of `rows` events from `first_row` on, counted from there."""
    first, end = np.searchsorted(sorted_rows, (first_row, first_row + rows))
    return sorted_rows[first:end] - first_row


def can_be_told(meaning: NDArray[np.uint8]) -> bool:
    """Whether frees of order 0 are told from entries at all: not where each entry was recorded, nor
    where only owners are known.
    """
    return bool(meaning[Op.PCPU_DRAIN, 0] == ENTER and meaning[Op.PAGE_FREE, 0] == NOTHING)

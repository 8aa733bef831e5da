"""Pages that went straight into the buddy when they were freed, known by what happened to them later.

A free of an order that per-CPU lists take tries their lock; where that fails the page enters the buddy
at once, and no event of the buddy says so (mm/page_alloc.c, __free_frozen_pages and free_one_page). The
lock is held by what the free interrupts: a softirq finds its own CPU in the middle of the per-CPU lists,
and then all that it frees, up to some hundred pages, goes this way.

Only later it shows: a page that was freed, that no drain has moved and nobody has allocated since, and
that leaves the buddy, must have entered it at its free. That is known. Inferred is what the same softirq
freed around it: frees on that CPU at most 5 us apart, with no step of the buddy on that CPU in between,
of whose pages the trace tells nothing more. And a page of which nothing more is told, but that the end
snapshot has in the buddy, is known as well, by that snapshot. So the trace is read to find those
frees, and then once with them told as what they were, entries (`Op.BUDDY_FREE`). Never silently: how
many there are of each stands in `DirectFrees`.

Where single pages' frees were not recorded, or each entry was, there is nothing to find.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from replay.buddy.steps import ENTER, EXIT, FALLBACK, MEANING, NOTHING, OP, ORDER, PFN, TS, Columns
from replay.jit import Int, Words, compiled
from tracer import Op

_PAGE_FREE, _PAGE_ALLOC = int(Op.PAGE_FREE), int(Op.PAGE_ALLOC)
_OUT_ROWS = 1 << 16  # more than any block has frames, so that one exit always fits
_TOGETHER_NS = 5_000
_LONG_AGO_NS = -(1 << 62)
_CPUS = 1 << 16
# Below this many events four bytes a frame do.
_ROWS_32 = np.iinfo(np.uint32).max


def _signature(word: Any) -> Any:  # noqa: ANN401 - numba's types have no stubs
    return nb.int64(OP, PFN, ORDER, MEANING, word[::1], nb.int64, nb.int64, nb.int64[::1], nb.int64[::1])


@compiled(
    [nb.void(nb.uint32[::1], nb.int64, nb.int64), nb.void(nb.int64[::1], nb.int64, nb.int64)], inline=True
)
def _forget(freed: Words, frame: Int, mark: Int) -> None:
    """Clear the marks of one free, of which `frame` bears one: the frames around it."""
    first = frame
    while first > 0 and freed[first - 1] == mark:
        first -= 1
    while first < len(freed) and freed[first] == mark:
        freed[first] = 0
        first += 1


@compiled([_signature(nb.uint32), _signature(nb.int64)])
def _find(
    op: Words,
    pfn: Words,
    order: Words,
    meaning: Words,
    freed: Words,
    first_row: Int,
    at: Int,
    found: Words,
    count: Words,
) -> Int:
    """Follow events from index `at` on; returns where it stopped, at the end or since `found` is full.

    `freed`: per frame 1 + the row of the free since which nothing has happened to it, or 0. `found`: rows
    of frees, `count[0]` of them.
    """
    for i in range(at, len(op)):
        what = np.int64(meaning[op[i], order[i] & 63])
        free = op[i] == _PAGE_FREE and what == NOTHING
        told = free or op[i] == _PAGE_ALLOC or what == ENTER
        if not told and what not in (EXIT, FALLBACK):
            continue
        size, frame = np.int64(1) << np.int64(order[i] & 63), np.int64(pfn[i])
        if size > len(found) or frame < 0 or frame & (size - 1) or frame + size > len(freed):
            continue
        if told:
            mark = first_row + i + 1 if free else 0
            for each in range(frame, frame + size):
                freed[each] = mark
            continue
        if count[0] + size > len(found):
            return i
        for each in range(frame, frame + size):
            if not freed[each]:
                continue
            row = np.int64(freed[each]) - 1
            found[count[0]] = row
            count[0] += 1
            _forget(freed, each, row + 1)
    return len(op)


def _beside_signature(word: Any) -> Any:  # noqa: ANN401 - see above
    cpu = nb.types.Array(nb.uint16, 1, "C", readonly=True)
    columns = (TS, OP, PFN, ORDER, cpu, MEANING)
    return nb.int64(*columns, word[::1], nb.boolean[::1], nb.int64, nb.int64[:, ::1], nb.int64[::1])


@compiled([_beside_signature(nb.uint32), _beside_signature(nb.int64)])
def _find_beside(
    ts_ns: Words,
    op: Words,
    pfn: Words,
    order: Words,
    cpu: Words,
    meaning: Words,
    freed: Words,
    known: Words,
    first_row: Int,
    runs: Words,
    found: Words,
) -> Int:
    """How many rows of this batch were put into `found`: frees in the same run as a known one.

    `freed`: as `_find` left it. `known`: per event of the batch. `runs`, shape (CPUs, 3): when the CPU's
    latest free was, at which index of the batch its run began, and 1 if that has a known one.
    """
    count = 0
    for i in range(len(op)):
        what, run = np.int64(meaning[op[i], order[i] & 63]), np.int64(cpu[i])
        if what in (ENTER, EXIT, FALLBACK):
            runs[run, 0] = _LONG_AGO_NS
        if op[i] != _PAGE_FREE or what != NOTHING:
            continue
        if ts_ns[i] - runs[run, 0] > _TOGETHER_NS:
            runs[run, 1], runs[run, 2] = i, 0
        runs[run, 0] = ts_ns[i]
        first = i if runs[run, 2] else runs[run, 1]
        if not known[i] and not runs[run, 2]:
            continue
        runs[run, 2] = 1
        for k in range(first, i + 1):
            if cpu[k] != cpu[i] or op[k] != _PAGE_FREE or known[k]:
                continue
            frame = np.int64(pfn[k])
            if 0 <= frame < len(freed) and np.int64(freed[frame]) == first_row + k + 1:
                found[count] = first_row + k
                count += 1
    return count


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
        inferred: how many of them are inferred, by what was freed beside them.
        by_snapshot: how many are known by the end snapshot alone. The others left the buddy later.
    """

    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    inferred: int = 0
    by_snapshot: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def find(
        cls,
        read: Callable[[], Iterable[Columns]],
        events: int,
        frames: int,
        meaning: NDArray[np.uint8],
        end: FreeAtEnd | None = None,
    ) -> "DirectFrees":
        """Read a whole trace of `events` events, two or three times. `read()`: its
        batches from the first event on, with ts_ns, op, pfn, order and cpu.

        `meaning`: see `ops`. `end`: leave it out where the end snapshot is what the model is to be compared
        with, frame by frame: what it has told cannot be held against it. Holds 4 bytes for each of `frames`
        frames (8 from 2^32 events on), and 8 for each free that it finds.
        """
        if not can_be_told(meaning):
            return cls()
        freed: NDArray[Any] = np.zeros(frames, np.uint32 if events < _ROWS_32 else np.int64)
        left = _known(read(), meaning, freed)
        there = left[:0]
        if end is not None:
            marks = freed[: len(end.frames)][end.frames[:frames]]
            rows = np.unique(marks[marks != 0]).astype(np.int64) - 1
            there = _before(read(), rows, end.begin_ns)
        known = np.sort(np.concatenate((left, there)))
        if not len(known):
            return cls()
        beside = _beside(read(), meaning, freed, known)
        return cls(np.sort(np.concatenate((known, beside))), len(beside), len(there))

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


def _known(batches: Iterable[Columns], meaning: NDArray[np.uint8], freed: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of the frees whose page left the buddy, ascending."""
    found, count = np.empty(_OUT_ROWS, np.int64), np.zeros(1, np.int64)
    parts, first_row = [found[:0]], 0
    for columns in batches:
        events = (columns["op"], columns["pfn"], columns["order"], meaning)
        at = 0
        while at < len(columns["op"]):
            at = _find(*events, freed, first_row, at, found, count)
            parts.append(found[: count[0]].copy())
            count[0] = 0
        first_row += len(columns["op"])
    return np.unique(np.concatenate(parts))


def _before(batches: Iterable[Columns], rows: NDArray[np.int64], instant_ns: int) -> NDArray[np.int64]:
    """Those of `rows` (ascending) that are earlier than an instant."""
    parts, first_row = [rows[:0]], 0
    for columns in batches:
        mine = _within(rows, first_row, len(columns["op"]))
        parts.append(mine[columns["ts_ns"][mine] < instant_ns] + first_row)
        first_row += len(columns["op"])
    return np.concatenate(parts)


def _beside(
    batches: Iterable[Columns],
    meaning: NDArray[np.uint8],
    freed: NDArray[Any],
    known: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Rows of the frees that followed a known one in the same softirq."""
    runs = np.zeros((_CPUS, 3), np.int64)
    runs[:, 0] = _LONG_AGO_NS
    parts, first_row = [known[:0]], 0
    for columns in batches:
        rows = len(columns["op"])
        runs[:, 1] = 0  # of a run that began in the batch before, only what comes is seen
        is_known = np.zeros(rows, np.bool_)
        is_known[_within(known, first_row, rows)] = True
        found = np.empty(rows, np.int64)
        ts_ns, op, pfn, order, cpu = (columns[name] for name in ("ts_ns", "op", "pfn", "order", "cpu"))
        state = (meaning, freed, is_known, first_row, runs, found)
        count = _find_beside(ts_ns, op, pfn, order, cpu, *state)
        parts.append(found[:count].copy())
        first_row += rows
    return np.concatenate(parts)


def _within(sorted_rows: NDArray[np.int64], first_row: int, rows: int) -> NDArray[np.int64]:
    """Those of the batch of `rows` events from `first_row` on, counted from there."""
    first, end = np.searchsorted(sorted_rows, (first_row, first_row + rows))
    return sorted_rows[first:end] - first_row


def can_be_told(meaning: NDArray[np.uint8]) -> bool:
    """Whether frees of order 0 are told from entries at all: not where each entry was recorded, nor
    where only owners are known.
    """
    return bool(meaning[Op.PCPU_DRAIN, 0] == ENTER and meaning[Op.PAGE_FREE, 0] == NOTHING)

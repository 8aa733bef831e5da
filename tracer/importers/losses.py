"""Between which instants the events that a file calls lost were lost."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tracer.format import Loss
from tracer.importers.blocks import Block
from tracer.importers.rare import Mark

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LossFinder:
    """Follows the blocks of a file, in order.

    A loss lies between the last event of its CPU before the line that tells of it and the next
    event after it, or the instant that the line itself bears.

    Attributes:
        found: losses so far whose end is known; who takes them clears the list.
        events: all lost events so far.
    """

    def __init__(self) -> None:
        self.found: list[Loss] = []
        self.events = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._last_by_cpu: dict[int, int] = {}
        self._open: list[tuple[int | None, int]] = []  # (begin, events) of which the end is still to come

    def overwritten(self, events: int) -> None:
        """Events that had left the buffer before the file's first one."""
        if events:
            self.events += events
            self._open.append((None, events))

    def follow(self, block: Block) -> None:
        """Find the losses of the next block."""
        ts_ns, cpu = block.rows["ts_ns"], block.rows["cpu"]
        if len(ts_ns):
            self._first_ns = int(ts_ns[0]) if self._first_ns is None else self._first_ns
            self._close_open(int(ts_ns[0]))
        for mark in block.marks:
            self._locate(mark, ts_ns, self._begin_ns(mark, ts_ns, cpu))
        if bad := sum(block.bad.values()):
            first, last = block.bad_rows
            self._locate(Mark(last, None, bad), ts_ns, self._begin_ns(Mark(first, None, bad), ts_ns, cpu))
        if len(ts_ns):
            self._last_ns = int(ts_ns[-1])
            cpus, backwards = np.unique(cpu[::-1], return_index=True)
            self._last_by_cpu |= dict(zip(cpus.tolist(), ts_ns[::-1][backwards].tolist(), strict=True))

    def finish(self) -> None:
        """No block comes any more."""
        self._close_open(self._last_ns)

    def _close_open(self, end_ns: int) -> None:
        self.found += [
            _loss(end_ns if begin is None else begin, end_ns, events) for begin, events in self._open
        ]
        self._open.clear()

    def _begin_ns(self, mark: Mark, ts_ns: "NDArray[np.int64]", cpu: "NDArray[np.uint16]") -> int | None:
        """The last event of its CPU before the mark, else the first event there is."""
        if mark.events == 0:
            return self._first_ns
        if mark.cpu is None:
            return int(ts_ns[mark.row - 1]) if mark.row else self._last_ns if self._last_by_cpu else None
        before = self._last_row(mark, cpu)
        if before is not None:
            return int(ts_ns[before])
        return self._last_by_cpu.get(mark.cpu, self._first_ns)

    @staticmethod
    def _last_row(mark: Mark, cpu: "NDArray[np.uint16]") -> int | None:
        """The row of the mark's CPU before it, looked for in ever larger pieces backwards."""
        end, size = mark.row, 64
        while end:
            begin = max(end - size, 0)
            hits = np.flatnonzero(cpu[begin:end] == mark.cpu)
            if len(hits):
                return begin + int(hits[-1])
            end, size = begin, size * 4
        return None

    def _locate(self, mark: Mark, ts_ns: "NDArray[np.int64]", begin_ns: int | None) -> None:
        self.events += mark.events
        if mark.ts_ns is not None:
            self.found.append(_loss(mark.ts_ns if begin_ns is None else begin_ns, mark.ts_ns, mark.events))
        elif mark.row < len(ts_ns):
            end_ns = int(ts_ns[mark.row])
            self.found.append(_loss(end_ns if begin_ns is None else begin_ns, end_ns, mark.events))
        else:
            self._open.append((begin_ns, mark.events))


def _loss(begin_ns: int, end_ns: int, events: int) -> Loss:
    return Loss(min(begin_ns, end_ns), max(begin_ns, end_ns), events)


def in_order(losses: list[Loss]) -> Iterator[Loss]:
    """Losses by the instant at which they begin."""
    yield from sorted(losses, key=lambda loss: (loss.begin_ns, loss.end_ns))

"""From raw ring records to segments on disk, in time order, off the draining thread.

The ring keeps the order in which records were reserved. Timestamps of different CPUs can swap by
some microseconds, so each segment is sorted, and its newest records wait for the next one.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tracer.format import Op, Probe
from tracer.probes.ring import RECORD_WORDS, columns
from tracer.writer import TraceWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.uint64]

# Far longer than two CPUs' records can swap: both are reserved with interrupts off.
HOLD_BACK_NS = 20_000_000
MAX_WAITING_ROWS = 16_000_000


class Segmenter:
    """A thread that sorts, encodes and writes what it is handed, and runs other slow jobs.

    Attributes:
        failure: the error that ended it, if one did.
        stored: rows written so far, by op.
        late: rows stored although a later one had been stored before.
    """

    def __init__(self, writer: TraceWriter) -> None:
        self.failure: Exception | None = None
        self.stored = np.zeros(len(Op) + 1, np.int64)
        self.late = 0
        self._writer = writer
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._waiting_rows = 0
        self._carry: Records = np.empty((0, RECORD_WORDS), np.uint64)
        self._last_ts_ns = 0
        self._thread = threading.Thread(target=self._run, name="pagetide-segments", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job after all earlier ones."""
        self._jobs.put(job)

    def segment(self, parts: "list[Records]", probes: list[Probe], *, final: bool = False) -> None:
        """Close a segment of these records. When too many wait they are dropped: not stored, so lost."""
        rows = sum(len(part) for part in parts)
        if self._waiting_rows + rows > MAX_WAITING_ROWS:
            return
        self._waiting_rows += rows
        self._jobs.put(lambda: self._write(parts, probes, rows, final=final))

    def finish(self) -> None:
        """Wait until every job is done."""
        self._jobs.put(None)
        self._thread.join()

    def account(self, probes: list[Probe]) -> list[Probe]:
        """Counters in which what is stored is kept and all the rest of the hits is lost."""
        return _account(probes, self.stored)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self.failure is None:
                try:
                    job()
                except Exception as error:
                    self.failure = error

    def _write(self, parts: "list[Records]", probes: list[Probe], rows: int, *, final: bool) -> None:
        records = np.concatenate([self._carry, *parts])
        parts.clear()
        records = in_time_order(records)
        count = len(records)
        if count and not final:
            newest = records[-1, 0]
            count = int(np.searchsorted(records[:, 0], newest - np.uint64(HOLD_BACK_NS), "right"))
        self._carry = records[count:]
        self._waiting_rows -= rows
        if not count:
            return
        ready = columns(records[:count])
        self.late += int(np.searchsorted(ready["ts_ns"], self._last_ts_ns))
        self._last_ts_ns = max(self._last_ts_ns, int(ready["ts_ns"][-1]))
        stored = self.stored + np.bincount(ready["op"], minlength=len(self.stored))
        self._writer.write_segment(ready, _account(probes, stored))
        self.stored = stored


def _account(probes: list[Probe], stored: "NDArray[np.int64]") -> list[Probe]:
    return [replace(p, kept=int(stored[p.op]), lost=p.hits - p.filtered - int(stored[p.op])) for p in probes]


def in_time_order(records: "Records") -> "Records":
    """Records sorted by time; equal times keep the ring's order. Sorted input is not copied."""
    ts_ns = records[:, 0]
    if len(ts_ns) < 2 or bool((ts_ns[1:] >= ts_ns[:-1]).all()):
        return records
    return records[np.argsort(ts_ns, kind="stable")]

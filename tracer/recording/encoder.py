"""From raw records to segments on disk, in time order, off the draining thread.

The ring keeps the order in which records were reserved. Timestamps of different CPUs can swap by
some microseconds, so each block is sorted, and its newest records wait for the next one.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tracer.format import Loss, Part, Probe
from tracer.parquet import PartFile, event_schema
from tracer.probes.records import columns
from tracer.probes.ring import RECORD_WORDS
from tracer.recording import priority
from tracer.writer import TraceWriter, segment_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tracer.recording.blocks import Blocks

    Records = NDArray[np.uint64]

# Far longer than two CPUs' records can swap: both are reserved with interrupts off.
HOLD_BACK_NS = 20_000_000
OPS = 256


@dataclass(frozen=True)
class Closing:
    """What is known beside the rows when a segment is closed."""

    probes: list[Probe]
    losses: list[Loss]
    final: bool = False


@dataclass(frozen=True)
class Beside:
    """Tables that go into a segment beside its events: samples and counters since the last one."""

    samples: pa.Table | None = None
    counters: pa.Table | None = None


class Encoder:
    """A thread that sorts, encodes and writes what it is handed.

    Attributes:
        failure: the error that ended it, if one did.
        stored: rows written so far, by op; after a failure, those of closed segments.
        late: rows stored although a later one had been stored before.
    """

    def __init__(
        self,
        writer: TraceWriter,
        blocks: "Blocks",
        beside: Callable[[], Beside] = Beside,
        *,
        with_pid: bool = False,
        with_gfp: bool = False,
    ) -> None:
        """`beside()` is asked for the tables when a segment is closed."""
        self.failure: Exception | None = None
        self.stored = np.zeros(OPS, np.int64)
        self.late = 0
        self._writer, self._blocks, self._beside = writer, blocks, beside
        self._options = {"with_pid": with_pid, "with_gfp": with_gfp}
        self._schema = event_schema(**self._options)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._carry: Records = np.empty((0, RECORD_WORDS), np.uint64)
        self._file: PartFile | None = None
        self._open_rows = np.zeros(OPS, np.int64)  # of `stored`, those of the segment being written
        self._first_ts_ns = self._last_ts_ns = 0
        self._losses: list[Loss] = []
        self._thread = threading.Thread(target=self._run, name="pagetide-encode", daemon=True)
        self._thread.start()

    def put(self, block: "Records", rows: int) -> None:
        """Encode the first rows of a block and give it back."""
        self._jobs.put(lambda: self._encode(block, rows))

    def submit(self, job: Callable[[], None]) -> None:
        """Do something slow behind all that was put; its failure ends the recording."""
        self._jobs.put(job)

    def close_segment(self, closing: Closing) -> None:
        """Close a segment behind all that was put."""
        self._jobs.put(lambda: self._close(closing))

    def finish(self) -> None:
        """Wait until everything is written."""
        self._jobs.put(None)
        self._thread.join()

    def account(self, probes: list[Probe]) -> list[Probe]:
        """Counters in which what is stored is kept and all the rest of the hits is lost."""
        return [
            replace(p, kept=int(self.stored[p.op]), lost=p.hits - p.filtered - int(self.stored[p.op]))
            for p in probes
        ]

    @property
    def open_bytes(self) -> int:
        """Bytes of the segment being written."""
        file = self._file
        return file.size_bytes if file else 0

    def _run(self) -> None:
        priority.lower()
        while (job := self._jobs.get()) is not None:
            if self.failure is None:
                try:
                    job()
                except Exception as error:
                    self.failure = error
        if self.failure is not None:
            self.stored -= self._open_rows
            if self._file is not None:
                self._file.abandon()

    def _encode(self, block: "Records", rows: int) -> None:
        records = np.concatenate([self._carry, block[:rows]])
        self._blocks.give(block)
        records = in_time_order(records)
        count = 0
        if len(records):
            newest = records[-1, 0]
            count = int(np.searchsorted(records[:, 0], newest - np.uint64(HOLD_BACK_NS), "right"))
        self._carry = records[count:].copy()
        self._append(records[:count])

    def _append(self, records: "Records") -> None:
        if not len(records):
            return
        ready = columns(records, **self._options)
        ts_ns = ready["ts_ns"]
        self.late += int(np.searchsorted(ts_ns, self._last_ts_ns))
        if self._file is None:
            self._file = self._open(int(ts_ns[0]))
        self._first_ts_ns = min(self._first_ts_ns, int(ts_ns[0]))
        self._last_ts_ns = max(self._last_ts_ns, int(ts_ns[-1]))
        self._file.append(pa.table(dict(ready), schema=self._schema))
        rows = np.bincount(ready["op"], minlength=OPS)
        self._open_rows += rows
        self.stored += rows

    def _open(self, first_ts_ns: int) -> PartFile:
        self._first_ts_ns = first_ts_ns
        return self._writer.open_part("events", self._writer.next_name, self._schema)

    def _close(self, closing: Closing) -> None:
        if closing.final:
            self._append(self._carry)
            self._carry = self._carry[:0]
        self._losses += closing.losses
        name = self._writer.next_name
        beside = self._beside()
        if self._file is None:
            if not (self._losses or _rows(beside.samples) or _rows(beside.counters)):
                return
            self._file = self._open(self._last_ts_ns or time.monotonic_ns())  # a segment without rows
        samples = self._part("samples", name, beside.samples)
        counters = self._part("counters", name, beside.counters)
        part, self._file = self._file.close(), None
        self._writer.append_segment(
            segment_of(
                part,
                (self._first_ts_ns, self._last_ts_ns),
                self.account(closing.probes),
                losses=self._losses,
                samples=samples,
                counters=counters,
            )
        )
        self._losses = []
        self._open_rows[:] = 0

    def _part(self, kind: str, name: str, table: pa.Table | None) -> Part | None:
        return self._writer.write_part(kind, name, table) if table is not None and table.num_rows else None


def _rows(table: pa.Table | None) -> int:
    return table.num_rows if table is not None else 0


def in_time_order(records: "Records") -> "Records":
    """Records sorted by time; equal times keep the ring's order. Sorted input is not copied."""
    ts_ns = records[:, 0]
    if len(ts_ns) < 2 or bool((ts_ns[1:] >= ts_ns[:-1]).all()):
        return records
    return records[np.argsort(ts_ns, kind="stable")]

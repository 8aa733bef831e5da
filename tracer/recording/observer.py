"""What is looked at beside the events: a sample each second, and snapshots, on threads of their own."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tracer.faults import Fault
from tracer.format import COUNTER_COLUMNS, Filters, Guest, PageTypes, Probe, Snapshot
from tracer.guest import snapshot
from tracer.guest.files import GuestFiles
from tracer.guest.lists import FreeLists, NoLists
from tracer.guest.pagetypes import read_page_types
from tracer.guest.samples import Sampler
from tracer.parquet import arrow_schema
from tracer.recording import priority
from tracer.recording.encoder import Beside
from tracer.recording.lists import read_beside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tracer.format import Zone
    from tracer.writer import TraceWriter

SAMPLE_INTERVAL_S = 1.0
TYPED = ("start", "end")  # snapshots beside which pagetypeinfo is read
_SCHEMA = arrow_schema(COUNTER_COLUMNS)
_FIELDS = ("hits", "ring_full", "filtered")


class CounterLog:
    """The probes' counters second by second; rows only where hits grew since the last time."""

    def __init__(self, probes: list[Probe]) -> None:
        self._ops = np.array([probe.op for probe in probes], np.uint8)
        self._hits: NDArray[np.int64] | None = None
        self._rows: list[pa.RecordBatch] = []

    def note(self, ts_ns: int, counted: "NDArray[np.int64]") -> None:
        """`counted`: shape (probes, CPUs, 3), hits, ring-full and filtered so far."""
        hits = counted[:, :, 0]
        probe, cpu = np.nonzero(hits if self._hits is None else hits != self._hits)
        self._hits = hits
        columns = [np.full(len(probe), ts_ns), self._ops[probe], cpu.astype(np.uint16)]
        columns += [np.ascontiguousarray(counted[probe, cpu, field]) for field in range(len(_FIELDS))]
        self._rows.append(pa.record_batch([pa.array(c) for c in columns], schema=_SCHEMA))

    def take_table(self) -> pa.Table:
        """The rows since the last call (`COUNTER_COLUMNS`)."""
        rows, self._rows = self._rows, []
        return pa.Table.from_batches(rows, _SCHEMA)


class Observer:
    """Samples each second from `start` to `finish`; one snapshot at a time when asked.

    Attributes:
        snapshots: those taken and stored that nobody has collected yet.
    """

    def __init__(
        self,
        files: GuestFiles,
        zones: "list[Zone]",
        counters: Callable[[], "NDArray[np.int64]"],
        probes: list[Probe],
        lists: FreeLists | None = None,
        filters: Filters | None = None,
    ) -> None:
        """`counters()`: counted so far, shape (probes, CPUs, 3). `lists`: where they can be read."""
        self.snapshots: list[Snapshot] = []
        self._unlisted: list[str] = []
        self._untyped: list[str] = []
        self._files, self._counters, self._lists = files, counters, lists
        self._sampler = Sampler(files, zones, filters.zones if filters else None)
        self._log = CounterLog(probes)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="pagetide-samples", daemon=True)
        self._busy: threading.Thread | None = None
        self._failure: Exception | None = None
        self._unread: list[str] = []
        self._begun = False  # the first snapshot is stored

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def finish(self) -> None:
        """End sampling, with a last sample, and wait for a snapshot that nobody waited for."""
        self._stop.set()
        self._thread.join()
        if self._busy is not None:
            self._busy.join()

    @property
    def zones(self) -> "list[Zone]":
        """The zones that samples name by their index: the ones given, and what appeared since."""
        return self._sampler.zones

    @property
    def notes(self) -> list[str]:
        """What could not be seen: a line of each kind, however often it happened."""
        missed = {
            "samples": (self._sampler.failures, self._sampler.first_failure),
            "snapshots": (len(self._unread), self._unread[0] if self._unread else None),
            "orders of the free lists": (len(self._unlisted), self._unlisted[0] if self._unlisted else None),
            "snapshots' page types": (len(self._untyped), self._untyped[0] if self._untyped else None),
        }
        return [
            f"{count} {what} could not be read, the first because: {first}"
            for what, (count, first) in missed.items()
            if count
        ]

    def take_tables(self) -> Beside:
        """What was sampled since the last call."""
        with self._lock:
            return Beside(self._sampler.take_table(), self._log.take_table())

    def _sample(self) -> None:
        priority.lower()
        due = time.monotonic()
        going = True
        while going:
            going = not self._stop.wait(max(0.0, due - time.monotonic()))
            due = max(due + SAMPLE_INTERVAL_S, time.monotonic())
            counted = self._counters()
            with self._lock:
                self._sampler.sample(int(counted[:, :, 1].sum()))
                self._log.note(time.monotonic_ns(), counted)

    def begin_snapshot(self, name: str, writer: "TraceWriter", guest: Guest, filters: Filters | None) -> None:
        """Take a snapshot and store it; `snapshot_ended` tells when that is done."""

        def take() -> None:
            priority.lower()
            try:
                types = partial(self._page_types, name, guest)
                taken, runs = snapshot.take(name, self._files, guest.pageblock_order, filters, types)
                taken, lists = self._with_lists(taken, guest, filters)
                self.snapshots.append(replace(taken, parts=writer.write_snapshot(name, runs, lists)))
                self._begun = True
            except Exception as error:
                self._failure = error

        self._busy = threading.Thread(target=take, name="pagetide-snapshot", daemon=True)
        self._busy.start()

    def _page_types(self, name: str, guest: Guest) -> list[PageTypes]:
        """Free blocks and pageblocks by migratetype, at the first and the last snapshot only: that read
        holds the zones' locks while it walks their lists. Nothing where it cannot be read, and a note.
        """
        if name not in TYPED:
            return []
        try:
            return read_page_types(self._files, guest.migratetypes)
        except Fault as fault:
            self._untyped.append(f"{name}: {fault.what}: {fault.how}")
            return []

    def _with_lists(
        self, taken: Snapshot, guest: Guest, filters: Filters | None
    ) -> tuple[Snapshot, pa.Table | None]:
        """The snapshot with the order of its free lists, if they can be read and stand still."""
        if self._lists is None:
            return taken, None
        try:
            return read_beside(self._lists, taken, guest, filters)
        except NoLists as reason:
            self._unlisted.append(f"{taken.name}: {reason}")
            return taken, None

    @property
    def snapshot_ended(self) -> bool:
        """No snapshot is being taken. A resync that cannot be read is noted, and recording goes on.

        Raises:
            Exception: what the first snapshot met, or what storing any of them met.
        """
        if self._busy is None:
            return True
        if self._busy.is_alive():
            return False
        self._busy = None
        failure, self._failure = self._failure, None
        if isinstance(failure, Fault) and self._begun:
            self._unread.append(f"{failure.what}: {failure.how}")
        elif failure is not None:
            raise failure
        return True

"""One recording from start to stop: attach, snapshot, drain, segment, snapshot, detach."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracer import __version__
from tracer.doctor import ensure_recordable
from tracer.faults import Fault
from tracer.format import FORMAT_VERSION, Clock, Manifest, Snapshot
from tracer.guest import snapshot
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_guest, read_reporting, read_zones
from tracer.probes.kernel import KernelProbes
from tracer.recording.command import Command, StopSignals
from tracer.recording.segmenter import Segmenter
from tracer.writer import TraceWriter, check_output, output_fault

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAIN_INTERVAL_S = 0.005
SEGMENT_ROWS = 4_000_000
TELL_INTERVAL_NS = 500_000_000


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `ring_bytes`: a power of two."""

    duration_ns: int | None = None
    segment_ns: int = 5_000_000_000
    ring_bytes: int = 64 << 20
    force: bool = False


@dataclass(frozen=True)
class Progress:
    """A recording as it stands, for a status line."""

    events: int
    lost: int
    size_bytes: int
    ring_fill: float
    phase: str


class Recorder:
    """Records this guest into `path`. One use only.

    Events are drained on the calling thread; snapshots, sorting and encoding run on another.
    """

    def __init__(self, path: Path, settings: Settings, command_line: list[str]) -> None:
        """Check the output and attach the probes.

        Raises:
            Fault: when the output, the kernel or the privileges do not allow it.
        """
        check_output(path, force=settings.force)
        ensure_recordable()
        self.settings = settings
        with contextlib.ExitStack() as undo:
            self._files = undo.enter_context(GuestFiles())
            self._probes = undo.enter_context(contextlib.closing(KernelProbes(settings.ring_bytes)))
            self.manifest = self._first_manifest(command_line)
            self._writer = TraceWriter(path, self.manifest, force=settings.force)
            undo.pop_all()
        self._segmenter = Segmenter(self._writer)
        self._parts: list[NDArray[np.uint64]] = []
        self._rows = 0
        self._events = 0
        self._segment_due_ns = time.monotonic_ns() + settings.segment_ns
        self._tell_due_ns = 0
        self._snapshots: list[Snapshot] = []

    def _first_manifest(self, command_line: list[str]) -> Manifest:
        return Manifest(
            format=FORMAT_VERSION,
            tool=f"pagetide {__version__}",
            status="recording",
            guest=read_guest(self._files),
            zones=read_zones(self._files),
            reporting=read_reporting(),
            clock=Clock(monotonic_ns=time.monotonic_ns(), wall_ns=time.time_ns()),
            layers=["buddy"],
            rung="tracepoints",
            probes=self._probes.counters(),
            command_line=command_line,
        )

    def run(
        self, command: Command | None, signals: StopSignals, tell: Callable[[Progress], None]
    ) -> Manifest:
        """Record until the command ends, the time is up or a signal comes; returns the manifest.

        Raises:
            Fault: when recording ended early because the trace could not be written; what was
                written before is a trace.
        """
        with self._files, contextlib.closing(self._probes), contextlib.ExitStack() as after:
            self._take_snapshot("start", tell)
            if command is not None and self._alive and signals.received is None:
                after.callback(command.stop)
                self._start(command)
            ended_by = self._record(command, signals, tell)
            if self._alive:
                self._take_snapshot("end", tell)
            return self._close(ended_by)

    def _start(self, command: Command) -> None:
        try:
            command.start()
        except Fault:
            self._close("command")
            raise

    @property
    def _alive(self) -> bool:
        """Can the trace still be written?"""
        return self._segmenter.failure is None

    def _record(self, command: Command | None, signals: StopSignals, tell: Callable[[Progress], None]) -> str:
        """Drain until there is a reason to stop; returns the reason."""
        duration_ns = self.settings.duration_ns
        deadline_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        while True:
            if not self._alive:
                return "failure"
            if signals.received is not None:
                return signals.received.name
            self._turn(tell, "recording")
            if command is not None and not command.running:
                return "command"
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                return "duration"

    def _turn(self, tell: Callable[[Progress], None], phase: str) -> None:
        """One drain, and a segment when one is due."""
        time.sleep(DRAIN_INTERVAL_S)
        self._drain()
        if self._rows >= SEGMENT_ROWS or time.monotonic_ns() >= self._segment_due_ns:
            self._close_segment()
        if time.monotonic_ns() >= self._tell_due_ns:
            self._tell_due_ns = time.monotonic_ns() + TELL_INTERVAL_NS
            lost = sum(probe.lost for probe in self._probes.counters())
            size = self._writer.size_bytes
            tell(Progress(self._events, lost, size, self._probes.ring.fill, phase))

    def _drain(self) -> None:
        records = self._probes.drain()
        if len(records):
            self._parts.append(records)
            self._rows += len(records)
            self._events += len(records)

    def _close_segment(self, *, final: bool = False) -> None:
        self._segmenter.segment(self._parts, self._probes.counters(), final=final)
        self._parts, self._rows = [], 0
        self._segment_due_ns = time.monotonic_ns() + self.settings.segment_ns

    def _take_snapshot(self, name: str, tell: Callable[[Progress], None]) -> None:
        """Take a snapshot on the other thread while draining goes on here."""
        done = threading.Event()

        def job() -> None:
            taken, runs = snapshot.take(name, self._files, self.manifest.guest.pageblock_order)
            self._writer.write_frames(name, runs)
            self._snapshots.append(taken)
            # On disk at once: a recording that is killed keeps its start.
            self._writer.write_manifest(self._manifest_now("recording", None))
            done.set()

        self._segmenter.submit(job)
        while not done.is_set() and self._alive:
            self._turn(tell, f"{name} snapshot")

    def _manifest_now(self, status: str, ended_by: str | None) -> Manifest:
        probes = self._probes.counters()
        return replace(
            self.manifest,
            status=status,
            # While recording goes on, what is not stored yet is not lost.
            probes=probes if status == "recording" else self._segmenter.account(probes),
            snapshots=list(self._snapshots),
            late_events=self._segmenter.late,
            ended_by=ended_by,
        )

    def _close(self, ended_by: str) -> Manifest:
        """Detach, store what is left, write the last manifest."""
        self._probes.detach()
        self._drain()
        self._close_segment(final=True)
        self._segmenter.finish()
        failure = self._segmenter.failure
        if failure is None:
            manifest = self._manifest_now("complete", ended_by)
        else:
            manifest = self._manifest_now("recovered", "failure")
        try:
            self._writer.close(manifest)
        except OSError as error:
            failure = failure or error
        if isinstance(failure, OSError):
            raise stopped_early(self._writer.path, failure, manifest)
        if failure is not None:
            raise failure
        return manifest


def stopped_early(path: Path, error: OSError, manifest: Manifest) -> Fault:
    """Recording had to end; what was written is a trace, and its tail is counted as lost."""
    fault = output_fault(path, error)
    return Fault(
        f"recording stopped early: {path} could not be written any more",
        f"{fault.how}; {manifest.lost} events at the end are lost, the trace up to there is whole",
        fault.fix,
        fault.code,
    )

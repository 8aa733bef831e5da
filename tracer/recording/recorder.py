"""One recording from start to stop: attach, snapshot, drain, segment, heal, snapshot, detach."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tracer import __version__
from tracer.doctor import ensure_recordable
from tracer.faults import Fault, environment
from tracer.format import FORMAT_VERSION, Clock, Manifest, Op, Zone
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import read_guest, read_reporting, read_zones
from tracer.output import check_output
from tracer.probes.attachment import Wanted
from tracer.probes.kernel import KernelProbes
from tracer.probes.points import LAYERS
from tracer.recording import footprint, priority, privileges
from tracer.recording.blocks import BLOCKS_BYTES, Blocks
from tracer.recording.command import Command, StopSignals
from tracer.recording.disk import check_room, stopped_early
from tracer.recording.drainer import CPU_CAP, Drainer, longest_pause_s
from tracer.recording.encoder import Closing, Encoder
from tracer.recording.filters import check_orders, filtered_zones, outgrown, pfn_ranges
from tracer.recording.healing import Healing
from tracer.recording.ledger import Ledger
from tracer.recording.lists import open_lists
from tracer.recording.merger import MAX_SPAN_NS, Merger
from tracer.recording.observer import Observer
from tracer.recording.retention import Growth, reason_to_end
from tracer.recording.settings import Settings
from tracer.recording.status import RECORDING, Progress, Watch
from tracer.units import human_bytes
from tracer.writer import TraceWriter

SEGMENT_ROWS = 4_000_000
CHECK_INTERVAL_NS = 500_000_000
ROW_BYTES = 2  # encoded, at most; less where it is known better


Tell = Callable[[Progress], None]


class Recorder:
    """Records this guest into `path`. One use only; make it while there is one thread.

    Events are drained on the calling thread; sampling, snapshots, encoding and merging have their own.
    Once made, this process has no privileges left but those of the user who asked.
    """

    def __init__(self, path: Path, settings: Settings, command_line: list[str]) -> None:
        """Check the output, attach the probes, open what is needed, and drop privileges.

        Raises:
            Fault: when the output, the kernel or the privileges do not allow it.
        """
        check_output(path, force=settings.force)
        check_room(path, settings.min_free_bytes)
        ensure_recordable()
        self.settings = settings
        with contextlib.ExitStack() as undo:
            self._files = undo.enter_context(GuestFiles())
            zones = filtered_zones(read_zones(self._files), settings.filters)
            check_orders(settings.filters, read_guest(self._files).max_order)
            since_ns = time.monotonic_ns()
            self._probes = KernelProbes(_wanted(settings, zones))
            undo.callback(self._probes.close)
            self._lists, unread = open_lists(zones, self._probes.pages)
            manifest = self._first_manifest(command_line, zones, unread)
            self._writer = TraceWriter(path, manifest, force=settings.force, file_mode=settings.file_mode)
            undo.callback(self._writer.release)
            self._lower_privileges()
            undo.pop_all()
        footprint.shrink()
        self._blocks = Blocks()
        self._observer = Observer(
            self._files,
            zones,
            self._probes.counted,
            self._probes.counters(),
            self._lists,
            settings.filters,
        )
        self._encoder = Encoder(
            self._writer,
            self._blocks,
            self._observer.take_tables,
            with_pid=settings.with_pid,
            with_gfp=settings.with_gfp,
        )
        self._merger = Merger(self._writer, settings.keep_ns // 8 if settings.keep_ns else MAX_SPAN_NS)
        self._ledger = Ledger(self._writer, manifest, settings.keep_ns, self._merger)
        self._drainer = Drainer(
            self._probes, self._blocks, self._encoder.put, since_ns, longest_pause_s(settings.ring_bytes)
        )
        self._healing = Healing(settings.resync_interval_ns)
        self._growth = Growth()
        self._rows_closed = 0
        self._resyncs = 0
        self._segment_due_ns = time.monotonic_ns() + settings.segment_ns
        self._check_due_ns = 0
        self._watch = Watch()

    def _first_manifest(self, command_line: list[str], zones: list[Zone], unread: list[str]) -> Manifest:
        return Manifest(
            format=FORMAT_VERSION,
            tool=f"pagetide {__version__}",
            status="recording",
            guest=read_guest(self._files),
            zones=zones,
            reporting=read_reporting(),
            clock=Clock(monotonic_ns=time.monotonic_ns(), wall_ns=time.time_ns()),
            layers=list(LAYERS[self.settings.layer]),
            rung=self._probes.ladder.rung,
            rung_reason=self._probes.ladder.reason,
            probes=self._probes.counters(),
            command_line=command_line,
            filters=self.settings.filters,
            notes=[*self._probes.notes, *_less_exact(self._probes), *unread],
        )

    def _lower_privileges(self) -> None:
        """Everything is open: what follows runs as the user who asked, the drain before others."""
        priority.raise_drain()
        user = privileges.invoker()
        try:
            if user is not None:
                self._writer.give_to(user.uid, user.gid)
            privileges.drop(user)
        except OSError as error:
            raise environment(
                "privileges cannot be given up here",
                f"{error.strerror} (errno {error.errno})",
                "record outside of this container or user namespace, as root without sudo",
            ) from error

    @property
    def cost(self) -> str:
        """What this recording may take of the guest, in words; fixed before it starts."""
        ring, blocks = human_bytes(self.settings.ring_bytes), human_bytes(BLOCKS_BYTES)
        return f"ring {ring}, buffers {blocks}, draining at most {CPU_CAP:.0%} of one CPU"

    def run(self, command: Command | None, signals: StopSignals, tell: Tell) -> Manifest:
        """Record until the command ends, a bound is reached or a signal comes; returns the manifest.

        Raises:
            Fault: when recording ended early because the trace could not be written, or the disk is
                too full; what was written before is a trace.
        """
        with contextlib.ExitStack() as after:
            after.callback(self._files.close)
            after.callback(self._probes.close)
            if self._lists is not None:
                after.callback(self._lists.close)
            self._observer.start()
            self._settle(signals, tell)
            self._snapshot("start", tell)
            if command is not None and self._alive and signals.received is None and not self._bound():
                after.callback(command.stop)
                self._start(command)
            ended_by = self._record(command, signals, tell)
            if self._alive:
                self._snapshot("end", tell)
            return self._close(ended_by)

    def _settle(self, signals: StopSignals, tell: Tell) -> None:
        """Drain for as long as was asked for, so that what the start of the recorder itself freed can be
        reported before the start snapshot. A signal or a bound ends it early.
        """
        due_ns = time.monotonic_ns() + self.settings.settle_ns
        while self._alive and signals.received is None and time.monotonic_ns() < due_ns:
            if self._turn(tell, "settling"):
                return

    def _start(self, command: Command) -> None:
        try:
            command.start()
        except Fault:
            self._close("command")
            raise

    @property
    def _alive(self) -> bool:
        """Can the trace still be written?"""
        return self._encoder.failure is None

    def _record(self, command: Command | None, signals: StopSignals, tell: Tell) -> str:
        """Drain until there is a reason to stop; returns the reason."""
        duration_ns = self.settings.duration_ns
        deadline_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        self._check_due_ns = 0
        while True:
            if not self._alive:
                return "failure"
            if signals.received is not None:
                return signals.received.name
            if reason := self._turn(tell, RECORDING):
                return reason
            self._heal()
            if command is not None and not command.running:
                return "command"
            if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                return "duration"

    def _turn(self, tell: Tell, phase: str) -> str | None:
        """One drain, a segment when one is due, a look around now and then; a reason to end, or None."""
        self._drainer.pause()
        self._drainer.turn()
        now_ns = time.monotonic_ns()
        if now_ns >= self._segment_due_ns or self._drainer.events - self._rows_closed >= SEGMENT_ROWS:
            self._close_segment()
        if now_ns < self._check_due_ns:
            return None
        self._check_due_ns = now_ns + CHECK_INTERVAL_NS
        size = self._writer.size_bytes + self._encoder.open_bytes
        lost = self._probes.ring_full
        tell(self._watch.look(self._drainer.events, lost, size, self._probes.fill, phase))
        self._growth.note(now_ns, self._drainer.events)
        if self.settings.keep_ns is not None and phase == RECORDING:
            probes = self._probes.counters()
            self._encoder.submit(lambda: self._ledger.forget_old(probes))
        return self._bound()

    def _bound(self) -> str | None:
        """Which bound is reached, if one is."""
        return reason_to_end(self.settings, self._writer, self._coming_bytes())

    def _coming_bytes(self) -> int:
        """What would still be written, were the recording to end now: what is not encoded yet, another
        snapshot, and what comes while that is read.
        """
        stored = int(self._encoder.stored.sum())
        last = self._ledger.manifest.snapshots[-1:]
        rows = self._drainer.events - stored
        rows += self._growth.rows_within(sum(2 * (shot.end_ns - shot.begin_ns) for shot in last))
        row_bytes = self._writer.size_of_events / stored if stored else ROW_BYTES
        frames = self._writer.size_of_kind("frames")
        return self._encoder.open_bytes + int(rows * min(row_bytes, ROW_BYTES)) + 2 * frames

    def _close_segment(self, *, final: bool = False) -> None:
        self._drainer.flush()
        closing = Closing(self._probes.counters(), self._drainer.take_losses(), final)
        self._encoder.close_segment(closing)
        self._merger.look()
        self._rows_closed = self._drainer.events
        self._segment_due_ns = time.monotonic_ns() + self.settings.segment_ns

    def _begin_snapshot(self, name: str) -> None:
        self._healing.began(time.monotonic_ns())
        self._observer.begin_snapshot(name, self._writer, self._ledger.manifest.guest, self.settings.filters)

    def _snapshot(self, name: str, tell: Tell) -> None:
        """Take a snapshot while draining goes on, and wait for it."""
        self._wait_for_snapshot(tell, "resync")
        self._begin_snapshot(name)
        self._wait_for_snapshot(tell, f"{name} snapshot")

    def _wait_for_snapshot(self, tell: Tell, phase: str) -> None:
        """Drain until the snapshot is stored, and told of in the manifest."""
        noted = threading.Event()
        while self._alive and not self._snapshot_ended():
            self._turn(tell, phase)
        self._note_snapshots()
        self._encoder.submit(noted.set)
        while self._alive and not noted.is_set():
            self._turn(tell, phase)

    def _heal(self) -> None:
        """Store a resync that is done, and begin one that is due."""
        if not self._snapshot_ended():
            return
        self._note_snapshots()
        if self._healing.is_due(time.monotonic_ns(), self._drainer.last_loss_ns):
            self._resyncs += 1
            self._begin_snapshot(f"resync-{self._resyncs}")

    def _snapshot_ended(self) -> bool:
        """None is being taken. What cannot be stored ends the recording."""
        try:
            return self._observer.snapshot_ended
        except Exception as error:
            self._encoder.failure = self._encoder.failure or error
            return True

    def _note_snapshots(self) -> None:
        """Tell the manifest of snapshots that it does not know yet."""
        shots, self._observer.snapshots = self._observer.snapshots, []
        if shots:
            probes = self._probes.counters()
            self._encoder.submit(lambda: self._ledger.note(shots, probes))

    @property
    def _outgrown(self) -> list[str]:
        """Zones that grew beyond what is kept of them."""
        known, snapshots = self._ledger.manifest.zones, self._ledger.manifest.snapshots
        return outgrown(known, snapshots[-1].zones if snapshots else [], self.settings.filters)

    def _close(self, ended_by: str) -> Manifest:
        """Detach, store what is left, write the last manifest."""
        self._probes.detach()
        self._observer.finish()
        self._drainer.finish(lambda: self._alive)  # where nothing can be stored any more, it is lost
        self._close_segment(final=True)
        self._encoder.finish()
        self._merger.finish()
        failure = self._encoder.failure
        manifest = replace(
            self._ledger.manifest,
            status="complete" if failure is None else "recovered",
            zones=self._observer.zones,
            probes=self._encoder.account(self._probes.counters()),
            late_events=self._encoder.late,
            ended_by=ended_by if failure is None else "failure",
            notes=[*self._ledger.manifest.notes, *self._observer.notes, *self._merger.notes, *self._outgrown],
        )
        try:
            self._writer.close(manifest)
        except OSError as error:
            failure = failure or error
        if isinstance(failure, OSError):
            raise stopped_early(self._writer.path, failure, manifest)
        if failure is not None:
            raise failure
        return manifest


def _less_exact(probes: KernelProbes) -> list[str]:
    """Probes that must do without their raw form, in which nothing goes unseen."""
    return [
        f"{Op(int(op)).name.lower()} is recorded by its tracepoint, and what interrupts it goes unseen: {why}"
        for op, why in probes.reasons.items()
    ]


def _wanted(settings: Settings, zones: list[Zone]) -> Wanted:
    filters = settings.filters
    orders = filters.orders if filters else None
    return Wanted(
        settings.layer,
        settings.ring_bytes,
        orders=(orders[0], orders[1]) if orders else None,
        ranges=pfn_ranges(zones, filters),
        with_pid=settings.with_pid,
        with_gfp=settings.with_gfp,
    )

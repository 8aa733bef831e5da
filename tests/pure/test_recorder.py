"""A whole recording with probes and a guest made up: what is kept when something goes wrong."""

import contextlib
import dataclasses
import errno
import json
import re
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from replay.main import run
from tests.pure import small_traces
from tracer import cli, open_trace
from tracer.faults import ExitCode, Fault, environment
from tracer.format import Filters, Op, Probe
from tracer.probes.attachment import Wanted
from tracer.probes.ladder import Ladder
from tracer.recording import recorder
from tracer.recording.command import StopSignals
from tracer.recording.privileges import Invoker
from tracer.recording.recorder import Recorder
from tracer.recording.settings import Settings
from tracer.writer import TraceWriter

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
PYTHON = sys.executable


class Probes:
    """Ten events a drain, five more just before detaching; `lost` more never reach the ring."""

    lost = 0
    alive: "list[Probes]" = []  # noqa: RUF012 - looked at by the tests
    ladder = Ladder("tracepoints", "the kernel is made up")
    pages = None

    def __init__(self, wanted) -> None:
        self.wanted, self.fill, self.ring_full = wanted, 0.0, 0
        self.hits = self.left = 0
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        self.attached = True
        self.alive.append(self)

    @property
    def waiting(self) -> int:
        return self.left + 10 * self.attached

    def drain_into(self, out) -> int:
        if self.attached:
            self.hits += 10
            self.ring_full = self.lost if self.hits > 50 else 0  # after the start snapshot
        count = min(self.waiting, len(out))
        assert count == self.waiting, "blocks are far larger"
        self.left = 0
        now_ns = time.monotonic_ns()
        out[:count] = [[now_ns + k, 4096 + k | Op.ZONE_LOCKED << 56, 0] for k in range(count)]
        return count

    def counted(self) -> Any:
        return np.array([[[self.hits + self.lost, self.lost, 0], [0, 0, 0]]])

    def counters(self) -> Any:
        hits = self.hits + self.lost
        return [Probe(small_traces.NAME, "tracepoint", Op.ZONE_LOCKED, hits, self.hits, self.lost)]

    def detach(self) -> None:
        self.attached = False
        self.hits += 5
        self.left = 5

    def close(self) -> None:
        self.alive.remove(self)


def taken(name, *_) -> Any:
    now_ns = time.monotonic_ns()
    return small_traces.snapshot(name, now_ns, now_ns + 1), small_traces.frame_runs(now_ns)


def sampled(_files, zones, lost) -> Any:
    now_ns = time.monotonic_ns()
    return [(now_ns, now_ns + 1, index, [1] * 11, *range(14), lost) for index in range(len(zones))]


@pytest.fixture(autouse=True)
def guest(monkeypatch) -> None:
    monkeypatch.setattr(recorder, "ensure_recordable", lambda: None)
    monkeypatch.setattr(recorder, "KernelProbes", Probes)
    monkeypatch.setattr(recorder, "GuestFiles", contextlib.ExitStack)
    monkeypatch.setattr(recorder, "open_lists", lambda _zones, _pages: (None, []))
    monkeypatch.setattr(recorder, "read_guest", lambda _files: small_traces.GUEST)
    monkeypatch.setattr(recorder, "read_zones", lambda _files: small_traces.ZONES)
    monkeypatch.setattr("tracer.guest.snapshot.take", taken)
    monkeypatch.setattr("tracer.guest.samples.take", sampled)
    monkeypatch.setattr("tracer.guest.samples.appeared", lambda *_: [])
    monkeypatch.setattr(Probes, "alive", [])
    # This process goes on after the recording: it must keep its privileges and its priority.
    monkeypatch.setattr("tracer.recording.privileges.drop", lambda _user: None)
    monkeypatch.setattr("tracer.recording.privileges.invoker", lambda: None)
    monkeypatch.setattr("tracer.recording.priority.raise_drain", lambda: True)
    monkeypatch.delenv("NUMPY_MADVISE_HUGEPAGE", raising=False)


def settings(duration_s=0.3, **over) -> Any:
    return Settings(duration_ns=int(duration_s * 1e9), segment_ns=50_000_000, **over)


def record(path, **over) -> Any:
    return Recorder(path, settings(**over), ["pagetide"]).run(None, StopSignals(), lambda _progress: None)


def broken_after(monkeypatch, name, good_calls) -> None:
    """The n-th and all later calls of a writer's method find the disk full."""
    really, calls = getattr(TraceWriter, name), []

    def call(self, *args, **more) -> Any:
        calls.append(1)
        if len(calls) > good_calls:
            raise NO_SPACE
        return really(self, *args, **more)

    monkeypatch.setattr(TraceWriter, name, call)


def test_a_recording_keeps_every_event_and_both_snapshots(tmp_path):
    manifest = record(tmp_path / "a.trace")
    trace = open_trace(tmp_path / "a.trace")
    assert trace.complete
    assert (manifest.status, manifest.ended_by, manifest.lost) == ("complete", "duration", 0)
    assert trace.rows == manifest.probes[0].kept == manifest.probes[0].hits
    assert [shot.name for shot in trace.manifest.snapshots] == ["start", "end"]
    assert [part.file for shot in trace.manifest.snapshots for part in shot.parts] == [
        "frames/start.parquet",
        "frames/end.parquet",
    ]
    assert len(trace.segments) > 2
    assert Probes.alive == []


def test_a_zone_that_gets_its_first_memory_is_in_the_manifest_and_in_the_samples(tmp_path, monkeypatch):
    new = dataclasses.replace(small_traces.ZONES[0], name="Movable", start_pfn=1 << 20)
    monkeypatch.setattr(
        "tracer.guest.samples.appeared", lambda _files, zones, _names: [new][len(zones) - 1 :]
    )
    assert record(tmp_path / "a.trace").zones == [*small_traces.ZONES, new]
    trace = open_trace(tmp_path / "a.trace")
    assert set(trace.samples["zone"].to_pylist()) == {0, 1}
    assert [zone.end_pfn for zone in trace.zones] == [small_traces.FRAMES, new.end_pfn]


def test_lost_events_make_the_exit_code_3_unless_allowed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Probes, "lost", 7)
    arguments = ["record", "--duration", "200ms", "--segment", "100ms"]
    assert run([*arguments, str(tmp_path / "a.trace")]) == ExitCode.LOSSY
    assert "lossy" in capsys.readouterr().err
    assert open_trace(tmp_path / "a.trace").manifest.lost == 7
    assert run([*arguments, "--allow-loss", str(tmp_path / "b.trace")]) == ExitCode.DONE


def test_a_failing_commands_code_is_passed_on_and_the_trace_is_kept(tmp_path, capfd):
    code = run(["record", str(tmp_path / "a.trace"), "--json", "--", PYTHON, "-c", "raise SystemExit(7)"])
    said = capfd.readouterr()
    assert code == 7
    assert "exited with 7; the trace is kept" in said.err
    assert json.loads(said.out)["manifest"]["ended_by"] == "command"
    assert open_trace(tmp_path / "a.trace").complete


def test_a_failing_commands_code_wins_over_lost_events(tmp_path, monkeypatch):
    monkeypatch.setattr(Probes, "lost", 7)
    assert run(["record", str(tmp_path / "a.trace"), "--", PYTHON, "-c", "raise SystemExit(5)"]) == 5


def test_the_duration_ends_the_command_and_that_is_no_failure(tmp_path):
    sleeper = [PYTHON, "-c", "import time; time.sleep(60)"]
    assert run(["record", str(tmp_path / "a.trace"), "--duration", "200ms", "--", *sleeper]) == ExitCode.DONE
    assert open_trace(tmp_path / "a.trace").manifest.ended_by == "duration"


def test_a_disk_that_fills_up_ends_the_recording_with_all_that_fitted(tmp_path, monkeypatch):
    broken_after(monkeypatch, "append_segment", 2)
    with pytest.raises(Fault) as caught:
        record(tmp_path / "a.trace", duration_s=20)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "stopped early" in caught.value.what
    assert "errno 28" in caught.value.how
    assert len(str(caught.value).splitlines()) == 3
    trace = open_trace(tmp_path / "a.trace")
    assert len(trace.segments) == 2
    (probe,) = trace.manifest.probes
    assert probe.kept == trace.rows
    assert probe.lost == probe.hits - trace.rows > 0
    assert not trace.complete
    assert Probes.alive == []


def test_a_disk_that_is_full_at_the_snapshot_is_a_fault(tmp_path, monkeypatch):
    broken_after(monkeypatch, "write_frames", 0)
    with pytest.raises(Fault) as caught:
        record(tmp_path / "a.trace")
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert Probes.alive == []


@pytest.mark.parametrize("good_calls", [1, 2])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_disk_that_is_full_at_a_manifest_is_a_fault(tmp_path, monkeypatch, good_calls):
    broken_after(monkeypatch, "write_manifest", good_calls)
    with pytest.raises(Fault) as caught:
        record(tmp_path / "a.trace")
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert Probes.alive == []


def test_an_output_that_cannot_be_made_detaches_the_probes(tmp_path, monkeypatch):
    def refuse(*_, **__) -> Any:
        raise Fault("no", "no", "no")

    monkeypatch.setattr(recorder, "TraceWriter", refuse)
    with pytest.raises(Fault):
        record(tmp_path / "a.trace")
    assert Probes.alive == []


def test_no_command_is_started_where_it_cannot_be_recorded(tmp_path, monkeypatch):
    broken_after(monkeypatch, "write_frames", 0)
    mark = tmp_path / "ran"
    code = run(["record", str(tmp_path / "a.trace"), "--", "touch", str(mark)])
    assert code == ExitCode.ENVIRONMENT
    time.sleep(0.2)
    assert not mark.exists()


def test_an_output_that_exists_is_refused_before_the_machine_is_looked_at(tmp_path, monkeypatch):
    def refuse() -> None:
        raise environment("no root", "no", "no")

    monkeypatch.setattr(recorder, "ensure_recordable", refuse)
    path = small_traces.write(tmp_path / "a.trace")
    with pytest.raises(Fault) as caught:
        record(path)
    assert caught.value.code == ExitCode.USAGE


# What the new recorder adds


def resyncs(trace) -> Any:
    return [shot.name for shot in trace.resyncs]


def test_samples_and_counters_are_in_the_trace(tmp_path):
    record(tmp_path / "a.trace", duration_s=0.2)
    trace = open_trace(tmp_path / "a.trace")
    assert trace.samples.num_rows == 2  # one at the start, one at the end
    assert trace.counters.num_rows >= 1
    assert trace.counters["hits"].to_pylist()[-1] <= trace.manifest.probes[0].hits
    trace.verify()


def test_a_loss_is_located_and_healed_by_a_resync(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.recording.healing.LOSS_QUIET_NS", 50_000_000)
    monkeypatch.setattr(Probes, "lost", 7)
    before_ns = time.monotonic_ns()
    record(tmp_path / "a.trace", duration_s=0.5)
    trace = open_trace(tmp_path / "a.trace")
    (loss,) = trace.losses
    assert loss.events == 7
    assert before_ns < loss.begin_ns <= loss.end_ns < time.monotonic_ns()
    assert resyncs(trace) == ["resync-1"]


def test_resyncs_come_each_interval(tmp_path):
    manifest = record(tmp_path / "a.trace", duration_s=0.6, resync_ns=100_000_000)
    trace = open_trace(tmp_path / "a.trace")
    assert 3 <= len(resyncs(trace)) <= 6
    assert resyncs(trace) == [f"resync-{k + 1}" for k in range(len(resyncs(trace)))]
    assert manifest.snapshots[-1].name == "end"
    trace.verify()


def test_a_resync_that_cannot_be_read_is_noted_and_the_recording_goes_on(tmp_path, monkeypatch):
    def no_resync(name, *args) -> Any:
        if name.startswith("resync"):
            raise environment("kpageflags cannot be read", "EIO", "no")
        return taken(name, *args)

    monkeypatch.setattr("tracer.guest.snapshot.take", no_resync)
    manifest = record(tmp_path / "a.trace", duration_s=0.4, resync_ns=100_000_000)
    assert manifest.status == "complete"
    assert [shot.name for shot in manifest.snapshots] == ["start", "end"]
    assert any(
        re.fullmatch(
            r"\d+ snapshots could not be read, the first because: kpageflags cannot be read: EIO", note
        )
        for note in manifest.notes
    )


def test_what_is_old_is_forgotten_and_the_rest_adds_up(tmp_path):
    path = tmp_path / "a.trace"
    manifest = record(path, duration_s=1.2, keep_ns=400_000_000)
    trace = open_trace(path)
    assert trace.complete, trace.warnings
    assert manifest.discarded_events > 0
    assert trace.rows == manifest.probes[0].kept - manifest.discarded_events
    assert trace.start is not None and trace.start.name.startswith("resync-")
    assert trace.segments[0].last_ts_ns >= trace.start.begin_ns
    assert {f"{shot.name}.parquet" for shot in manifest.snapshots} == {
        file.name for file in (path / "frames").iterdir()
    }
    trace.verify()


def test_forgetting_does_not_wait_for_a_merge(tmp_path, monkeypatch):
    from tracer.recording.merger import Merger

    def slow(self) -> bool:
        with self.exclusive:
            self._stop.wait(30)
        return False

    monkeypatch.setattr(Merger, "_merge_once", slow)
    begun = time.monotonic()
    manifest = record(tmp_path / "a.trace", duration_s=0.8, keep_ns=200_000_000)
    assert time.monotonic() - begun < 10
    assert (manifest.status, manifest.discarded_events) == ("complete", 0)


def test_a_recording_ends_before_it_is_larger_than_asked_for(tmp_path):
    path = tmp_path / "a.trace"
    manifest = record(path, duration_s=30, max_bytes=30_000)
    assert (manifest.status, manifest.ended_by) == ("complete", "max-size")
    assert [shot.name for shot in manifest.snapshots] == ["start", "end"]


def test_a_disk_that_is_nearly_full_ends_it_in_good_order_with_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tracer.folder.Folder.free_bytes", lambda _self: 1 << 20)
    code = run(["record", str(tmp_path / "a.trace"), "--duration", "30s"])
    assert code == ExitCode.ENVIRONMENT
    assert "nearly full" in capsys.readouterr().err
    trace = open_trace(tmp_path / "a.trace")
    assert trace.complete
    assert trace.manifest.ended_by == "disk"
    assert trace.manifest.snapshot("end") is not None


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_too_full_to_begin_costs_nothing(tmp_path, force):
    path = small_traces.write(tmp_path / "a.trace") if force else tmp_path / "a.trace"
    with pytest.raises(Fault) as caught:
        record(path, min_free_bytes=1 << 60, force=force)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert "--min-free" in caught.value.fix
    assert list(tmp_path.iterdir()) == ([path] if force else [])
    assert not force or open_trace(path).manifest.tool == "pagetide test"
    assert Probes.alive == []


def test_privileges_are_given_up_while_there_is_one_thread_and_the_trace_is_given_away(tmp_path, monkeypatch):
    done: list[Any] = []
    monkeypatch.setattr("tracer.recording.privileges.invoker", lambda: Invoker(1000, 100))
    monkeypatch.setattr(
        "tracer.recording.privileges.drop", lambda user: done.append((user, threading.active_count()))
    )
    monkeypatch.setattr(TraceWriter, "give_to", lambda _self, *ids: done.append(ids))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    here = threading.active_count()
    assert run(["record", str(tmp_path / "a.trace"), "--duration", "100ms"]) == 0
    assert done == [(1000, 100), (Invoker(1000, 100), here)]


def test_the_status_line_comes_after_the_recorder_is_made(tmp_path, monkeypatch):
    """It has a thread of its own, which would keep the privileges that are given up."""
    made = []
    really = cli._status_line

    def line(tqdm) -> Any:
        made.append("line")
        return really(tqdm)

    monkeypatch.setattr(cli, "_status_line", line)
    monkeypatch.setattr("tracer.recording.privileges.drop", lambda _user: made.append("dropped"))
    assert run(["record", str(tmp_path / "a.trace"), "--duration", "100ms"]) == 0
    assert made == ["dropped", "line"]


def test_what_was_asked_for_reaches_the_probes_and_the_manifest(tmp_path):
    filters = Filters(orders=[9, 10], pfns=[0, 100], zones=["Normal"])
    wanted = settings(filters=filters, layer="both", with_gfp=True, ring_bytes=1 << 20)
    made = Recorder(tmp_path / "a.trace", wanted, ["pagetide"])
    assert Probes.alive[0].wanted == Wanted(
        "both", 1 << 20, orders=(9, 10), ranges=((0, 100),), with_pid=False, with_gfp=True
    )
    made.run(None, StopSignals(), lambda _progress: None)
    manifest = open_trace(tmp_path / "a.trace").manifest
    assert (manifest.filters, manifest.layers) == (filters, ["buddy", "frame"])


def test_a_zone_that_is_not_there_costs_nothing(tmp_path):
    with pytest.raises(Fault, match="no zone HighMem"):
        record(tmp_path / "a.trace", filters=Filters(zones=["HighMem"]))
    assert list(tmp_path.iterdir()) == []
    assert Probes.alive == []


def test_a_snapshot_under_way_is_waited_for_before_its_folder_is_closed(tmp_path, monkeypatch):
    stored = []

    def slow(name, *args) -> Any:
        time.sleep(0.3)
        return taken(name, *args)

    really = TraceWriter.write_frames

    def store(self, *args) -> Any:
        stored.append(self.folder.free_bytes())
        return really(self, *args)

    monkeypatch.setattr("tracer.guest.snapshot.take", slow)
    monkeypatch.setattr(TraceWriter, "write_frames", store)
    broken_after(monkeypatch, "append_segment", 0)
    with pytest.raises(Fault):
        record(tmp_path / "a.trace", duration_s=20)
    assert len(stored) == 1  # through an open folder


def test_the_rest_of_a_burst_is_stored_in_time_order(tmp_path):
    record(tmp_path / "a.trace")
    trace = open_trace(tmp_path / "a.trace")
    times = [at for batch in trace.batches(["ts_ns"]) for at in batch["ts_ns"].to_pylist()]
    assert times == sorted(times)
    assert trace.manifest.late_events == 0

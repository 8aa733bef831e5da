"""A whole recording with probes and a guest made up: what is kept when something goes wrong."""

import contextlib
import errno
import json
import sys
import time
from typing import Any

import numpy as np
import pytest

from replay.main import run
from tests.pure import small_traces
from tracer import open_trace
from tracer.faults import ExitCode, Fault, environment
from tracer.format import Op, Probe
from tracer.recording import recorder
from tracer.recording.command import StopSignals
from tracer.recording.recorder import Recorder, Settings
from tracer.writer import TraceWriter

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
PYTHON = sys.executable


class Probes:
    """Ten events a drain, five more just before detaching; `lost` more never reach the ring."""

    lost = 0
    alive: "list[Probes]" = []  # noqa: RUF012 - looked at by the tests

    def __init__(self, _ring_bytes) -> None:
        self.ring = self
        self.fill = 0.0
        self.hits = self.waiting = 0
        self.attached = True
        self.alive.append(self)

    def drain(self) -> Any:
        now_ns = time.monotonic_ns()
        count, self.waiting = self.waiting, 0
        if self.attached:
            self.hits += 10
            count += 10
        rows = [[now_ns + k, 4096 + k | Op.ZONE_LOCKED << 56, 0] for k in range(count)]
        return np.array(rows, np.uint64).reshape(-1, 3)

    def counters(self) -> Any:
        hits = self.hits + self.lost
        return [Probe(small_traces.NAME, "tracepoint", Op.ZONE_LOCKED, hits, self.hits, self.lost)]

    def detach(self) -> None:
        self.attached = False
        self.hits += 5
        self.waiting = 5

    def close(self) -> None:
        self.alive.remove(self)


def taken(name, _files, _pageblock_order) -> Any:
    now_ns = time.monotonic_ns()
    return small_traces.snapshot(name, now_ns, now_ns + 1), small_traces.frame_runs(now_ns)


@pytest.fixture(autouse=True)
def guest(monkeypatch) -> None:
    monkeypatch.setattr(recorder, "ensure_recordable", lambda: None)
    monkeypatch.setattr(recorder, "KernelProbes", Probes)
    monkeypatch.setattr(recorder, "GuestFiles", contextlib.ExitStack)
    monkeypatch.setattr(recorder, "read_guest", lambda _files: small_traces.GUEST)
    monkeypatch.setattr(recorder, "read_zones", lambda _files: small_traces.ZONES)
    monkeypatch.setattr("tracer.guest.snapshot.take", taken)
    monkeypatch.setattr(Probes, "alive", [])


def settings(duration_s=0.3) -> Any:
    return Settings(duration_ns=int(duration_s * 1e9), segment_ns=50_000_000)


def record(path, **over) -> Any:
    return Recorder(path, settings(**over), ["pagetide"]).run(None, StopSignals(), lambda _progress: None)


def broken_after(monkeypatch, name, good_calls) -> None:
    """The n-th and all later calls of a writer's method find the disk full."""
    really, calls = getattr(TraceWriter, name), []

    def call(self, *args) -> Any:
        calls.append(1)
        if len(calls) > good_calls:
            raise NO_SPACE
        return really(self, *args)

    monkeypatch.setattr(TraceWriter, name, call)


def test_a_recording_keeps_every_event_and_both_snapshots(tmp_path):
    manifest = record(tmp_path / "a.trace")
    trace = open_trace(tmp_path / "a.trace")
    assert trace.complete
    assert (manifest.status, manifest.ended_by, manifest.lost) == ("complete", "duration", 0)
    assert trace.rows == manifest.probes[0].kept == manifest.probes[0].hits
    assert [shot.name for shot in trace.manifest.snapshots] == ["start", "end"]
    assert len(trace.segments) > 2
    assert Probes.alive == []


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
    broken_after(monkeypatch, "write_segment", 2)
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

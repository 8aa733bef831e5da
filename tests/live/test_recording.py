"""A recording from start to stop, around a command, for a time, or until a signal."""

import json
import re
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from replay import validate
from tests.live.running import (
    TIMEOUT_S,
    WORKLOAD,
    answer,
    fault,
    manifest_of,
    pagetide,
    started,
    wait_for_start,
    wait_until,
)
from tracer import Trace, open_trace
from tracer.format import Op


@pytest.fixture(scope="module")
def recorded(live: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Eight seconds of the workload, in segments of one and a half.

    Frees that bypass the per-CPU lists leave no event, and how many there are depends on what else the
    kernel is at (the ring of an earlier recorder, say, is freed in the background): the bars below
    are for a machine that has nothing else to do, so another recording is made when one met more.
    """
    for attempt in range(3):
        path = tmp_path_factory.mktemp("recorded") / "workload.trace"
        time.sleep(2 * attempt)
        done = pagetide("record", path, "--segment", "1500ms", "--", *WORKLOAD, 8)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("worked\nrecorded ")
        if validate(open_trace(path)).impossible_share <= 0.0005:
            break
    return open_trace(path)


def test_a_workload_is_recorded_whole(recorded: Trace) -> None:
    assert recorded.manifest.status == "complete"
    assert recorded.manifest.ended_by == "command"
    assert recorded.manifest.lost == 0
    assert recorded.complete, recorded.warnings
    assert recorded.rows > 100_000
    assert len(recorded.segments) >= 5
    assert pagetide("info", recorded.path, "--verify").returncode == 0


def test_the_model_agrees_with_the_kernel_at_the_end(recorded: Trace) -> None:
    verdict = answer(pagetide("validate", recorded.path, "--json"))
    fidelity = verdict["fidelity"]
    impossible = fidelity["exit_of_used"] + fidelity["entry_of_free"]
    print(fidelity, "wrong", verdict["snapshots"][0]["frames_wrong_share"])
    assert fidelity["frames_changed"] > 100_000
    assert fidelity["frames_wrong"] <= 0.005 * fidelity["frames_changed"]
    assert impossible <= 0.0005 * fidelity["steps"]
    assert fidelity["lost_events"] == fidelity["unknown_ops"] == fidelity["outside"] == 0


def test_every_hit_is_kept_lost_or_filtered(recorded: Trace) -> None:
    rows = dict(recorded.events.collect().get_column("op").value_counts().iter_rows())
    for probe in recorded.manifest.probes:
        assert probe.hits == probe.kept + probe.lost + probe.filtered, probe
        assert probe.kept == rows.get(probe.op, 0), probe
    assert rows[Op.ZONE_LOCKED] > 0
    assert rows[Op.PCPU_DRAIN] > 0


def test_time_never_goes_back(recorded: Trace) -> None:
    ts_ns = np.concatenate([batch.column("ts_ns").to_numpy() for batch in recorded.batches(["ts_ns"])])
    assert bool((ts_ns[1:] >= ts_ns[:-1]).all())
    assert recorded.manifest.late_events == 0
    first_ns, last_ns = recorded.span_ns
    assert 8e9 < last_ns - first_ns < 600e9


def test_a_trace_is_private(recorded: Trace) -> None:
    assert stat.S_IMODE(recorded.path.stat().st_mode) == 0o700


def test_duration_ends_the_recording_and_the_command(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--duration", "1s", "--json", "--", "sleep", 600)
    manifest = answer(done)["manifest"]
    assert manifest["ended_by"] == "duration"
    start, end = manifest["snapshots"]
    assert 1.0e9 <= end["begin_ns"] - start["end_ns"] < 300e9


def test_a_recording_may_settle_before_its_start_snapshot(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--settle", "2s", "--json", "--", "true")
    manifest = answer(done)["manifest"]
    start, end = manifest["snapshots"]
    # The clock was read before the probes were attached, their events are there from then on.
    assert start["begin_ns"] - manifest["clock"]["monotonic_ns"] >= 2e9
    assert end["begin_ns"] - start["end_ns"] < 2e9
    assert "--settle" in manifest["command_line"]


def test_a_signal_while_it_settles_ends_it_before_the_command_starts(tmp_path: Path) -> None:
    path, touched = tmp_path / "a.trace", tmp_path / "touched"
    with started("record", path, "--settle", "60s", "--", "touch", touched) as recorder:
        while not (path / "manifest.json").is_file():
            assert recorder.poll() is None
        recorder.send_signal(signal.SIGINT)
        _, err = recorder.communicate(timeout=30)
        assert recorder.returncode == 128 + signal.SIGINT, err
    assert open_trace(path).complete
    assert not touched.exists()


def test_json_has_stdout_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    done = pagetide("record", path, "--json", "--", "echo", "said by the command")
    told = answer(done)
    assert told["trace"] == str(path)
    assert told["lost"] == 0
    assert told["manifest"] == manifest_of(path)
    assert told["events"] == open_trace(path).rows
    assert told["size_bytes"] == open_trace(path).size_bytes
    assert "said by the command" in done.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
    ids=["its exit code", "its signal"],
)
def test_a_failing_command_is_passed_on_and_its_trace_kept(tmp_path: Path, script: str, code: int) -> None:
    path = tmp_path / "a.trace"
    done = pagetide("record", path, "--json", "--", sys.executable, "-c", script)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["manifest"]["status"] == "complete"
    assert f"exited with {code}; the trace is kept" in done.stderr
    assert open_trace(path).complete


def test_a_command_that_does_not_exist_records_nothing(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--", "no-such-program")
    assert "no-such-program" in fault(done, 127)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "a.trace"
    with started("record", path, "--", "sleep", 600) as recorder:
        wait_for_start(path)
        recorder.send_signal(number)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
        assert recorder.returncode == 128 + number, err
        # It may come before COMMAND was started, or after.
        assert re.search(f"COMMAND was (not started|ended before it was done): .* by {number.name}", err)
    trace = open_trace(path)
    assert trace.complete, trace.warnings
    assert trace.manifest.ended_by == number.name
    assert trace.manifest.snapshot("end") is not None


@pytest.mark.parametrize("later_s", [0, 0.2])
def test_a_signal_in_the_start_snapshot_ends_it_before_the_command_starts(
    tmp_path: Path, later_s: float
) -> None:
    for attempt in range(5):
        path, touched = tmp_path / f"{attempt}.trace", tmp_path / f"touched-{attempt}"
        with started("record", path, "--", "touch", touched) as recorder:
            wait_until((path / "manifest.json").is_file, recorder)
            time.sleep(later_s)
            recorder.send_signal(signal.SIGINT)
            sent_ns = time.monotonic_ns()
            _, err = recorder.communicate(timeout=TIMEOUT_S)
        if sent_ns < open_trace(path).manifest.snapshots[0].end_ns:
            break  # else this process had to wait, and came too late
    assert recorder.returncode == 128 + signal.SIGINT, err
    assert "COMMAND was not started" in err
    assert open_trace(path).complete
    assert not touched.exists()


def test_a_closed_stderr_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = pagetide(
        "record", tmp_path / "a.trace", "--duration", "100ms", prefix=("sh", "-c", 'exec "$@" 2>&-', "sh")
    )
    assert done.returncode == 0
    assert done.stdout.startswith("recorded ")


def test_an_existing_trace_is_replaced_only_when_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    assert pagetide("record", path, "--", "true").returncode == 0
    before = contents(path)
    assert "exists already" in fault(pagetide("record", path, "--", "true"), 1)
    assert contents(path) == before

    assert pagetide("record", path, "--force", "--", "true").returncode == 0
    assert contents(path) != before
    assert open_trace(path).complete
    assert list(tmp_path.iterdir()) == [path]


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

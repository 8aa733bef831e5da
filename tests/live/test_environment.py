"""What the machine does not allow, and what it loses, is said and never hidden."""

import os
import signal
from pathlib import Path

from tests.live.running import (
    TIMEOUT_S,
    WORKLOAD,
    fault,
    pagetide,
    started,
    wait_until,
)
from tracer import open_trace


def test_two_recorders_at_once_both_complete(tmp_path: Path) -> None:
    one, two = tmp_path / "one.trace", tmp_path / "two.trace"
    with (
        started("record", one, "--duration", "4s") as first,
        started("record", two, "--", *WORKLOAD, 4) as second,
    ):
        for recorder in (first, second):
            _, err = recorder.communicate(timeout=TIMEOUT_S)
            assert recorder.returncode == 0, err
    for path in (one, two):
        assert open_trace(path).complete
        assert open_trace(path).rows > 10_000


def test_a_living_recording_cannot_be_replaced_and_is_not_called_lossy(tmp_path: Path) -> None:
    out = tmp_path / "a.trace"
    index = out / "segments.jsonl"
    with started("record", out, "--segment", "500ms") as first:
        wait_until(lambda: index.is_file() and index.stat().st_size, first)
        second = pagetide("record", out, "--force", "--", "true")
        info = pagetide("info", out)
        first.send_signal(signal.SIGINT)
        assert first.wait(TIMEOUT_S) == 0
    assert "is being recorded" in fault(second, 1)
    assert "still being recorded" in info.stderr
    assert "lost" not in info.stderr
    assert pagetide("validate", out).returncode == 0


def test_a_command_that_leaves_a_daemon_ends_the_recording_but_not_the_daemon(tmp_path: Path) -> None:
    path, told = tmp_path / "a.trace", tmp_path / "pid"
    daemon_of = f"setsid sh -c 'echo $$ >{told}; exec sleep 6000' >/dev/null 2>&1 &"
    script = f"{daemon_of} until [ -s {told} ]; do sleep 0.1; done; exit 3"
    done = pagetide("record", path, "--", "sh", "-c", script)
    daemon = int(told.read_text())
    try:
        assert done.returncode == 3, done.stderr
        assert open_trace(path).complete
        assert open_trace(path).manifest.ended_by == "command"
        assert Path(f"/proc/{daemon}/comm").read_text() == "sleep\n"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_command_that_ignores_the_end_is_killed(tmp_path: Path) -> None:
    path, told = tmp_path / "a.trace", tmp_path / "pid"
    script = f"trap '' TERM INT; echo $$ >{told}; while :; do sleep 1; done"
    done = pagetide("record", path, "--duration", "200ms", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert open_trace(path).complete
    assert not Path(f"/proc/{told.read_text().strip()}").exists()

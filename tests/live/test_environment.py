"""What the machine does not allow, and what it loses, is said and never hidden."""

import signal
from pathlib import Path

from tests.live.running import (
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
            _, err = recorder.communicate(timeout=60)
            assert recorder.returncode == 0, err
    for path in (one, two):
        assert open_trace(path).complete
        assert open_trace(path).rows > 10_000


def test_a_living_recording_cannot_be_replaced_and_is_not_called_lossy(tmp_path: Path) -> None:
    out = tmp_path / "a.trace"
    index = out / "segments.jsonl"
    with started("record", out, "--segment", "500ms") as first:
        wait_until(lambda: index.is_file() and index.stat().st_size)
        second = pagetide("record", out, "--force", "--", "true")
        info = pagetide("info", out)
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 0
    assert "is being recorded" in fault(second, 1)
    assert "still being recorded" in info.stderr
    assert "lost" not in info.stderr
    assert pagetide("validate", out).returncode == 0

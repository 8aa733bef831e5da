"""The one line that `record` shows while it records."""

import pytest

from tracer.recording.status import LOOKS, Progress, Watch, status_line


def test_the_line_tells_everything_with_its_unit():
    progress = Progress(1_234_567, 0, 12_900_000, 0.034, "recording", 75.2, 123_456, 0.0123)
    assert status_line(progress) == (
        "recording 1:15: 1.2M events, 123k/s, lost 0, ring 3%, 12.3MiB, CPU 1.2%"
    )


@pytest.mark.parametrize("phase", ["recording", "settling", "start snapshot", "end snapshot", "resync"])
def test_the_longest_line_leaves_a_column_of_80(phase):
    progress = Progress(999_400_000_000, 999_400, 1000 << 30, 1.0, phase, 359_999, 999_400, 1.0)
    assert len(status_line(progress)) <= 79


def test_a_share_of_many_is_told_without_a_decimal():
    assert status_line(Progress(0, 0, 0, 0, "settling", cpu_share=0.5)).endswith("CPU 50%")


def turn_back(monkeypatch, clock) -> None:
    """Both clocks are those of the test."""
    monkeypatch.setattr("time.monotonic", lambda: clock["monotonic"])
    monkeypatch.setattr("time.process_time", lambda: clock["process_time"])


def test_shares_and_rates_are_of_the_time_that_passed(monkeypatch):
    clock = {"monotonic": 100.0, "process_time": 7.0}
    turn_back(monkeypatch, clock)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    watch = Watch()
    clock |= {"monotonic": 102.0, "process_time": 7.4}
    first = watch.look(1010, 3, 5, 0.5, "recording")
    assert (first.rate, first.elapsed_s) == (505, 2)
    assert first.cpu_share == pytest.approx(0.05)
    assert (first.events, first.lost, first.size_bytes, first.ring_fill) == (1010, 3, 5, 0.5)


def test_what_was_long_ago_no_longer_counts(monkeypatch):
    clock = {"monotonic": 0.0, "process_time": 0.0}
    turn_back(monkeypatch, clock)
    watch = Watch()
    clock |= {"monotonic": 0.5, "process_time": 0.5}
    busy = watch.look(1000, 0, 0, 0.0, "start snapshot")
    for _ in range(LOOKS):
        clock["monotonic"] += 0.5
        idle = watch.look(1000, 0, 0, 0.0, "recording")
    assert busy.rate > 0
    assert busy.cpu_share > 0
    assert (idle.rate, idle.cpu_share) == (0, 0)

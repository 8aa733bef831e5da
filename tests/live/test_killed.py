"""A recorder killed at any instant leaves a trace that opens, and that says what is missing."""

import os
import random
import time
from pathlib import Path

import polars as pl
import pytest

from tests.live.running import WORKLOAD, answer, fault, pagetide, started, wait_for_start, wait_until
from tracer import Op, Trace, open_trace

KILLS = 20 if os.environ.get("PAGETIDE_SOAK") else 3
MISSING = "the last unclosed one and the end snapshot are missing"


def record_and_kill(path: Path, instant_s: float) -> None:
    """Kill a recording of the workload this long after its start snapshot."""
    with started("record", path, "--segment", "300ms", "--", *WORKLOAD, 60) as recorder:
        wait_for_start(path)
        time.sleep(instant_s)
        assert recorder.poll() is None
        recorder.kill()
        recorder.wait()


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_recording_is_a_trace_up_to_there(tmp_path: Path, kill: int) -> None:
    path = tmp_path / "killed.trace"
    record_and_kill(path, random.Random(kill).uniform(0, 3))

    info = pagetide("info", path, "--verify")
    assert info.returncode == 3, info.stderr
    assert MISSING in info.stderr
    told = pagetide("replay", path, "--policy", "upstream", "--policy", "oracle", "--json")
    assert MISSING in told.stderr
    replayed = answer(told, 3)
    assert replayed["trace"]["status"] == "recovered"
    assert len(replayed["results"]) == 2
    fidelity = replayed["fidelity"]
    # Far fewer than a segment lost or told twice would make; a little is what tracepoints do not show.
    assert fidelity["exit_of_used"] + fidelity["entry_of_free"] <= 0.005 * fidelity["steps"] + 50
    assert "has no end snapshot" in fault(pagetide("validate", path), 1)
    assert_correct_prefix(open_trace(path))


def test_a_recording_killed_in_its_start_snapshot_opens_but_cannot_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "early.trace"
    with started("record", path) as recorder:
        wait_until((path / "manifest.json").is_file)
        recorder.kill()
        recorder.wait()

    info = pagetide("info", path)
    assert info.returncode == 3, info.stderr
    assert MISSING in info.stderr
    assert "has no start snapshot" in fault(pagetide("replay", path), 1)
    assert "has no end snapshot" in fault(pagetide("validate", path), 1)


def assert_correct_prefix(trace: Trace) -> None:
    assert set(trace.events.collect()["op"]) <= set(Op)
    previous_ns = 0
    for segment, columns in zip(trace.segments, segment_columns(trace), strict=True):
        ts_ns = columns["ts_ns"]
        assert len(ts_ns) == segment.rows
        assert (ts_ns[0], ts_ns[-1]) == (segment.first_ts_ns, segment.last_ts_ns)
        assert previous_ns <= ts_ns[0]
        assert ts_ns.is_sorted()
        previous_ns = ts_ns[-1]
    kept = sum(probe.kept for probe in trace.manifest.probes)
    assert trace.rows <= kept


def segment_columns(trace: Trace) -> list[pl.DataFrame]:
    return [pl.read_parquet(trace.path / segment.file) for segment in trace.segments]

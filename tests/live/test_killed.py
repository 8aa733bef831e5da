"""A recorder killed at any instant leaves a trace that opens, and that says what is missing."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from tests.live import perf
from tests.live.running import (
    TIMEOUT_S,
    WORKLOAD,
    answer,
    assert_spans,
    bounded_started,
    fault,
    manifest_of,
    packets,
    pagetide,
    started,
    wait_for_start,
    wait_until,
)
from tracer import Op, Trace, open_trace
from tracer.recording.merger import rank

KILLS = 20 if os.environ.get("PAGETIDE_SOAK") else 2
MISSING = "the last unclosed one and the end snapshot are missing"
SECOND_NS = 1_000_000_000
ORDER = 7
MARGIN_NS = 1_000_000
TRIES = 5  # to hit an instant


def record_and_kill(path: Path, instant_s: float) -> None:
    """Kill a recording of the workload this long after its start snapshot."""
    with started("record", path, "--segment", "300ms", "--", *WORKLOAD, 600) as recorder:
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
    # Far fewer than a segment lost or told twice would make, tens of thousands; a little is what
    # tracepoints do not show: up to eight refills of 63 pages, however short the recording.
    assert fidelity["exit_of_used"] + fidelity["entry_of_free"] <= 0.005 * fidelity["steps"] + 8 * 63
    assert "has no end snapshot" in fault(pagetide("validate", path), 1)
    assert_consistent(open_trace(path))


@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("keep_ns", [None, 2 * SECOND_NS], ids=["all kept", "old ones forgotten"])
def test_killed_while_merging_it_has_what_perf_has_up_to_there(
    tmp_path: Path, keep_ns: int | None, kill: int
) -> None:
    """Segments of 20 ms: one is nearly always being written, merged or forgotten."""
    path = tmp_path / "killed.trace"
    settings = {"layer": "both", "segment_ns": SECOND_NS // 50, "keep_ns": keep_ns}
    with perf_beside(tmp_path / "perf.data") as witness:
        command = packets(ORDER, 31, 1_000_000)
        with bounded_started(path, settings, *command) as recorder:
            wait_for_start(path)
            if keep_ns:
                wait_until(lambda: manifest_of(path)["discarded_events"], recorder)
            else:
                wait_until(lambda: any((path / "events").glob("*-*.parquet")), recorder)
            time.sleep(random.Random(kill).uniform(1, 2))
            assert recorder.poll() is None
            recorder.kill()
            recorder.wait()

    trace = open_trace(path)
    assert trace.manifest.status == "recovered"
    assert pagetide("info", path, "--verify").returncode == 3
    assert_consistent(trace)
    print([rank(segment) for segment in trace.segments], trace.manifest.discarded_events, leftovers(trace))
    if keep_ns:
        assert trace.manifest.discarded_events > 0
    else:
        assert max(rank(segment) for segment in trace.segments) >= 8
    assert_part_of(trace, perf.recorded(witness))


@contextmanager
def perf_beside(data: Path) -> Iterator[Path]:
    """Perf records the same allocations meanwhile, for longer than the recorder lives."""
    process = subprocess.Popen(perf.recording(ORDER, data), stderr=subprocess.DEVNULL)
    wait_until(lambda: data.exists() and data.stat().st_size)
    try:
        yield data
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)


def assert_part_of(trace: Trace, seen: list[perf.Alloc]) -> None:
    """From the trace's first segment to its last one, not one of perf's is missing, none is new."""
    wanted = (pl.col("op") == Op.PAGE_ALLOC) & (pl.col("order") == ORDER)
    ours = trace.events.filter(wanted).collect()
    first_ns, last_ns = trace.segments[0].first_ts_ns, trace.segments[-1].last_ts_ns
    inner = [a.pfn for a in seen if first_ns + MARGIN_NS <= a.ts_ns <= last_ns - MARGIN_NS]
    outer = [a.pfn for a in seen if first_ns - MARGIN_NS <= a.ts_ns <= last_ns + MARGIN_NS]
    pfns = ours["pfn"].to_list()
    assert len(inner) > 100
    assert len(inner) <= len(pfns) <= len(outer)
    assert any(outer[at : at + len(pfns)] == pfns for at in range(len(outer) - len(pfns) + 1))


def leftovers(trace: Trace) -> set[str]:
    """Files that belong to no segment and no snapshot of the trace."""
    known = {part.file for segment in trace.segments for part in segment.parts}
    known |= {f"frames/{shot.name}.parquet" for shot in trace.manifest.snapshots}
    there = {str(file.relative_to(trace.path)) for file in trace.path.glob("*/*")}
    return there - known


def test_a_recording_killed_in_its_start_snapshot_opens_but_cannot_be_replayed(tmp_path: Path) -> None:
    for attempt in range(TRIES):
        path = tmp_path / f"early-{attempt}.trace"
        with started("record", path) as recorder:
            wait_until((path / "manifest.json").is_file, recorder)
            recorder.kill()
            recorder.wait()
        if not manifest_of(path)["snapshots"]:  # else this process had to wait, and came too late
            break

    info = pagetide("info", path)
    assert info.returncode == 3, info.stderr
    assert MISSING in info.stderr
    assert "has no start snapshot" in fault(pagetide("replay", path), 1)
    assert "has no end snapshot" in fault(pagetide("validate", path), 1)


def test_the_command_of_a_killed_recorder_lives_on(tmp_path: Path) -> None:
    path, told = tmp_path / "a.trace", tmp_path / "told"
    begun, killed = tmp_path / "begun", tmp_path / "killed"
    script = f"touch {begun}; until [ -e {killed} ]; do sleep 0.1; done; echo $$ >{told}"
    with started("record", path, "--", "sh", "-c", script) as recorder:
        wait_until(begun.exists, recorder)
        recorder.kill()
        recorder.wait()
        killed.touch()
        wait_until(lambda: told.exists() and told.read_text())


def assert_consistent(trace: Trace) -> None:
    """Each segment is what the index says, and they follow each other."""
    assert set(trace.events.collect()["op"]) <= set(Op)
    previous_ns = 0
    for segment in trace.segments:
        ts_ns = pl.read_parquet(trace.path / segment.file)["ts_ns"]
        assert len(ts_ns) == segment.rows
        if not segment.rows:
            continue  # only what was seen beside the events
        assert_spans(segment, ts_ns)
        assert previous_ns <= ts_ns[0]
        assert ts_ns.is_sorted()
        previous_ns = ts_ns[-1]
    kept = sum(probe.kept for probe in trace.manifest.probes)
    assert trace.rows - left_behind(trace) == kept - trace.manifest.discarded_events


def left_behind(trace: Trace) -> int:
    """Rows of segments that were to be forgotten when it was killed: the manifest tells that first."""
    start_ns = trace.manifest.snapshots[0].begin_ns
    old = [segment.rows for segment in trace.segments if segment.last_ts_ns < start_ns]
    return sum(old) if trace.manifest.discarded_events else 0

"""The lab's short workload: what the hypervisor saw is whole, and fits what it got back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.guest.lab import Run, perform, print_passes
from tests.guest.machine import REPO
from tests.guest.test_machine import is_running, wait_for_child
from tests.guest.truth import SCHEMA, passes_of
from tracer import open_trace

REPORTING_BATCH, REPORTING_ORDER = 32, 9
RUNGS = ("tracepoints", "fentry")


@pytest.fixture(scope="module")
def run(guest: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run("short", RUNGS, tmp_path_factory.mktemp("lab") / "short")
    perform(run)
    print_passes(run)
    return run


def rows(run: Run, column: str) -> pl.DataFrame:
    return pl.read_parquet(run.truth).filter(pl.col(column).is_not_null())


def test_the_truth_has_reports_and_measurements_in_order_of_time(run: Run) -> None:
    assert pq.read_schema(run.truth).equals(SCHEMA)
    assert pl.read_parquet(run.truth)["ts_ns"].is_sorted()
    assert len(rows(run, "pfn")) > 100
    assert len(rows(run, "resident_bytes")) > 1000
    assert rows(run, "pfn")["resident_bytes"].is_null().all()


def test_each_range_is_a_block_of_at_least_a_pageblock(run: Run) -> None:
    ranges = rows(run, "pfn")
    assert set(ranges["pages"]) <= {1 << REPORTING_ORDER, 1 << REPORTING_ORDER + 1}
    assert (ranges["pfn"] % ranges["pages"] == 0).all()


def test_a_batch_is_not_larger_than_the_queue_takes(run: Run) -> None:
    ranges = rows(run, "pfn")
    assert ranges["batch"].is_sorted()
    assert ranges.group_by("batch").len()["len"].is_between(1, REPORTING_BATCH).all()


def test_what_was_reported_left_the_hosts_memory(run: Run) -> None:
    """Of memory that was in use: most of what is free after boot never was."""
    shots = open_trace(run.out / "tracepoints.trace").manifest.snapshots
    touched = [one for one in passes_of(run.truth) if one.ts_ns > shots[0].end_ns and one.drop_bytes]
    told = [(one.size_bytes, one.drop_bytes) for one in touched]
    assert sum(size for size, _ in told) > 400 << 20
    assert all(drop == pytest.approx(size, rel=0.01) for size, drop in told), told


def test_the_clocks_are_known(run: Run) -> None:
    metadata = {
        key.decode(): value.decode() for key, value in (pq.read_schema(run.truth).metadata or {}).items()
    }
    assert 0 < int(metadata["clock_error_ns"]) < 1_000_000
    assert metadata["failed_discards"] == "0"
    assert abs(int(metadata["wall_step_ns"])) < 1_000_000
    assert metadata["source"].startswith("QEMU ")


@pytest.mark.parametrize("rung", RUNGS)
def test_all_was_reported_when_a_recording_began_and_when_it_ended(run: Run, rung: str) -> None:
    trace, times = open_trace(run.out / f"{rung}.trace"), rows(run, "pfn")["ts_ns"]
    start, end = trace.manifest.snapshots[0], trace.manifest.snapshots[-1]
    assert trace.manifest.rung == rung
    assert trace.manifest.lost == 0
    for shot in (start, end):
        assert not times.is_between(shot.begin_ns - 2_000_000_000, shot.end_ns + 1_000_000_000).any(), (
            shot.name
        )
    assert times.is_between(start.end_ns, end.begin_ns).any()


def test_nothing_but_traces_and_truth_is_left(run: Run) -> None:
    traces = {f"{rung}.trace" for rung in RUNGS}
    assert {path.name for path in run.out.iterdir()} == {*traces, "truth.parquet"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_lab_leaves_nothing_running_and_no_temporary_files(
    guest: None, tmp_path: Path, number: signal.Signals
) -> None:
    argv = [sys.executable, "-m", "tests.guest.lab", "--workload", "short", "--out", str(tmp_path / "out")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, cwd=REPO, env=env, stderr=subprocess.DEVNULL) as process:
        pid = wait_for_child(process.pid)
        process.send_signal(number)
        assert process.wait(30) != 0
    assert not is_running(pid)
    assert not list(tmp_path.glob("pagetide-guest-*"))

"""What is lost is counted and located, and a snapshot taken afterwards makes replay right again."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from replay import validate
from tests.live.running import (
    MUCH,
    TIMEOUT_S,
    WORKLOAD,
    answer,
    manifest_of,
    pagetide,
    started,
    stored_rows,
    wait_for_start,
    wait_until,
)
from tracer import Trace, open_trace

# Of the recorder, which must catch up first.
ROUND_NS = 1_000_000_000


@dataclass(frozen=True)
class Stopped:
    """A trace whose recorder stood still from `begin_ns` to `end_ns`."""

    trace: Trace
    begin_ns: int
    end_ns: int
    exit_code: int


@pytest.fixture(scope="module")
def stopped(live: None, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """The workload, while the recorder stands still for some seconds behind a ring that overflows.

    Where others want the processors, that ring may overflow at other times, too: then another one is made.
    """
    for attempt in range(3):
        time.sleep(2 * attempt)
        found = record_and_stop(tmp_path_factory.mktemp("stopped") / "a.trace")
        if all(found.begin_ns - ROUND_NS <= a.begin_ns <= found.end_ns for a in found.trace.losses):
            break
    return found


def record_and_stop(path: Path) -> Stopped:
    # The workload changes what is free, the steady one makes sure that enough comes to overflow the ring.
    enough = path.with_suffix(".enough")
    flags = ["--ring", "4MiB", "--segment", "1s"]
    with started("record", path, *flags, "--", *WORKLOAD, 5, enough) as recorder:
        wait_for_start(path)
        wait_until(lambda: stored_rows(path) > 200_000, recorder)
        begin_ns = time.monotonic_ns()
        recorder.send_signal(signal.SIGSTOP)
        subprocess.run([*MUCH, "300"], check=True)
        recorder.send_signal(signal.SIGCONT)
        end_ns = time.monotonic_ns()
        wait_until(lambda: len(manifest_of(path)["snapshots"]) > 1, recorder)
        healed = stored_rows(path)
        wait_until(lambda: stored_rows(path) > healed + 500_000, recorder)
        enough.touch()
        recorder.communicate(timeout=TIMEOUT_S)
    return Stopped(open_trace(path), begin_ns, end_ns, recorder.returncode)


def test_losses_lie_where_the_recorder_stood_still(stopped: Stopped) -> None:
    trace = stopped.trace
    print([((a.begin_ns - stopped.begin_ns) / 1e9, (a.end_ns - stopped.end_ns) / 1e9) for a in trace.losses])
    assert stopped.exit_code == 3
    assert trace.manifest.status == "complete"
    assert sum(loss.events for loss in trace.losses) == trace.manifest.lost > 1000
    for loss in trace.losses:
        assert stopped.begin_ns - ROUND_NS <= loss.begin_ns < loss.end_ns <= stopped.end_ns + ROUND_NS


def test_rows_of_the_time_before_the_loss_are_there(stopped: Stopped) -> None:
    loss = stopped.trace.losses[0]
    ts_ns = stopped.trace.events.select("ts_ns").collect()["ts_ns"]
    assert int(((ts_ns > stopped.begin_ns) & (ts_ns < loss.begin_ns)).sum()) > 20_000  # a ring of them
    assert int((ts_ns > loss.end_ns).sum()) > 50_000
    assert ts_ns.is_sorted()


def test_a_resync_follows_the_loss_and_heals_the_trace(stopped: Stopped) -> None:
    trace = stopped.trace
    assert len(trace.resyncs) == 1
    last = trace.losses[-1]
    assert 1e9 <= trace.resyncs[0].begin_ns - last.end_ns <= 10e9  # at once, but the machine is busy

    verdict = validate(trace)
    assert [each.snapshot.name for each in verdict.comparisons] == ["resync-1", "end"]
    before, after = verdict.comparisons
    print(before.counts, after.counts)
    assert before.wrong_share > 0.02
    assert after.counts["frames_changed"] > 100_000
    # A trace that is not healed has as much wrong as before. Less is what this kernel never shows: whole
    # refills, and single pages that softirqs freed past the per-CPU lists at the very end.
    assert after.wrong_share <= 0.01
    assert after.impossible_share <= 0.005
    assert any("lost between start and resync-1" in line for line in verdict.warnings)


def test_replay_says_what_the_resync_corrected(stopped: Stopped) -> None:
    told = answer(pagetide("replay", stopped.trace.path, "--policy", "upstream", "--json"), 3)
    assert told["fidelity"]["frames_corrected"] > 1000
    assert told["fidelity"]["lost_events"] == stopped.trace.manifest.lost


def test_a_ring_too_small_is_a_lossy_recording(tmp_path: Path) -> None:
    path = tmp_path / "lossy.trace"
    done = pagetide("record", path, "--ring", "4KiB", "--json", "--", *WORKLOAD, 2)
    lost = answer(done, 3)["lost"]
    trace = open_trace(path)
    assert lost == trace.manifest.lost == sum(loss.events for loss in trace.losses) > 0
    for probe in manifest_of(path)["probes"]:
        assert probe["hits"] == probe["kept"] + probe["lost"] + probe["filtered"]
    assert trace.samples["lost_events"].to_pylist()[-1] == lost
    assert sum_of_last(trace, "ring_full") == lost

    info = pagetide("info", path)
    assert info.returncode == 3
    assert f"{lost} events were lost" in info.stderr
    replayed = pagetide("replay", path, "--json")
    assert f"{lost} events were lost" in replayed.stderr
    told = answer(replayed, 3)
    assert told["trace"]["lost_events"] == told["fidelity"]["lost_events"] == lost
    assert len(told["results"]) >= 3
    assert pagetide("replay", path, "--allow-loss").returncode == 0


def sum_of_last(trace: Trace, column: str) -> int:
    """Of the counters, the last of each probe and CPU, added up."""
    last: dict[tuple[int, int], int] = {}
    for row in trace.counters.to_pylist():
        last[row["op"], row["cpu"]] = row[column]
    return sum(last.values())


def test_loss_can_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "lossy.trace"
    done = pagetide("record", path, "--ring", "4KiB", "--allow-loss", "--", *WORKLOAD, 1)
    assert done.returncode == 0, done.stderr
    assert open_trace(path).manifest.lost > 0


@contextmanager
def busy_processors(loops: int) -> Iterator[None]:
    """Loops that do nothing but take CPU time at ordinary priority."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.parametrize("layer", ["buddy", "both"])
def test_nothing_is_lost_when_others_want_all_processors(tmp_path: Path, layer: str) -> None:
    path = tmp_path / "a.trace"
    with busy_processors(4):
        told = answer(pagetide("record", path, "--layer", layer, "--json", "--", *WORKLOAD, 4))
    print(told["manifest"]["probes"])
    assert told["lost"] == 0
    assert told["events"] > 50_000

"""A recording that may run for ever stays within its bounds, and what it keeps is a whole trace."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from replay import validate
from tests.live.running import (
    TIMEOUT_S,
    WORKLOAD,
    answer,
    assert_spans,
    bounded_started,
    manifest_of,
    pagetide,
    wait_for_start,
    wait_until,
)
from tracer import Trace, open_trace
from tracer.recording.merger import rank

SECOND_NS = 1_000_000_000
KEEP_NS = 3 * SECOND_NS


@pytest.fixture(scope="module")
def kept(live: None, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Twelve seconds of the workload, of which the last three are kept, in segments of 40 ms.

    On a busy machine a snapshot alone takes seconds, and nothing may be old yet: then it is recorded longer.
    """
    path = tmp_path_factory.mktemp("kept") / "a.trace"
    settings = {"keep_ns": KEEP_NS, "segment_ns": SECOND_NS // 25}
    recorded_until(path, settings, 12, lambda: manifest_of(path)["discarded_events"])
    return open_trace(path)


def recorded_until(
    path: Path, settings: dict[str, Any], seconds: int, enough: Callable[[], object]
) -> dict[str, Any]:
    """Record the workload for so long and until there is enough; returns what `bounded` says."""
    file = path.with_suffix(".enough")
    with bounded_started(path, settings, *WORKLOAD, seconds, file) as recorder:
        wait_for_start(path)
        wait_until(enough, recorder)
        file.touch()
        out, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 0, err
    told: dict[str, Any] = json.loads(out)
    return told


def files(trace: Trace, kind: str) -> set[str]:
    return {f"{kind}/{file.name}" for file in (trace.path / kind).iterdir()}


def test_the_oldest_snapshot_kept_is_the_start(kept: Trace) -> None:
    shots = kept.manifest.snapshots
    assert kept.complete, kept.warnings
    assert shots[0].name.startswith("resync-")
    assert shots[-1].name == "end"
    assert kept.start == shots[0]
    # A quarter of what is kept is the time between snapshots; none older than needed is left.
    assert shots[-1].end_ns - shots[0].end_ns >= KEEP_NS - SECOND_NS // 10
    # (what became old while it ended, and waited for a snapshot being taken or for a busy machine, is still
    # there: a fraction of what was recorded).
    longest_ns = max(shot.end_ns - shot.begin_ns for shot in shots)
    assert shots[-1].begin_ns - shots[1].end_ns <= KEEP_NS + 3 * SECOND_NS + longest_ns
    assert files(kept, "frames") == {f"frames/{shot.name}.parquet" for shot in shots}


def test_old_segments_are_gone_and_counted(kept: Trace) -> None:
    stored = sum(probe.kept for probe in kept.manifest.probes)
    assert kept.rows == stored - kept.manifest.discarded_events
    assert 0 < kept.manifest.discarded_events < stored
    assert kept.segments[0].last_ts_ns >= kept.manifest.snapshots[0].begin_ns
    in_index = {part.file for segment in kept.segments for part in segment.parts}
    assert files(kept, "events") | files(kept, "samples") | files(kept, "counters") == in_index


def test_what_is_kept_replays(kept: Trace) -> None:
    answer(pagetide("info", kept.path, "--verify", "--json"))
    told = answer(pagetide("replay", kept.path, "--policy", "upstream", "--json"))
    assert told["fidelity"]["steps"] > 10_000
    verdict = validate(kept)
    print([(each.snapshot.name, each.counts, each.wrong_share) for each in verdict.comparisons])
    assert len(verdict.comparisons) == len(kept.manifest.snapshots) - 1
    # Of all intervals together: in the shortest, what single pages' frees do is most of what happens.
    wrong, changed = (
        sum(each.counts[name] for each in verdict.comparisons) for name in ("frames_wrong", "frames_changed")
    )
    assert changed > 100_000
    assert wrong <= 0.01 * changed


def test_max_size_ends_a_recording_below_it(tmp_path: Path) -> None:
    path, most = tmp_path / "a.trace", 2 << 20
    flags = ["--max-size", "2MiB", "--segment", "200ms", "--json"]
    told = answer(pagetide("record", path, *flags, "--", *WORKLOAD, 600))
    trace = open_trace(path)
    print(told["size_bytes"] / most)
    assert trace.complete, trace.warnings
    assert told["manifest"]["ended_by"] == trace.manifest.ended_by == "max-size"
    assert most // 4 <= trace.size_bytes == told["size_bytes"] <= most
    assert trace.manifest.snapshot("end") is not None


@pytest.fixture(scope="module")
def told_and_resynced(live: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Trace]:
    """Five seconds of the workload with a snapshot each half second, in segments of 40 ms: until there are
    some of the ones, and some of the others are merged.
    """
    path = tmp_path_factory.mktemp("resynced") / "a.trace"

    def enough() -> bool:
        return len(manifest_of(path)["snapshots"]) >= 4 and any((path / "events").glob("*-*.parquet"))

    told = recorded_until(path, {"resync_ns": SECOND_NS // 2, "segment_ns": SECOND_NS // 25}, 5, enough)
    return told, open_trace(path)


@pytest.fixture(scope="module")
def resynced(told_and_resynced: tuple[dict[str, Any], Trace]) -> Trace:
    return told_and_resynced[1]


def test_resync_takes_snapshots_on_the_way(resynced: Trace) -> None:
    assert resynced.complete, resynced.warnings
    names = [shot.name for shot in resynced.manifest.snapshots]
    assert names == ["start", *(f"resync-{n}" for n in range(1, len(names) - 1)), "end"]
    assert len(names) >= 4
    told = answer(pagetide("validate", resynced.path, "--json"))
    assert [shot["name"] for shot in told["snapshots"]] == names[1:]


def test_many_short_segments_are_merged_in_order(resynced: Trace) -> None:
    ranks = [rank(segment) for segment in resynced.segments]
    print(ranks)
    assert max(ranks) >= 8
    assert answer(pagetide("info", resynced.path, "--verify", "--json"))
    assert all(
        a.last_ts_ns <= b.first_ts_ns for a, b in zip(resynced.segments, resynced.segments[1:], strict=False)
    )
    ts_ns = resynced.events.select("ts_ns").collect()["ts_ns"]
    assert ts_ns.is_sorted()
    assert len(ts_ns) == resynced.rows
    for segment in resynced.segments:
        column = pl.read_parquet(resynced.path / segment.file, columns=["ts_ns"])["ts_ns"]
        assert len(column) == segment.rows
        if segment.rows:
            assert_spans(segment, column)


def test_no_sample_is_lost_in_all_merging(told_and_resynced: tuple[dict[str, Any], Trace]) -> None:
    told, resynced = told_and_resynced
    samples = pl.from_arrow(resynced.samples)
    assert isinstance(samples, pl.DataFrame)
    zones = resynced.manifest.zones
    seconds = samples.filter(pl.col("zone") == len(zones) - 1)["read_begin_ns"]
    assert len(seconds) == told["samples"] >= 4
    assert seconds.is_sorted()

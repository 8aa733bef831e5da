"""A trace tiled in time: each tile is as the source, and what lies between them changes nothing."""

import shutil
from pathlib import Path

import pytest

import replay
from benchmarks.harness import TRACE
from benchmarks.questions import Traces
from benchmarks.tiling import Tile, count_of, tiled
from replay.slicing import slice_trace
from tests.pure.small_traces import edit_manifest
from tracer import Fault, Trace, open_trace

POLICIES = ["oracle", "upstream:delay=100ms"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Five seconds of the shipped trace, in which memory becomes free and is taken again."""
    out = tmp_path_factory.mktemp("source") / "part.trace"
    return slice_trace(open_trace(TRACE), out, 30 * 10**9, 35 * 10**9)


@pytest.fixture(scope="module")
def tile(source: Trace) -> Tile:
    return Tile.of(source)


@pytest.fixture(scope="module")
def traces(tile: Tile, tmp_path_factory: pytest.TempPathFactory) -> list[Trace]:
    """One to four tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    return [tiled(tile, folder / f"{count}.trace", count) for count in range(1, 5)]


def test_each_trace_is_whole_and_has_that_many_tiles(tile: Tile, traces: list[Trace]) -> None:
    for count, trace in enumerate(traces, 1):
        trace.verify()
        assert trace.complete
        assert trace.rows == count * tile.rows - tile.bridge.num_rows


def test_no_step_is_impossible_because_of_tiling(source: Trace, traces: list[Trace]) -> None:
    counted = ("exit_of_used", "entry_of_free", "direct_frees", "outside", "clock_back")
    once = replay.replay(source, ["never"]).fidelity
    for count, trace in enumerate(traces, 1):
        told = replay.replay(trace, ["never"]).fidelity
        assert {name: told[name] for name in counted} == {name: (once[name] or 0) * count for name in counted}


def test_free_counts_at_the_end_are_those_of_the_model(traces: list[Trace]) -> None:
    for trace in traces:
        fidelity = replay.validate(trace).fidelity
        assert fidelity["orders_checked"]
        assert fidelity["orders_wrong"] == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_each_tile_after_the_first_comes_to_the_same(traces: list[Trace], policy: str) -> None:
    done = [replay.replay(trace, [policy]).results[0].summary for trace in traces]
    assert done[0]["reports"]["bytes"] > 0
    assert len({summary["reclaimed"]["end_bytes"] for summary in done[1:]}) == 1
    for key, name in (("refaults", "frames"), ("reports", "bytes"), ("missed", "units")):
        second, third, fourth = (summary[key][name] for summary in done[1:])
        assert fourth - third == third - second, name
    second, third, fourth = (summary["reclaimed"]["byte_seconds"] for summary in done[1:])
    assert fourth - third == pytest.approx(third - second, rel=1e-9)


def test_numbers_of_events_have_units() -> None:
    assert [count_of(text) for text in ("7", "20K", "1.5M", "1G")] == [7, 20_000, 1_500_000, 10**9]


def test_bridge_is_small_part_of_a_long_tile() -> None:
    assert Tile.of(open_trace(TRACE)).bridge_share < 0.02


def test_traces_of_a_benchmark_are_made_once_and_again_where_one_was_not_finished(
    source: Trace, tmp_path: Path
) -> None:
    traces = Traces(source.path, tmp_path)
    made = traces.of(200_000)
    first = made.segments[0].checksum
    begun_ns = (made.path / "manifest.json").stat().st_mtime_ns
    assert (traces.of(200_000).path / "manifest.json").stat().st_mtime_ns == begun_ns
    edit_manifest(made.path, lambda data: data.update(status="recording"))
    again = traces.of(200_000)
    assert again.complete
    assert again.segments[0].checksum == first


def test_trace_without_a_start_cannot_be_tiled(source: Trace, tmp_path: Path) -> None:
    path = tmp_path / "no-start.trace"
    shutil.copytree(source.path, path)
    edit_manifest(path, lambda data: data.update(snapshots=data["snapshots"][1:]))
    with pytest.raises(Fault, match="cannot be tiled"):
        Tile.of(open_trace(path))

"""A known number of allocations is recorded as exactly that number, and perf beside it agrees."""

from pathlib import Path

import polars as pl
import pytest

from tests.live import perf
from tests.live.running import answer, packets, pagetide
from tracer import Op, Trace, open_trace
from tracer.format import Probe

ORDER = 7  # hardly anything else asks for such blocks
BLOCKS = 211  # a number that does not come by chance
MARGIN_NS = 1_000_000
GFP_ZERO, GFP_COMP = 0x100, 0x40000


def of_order(trace: Trace, op: Op) -> pl.DataFrame:
    return trace.events.filter((pl.col("op") == op) & (pl.col("order") == ORDER)).collect()


def probe_of(trace: Trace, op: Op) -> Probe:
    return next(probe for probe in trace.manifest.probes if probe.op == op)


@pytest.mark.parametrize("layer", ["frame", "both"])
def test_perf_and_the_trace_see_the_same_known_allocations(tmp_path: Path, layer: str) -> None:
    path, counts, data = tmp_path / "a.trace", tmp_path / "counts", tmp_path / "perf.data"
    witnessed = [*perf.recording(ORDER, data), *perf.counting(ORDER, counts), *packets(ORDER, BLOCKS)]
    done = pagetide("record", path, "--layer", layer, "--with-pid", "--with-gfp", "--", *witnessed)
    assert done.returncode == 0, done.stderr

    trace, pid = open_trace(path), int(done.stdout.split()[0])
    allocated, freed = of_order(trace, Op.PAGE_ALLOC), of_order(trace, Op.PAGE_FREE)
    ours = allocated.filter(pl.col("pid") == pid)
    assert len(ours) == BLOCKS
    assert all(gfp & GFP_ZERO and gfp & GFP_COMP for gfp in ours["gfp"])
    assert sorted(freed.filter(pl.col("pid") == pid)["pfn"]) == sorted(ours["pfn"])

    # Whoever else asked for such a block meanwhile is seen by both.
    seen = perf.recorded(data)
    between = pl.col("ts_ns").is_between(seen[0].ts_ns - MARGIN_NS, seen[-1].ts_ns + MARGIN_NS)
    assert allocated.filter(between)["pfn"].to_list() == [alloc.pfn for alloc in seen]
    assert perf.counted(counts) == BLOCKS + len(seen) - len(ours)
    if layer == "both":
        left = pl.concat([of_order(trace, Op.ZONE_LOCKED), of_order(trace, Op.EXTFRAG)])
        assert set(left["pfn"]) >= set(ours["pfn"])


def test_what_a_ring_too_small_keeps_and_loses_is_the_known_number(tmp_path: Path) -> None:
    path, counts, times = tmp_path / "a.trace", tmp_path / "counts", 5
    flags = ["--layer", "frame", "--orders", f"{ORDER}-{ORDER}", "--ring", "4KiB", "--json"]
    around = tuple(perf.counting(ORDER, counts))
    command = packets(ORDER, BLOCKS, times)
    told = answer(pagetide("record", path, *flags, "--", *command, prefix=around), 3)
    trace = open_trace(path)
    assert set(trace.events.collect()["order"]) == {ORDER}
    for op in (Op.PAGE_ALLOC, Op.PAGE_FREE):
        probe = probe_of(trace, op)
        print(probe)
        # Perf counted around the recording: what others asked for before or after it too. They may
        # also give back what they had before.
        others = perf.counted(counts) - times * BLOCKS + (2 if op == Op.PAGE_FREE else 0)
        assert 0 <= probe.kept + probe.lost - times * BLOCKS <= others, probe
        assert probe.kept == len(of_order(trace, op)) > 0
        assert probe.hits == probe.kept + probe.lost + probe.filtered
        assert probe.lost > 0 < probe.filtered
    assert told["lost"] == trace.manifest.lost == sum(loss.events for loss in trace.losses)
    assert_counters_tell_when(trace)


def assert_counters_tell_when(trace: Trace) -> None:
    counters = pl.from_arrow(trace.counters)
    assert isinstance(counters, pl.DataFrame)
    lost = counters.group_by("op", "cpu").agg(pl.col("ring_full").last())["ring_full"].sum()
    assert lost == trace.manifest.lost == trace.samples["lost_events"].to_pylist()[-1]
    assert trace.samples["lost_events"].to_pylist()[0] == 0
    first = counters.filter(pl.col("ring_full") > 0)["ts_ns"].min()
    assert isinstance(first, int)
    assert trace.losses[0].begin_ns < first

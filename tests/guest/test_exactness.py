"""The buddy model beside a stock kernel: nothing is wrong, under compaction neither. Single pages that
softirqs freed at the very end are told of by the end alone (`wrong`): these are looked at one by one.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from replay.counting import scanned
from replay.geometry import Geometry
from replay.stretches import event_columns
from replay.validation import validate
from tests.guest.wrong import assert_the_end_tells_of_all_that_is_wrong
from tracer import Op, Trace, open_trace

WRONG = ("frames_wrong", "exit_of_used", "entry_of_free")


def wrong(counts: dict[str, int]) -> list[int]:
    return [counts[name] for name in WRONG]


def isolated(trace: Trace, begin_ns: int, end_ns: int) -> np.ndarray:
    """Which frames lie in a range from which compaction isolated free pages at that time."""
    marks = np.zeros(Geometry.of(trace.manifest.guest, trace.zones).frames + (1 << 16), np.bool_)
    for columns in event_columns(trace):
        inside = (columns["ts_ns"] >= begin_ns) & (columns["ts_ns"] <= end_ns)
        for first, frames in zip(
            *scanned({name: all_[inside] for name, all_ in columns.items()}), strict=True
        ):
            marks[first : first + frames] = True
    return marks


@pytest.mark.parametrize("layer", ["buddy", "both"])
def test_with_tracepoints_only_nothing_is_wrong_without_compaction(quiet: Path, layer: str) -> None:
    trace = open_trace(quiet / f"{layer}.trace")
    assert trace.manifest.rung == "tracepoints"
    assert trace.manifest.lost == 0
    verdict = validate(trace)
    assert verdict.fidelity["steps"] > 50_000
    assert verdict.fidelity["frames_changed"] > 10_000
    assert not isolated(trace, *trace.span_ns).any()
    assert_the_end_tells_of_all_that_is_wrong(verdict)


def test_softirqs_frees_of_single_pages_are_in_the_buddy_layer(quiet: Path) -> None:
    trace = open_trace(quiet / "buddy.trace")
    frees = trace.events.filter((pl.col("op") == int(Op.PAGE_FREE)) & (pl.col("order") == 0)).collect()
    assert 0 < len(frees) < 0.05 * trace.rows


@pytest.mark.parametrize("rung", ["kprobes", "fentry"])
def test_with_its_isolations_recorded_nothing_is_wrong_under_compaction(traces: Path, rung: str) -> None:
    trace = open_trace(traces / f"{rung}.trace")
    verdict = validate(trace)
    assert verdict.fidelity["frames_changed"] > 50_000
    assert isolated(trace, *trace.span_ns).sum() > 1_000
    assert_the_end_tells_of_all_that_is_wrong(verdict)


def test_what_compaction_takes_is_known_from_its_searches(traces: Path) -> None:
    """Just the blocks that a probe on the kernel's own function saw at the same time."""
    low, high = (open_trace(traces / f"{rung}.trace") for rung in ("tracepoints", "kprobes"))
    verdict = validate(low)
    assert verdict.taken.unclear == 0
    begin_ns = max(trace.manifest.snapshots[0].end_ns for trace in (low, high))
    end_ns = min(trace.manifest.snapshots[-1].begin_ns for trace in (low, high))
    seen = high.events.filter(
        (pl.col("op") == int(Op.ISOLATE)) & pl.col("ts_ns").is_between(begin_ns, end_ns)
    ).collect()
    told_ns = low.events.select("ts_ns").collect()["ts_ns"].to_numpy()[verdict.taken.rows]
    inside = verdict.taken.blocks[(told_ns >= begin_ns) & (told_ns <= end_ns)]
    assert len(inside) > 1_000
    assert sorted(map(tuple, inside.tolist())) == sorted(seen.select("pfn", "order").rows())


def test_nothing_is_wrong_under_compaction_with_tracepoints_only(traces: Path) -> None:
    trace = open_trace(traces / "tracepoints.trace")
    verdict = validate(trace)
    compacted = [isolated(trace, c.before.begin_ns, c.snapshot.end_ns) for c in verdict.comparisons]
    print([(c.snapshot.name, c.counts) for c in verdict.comparisons])
    assert sum(ranges.sum() for ranges in compacted) > 1_000
    for each in verdict.comparisons[:-1]:
        assert wrong(each.counts) == [0, 0, 0]
    assert_the_end_tells_of_all_that_is_wrong(verdict)


def test_the_lists_of_the_full_model_are_those_of_the_kernel(traces: Path) -> None:
    trace = open_trace(traces / "fentry.trace")
    found = validate(trace).lists
    print(found)
    assert found is not None
    compared, elsewhere, out_of_order = (found[name] for name in ("compared", "elsewhere", "out_of_order"))
    assert compared > 100
    assert elsewhere <= 0.001 * compared
    assert out_of_order <= 0.01 * compared

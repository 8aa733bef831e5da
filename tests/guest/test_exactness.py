"""The buddy model beside a stock kernel: nothing is wrong where everything is told, and what compaction
hides from tracepoints is bounded by looking at memory again. Single pages that softirqs freed at the very
end are told of by the end alone (`wrong`): these are looked at one by one.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from replay.counting import scanned
from replay.geometry import Geometry
from replay.stretches import event_columns
from replay.validation import validate
from tests.guest.wrong import assert_the_end_tells_of_all_that_is_wrong, told_by_end, wrong_frames
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


def test_what_compaction_hides_from_tracepoints_is_bounded_by_the_next_resync(traces: Path) -> None:
    trace = open_trace(traces / "tracepoints.trace")
    verdict = validate(trace)
    found, late = verdict.comparisons, told_by_end(trace)
    compacted = [isolated(trace, c.before.begin_ns, c.snapshot.end_ns) for c in found]
    drift = [c.counts["frames_wrong"] for c in found]
    print([(c.snapshot.name, c.counts) for c in found])
    assert max(drift) > 100
    for each, ranges in list(zip(found, compacted, strict=True))[:-1]:
        if not ranges.any():
            assert wrong(each.counts) == [0, 0, 0]
        elif each.counts["frames_wrong"]:
            assert ranges[list(wrong_frames(trace, each) - late)].mean() > 0.99
    # Compaction is over 7 s before the end, and memory is looked at each 5 s.
    assert not compacted[-1].any()
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

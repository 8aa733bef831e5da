"""What managed memory is made of: the sampled parts, and the answer in JSON, Parquet and tables. The
parts of free memory are compared with the oracle's in `test_engine_against_oracle`.
"""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import replay
from replay import main
from replay.buddy import memory
from replay.composition import PARTS, SAMPLED, Composition
from replay.engine import Run
from replay.invariants import violations
from replay.sampled import Sampled
from tests.pure.small_guests import Case, How, cases, run_engine
from tracer.format import SAMPLE_COLUMNS

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
counts = st.none() | st.lists(st.integers(0, 120), min_size=200, max_size=200)


@quick
@given(cases(), counts, counts)
def test_sampled_parts_never_exceed_what_is_used_and_all_parts_add_up(
    case: Case, cache: list[int] | None, pcp: list[int] | None
) -> None:
    group = run_engine(case, How("never", 1, "cold", "4k", {}), 7, [])
    bins = len(group.bins_ns)
    told = [None if of is None else np.array(of[:bins], np.int64) for of in (cache, pcp)]
    run = Run(None, group.schedules[0], group, Sampled(*told))  # type: ignore[arg-type] # no setting is needed
    assert violations(run) == []
    composition = Composition.of(run)
    series, managed = composition.series, group.occupancy.series[memory.MANAGED]
    used = managed - group.occupancy.series[memory.FREE]
    shown = [series[part] for part in ("page_cache", "on_pcp", "other_used")]
    assert np.array_equal(sum(part for part in shown if part is not None), used)
    if cache is not None:
        assert series["page_cache"] is not None
        assert series["page_cache"].tolist() == np.minimum(cache[:bins], used).tolist()
    assert (series["on_pcp"] is None) == (pcp is None)
    assert list(series) == list(composition.frame_ns) == list(PARTS)


def samples(rows: list[tuple[int, int, int, int]]) -> pa.Table:
    """(read_end_ns, zone, pcp, nr_file_pages) with all else zero."""
    names = ("read_end_ns", "zone", "pcp", "nr_file_pages")
    told: dict[str, Any] = {name: [0] * len(rows) for name in SAMPLE_COLUMNS}
    told |= {name: [row[k] for row in rows] for k, name in enumerate(names)}
    told["free_blocks"] = [[0]] * len(rows)
    return pa.table(told)


class FakeTrace:
    owners_only = False

    def __init__(self, rows: list[tuple[int, int, int, int]]) -> None:
        self.samples = samples(rows)


def sampled(rows: list[tuple[int, int, int, int]], *bins_ns: int) -> Any:
    return Sampled.of(FakeTrace(rows), np.array(bins_ns, np.int64))  # type: ignore[arg-type] # as a trace


def test_a_bin_has_the_last_sample_read_by_then_and_before_the_first_one_that() -> None:
    rows = [(10, 0, 1, 500), (10, 1, 2, 500), (20, 0, 5, 700), (20, 1, 7, 700)]
    told = sampled(rows, 5, 10, 19, 20, 99)
    assert told.page_cache.tolist() == [500, 500, 500, 700, 700]  # the guest's, once, not of each zone
    assert told.on_pcp.tolist() == [3, 3, 3, 12, 12]


def test_what_the_kernel_does_not_show_is_not_known() -> None:
    told = sampled([(10, 0, 4, -1), (10, 1, -1, -1)], 10)
    assert told == Sampled(None, None)
    assert sampled([], 10) == Sampled(None, None)


def test_json_and_parquet_say_the_same_parts() -> None:
    found = replay.replay("data/database.trace", ["upstream:order=5"]).results[0]
    summary, frame = found.summary, found.composition
    assert list(summary["unreclaimed"]) == [part for part in PARTS if part != "reclaimed"]
    total = sum(value for value in summary["unreclaimed"].values() if value is not None)
    whole = summary["baseline_gib_min"] * (60 << 30)
    assert total + summary["reclaimed"]["byte_seconds"] == pytest.approx(whole, rel=1e-12)
    assert [summary["unreclaimed"][part] for part in SAMPLED] == [None, None]  # this trace has no samples
    parts = [f"{part}_bytes" for part in PARTS if part not in SAMPLED]
    assert frame.columns == ["time_s", *(f"{part}_bytes" for part in PARTS)]
    assert frame.select(pl.sum_horizontal(parts)).to_series().equals(found.timeline["managed_bytes"])
    assert frame["reclaimed_bytes"].equals(found.timeline["reclaimed_bytes"])


def test_the_table_says_why_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["replay", "data/database.trace", "--policy", "never", "--policy", "upstream"]) == 0
    shown = capsys.readouterr().out.splitlines()
    (at,) = (k for k, line in enumerate(shown) if line.startswith("why memory does not come back"))
    assert "the trace has no samples" in shown[at + 1]
    assert shown[at + 2].split() == [
        "policy", "reclaimed", "fresh", "stranded", "gated", "waiting", "held", "kept",
    ]  # fmt: skip
    assert [line.split(":")[0] for line in shown[at + 5 : at + 8]] == ["fresh", "stranded", "held"]
    assert all(len(line) <= 80 for line in shown[at : at + 8])

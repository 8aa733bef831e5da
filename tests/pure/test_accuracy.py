"""`validate --truth` on the shipped trace, beside a host that got what the model says, or something else."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from replay.main import run
from replay.policies import parse
from replay.truth.accuracy import Accuracy, Found, accuracy
from replay.truth.predicted import Predicted, predict
from tracer import Fault, Manifest, Trace, open_trace

TRACE = Path(__file__).parents[2] / "data/database.trace"
GUEST_BYTES = 1 << 40
S = 1_000_000_000


@pytest.fixture(scope="module")
def predicted() -> Predicted:
    return predict(open_trace(TRACE))


def account(predicted: Predicted) -> pl.DataFrame:
    """What a host would say that got just these reports."""
    reports = predicted.reports.select(pl.col("begin_ns").alias("ts_ns"), "pfn", "pages", "batch")
    at_ns, reclaimed = predicted.reclaimed
    memory = pl.DataFrame({"ts_ns": at_ns, "resident_bytes": GUEST_BYTES - reclaimed})
    return pl.concat([reports, memory], how="diagonal").sort("ts_ns", maintain_order=True)


def held_against(table: pl.DataFrame, tmp_path: Path, policy: str | None = None) -> Accuracy:
    table.write_parquet(tmp_path / "truth.parquet")
    trace = open_trace(TRACE)
    setting = policy and parse(policy, trace.manifest.guest)
    return accuracy(trace, tmp_path / "truth.parquet", setting or None)


def test_a_host_that_got_just_what_was_predicted_agrees_in_all(predicted: Predicted, tmp_path: Path) -> None:
    found = held_against(account(predicted), tmp_path)
    for each in (found.reports, found.frames, found.passes, found.batches):
        assert each.truth == each.predicted == each.same > 10
    assert found.same_members == found.batches.truth
    assert found.time_error.max == found.pass_error.max == 0
    assert found.host is not None
    assert found.host.off_share == 0
    assert found.host.passes_within == found.host.passes > 10
    assert found.host.drop_bytes == found.host.new_bytes
    assert found.host.discarded_bytes - found.host.drop_bytes == found.redundant_bytes > 0
    assert not found.followed


def test_a_host_that_is_a_second_and_a_half_late_agrees_in_frames_only(
    predicted: Predicted, tmp_path: Path
) -> None:
    late = pl.when(pl.col("pfn").is_null()).then(0).otherwise(1_500_000_000)
    found = held_against(account(predicted).with_columns(pl.col("ts_ns") + late).sort("ts_ns"), tmp_path)
    assert (found.reports.same, found.batches.same) == (0, 0)
    assert found.frames.same > 0.9 * found.frames.truth
    assert found.time_error.p50 is None


def test_what_a_host_did_not_get_costs_precision_and_what_was_not_predicted_recall(
    predicted: Predicted, tmp_path: Path
) -> None:
    table = account(predicted)
    half = table.filter(pl.col("pfn").is_null() | (pl.col("pfn") % 2048 == 0))
    found = held_against(half, tmp_path)
    assert found.reports.recall == 1
    assert found.reports.precision == found.reports.truth / len(predicted.reports) < 0.9
    more = table.filter(pl.col("pfn").is_not_null()).with_columns(
        pages=pl.lit(512, pl.Int64), pfn=pl.col("pfn") + 512
    )
    found = held_against(pl.concat([half, more]).sort("ts_ns", maintain_order=True), tmp_path)
    assert found.reports.recall is not None
    assert found.reports.recall < 0.9


@pytest.mark.parametrize("rule", ["capacity=16", "delay=1900ms"])
def test_another_rule_is_noticed(predicted: Predicted, tmp_path: Path, rule: str) -> None:
    found = held_against(account(predicted), tmp_path, f"upstream:{rule}")
    same = found.batches.same == found.batches.truth == found.batches.predicted
    assert not same or (found.time_error.p50 or 0) > 0.01


def test_what_is_reported_behind_the_end_snapshot_is_no_head_that_it_lacks(
    predicted: Predicted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow end: probes are detached for seconds after the snapshot, and a guest reports meanwhile. Here the
    snapshot is that of the start, nothing is flagged in it, and all is reported after it.
    """
    trace = open_trace(TRACE)
    early, frames = trace.manifest.snapshot("start"), trace.frames("start")
    unreported = pa.array([False] * len(frames))
    bare = frames.set_column(frames.schema.get_field_index("reported_head"), "reported_head", unreported)
    monkeypatch.setattr(Manifest, "snapshot", lambda _self, _name: early)
    monkeypatch.setattr(Trace, "frames", lambda _self, _name: bare)
    monkeypatch.setattr("replay.truth.accuracy.refuse_strangers", lambda _told, _predicted: None)
    account(predicted).head(1).write_parquet(tmp_path / "truth.parquet")
    assert len(predict(trace).reported_heads) > 1000
    assert accuracy(trace, tmp_path / "truth.parquet").heads == Found(0, 0, 0)


def test_memory_that_goes_its_own_way_is_told(predicted: Predicted, tmp_path: Path) -> None:
    middle = (predicted.begin_ns + predicted.end_ns) // 2
    more = pl.col("resident_bytes") + pl.when(pl.col("ts_ns") > middle).then(1 << 30).otherwise(0)
    found = held_against(account(predicted).with_columns(more), tmp_path).host
    assert found is not None
    assert found.most_off_bytes == 1 << 30


def test_without_measurements_nothing_is_said_of_memory(predicted: Predicted, tmp_path: Path) -> None:
    table = account(predicted).filter(pl.col("pfn").is_not_null())
    assert held_against(table, tmp_path).host is None


@pytest.mark.parametrize("moved_ns", [-(10**15), 10**15])
def test_the_truth_about_another_time_is_refused(predicted: Predicted, tmp_path: Path, moved_ns: int) -> None:
    with pytest.raises(Fault, match="is not the truth about this trace") as fault:
        held_against(account(predicted).with_columns(pl.col("ts_ns") + moved_ns), tmp_path)
    assert "it tells of" in fault.value.how


def test_the_command_tells_it_in_a_table_and_in_json(
    predicted: Predicted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account(predicted).write_parquet(tmp_path / "truth.parquet")
    arguments = ["validate", str(TRACE), "--truth", str(tmp_path / "truth.parquet")]
    assert run([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["truth"]
    assert told["reports"]["recall"] == told["batches"]["precision"] == 1
    assert (told["policy"], told["followed"]) == ("upstream", False)
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "reports (pfn, size, within 1 s)" in text
    assert "100.00%" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_policy_without_a_truth_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(TRACE), "--policy", "upstream"]) == 1
    assert "--policy says nothing here" in capsys.readouterr().err

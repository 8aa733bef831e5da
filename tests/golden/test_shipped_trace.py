"""The shipped trace: exact numbers, and what the issue of a first light promises of them."""

import json
from typing import Any

import polars as pl
import pytest

import replay
from tests.golden.regenerate import GOLDEN, TRACE, answers
from tracer import Trace, open_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return open_trace(TRACE)


def test_every_number_is_as_it_was() -> None:
    found = json.loads(json.dumps(answers()))
    want = json.loads(GOLDEN.read_text())
    assert found == want, "if the change is meant, run `make golden` and look at the diff"


def test_trace_is_whole_and_small(trace: Trace) -> None:
    trace.verify()
    assert trace.complete
    assert trace.size_bytes <= 8 << 20


def test_model_is_right_about_it(trace: Trace) -> None:
    verdict = replay.validate(trace)
    assert verdict.wrong_share <= 0.005
    assert verdict.impossible_share <= 0.001


def test_oracle_reclaims_most_at_once_and_never_nothing_and_upstream_is_between(trace: Trace) -> None:
    done = replay.replay(trace)
    by_name: dict[str, Any] = {result.policy: result.summary for result in done.results}
    mean = {name: summary["reclaimed"]["mean_bytes"] for name, summary in by_name.items()}
    assert mean["never"] == 0 < mean["upstream"] < mean["oracle"]
    assert by_name["oracle"]["latency_s"]["max"] == 0
    assert by_name["upstream"]["latency_s"]["p50"] > 0


def test_first_upstream_report_comes_two_seconds_and_a_wheel_step_after_the_first_free_unit(
    trace: Trace,
) -> None:
    upstream, oracle = replay.run(trace, "upstream"), replay.run(trace, "oracle")
    wait_s = float(upstream.reports["submit_s"][0]) - float(oracle.reports["submit_s"][0])
    step_s, tick_s = 8 / 250, 1 / 250  # of the timer wheel, two seconds away, at HZ 250
    assert 2 <= wait_s <= 2 + step_s + tick_s


def test_a_pass_takes_no_more_of_a_list_than_its_budget(trace: Trace) -> None:
    reports = replay.run(trace, "upstream", start="cold").reports
    assert reports["pass"].n_unique() > 3
    for zone, facts in enumerate(trace.zones):
        for order in (9, 10):
            taken = reports.filter(pl.col("zone") == zone, pl.col("order") == order)
            per_list = max(taken.group_by("pass", "migratetype").len()["len"].to_list(), default=0)
            # 64 while the list can have at most 512 blocks, 32 more for each further 512.
            assert per_list <= 32 * (-(-(facts.managed >> order) // 512) + 1)


def test_a_result_does_not_depend_on_batches_or_company(trace: Trace, monkeypatch: Any) -> None:
    alone = replay.replay(trace, ["upstream"]).results[0].summary
    monkeypatch.setattr("tracer.reader.BATCH_ROWS", 7_777)
    monkeypatch.setattr(Trace.batches, "__defaults__", (7_777,))
    many = replay.replay(trace, ["upstream:delay=1s", "upstream", "oracle"])
    assert many.results[1].summary == alone

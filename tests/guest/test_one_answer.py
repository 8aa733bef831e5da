"""One guest, two rungs of the ladder, one answer: what the upper rung adds tells of the guest's own
reporting, which replays ignore, and of compaction, of which there was none.
"""

from pathlib import Path

import polars as pl
import pytest

from replay.api import replay
from replay.engine import Options
from tests.lower_rung import FUNCTIONS, assert_same_answers, down_to_tracepoints
from tracer import Op, Trace, open_trace


@pytest.fixture(scope="module")
def upper(quiet: Path) -> Trace:
    return open_trace(quiet / "upper.trace")


@pytest.fixture(scope="module")
def lower(upper: Trace, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return down_to_tracepoints(upper, tmp_path_factory.mktemp("lower") / "lower.trace")


def events(trace: Trace, *ops: int) -> int:
    return len(trace.events.filter(pl.col("op").is_in([int(op) for op in ops])).collect())


def test_the_upper_rung_saw_reporting_and_no_compaction(upper: Trace, lower: Trace) -> None:
    assert upper.manifest.rung == "fentry"
    assert upper.manifest.lost == 0
    assert events(upper, Op.REPORTING_ISOLATE) > 0
    assert events(upper, Op.REPORTING_PUT_BACK) > 0
    assert events(upper, Op.ISOLATE, Op.PUT_BACK, Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE) == 0
    assert events(lower, *FUNCTIONS) == 0
    assert lower.rows == upper.rows - events(upper, *FUNCTIONS) > 50_000


@pytest.mark.parametrize("start", ["steady", "cold", "recorded"])
def test_every_policy_gives_the_same_answer_on_both_rungs(upper: Trace, lower: Trace, start: str) -> None:
    options = Options(start, logging=True)
    one, two = replay(upper, options=options), replay(lower, options=options)
    assert len(one.results) >= 8
    assert_same_answers(one, two)

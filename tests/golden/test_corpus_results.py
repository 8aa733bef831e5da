"""The shipped comparison: replaying the corpus gives every number of it again, exactly."""

import os
from pathlib import Path

import polars as pl
import pytest

from benchmarks.pages import quoted
from data.compare import PAGES, TABLE, shipped
from data.comparison.answers import Answers
from data.comparison.replayed import CASES, DEFAULT, KEY, SHARES, UNTOLD, differences, rows_of, with_shares
from replay.policies import comparison, registry
from tracer import open_trace

SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
# All cases replay order 0, too: some ten seconds a trace, but of these two.
WHOLE = ("idle", "stock")
QUICK = (DEFAULT, *(case for case in CASES if case.start == "cold"))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.read_parquet(TABLE)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_trace_replayed_again_gives_every_number_exactly(path: Path, table: pl.DataFrame) -> None:
    cases = CASES if SOAK or path.stem in WHOLE else QUICK
    found = [row for case in cases for row in rows_of(path, case)]
    assert len(found) == sum(len(case.settings) for case in cases) >= 16
    assert list(differences(found, table)) == []


def test_table_has_each_trace_under_each_setting_once(table: pl.DataFrame) -> None:
    wanted = [
        (path.stem, case.start, case.backing, setting)
        for path in shipped()
        for case in CASES
        for setting in case.settings
    ]
    assert table.select(KEY).rows() == wanted


def test_default_settings_are_those_of_the_default_comparison() -> None:
    guest = open_trace(shipped()[0]).manifest.guest
    built_in = [each.policy.name for each in comparison(guest) if each.policy.name in DEFAULT.settings]
    assert tuple(built_in) == DEFAULT.settings
    assert set(DEFAULT.settings) <= registry().keys()


def test_shares_follow_from_the_other_columns(table: pl.DataFrame) -> None:
    assert list(differences(with_shares(table.drop(SHARES).to_dicts()), table)) == []


def test_untold_tells_nothing_on_any_trace(table: pl.DataFrame) -> None:
    untold = table.filter(pl.col("setting").str.starts_with(UNTOLD))
    assert untold.height >= 6 * len(shipped())
    assert untold["reports_calls"].max() == 0


def test_pages_quote_the_table_as_it_is(table: pl.DataFrame) -> None:
    answers = Answers.of(table)
    for page, texts in PAGES.items():
        for name, text in texts.items():
            assert quoted(page, name) == text(answers), f"{page.name}: {name}; run `make results`"

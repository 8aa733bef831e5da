"""The page of the whole comparison, as a reader meets it."""

import json
from pathlib import Path

import polars as pl
import pytest

from data.compare import TABLE
from data.comparison.answers import Answers
from data.comparison.corpus import SHOWN, TOLD, write_corpus
from tests.browser.opened import PLAIN, colours, opened


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers.of(pl.read_parquet(TABLE))


@pytest.fixture(scope="module")
def page(answers: Answers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "corpus.html"
    assert write_corpus(answers, out, "make results") < 2 << 20
    return out


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_is_drawn_and_asks_for_nothing(browser: None, page: Path, width: int, scheme: str) -> None:
    with opened(page, width, scheme) as told:
        assert told.said == []
        assert told.asked == []
        charts = told.page.locator("[data-chart]").all()
        assert len(charts) == 3
        for chart in charts:
            assert colours(chart.screenshot()) > PLAIN, chart.get_attribute("data-chart")
        wide = told.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]


def test_every_number_is_that_of_the_table(browser: None, page: Path, answers: Answers) -> None:
    with opened(page) as told:
        cells = told.page.eval_on_selector_all("[data-key]", "all => all.map(each => ({...each.dataset}))")
    assert len(cells) == len(answers.traces) * len(SHOWN) * len(TOLD)
    for cell in cells:
        row = answers.rows[cell["trace"], "steady", "4k", cell["setting"]]
        assert json.loads(cell["value"]) == row[cell["key"]], cell

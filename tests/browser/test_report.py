"""The report as a reader meets it: opened in a browser, wide and narrow, light and dark, on paper."""

import json
from pathlib import Path
from typing import Any

import pytest

from replay.main import run
from tests.browser.opened import PLAIN, colours, emptied, opened, wait_until_drawn

POLICIES = ("never", "upstream", "upstream:delay=100ms", "oracle")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page of a shipped trace, and what --json says of the same replay."""
    folder = tmp_path_factory.mktemp("report")
    results, page = folder / "results", folder / "page.html"
    asked = [word for policy in POLICIES for word in ("--policy", policy)]
    assert run(["replay", "data/stock.trace", *asked, "--check", "--allow-loss", "-o", str(results)]) == 0
    assert run(["report", str(results), "-o", str(page), "--allow-loss"]) == 0
    return page, json.loads((results / "results.json").read_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_chart_is_drawn_and_nothing_is_asked_for(made: Any, scheme: str, width: int) -> None:
    with opened(made[0], width, scheme) as told:
        assert told.said == []
        assert told.asked == []
        charts = told.page.locator("[data-chart]").all()
        assert charts
        for chart in charts:
            assert colours(chart.screenshot()) > PLAIN, chart.get_attribute("data-chart")
        wide = told.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        tables = told.page.locator(".scroll").evaluate_all(
            "all => all.map(e => e.scrollWidth - e.clientWidth)"
        )
        assert set(tables) == {0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_chart_without_rows_would_not_pass_for_drawn(made: Any, tmp_path: Path, scheme: str) -> None:
    with opened(emptied(made[0], tmp_path / "empty.html"), 1280, scheme) as told:
        for chart in told.page.locator("[data-chart]").all():
            assert colours(chart.screenshot()) < PLAIN, chart.get_attribute("data-chart")


def test_every_number_of_the_table_is_that_of_json(made: Any) -> None:
    page, answer = made
    with opened(page) as told:
        tables = told.page.locator("table.numbers").count()
        rows = told.page.locator("table.numbers tbody tr").all()
        assert len(rows) == tables * len(answer["results"])
        for row, result in zip(rows, answer["results"] * tables, strict=True):
            cells = row.evaluate("row => [...row.querySelectorAll('[data-key]')].map(c => ({...c.dataset}))")
            assert len(cells) > 3
            for cell in cells:
                value: Any = result
                for key in cell["key"].split("."):
                    value = value[key]
                assert json.loads(cell["value"]) == value, cell["key"]


def test_the_button_changes_the_colours_of_page_and_charts(made: Any) -> None:
    with opened(made[0]) as told:
        chart = told.page.locator("[data-chart]").first
        before = chart.screenshot()
        told.page.keyboard.press("Tab")
        assert told.page.evaluate("() => document.activeElement.className") == "skip"
        told.page.keyboard.press("Tab")
        assert told.page.evaluate("() => document.activeElement.id") == "toggle"
        told.page.keyboard.press("Enter")
        wait_until_drawn(told.page, "dark")
        assert chart.screenshot() != before
        told.page.keyboard.press("Tab")
        assert told.page.evaluate("() => document.activeElement.closest('nav') !== null")
        assert told.said == []


def test_every_link_of_the_page_leads_somewhere_in_it(made: Any) -> None:
    with opened(made[0]) as told:
        links = told.page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
        assert links
        assert all(told.page.locator(link).count() == 1 for link in links)


def test_on_paper_it_is_light_and_without_what_can_only_be_clicked(made: Any) -> None:
    with opened(made[0], scheme="dark") as told:
        told.page.emulate_media(media="print")
        assert not told.page.locator("#toggle").is_visible()
        assert not told.page.locator("nav").is_visible()
        ground = told.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"

"""The page of many guests, as a reader meets it: few of them with their names, and many."""

import json
from pathlib import Path

import pytest

import replay
from replay.report.fleet.making import write_fleet
from tests.browser.opened import colours, opened
from tests.pure.batch_rows import fleet_of, manifest, written
from tracer import Place

PLAIN = 12  # colours an empty chart with its axes and text smoothed to grey could not reach in ink alone
FAILED = {"trace": "traces/bad.trace", "status": "failed", "reason": ["no manifest", "it says so", "again"]}


@pytest.fixture(scope="module", params=[1, 12, 450])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset, and its page."""
    folder = tmp_path_factory.mktemp("fleet")
    manifest(written(folder / "batch", fleet_of(request.param)), FAILED)
    write_fleet(Place.of(folder / "batch"), folder / "fleet.html", "pagetide report batch")
    return folder / "batch", folder / "fleet.html"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_is_drawn_and_asks_for_nothing(
    browser: None, made: tuple[Path, Path], width: int, scheme: str
) -> None:
    with opened(made[1], width, scheme) as told:
        assert told.said == []
        assert told.asked == []
        charts = told.page.locator("[data-chart]").all()
        assert len(charts) == 5
        for chart in charts:
            assert colours(chart.screenshot()) > PLAIN, chart.get_attribute("data-chart")
        wide = told.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        links = told.page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
        assert all(told.page.locator(link).count() == 1 for link in links)


def test_every_mean_is_that_of_python(browser: None, made: tuple[Path, Path]) -> None:
    with opened(made[1]) as told:
        cells = told.page.eval_on_selector_all(
            "table.settings [data-key]",
            "all => all.map(each => ({setting: each.parentElement.dataset.setting, ...each.dataset}))",
        )
    rows = replay.fleet(made[0]).statistics.iter_rows(named=True)
    means = {(row["setting"], row["measure"]): row["mean"] for row in rows}
    assert len(cells) == 6 * 8
    for cell in cells:
        assert json.loads(cell["value"]) == means[cell["setting"], cell["key"]], cell


def test_another_setting_can_be_chosen_with_the_keyboard(browser: None, made: tuple[Path, Path]) -> None:
    with opened(made[1]) as told:
        chart = told.page.locator("[data-chart=gains]")
        before = chart.locator("canvas").screenshot()
        chart.locator("select").focus()
        told.page.keyboard.press("ArrowDown")
        told.page.wait_for_timeout(300)
        assert chart.locator("canvas").screenshot() != before
        assert told.said == []

"""Charts: drawn without a network, legible, and a clear word when the extra is missing."""

import json
import sys
from pathlib import Path

import pytest

import replay
from replay.composition import PARTS
from replay.report import charts
from replay.results import Result
from tracer import Fault


@pytest.fixture(scope="module")
def result() -> Result:
    return replay.run("data/database.trace", "upstream", fragmentation=True)


def test_every_part_has_a_name_and_a_colour_of_its_own() -> None:
    assert list(charts.LOOKS) == list(PARTS)
    assert (
        len({name for name, _ in charts.LOOKS.values()}) == len({c for _, c in charts.LOOKS.values()}) == 10
    )


def test_the_stack_holds_the_parts_that_occur_and_adds_up_to_managed_memory(result: Result) -> None:
    chart = result.chart().to_dict()
    rows = next(iter(chart["datasets"].values())) if "datasets" in chart else chart["data"]["values"]
    names = chart["encoding"]["color"]["scale"]["domain"]
    assert names == ["reclaimed", "waiting for a pass", "stranded: unit not wholly free", "used"]
    managed = [sum(row[name] for name in names) * (1 << 30) for row in rows]
    assert managed == pytest.approx(result.timeline["managed_bytes"].to_list())
    assert "GiB" in chart["encoding"]["y"]["title"]
    assert "gate=on" in json.dumps(chart["title"])
    assert "no samples" in json.dumps(chart["title"])


@pytest.mark.parametrize("of", ["composition", "fragmentation"])
def test_a_chart_is_saved_without_a_network(result: Result, of: str, tmp_path: Path) -> None:
    chart = result.chart(of)
    for ending in ("png", "svg", "html"):
        charts.save(chart, tmp_path / f"c.{ending}")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "time (s)" in (tmp_path / "c.svg").read_text()
    page = (tmp_path / "c.html").read_text()
    assert "vega" in page
    assert 'src="http' not in page


def test_a_chart_of_what_was_not_kept_says_how_to_keep_it() -> None:
    with pytest.raises(Fault, match="fragmentation=True"):
        replay.run("data/database.trace", "never").chart("fragmentation")


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_there_is_one_command_that_installs_it(
    result: Result, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "replay.report.charts")
    with pytest.raises(Fault, match=r"pip install 'pagetide\[report\]'"):
        result.chart()

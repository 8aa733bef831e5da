"""The figures of a report: what they show is what the frames say, within their limits, and something."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert as vlc

from replay.api import replay
from replay.composition import PARTS
from replay.engine import Options
from replay.policies import CEILING, registry
from replay.report.charts import address_map, drawn, fate, latency, orders, pareto, passes, reclaimed, why
from replay.report.charts.cast import Cast
from replay.report.figures import ORDER, Figure, figures, theme
from replay.report.labels import labels
from replay.report.material import Material

KEPT = Options(logging=True, fragmentation=True, address_map=True)
NAMES = ["reclaimed", "latency", "fate", "pareto", "why", "orders", "map", "passes"]
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def material() -> Material:
    return Material.of(replay("data/idle.trace", options=KEPT), KEPT)


@pytest.fixture(scope="module")
def drawings(material: Material) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures(material)}


@pytest.fixture(scope="module")
def cast(material: Material) -> Cast:
    return Cast.of(material.answer["results"])


def numbers(told: Any) -> Iterator[float]:
    """All numbers of a specification, also those in its CSV."""
    if isinstance(told, dict):
        for each in told.values():
            yield from numbers(each)
    elif isinstance(told, list):
        for each in told:
            yield from numbers(each)
    elif isinstance(told, float | int):
        yield float(told)


def tables(chart: dict[str, Any]) -> list[list[dict[str, str]]]:
    """The rows that are in a specification as CSV."""
    return [
        list(csv.DictReader(io.StringIO(values)))
        for values in chart.get("datasets", {}).values()
        if isinstance(values, str)
    ]


def table(figure: Figure) -> list[dict[str, str]]:
    assert figure.chart
    return max(tables(figure.chart), key=len)


def drawn_png(chart: dict[str, Any], dark: bool = False) -> bytes:
    sized = {**chart, "width": 600}
    return vlc.vegalite_to_png(sized, config=theme(dark), scale=0.5)


def emptied(chart: dict[str, Any]) -> dict[str, Any]:
    """The same chart of no data."""
    datasets = {
        name: values.splitlines()[0] + "\n" if isinstance(values, str) else []
        for name, values in chart["datasets"].items()
    }
    return {**chart, "datasets": datasets}


def invented(policies: int = 9, bins: int = 2000, calls: int = 20_000) -> Material:
    """As large as a material can be: every frame full, of a replay that never was."""
    dice = np.random.default_rng(1)
    base = replay("data/idle.trace", ["upstream"], KEPT)
    result = base.answer(KEPT)["results"][0]
    names = [*registry(), "upstream"][:policies]
    results = [{**result, "policy": name, "params": {"order": i}} for i, name in enumerate(names)]

    def sizes(rows: int) -> "np.ndarray[Any, Any]":
        return dice.integers(0, 1 << 38, rows)

    def of_all(columns: dict[str, Any]) -> pl.DataFrame:
        one = pl.DataFrame(columns)
        return pl.concat(
            one.select(result=pl.lit(i), policy=pl.lit(name)).hstack(one)
            if one.height == 1
            else one.select(pl.lit(i).alias("result"), pl.lit(name).alias("policy"), pl.all())
            for i, name in enumerate(names)
        )

    time_s = np.sort(dice.random(bins)) * 86_400
    levels = ("free", "reportable", "managed", "reclaimed")
    cells, pfns, columns = 128 * 200, np.arange(128) << 18, np.sort(dice.random(200)) * 86_400
    managed = np.full(cells, 1 << 18)
    submit = np.sort(dice.random(calls)) * 86_400
    lower = np.sort(dice.random(8000)) * 3600
    return Material(
        {**base.answer(KEPT), "results": results},
        latency=of_all(
            {
                "lower_s": lower,
                "upper_s": lower * 1.001,
                **{f"{fate}_bytes": sizes(8000) for fate in ("reported", "missed", "waiting")},
            }
        ),
        timeline=of_all({"time_s": time_s, **{f"{level}_bytes": sizes(bins) for level in levels}}),
        composition=of_all({"time_s": time_s, **{f"{part}_bytes": sizes(bins) for part in PARTS}}),
        reports=of_all(
            {
                "submit_s": submit,
                "done_s": submit + 0.001,
                "call": np.arange(calls),
                "pass": np.arange(calls) // 2 + 1,
                "new_bytes": sizes(calls),
            }
        ),
        fragmentation=pl.DataFrame(
            {
                "time_s": np.repeat(time_s, 4 * 11),
                "zone": np.tile(np.repeat(np.arange(4), 11), bins),
                "order": np.tile(np.arange(11), 4 * bins),
                "blocks": dice.integers(0, 10_000, bins * 44),
            }
        ),
        address_map=of_all(
            {
                "time_s": np.repeat(columns, 128),
                "pfn": np.tile(pfns, 200),
                "frames": managed,
                "managed_frames": managed,
                **{
                    f"{name}_frames": dice.integers(0, 1 << 18, cells)
                    for name in ("free", "reclaimed", "refaulted")
                },
            }
        ),
    )


@pytest.fixture(scope="module")
def largest() -> Material:
    return invented()


def test_each_question_has_its_figure_in_plain_words(drawings: dict[str, Figure]) -> None:
    assert list(drawings) == NAMES
    assert len(ORDER) == len(NAMES)
    for figure in drawings.values():
        assert figure.chart and not figure.missing
        assert figure.title.endswith("?") and figure.reading.endswith(".") and figure.alt.endswith(".")
        assert any(letter.isdigit() for letter in figure.alt)
        assert "nan" not in figure.alt.lower() and "None" not in figure.alt


def test_a_specification_is_valid_and_needs_no_network(drawings: dict[str, Figure]) -> None:
    for figure in drawings.values():
        assert figure.chart
        alt.LayerChart.from_dict(figure.chart) if "layer" in figure.chart else alt.Chart.from_dict(
            figure.chart
        )
        assert figure.chart["width"] == "container" and "config" not in figure.chart
        text = json.dumps({key: of for key, of in figure.chart.items() if key != "$schema"}, allow_nan=False)
        assert "http" not in text and '"url"' not in text and "NaN" not in text
        assert all(np.isfinite(number) for number in numbers(figure.chart))
        assert '"background"' not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_draws_something_in_light_and_in_dark(drawings: dict[str, Figure], name: str) -> None:
    chart = drawings[name].chart
    assert chart
    pictures = {drawn_png(chart, dark) for dark in (False, True)}
    assert len(pictures) == 2
    assert drawn_png(emptied(chart)) not in pictures


def test_a_result_is_told_apart_by_what_differs() -> None:
    def result(policy: str, **params: Any) -> dict[str, Any]:
        return {"policy": policy, "params": params}

    told = labels(
        [result("a", order=0, gate=True), result("a", order=9, gate=True), result("b"), result("b")]
    )
    assert told == ["a: order=0", "a: order=9", "b #1", "b #2"]
    assert labels([result("x", name="<b>\x1b[1m")]) == ["x"]
    assert labels([result("x", k="\x1b"), result("x", k="1")]) == ["x: k=\\x1b", "x: k=1"]


def test_no_two_lines_look_the_same(cast: Cast) -> None:
    looks = [(cast.colours[i], str(cast.dashes[i])) for i in range(len(cast.names))]
    assert len(set(looks)) == len(looks)
    many = Cast.of([replace_of(cast.results[cast.first], k=k) for k in range(20)])
    assert len({(many.colours[i], str(many.dashes[i])) for i in range(16)}) == 16
    assert len({(many.colours[i], many.shapes[i]) for i in range(16)}) == 16


def replace_of(result: dict[str, Any], **params: Any) -> dict[str, Any]:
    return {**result, "params": params}


def test_memory_over_time_is_the_timeline_s(material: Material, cast: Cast) -> None:
    wide = reclaimed.memory(material.timeline, cast)
    for index in range(len(cast.names)):
        mine = material.timeline.filter(pl.col("result") == index)
        assert (wide[f"p{index}"] * (1 << 30)).to_list() == pytest.approx(mine["reclaimed_bytes"].to_list())
    shown = table(figures(material)[0])
    assert [float(row["free"]) for row in shown] == pytest.approx(wide["free"].to_list(), rel=1e-3)
    assert cast.names[cast.ceiling or 0] == CEILING


def test_the_curve_of_latency_goes_through_its_quantiles(material: Material, cast: Cast) -> None:
    for index, result in enumerate(cast.results):
        curve = latency.curve(material.latency, index)
        if curve is None:
            assert result["latency_s"]["samples"] == 0
            continue
        assert curve["share"].is_sorted() and curve["share"][-1] == pytest.approx(1)
        for name, share in (("p50", 0.5), ("p90", 0.9)):
            reached = curve.filter(pl.col("share") >= share)["x"][0]
            wanted = max(result["latency_s"][name], latency.FLOOR_S)
            assert wanted * 0.999 <= reached <= wanted * 1.05


def test_the_bands_are_the_answer_s_incidence(material: Material, cast: Cast) -> None:
    shares = {i: one["incidence"] for i, one in enumerate(cast.results) if one["incidence"]}
    bands = fate.bands(shares)
    for index, told in shares.items():
        for name, key in fate.OF.items():
            mine = bands.filter((pl.col("p") == index) & (pl.col("fate") == name))
            assert mine["share"].to_list() == told[key]
            assert ((mine["high"] - mine["low"]) / fate.BAND).to_list() == pytest.approx(told[key])
    assert max(bands["high"].to_list()) < len(shares)


def test_only_what_nobody_beats_is_on_the_line(cast: Cast) -> None:
    def told(policy: str, gets: float, costs: float, k: int) -> dict[str, Any]:
        result = json.loads(json.dumps(cast.results[cast.first]))
        result |= {"policy": policy, "params": {"k": k}}
        result["reclaimed"]["mean_bytes"] = gets * (1 << 30)
        result["cost_s"]["total"] = costs
        return dict(result)

    results = [told("hints", gets, costs, i) for i, (gets, costs) in enumerate([(90, 1), (95, 2), (92, 3)])]
    made = pareto.points([0, 1, 2, 3], Cast.of([*results, told(CEILING, 100, 0.5, 9)]))
    first = [point for point in made if point["price"] == next(iter(pareto.PRICES))]
    assert [point["best"] for point in first] == [True, True, False, False]
    assert [point["bound"] for point in first] == [False, False, False, True]
    assert [point["y"] for point in first] == pytest.approx([90, 95, 92, 100])


def test_what_costs_and_gets_the_same_beats_nobody() -> None:
    costs, gets = {0: 100.0, 1: 100.5, 2: 100.4, 3: 50.0}, {0: 10.0, 1: 9.95, 2: 5.0, 3: 5.0}
    assert [[pareto._beats(costs, gets, a, b) for b in range(4)] for a in range(4)] == [
        [False, False, True, False],
        [False, False, True, False],
        [False, False, False, False],
        [False, False, True, False],
    ]


def test_round_prices_stand_where_they_belong() -> None:
    said, at = pareto.steps([1.0, 3.0], pareto.LOGARITHMIC)
    assert said == [10, 20, 50, 100, 200, 500, 1000]
    assert at[:2] == pytest.approx([0, 0.1505], abs=1e-4)
    said, at = pareto.steps([0.0, 4.2], "s")
    assert said == [0, 1, 2, 3, 4]
    assert at == pytest.approx([k / 4.2 for k in range(5)])


def test_another_order_is_marked_and_not_among_the_main_ones(cast: Cast) -> None:
    own = cast.results[cast.first]
    other = {**own, "policy": "another", "params": {**own["params"], "order": 10}}
    mixed = Cast.of([*cast.results, other])
    assert mixed.mixed and mixed.names[-1].endswith("(order 10)")
    assert len(cast.results) not in mixed.main
    assert mixed.main[0] == mixed.first and mixed.ceiling in mixed.main and len(mixed.main) == 4


def test_bands_are_drawn_while_something_changes() -> None:
    told = {"within_s": [1, 2, 3, 4, 5], "reported": [0, 0, 0.5, 1, 1], "missed": [0] * 5}
    assert fate.trimmed({0: {**told, "waiting": [1, 1, 0.5, 0, 0]}}) == (2, 4)


def test_addresses_on_the_axis_are_round_ones() -> None:
    gib = 1 << 18  # frames
    grid = address_map.Grid([0, gib // 2, 4 * gib, 4 * gib + gib // 2], [1.0], ["d"] * 4)
    assert address_map.ticks(grid, 1 << 29, 4096) == {0: 0, 2: 4}


def test_names_of_points_at_one_place_are_not_on_top_of_each_other() -> None:
    heights = sorted(pareto.spread(dict.fromkeys(range(8), (0.9, 0.97))).values())
    assert min(b - a for a, b in pairwise(heights)) >= 0.9 * pareto.LINE
    assert heights[0] >= 0 and heights[-1] <= 1


def test_the_stack_adds_up_to_managed_memory(material: Material) -> None:
    wide, parts = why.stack(material.composition)
    managed = material.timeline.select(p="result", t="time_s", managed=pl.col("managed_bytes") / (1 << 30))
    both = wide.join(managed, ["p", "t"])
    assert both.height == wide.height
    assert both.select(pl.sum_horizontal(parts)).to_series().to_list() == pytest.approx(
        both["managed"].to_list()
    )
    assert wide.group_by("p").len()["len"].max() <= why.MOST_BINS  # type: ignore[operator] # a number


def test_large_blocks_of_all_zones_are_what_is_reportable(material: Material, cast: Cast) -> None:
    assert material.fragmentation is not None
    order, page = cast.results[cast.first]["params"]["order"], material.answer["trace"]["page_size"]
    wide, _ = orders.by_order(material.fragmentation, page, order)
    whole = wide.filter(pl.col("z") == orders.EVERYWHERE)
    timeline = material.timeline.filter(pl.col("result") == cast.first)
    both = whole.join(timeline, left_on="t", right_on="time_s")
    assert both.height == whole.height > 10
    reportable = (both["reportable_bytes"] / (1 << 30)).to_list()
    assert both["large"].to_list() == pytest.approx(reportable, rel=0.02)
    zones = wide.filter(pl.col("z") != orders.EVERYWHERE).group_by("t").agg(pl.col("free").sum())
    assert whole.join(zones, "t").select((pl.col("free") - pl.col("free_right")).abs().max()).item() < 1e-9


def test_a_cell_of_the_map_is_what_most_of_its_block_is() -> None:
    #       managed free reclaimed refaulted: what it is, how much of it
    cells = [
        (0, 0, 0, 0, "."),
        (16, 0, 0, 0, "d"),  # all in use
        (16, 7, 0, 0, "c"),  # 9/16 in use
        (16, 16, 0, 0, "h"),  # all free
        (16, 16, 16, 0, "l"),  # all reclaimed
        (16, 10, 10, 0, "k"),
        (16, 16, 15, 1, "m"),  # a sixteenth was taken back
        (32, 32, 31, 1, "l"),  # less
        (16, 0, 0, 16, "p"),
    ]
    frame = pl.DataFrame(
        {
            "time_s": [1.0] * len(cells),
            "pfn": list(range(len(cells))),
            **{
                f"{name}_frames": [cell[i] for cell in cells]
                for i, name in enumerate(("managed", "free", "reclaimed", "refaulted"))
            },
        }
    )
    assert address_map.grid(frame).texts == [cell[-1] for cell in cells]


def test_calls_of_a_run_keep_their_sums(material: Material, cast: Cast) -> None:
    for index, result in enumerate(cast.results):
        calls = passes.calls_of(material.reports, index)
        assert calls["calls"].sum() == result["reports"]["calls"]
        assert calls["blocks"].sum() == result["reports"]["blocks"]
        new = material.reports.filter(pl.col("result") == index)["new_bytes"].sum()
        assert calls["mib"].sum() * (1 << 20) == pytest.approx(new)
        assert calls.height <= passes.MOST_CALLS


def test_a_peak_of_one_row_in_many_is_kept() -> None:
    level = np.zeros(100_000)
    level[54_321], level[777] = 9.0, -4.0
    few = drawn.envelope(pl.DataFrame({"t": np.arange(100_000.0), "level": level}), "t")
    assert few.height <= drawn.MOST_POINTS
    assert (few["level"].max(), few["level"].min()) == (9.0, -4.0)
    assert few["t"].is_sorted() and few["t"][0] == 0.0 and few["t"][-1] == 99_999.0
    last = drawn.last_of_bins(pl.DataFrame({"t": np.arange(1001)}), 100)
    assert last.height <= 100 and last["t"][-1] == 1000


def test_rows_have_few_digits_and_nothing_that_is_no_number() -> None:
    frame = pl.DataFrame({"a": [1 / 3, float("nan"), float("inf")], "b": [123456.789, 1e-9, None]})
    assert drawn.rows(frame, b=6).to_dict()["values"] == "a,b\n0.3333,123457.0\n,1e-9\n,\n"


def test_figures_of_the_largest_material_are_small(largest: Material) -> None:
    told = figures(largest)
    assert sum(len(json.dumps(figure.chart)) for figure in told) < MOST_BYTES
    for figure in told:
        assert figure.chart, figure.missing
        for rows in tables(figure.chart):
            series = [row.get("p", row.get("z", "")) for row in rows]
            assert max(map(series.count, set(series))) <= drawn.MOST_POINTS
    assert vlc.vegalite_to_png({**(told[6].chart or {}), "width": 300}, scale=0.2).startswith(b"\x89PNG")


def test_a_replay_without_time_says_what_is_missing(material: Material) -> None:
    frames = ("latency", "timeline", "composition", "reports", "fragmentation", "address_map")
    bare = replace(material, **{name: getattr(material, name)[:0] for name in frames})
    for result in (results := json.loads(json.dumps(material.answer["results"]))):
        result["incidence"] = None
        result["reclaimed"] |= dict.fromkeys(("mean_bytes", "share_of_oracle")) | {"byte_seconds": 0.0}
        result["reports"] |= dict.fromkeys(result["reports"], 0)
        result["latency_s"] |= dict.fromkeys(("p50", "p90", "p99", "max", "mean")) | {"samples": 0}
    told = figures(replace(bare, answer={**material.answer, "results": results}))
    assert [figure.name for figure in told] == NAMES
    assert all(figure.chart is None and figure.missing.endswith(".") for figure in told)


def test_what_was_not_kept_is_asked_for(material: Material) -> None:
    told = figures(replace(material, fragmentation=None, address_map=None, reports=material.reports[:0]))
    missing = {figure.name: figure.missing for figure in told if figure.chart is None}
    assert list(missing) == ["orders", "map", "passes"]
    assert all("-o" in text for text in missing.values())


@pytest.mark.parametrize("policy", ["never", "upstream", "oracle"])
def test_one_policy_alone_is_drawn_as_far_as_it_goes(policy: str) -> None:
    told = figures(Material.of(replay("data/idle.trace", [policy], KEPT), KEPT))
    for figure in told:
        assert (figure.chart is None) == bool(figure.missing)
        if figure.chart:
            assert drawn_png(figure.chart) != drawn_png(emptied(figure.chart))
    drawn_ones = {figure.name for figure in told if figure.chart}
    assert {"reclaimed", "why", "orders", "map"} <= drawn_ones


def test_the_two_themes_differ_in_colours_only() -> None:
    def shape(told: Any) -> Any:
        if isinstance(told, dict):
            return {key: shape(of) for key, of in told.items()}
        return "#" if isinstance(told, str) and re.fullmatch("#[0-9A-F]{6}", told) else told

    assert theme(True) != theme(False)
    assert shape(theme(True)) == shape(theme(False))
    assert theme(True)["background"] is None

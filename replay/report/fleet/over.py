"""Pictures with a row for each setting: how a measure is spread over guests."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from replay.fleets.display import written
from replay.report.charts.cast import COLOURS
from replay.report.charts.drawn import Drawn, finished, last_of_bins, log_axis, rows
from replay.report.figures import Figure
from replay.report.fleet.compared import SHARE, Compared
from replay.report.fleet.looks import TICKS

MOST_GUESTS = 300  # points of a row
ROW_HEIGHT = 44
READING = "The thick bar holds half of the guests, the thin line 90 %; the tick is the guest in the middle."


def given_back(of: Compared) -> Figure:
    """What each setting gives back, a point for each guest."""
    name, title = "given_back", "How much memory comes back?"
    if not of.reporting:
        return Figure(name, title, "", "", None, "No setting reported anything.")
    told = _points(of, SHARE).with_columns(pl.col("value", "p5", "p25", "p50", "p75", "p95") * 100)
    shown = [of.names[each] for each in of.reporting]
    chart = _rows(told, shown, alt.X("value:Q", title="given back, % of memory", axis=TICKS))
    reading = f"A row is a setting, a point a guest: further to the right gives back more. {READING}"
    if of.fleet.count > MOST_GUESTS:
        reading += f" Of {of.fleet.count:,} guests {MOST_GUESTS} are drawn, evenly by rank."
    return Figure(
        name,
        title,
        reading,
        _alt(of, (SHARE,)),
        finished(chart, _height(shown)),
    )


def latency(of: Compared) -> Figure:
    """How soon each setting reports, over guests."""
    name, title = "latency", "How soon does it come back?"
    measures = {"latency_p50_s": "half", "latency_p90_s": "90 %"}
    settings = [each for each in of.possible if _above_nothing(of, each, measures)]
    if not settings:
        return Figure(name, title, "", "", None, "Nothing was reported after the start of the traces.")
    told = pl.concat(
        _points(of, measure, settings).with_columns(waited=pl.lit(word)) for measure, word in measures.items()
    )
    told = told.unique(["setting", "waited"], keep="first", maintain_order=True).drop("guest", "value")
    ends = told["p5"].min(), told["p95"].max()
    low, high = (float(end) for end in ends if isinstance(end, float))
    axis = log_axis("p5", "waited at most (seconds, log scale)", (low / 1.2, high * 1.2))
    reading = (
        "In each row the upper bar is what half of the reported memory waited at most, the lower one "
        f"what 90 % of it did: further to the left is sooner. {READING}"
    )
    chart = _pairs(told, [of.names[each] for each in settings], axis)
    return Figure(name, title, reading, _alt(of, measures, settings), finished(chart, _height(settings)))


def _above_nothing(of: Compared, setting: str, measures: Any) -> bool:  # noqa: ANN401 - names
    return all((of.statistic(setting, measure)["p5"] or 0) > 0 for measure in measures)


def _points(of: Compared, measure: str, settings: Sequence[str] = ()) -> pl.DataFrame:
    """A row for each guest of each setting, at most MOST_GUESTS by rank, beside its setting's quantiles."""
    asked = list(settings or of.reporting)
    guests = of.fleet.guests.filter("compared").select("guest", "setting", value=measure).drop_nulls()
    found = []
    for each in asked:
        own = guests.filter(setting=each).sort("value", "guest")
        row = of.statistic(each, measure)
        ends = {name: row[name] for name in ("p5", "p25", "p50", "p75", "p95")}
        kept = last_of_bins(own, MOST_GUESTS)
        found.append(
            kept.with_columns(
                setting=pl.lit(of.names[each]), **{k: pl.lit(v, pl.Float64) for k, v in ends.items()}
            )
        )
    return pl.concat(found)


def _rows(told: pl.DataFrame, names: Sequence[str], axis: alt.X) -> Drawn:
    y = alt.Y(
        "setting:N", sort=list(names), title=None, axis=alt.Axis(grid=True, domain=False, labelLimit=170)
    )
    points = alt.Chart(rows(told.select("guest", "setting", "value")))
    boxes = told.unique("setting", keep="first", maintain_order=True).drop("guest", "value")
    box = alt.Chart(rows(boxes))
    tooltip = ["setting:N", "guest:N", alt.Tooltip("value:Q", format=".1f")]
    dots = points.mark_circle(size=30, opacity=0.5, color=COLOURS[4], yOffset=9).encode(
        axis, y, tooltip=tooltip
    )
    thin = box.mark_rule(strokeWidth=2, yOffset=-6, color=COLOURS[0]).encode(
        alt.X("p5:Q"), y, alt.X2("p95:Q")
    )
    thick = box.mark_bar(height=12, opacity=0.75, yOffset=-6, color=COLOURS[0]).encode(
        alt.X("p25:Q"), y, alt.X2("p75:Q")
    )
    middle = box.mark_tick(thickness=3, size=18, yOffset=-6, style="ink").encode(alt.X("p50:Q"), y)
    return alt.layer(thick, thin, dots, middle)


def _pairs(told: pl.DataFrame, names: Sequence[str], axis: alt.X) -> Drawn:
    y = alt.Y(
        "setting:N", sort=list(names), title=None, axis=alt.Axis(grid=True, domain=False, labelLimit=170)
    )
    beside = alt.YOffset("waited:N", sort=["half", "90 %"])
    colour = alt.Color(
        "waited:N",
        title=None,
        sort=None,
        scale=alt.Scale(domain=["half", "90 %"], range=[COLOURS[0], COLOURS[1]]),
        legend=alt.Legend(orient="top", symbolType="square"),
    )
    box = alt.Chart(rows(told)).encode(
        tooltip=[
            "setting:N",
            "waited:N",
            *(alt.Tooltip(f"{q}:Q", format=".3~g") for q in ("p5", "p50", "p95")),
        ]
    )
    thin = box.mark_rule(strokeWidth=1.5).encode(axis, y, alt.X2("p95:Q"), beside, colour)
    thick = box.mark_bar(height=9, opacity=0.6).encode(alt.X("p25:Q"), y, alt.X2("p75:Q"), beside, colour)
    middle = box.mark_tick(thickness=3, size=14, style="ink").encode(alt.X("p50:Q"), y, beside)
    return alt.layer(thin, thick, middle)


def _alt(of: Compared, measures: Any, settings: Sequence[str] = ()) -> str:  # noqa: ANN401 - names
    told = []
    for each in settings or of.reporting:
        parts = []
        for measure in measures:
            row = of.statistic(each, measure)
            low, middle, high = (written(measure, row[name]) for name in ("p5", "p50", "p95"))
            parts.append(f"{middle} ({low} to {high})")
        told.append(f"{of.names[each]} {', '.join(parts)}")
    return f"In the guest in the middle (5 % to 95 % of guests): {'; '.join(told)}."


def _height(names: Sequence[str]) -> int:
    return ROW_HEIGHT * len(names)

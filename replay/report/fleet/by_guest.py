"""Pictures with a bar for each guest, sorted: who gains, and where memory is stranded."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from replay.report.charts.cast import COLOURS
from replay.report.charts.drawn import finished, last_of_bins, rows
from replay.report.figures import Figure
from replay.report.fleet.compared import Compared, points, points_ends
from replay.report.fleet.looks import TICKS

NAMED = 40  # guests that have a name beside their bar
MOST_GUESTS = 400  # bars, evenly by rank
ROW_HEIGHT, MANY_HEIGHT = 19, 420


def gains(of: Compared) -> Figure:
    """What each guest gains by each of the other settings."""
    name, title = "gains", "Which guests gain?"
    if not of.others:
        return Figure(name, title, "", "", None, "There is no other setting that one could have.")
    shown = sorted(of.others, key=lambda each: each != of.best)
    values = {
        of.names[each]: of.gains[each].guests.select("guest", value=pl.col("difference") * 100)
        for each in shown
    }
    base = of.names[of.baseline]
    reading = (
        f"A bar is a guest, sorted: to the right it gives back more of its memory than with {base}, to "
        "the left less. The list below chooses the setting."
    )
    told = (
        f"{of.names[each]} {points(of.gains[each].mean)} points on average {points_ends(of.gains[each])}, "
        f"{of.gains[each].share_gaining:.0%} of guests gain a point or more"
        for each in shown
    )
    chart = _sorted(values, f"points of memory more than {base}")
    return Figure(name, title, _many(of, reading), f"More than {base}: {'; '.join(told)}.", chart)


def stranded(of: Compared) -> Figure:
    """How much of each guest's free memory no report can bring back."""
    measure = "stranded_share"
    settings = [of.baseline, *of.others]
    here = of.fleet.guests.filter("compared")
    values = {
        of.names[each]: here.filter(setting=each).select("guest", value=pl.col(measure) * 100).drop_nulls()
        for each in settings
    }
    reading = (
        "A bar is a guest, sorted: of its free memory, how much is in pieces smaller than the setting's "
        "unit, so that no report can bring it back. The list below chooses the setting."
    )
    told = (f"{of.names[each]} {of.mean(each, measure)} {of.ends(each, measure)}" for each in settings)
    chart = _sorted(values, "stranded, % of the guest's free memory")
    alt_text = f"Mean over guests: {'; '.join(told)}."
    return Figure("stranded", "Where is free memory stranded?", _many(of, reading), alt_text, chart)


def _many(of: Compared, reading: str) -> str:
    if of.fleet.count <= MOST_GUESTS:
        return reading
    return f"{reading} Of {of.fleet.count:,} guests {MOST_GUESTS} are drawn, evenly by rank."


def _sorted(values: Mapping[str, pl.DataFrame], title: str) -> dict[str, object]:
    """`values`: by setting, `guest` and `value`; the first setting is shown at first."""
    names = list(values)
    frames = [_ranked(frame).with_columns(setting=pl.lit(name)) for name, frame in values.items()]
    most = max((frame.height for frame in values.values()), default=0)
    chosen = alt.param(
        name="setting_chosen", value=names[0], bind=alt.binding_select(options=names, name="Setting ")
    )
    base = alt.Chart(rows(pl.concat(frames))).transform_filter("datum.setting == setting_chosen")
    x = alt.X("value:Q", title=title, axis=TICKS)
    tooltip: Sequence[str | alt.Tooltip] = ["guest:N", alt.Tooltip("value:Q", format="+.2f")]
    if most <= NAMED:
        order = alt.EncodingSortField("value", order="descending")
        y = alt.Y(
            "guest:N", sort=order, title=None, axis=alt.Axis(domain=False, labelLimit=150, labelFlush=False)
        )
        marks = base.mark_bar(color=COLOURS[0], height={"band": 0.7}).encode(x, y, tooltip=tooltip)
        return finished(alt.layer(marks, _zero()).add_params(chosen), ROW_HEIGHT * most + 40)
    axis = alt.Axis(format="%", grid=False, tickCount=5)
    y = alt.Y("rank:Q", title="guests, sorted", axis=axis, scale=alt.Scale(domain=[1, 0], nice=False))
    marks = base.mark_area(color=COLOURS[0], opacity=0.75, interpolate="step", orient="horizontal").encode(
        x, y
    )
    dots = base.mark_point(size=60, opacity=0).encode(x, y, tooltip=tooltip)
    return finished(alt.layer(marks, dots, _zero()).add_params(chosen), MANY_HEIGHT)


def _ranked(frame: pl.DataFrame) -> pl.DataFrame:
    """Sorted, the largest first, each with the share of guests before it; no more than can be drawn."""
    ordered = frame.sort("value", "guest", descending=[True, False])
    rank = (pl.int_range(pl.len()) + 0.5) / pl.len()
    ranked = ordered.with_columns(rank=rank)
    return pl.concat([ranked.head(1), last_of_bins(ranked.slice(1), MOST_GUESTS - 1)])


def _zero() -> alt.Chart:
    return (
        alt.Chart(alt.InlineData(values=[{}])).mark_rule(style="quiet", strokeWidth=1).encode(x=alt.datum(0))
    )

"""What each setting gets over all guests, and for what price, with how sure both are."""

import altair as alt
import polars as pl

from replay.fleets.measures import MEASURES
from replay.report.charts.drawn import finished, rows
from replay.report.figures import Figure
from replay.report.fleet.compared import SHARE, Compared
from replay.report.fleet.looks import TICKS, looks

NAME, TITLE = "price", "What does each setting get, and for what price?"
PRICES = {
    "cpu_s_per_hour": "CPU of host and guest, seconds an hour",
    "refaults_gib_per_hour": "memory taken again, GiB an hour",
}


def price(of: Compared) -> Figure:
    """A mark for each setting, with its intervals as lines."""
    settings = of.reporting
    told = [
        {
            "setting": of.names[each],
            "price": name,
            **_ends("x", of.statistic(each, name), 1),
            **_ends("y", of.statistic(each, SHARE), 100),
        }
        for each in settings
        for name in PRICES
    ]
    kinds = dict.fromkeys(("x", "x_low", "x_high", "y", "y_low", "y_high"), pl.Float64)
    schema = {"setting": pl.String, "price": pl.String, **kinds}
    frame = pl.DataFrame(told, schema).drop_nulls(["x", "y"])
    if frame.is_empty():
        return Figure(NAME, TITLE, "", "", None, "No setting reported anything.")
    chosen = alt.param(
        name="price",
        value=next(iter(PRICES)),
        bind=alt.binding_select(options=list(PRICES), labels=list(PRICES.values()), name="Price "),
    )
    base = alt.Chart(rows(frame)).transform_filter("datum.price == price")
    title = "price for a guest (the list below chooses it)"
    x = alt.X("x:Q", title=title, scale=alt.Scale(zero=True), axis=TICKS)
    y = alt.Y("y:Q", title="given back, % of memory", scale=alt.Scale(zero=False))
    colour, shape = looks(of, settings)
    up = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(x, alt.Y("y_low:Q"), alt.Y2("y_high:Q"), colour)
    side = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(
        alt.X("x_low:Q"), alt.X2("x_high:Q"), y, colour
    )
    marks = base.mark_point(size=100, filled=True, opacity=1).encode(
        x,
        y,
        colour,
        shape,
        tooltip=["setting:N", alt.Tooltip("x:Q", format=".4~g"), alt.Tooltip("y:Q", format=".2f")],
    )
    known = frame["x_low"].null_count() < frame.height
    drawn = alt.layer(up, side, marks) if known else alt.layer(marks)
    alone = " There are none of a single guest." if of.fleet.count < 2 else ""
    said = (
        f"{of.names[each]} {of.mean(each, SHARE)} {of.ends(each, SHARE)} for "
        f"{of.mean(each, 'cpu_s_per_hour')} {of.ends(each, 'cpu_s_per_hour')}"
        for each in settings
    )
    return Figure(
        NAME,
        TITLE,
        "A mark is the mean over guests: higher gets more memory back, further to the left costs less. The "
        f"lines are 95 % intervals of both means.{alone}",
        f"Given back, and {MEASURES['cpu_s_per_hour'].title}: {'; '.join(said)}.",
        finished(drawn.add_params(chosen), 360),
    )


def _ends(axis: str, row: dict[str, float | None], scale: float) -> dict[str, float | None]:
    names = {axis: "mean", f"{axis}_low": "low", f"{axis}_high": "high"}
    values = {name: row[key] for name, key in names.items()}
    return {name: None if value is None else value * scale for name, value in values.items()}

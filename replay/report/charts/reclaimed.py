"""How much memory came back, and when: free, reportable and reclaimed over time."""

import altair as alt
import polars as pl

from replay.report.charts.cast import GREY, Cast
from replay.report.charts.drawn import GIB, Drawn, colour, dash, envelope, finished, gib, rows, time_axis
from replay.report.figures import Figure
from replay.report.material import Material

NAME, TITLE = "reclaimed", "How much memory comes back to the host, and when?"
LEVEL, GAP = "memory reclaimed", "how far below the ceiling"


def figure(material: Material, cast: Cast) -> Figure:
    """A line for each policy, on the free memory that there is."""
    wide = memory(material.timeline, cast)
    if wide.height == 0:
        return Figure(NAME, TITLE, "", "", None, "No time passed in this replay: record for longer.")
    at = "" if cast.order is None else f" at order {cast.order}"
    reading = (
        "A line is the memory that the host has back because of a report; the grey behind it is what "
        f"was free in the guest, darker what could be reported{at}."
    )
    if cast.ceiling is not None:
        reading += (
            f" No policy{at} can be above {cast.names[cast.ceiling]}; the list below the chart shows how "
            "far below it each of them stays."
        )
    if len(cast.main) < len(cast.names):
        reading += " Below the chart is also the switch that shows the other policies."
    alt_text = "Memory reclaimed on average. " + cast.told(
        {i: gib(result["reclaimed"]["mean_bytes"]) for i, result in enumerate(cast.results)}
    )
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(wide, cast), 340))


def memory(timeline: pl.DataFrame, cast: Cast) -> pl.DataFrame:
    """In GiB by `t`: `free`, `reportable` (both of the first policy shown, since it depends on the order) and
    `p0`, `p1` …, each result's reclaimed. More than 2000 instants keep their lowest and highest values.
    """
    own = timeline.filter(pl.col("result") == cast.first).sort("time_s")
    wide = own.select(
        t="time_s", free=pl.col("free_bytes") / GIB, reportable=pl.col("reportable_bytes") / GIB
    )
    for index in range(len(cast.names)):
        level = timeline.filter(pl.col("result") == index).select(
            t="time_s", **{f"p{index}": pl.col("reclaimed_bytes") / GIB}
        )
        wide = wide.join(level, "t", how="left", maintain_order="left")
    return envelope(wide, "t")


def _chart(wide: pl.DataFrame, cast: Cast) -> Drawn:
    # The main ones come first: a legend takes its entries, and these their looks, in this order.
    every = [*cast.main, *(i for i in range(len(cast.names)) if i not in cast.main)]
    keys = [f"p{i}" for i in every]
    few = len(cast.main) < len(every)
    name = f"All {len(every)} policies "
    shown_all = alt.param(name="every", value=True)
    if few:
        shown_all = alt.param(name="every", value=False, bind=alt.binding_checkbox(name=name))
    main = [f"p{i}" for i in cast.main]
    alike = [f"p{i}" for i in every if cast.orders[i] is None or cast.orders[i] == cast.order]
    view = alt.param(name="view", value=LEVEL)
    if cast.ceiling is not None:
        view = alt.param(
            name="view", value=LEVEL, bind=alt.binding_select(options=[LEVEL, GAP], name="Show ")
        )
    names = alt.param(name="names", value=cast.names)
    base = alt.Chart(rows(wide, t=6))
    lit = alt.selection_point(fields=["policy"], bind="legend", name="lit")
    grounds = [
        base.transform_filter(f"view == '{LEVEL}'")
        .mark_area(interpolate="step-after", opacity=opacity, color=GREY)
        .encode(time_axis(), alt.Y(f"{field}:Q", title="GiB"))
        for field, opacity in (("free", 0.16), ("reportable", 0.22))
    ]
    most = "0" if cast.ceiling is None else f"datum.p{cast.ceiling}"
    lines = (
        base.transform_calculate(most=most)
        .transform_fold([*keys], as_=["key", "level"])
        .transform_filter(f"every || indexof({main!r}, datum.key) >= 0")
        .transform_filter(f"view == '{LEVEL}' || indexof({alike!r}, datum.key) >= 0")
        .transform_calculate(
            policy="names[toNumber(slice(datum.key, 1))]",
            shown=f"view == '{LEVEL}' ? datum.level : datum.most - datum.level",
        )
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            time_axis(),
            alt.Y("shown:Q", title="GiB"),
            colour(cast, every).scale(alt.Scale(range=[cast.colours[i] for i in every])),
            dash(cast, every).scale(alt.Scale(range=[cast.dashes[i] for i in every])),
            opacity=alt.when(lit).then(alt.value(1)).otherwise(alt.value(0.12)),
        )
        .add_params(lit)
    )
    return alt.layer(*grounds, lines, _told(base, cast)).add_params(view, shown_all, names)


def _told(base: alt.Chart, cast: Cast) -> alt.Chart:
    """What there is at the instant that is pointed at."""
    near = alt.selection_point(
        name="near", nearest=True, on="pointermove", clear="pointerout", fields=["t"], empty=False
    )
    fields = [
        alt.Tooltip("t:Q", title="time (s)"),
        alt.Tooltip("free:Q", title="free (GiB)"),
        alt.Tooltip("reportable:Q", title="reportable (GiB)"),
        *(alt.Tooltip(f"p{i}:Q", title=name) for i, name in enumerate(cast.names)),
    ]
    return (
        base.mark_rule()
        .encode(
            time_axis(), tooltip=fields, opacity=alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
        )
        .add_params(near)
    )

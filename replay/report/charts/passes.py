"""When a policy works: passes and report calls on a time line that can be looked into."""

import altair as alt
import polars as pl

from replay.report.charts.cast import Cast
from replay.report.charts.drawn import GIB, Drawn, finished, row_names, rows, time_axis
from replay.report.figures import Figure
from replay.report.material import Material

NAME, TITLE = "passes", "When does each policy work?"
MOST_CALLS, MOST_PASSES = 1000, 300  # marks of a policy; beyond that, runs of them
BAND, LEAST = 0.5, 0.03  # of a row: how high the tallest call is, and one by which nothing came back
LABEL = 0.69  # of a row: where its name stands
PASS = -0.09  # where the bar of a pass is, below its calls
ROW_HEIGHT = 62
STRIP = (-0.95, -0.45)  # the whole trace, in rows below the first one
MIB = 1 << 20


def figure(material: Material, cast: Cast) -> Figure:
    """A row for each policy that was logged."""
    calls = {i: told for i in range(len(cast.names)) if (told := calls_of(material.reports, i)).height}
    if not calls:
        missing = "No report was made in this replay, or no log of them was kept: replay with -o keeps it."
        return Figure(NAME, TITLE, "", "", None, missing)
    reading = (
        "A mark is a report call, as high as the memory that came back by it (the tallest of each "
        "policy fills its row), the bar below it the pass it belongs to. Passes that found nothing to "
        "report are not drawn. To look closer, drag over a stretch of time, or move the sliders below the "
        "chart; a double click shows all again. The strip at the bottom is the whole trace."
    )
    alt_text = "Work of the policies. " + cast.told({i: _said(i, cast) for i in calls})
    return Figure(
        NAME, TITLE, reading, alt_text, finished(_chart(calls, material, cast), ROW_HEIGHT * len(calls) + 70)
    )


def calls_of(reports: pl.DataFrame, result: int) -> pl.DataFrame:
    """The calls of one result: `start`, `end` (s), `calls`, `blocks`, `mib` newly reclaimed. Of more than
    `MOST_CALLS`, each row is a run of consecutive calls, with their sums.
    """
    mine = reports.lazy().filter(pl.col("result") == result)
    calls = mine.group_by("call").agg(
        start=pl.col("submit_s").min(),
        end=pl.col("done_s").max(),
        blocks=pl.len(),
        mib=pl.col("new_bytes").sum() / MIB,
    )
    single = calls.sort("start", "call").collect()
    every = max(-(-single.height // MOST_CALLS), 1)
    run = (pl.int_range(pl.len()) // every).alias("run")
    sums = pl.col("blocks", "mib").sum()
    return (
        single.group_by(run, maintain_order=True)
        .agg(pl.col("start").min(), pl.col("end").max(), calls=pl.len(), sums=pl.struct(sums))
        .unnest("sums")
        .select("start", "end", "calls", "blocks", "mib")
    )


def passes_of(reports: pl.DataFrame, result: int) -> pl.DataFrame:
    """The passes of one result: `start`, `end` (s), from the first call's submission to the last one's
    completion, without passes that reported nothing, and without policies that make none (pass 0). Of more
    than `MOST_PASSES`, each row is a run of consecutive passes.
    """
    mine = reports.lazy().filter((pl.col("result") == result) & (pl.col("pass") > 0))
    found = mine.group_by("pass").agg(start=pl.col("submit_s").min(), end=pl.col("done_s").max())
    single = found.sort("start", "pass").collect()
    every = max(-(-single.height // MOST_PASSES), 1)
    run = (pl.int_range(pl.len()) // every).alias("run")
    runs = single.group_by(run, maintain_order=True)
    return runs.agg(pl.col("start").min(), pl.col("end").max(), passes=pl.len()).drop("run")


def _said(index: int, cast: Cast) -> str:
    told = cast.results[index]["reports"]
    new = told["bytes"] - told["redundant_bytes"] - told["acknowledged_only_bytes"]
    passes = f"{told['passes']:,} passes, " if told["passes"] else ""
    return f"{passes}{told['calls']:,} calls, {new / GIB:.3g} GiB came back"


def _marks(calls: dict[int, pl.DataFrame]) -> pl.DataFrame:
    """`p`, the columns of `calls_of`, `low` and `high`: where its mark is, the first result's row on top."""
    found = []
    for place, (index, told) in enumerate(calls.items()):
        base = float(len(calls) - 1 - place)
        height = LEAST + (BAND - LEAST) * pl.col("mib") / max(float(told["mib"].max()), 1e-9)  # type: ignore[arg-type] # a float
        found.append(told.select(pl.lit(index).alias("p"), pl.all(), low=pl.lit(base), high=base + height))
    return pl.concat(found)


def _chart(calls: dict[int, pl.DataFrame], material: Material, cast: Cast) -> Drawn:
    ends = [float(told["end"].max()) for told in calls.values()]  # type: ignore[arg-type] # floats
    last = max([*ends, float(material.timeline["time_s"].max() or 0)])  # type: ignore[arg-type] # a float
    whole, names = float(f"{max(last, 1e-6) * 1.001:.5g}"), [cast.names[i] for i in calls]
    step = float(f"{whole / 400:.3g}")
    start = alt.param(
        name="start", value=0, bind=alt.binding_range(min=0, max=whole, step=step, name="From (s) ")
    )
    length = alt.param(
        name="length",
        value=whole,
        bind=alt.binding_range(min=2 * step, max=whole, step=step, name="Shown (s) "),
    )
    colours = alt.Color(
        "policy:N", scale=alt.Scale(domain=names, range=[cast.colours[i] for i in calls]), legend=None
    )
    y = alt.Y("low:Q", scale=alt.Scale(domain=[STRIP[0], len(calls)], nice=False), axis=None)
    of = alt.param(name="names", value=cast.names)
    data = alt.Chart(rows(_marks(calls), start=7, end=7)).transform_calculate(policy="names[datum.p]")
    shown = alt.Scale(
        domainMin=alt.ExprRef(f"min(start, {whole} - {step})"),
        domainMax=alt.ExprRef(f"min(start + length, {whole})"),
        nice=False,
        zero=False,
    )
    near = time_axis("start", scale=shown)
    marks = data.mark_rule(strokeWidth=1.5, clip=True, strokeCap="butt").encode(
        near,
        y,
        alt.Y2("high"),
        colours,
        tooltip=[
            "policy:N",
            alt.Tooltip("start:Q", title="time (s)"),
            "calls:Q",
            "blocks:Q",
            alt.Tooltip("mib:Q", title="came back (MiB)"),
        ],
    )
    bars = (
        alt.Chart(rows(_bars(calls, material.reports), start=7, end=7))
        .transform_calculate(policy="names[datum.p]")
        .mark_rule(strokeWidth=4, clip=True, strokeCap="square")
        .encode(
            near,
            y,
            colours,
            x2="end",
            tooltip=["policy:N", alt.Tooltip("start:Q", title="time (s)"), "passes:Q"],
        )
    )
    said = [
        {
            "text": f"{cast.names[i]}: {_said(i, cast)}",
            "short": f"{cast.names[i]}: {cast.results[i]['reports']['calls']:,} calls",
            "low": len(calls) - 1 - place + LABEL,
        }
        for place, i in enumerate(calls)
    ]
    text = row_names(said, y)
    detail = alt.layer(bars, marks, text)
    return (
        alt.layer(detail, _strip(data, y, whole)).resolve_scale(x="independent").add_params(start, length, of)
    )


def _bars(calls: dict[int, pl.DataFrame], reports: pl.DataFrame) -> pl.DataFrame:
    """The passes of all, each below its calls."""
    return pl.concat(
        passes_of(reports, index).select(
            pl.lit(index).alias("p"), pl.all(), low=pl.lit(float(len(calls) - 1 - place) + PASS)
        )
        for place, index in enumerate(calls)
    )


def _strip(data: alt.Chart, y: alt.Y, whole: float) -> Drawn:
    """The whole trace, and which stretch of it is shown."""
    low, high = STRIP
    x = alt.X("start:Q", scale=alt.Scale(domain=[0, whole], nice=False), axis=None)
    ticks = (
        data.transform_calculate(low=str(low), high=str(high))
        .mark_rule(strokeWidth=1, opacity=0.25, style="quiet")
        .encode(x, y, alt.Y2("high"))
    )
    window = (
        alt.Chart(alt.InlineData(values=[{}]))
        .transform_calculate(
            start="start", end=f"min(start + length, {whole})", low=str(low - 0.05), high=str(high + 0.05)
        )
        .mark_rect(fillOpacity=0.12, fill="#0072B2", stroke="#0072B2", strokeWidth=1.5)
        .encode(x, y, alt.Y2("high"), x2="end")
    )
    return alt.layer(ticks, window)

"""What all figures have in common: rows inside the specification, few of them and short; axes, legends."""

import math
from typing import Any

import altair as alt
import polars as pl

from replay.report.charts.cast import Cast

GIB = 1 << 30
MOST_POINTS = 2000  # of a series
Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
DIGITS = 4  # that matter: a pixel is a thousandth
# Vega measures legends and texts before it fits the width, so the width that counts is the element's.
ROOM = "(isFinite(containerSize()[0]) ? containerSize()[0] : 340 + 0 * width)"


def rows(frame: pl.DataFrame, **digits: int) -> alt.InlineData:
    """A frame as CSV inside the chart: numbers with four significant digits, or with as many as `digits`
    says of a column; what is null or not finite is empty.
    """
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    floats = [name for name in numbers if frame.schema[name].is_float()]
    short = frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name).round_sig_figs(digits.get(name, DIGITS)))
        for name in floats
    )
    parse = {name: "number" if name in numbers else "string" for name in frame.columns}
    return alt.InlineData(short.write_csv(), alt.CsvDataFormat(type="csv", parse=parse))


def last_of_bins(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most `most` rows: of each run of rows the last, so a stack still adds up. A peak shorter than a run
    can be missing.
    """
    every = -(-frame.height // most) if frame.height else 1
    return frame.reverse().gather_every(every).reverse()


def envelope(frame: pl.DataFrame, time: str, most: int = MOST_POINTS) -> pl.DataFrame:
    """At most `most` rows: of each run of rows the lowest and the highest of every column, so that no peak
    is lost; in between, lines go up and down within the run.
    """
    if frame.height <= most:
        return frame
    every = -(-frame.height // (most // 2))
    run = (pl.int_range(pl.len()) // every).alias("run")
    grouped = frame.group_by(run, maintain_order=True)
    others = pl.all().exclude(time)
    low = grouped.agg(pl.col(time).first(), others.min())
    high = grouped.agg(pl.col(time).last(), others.max())
    return pl.concat([low, high]).sort("run", time).drop("run")


def finished(chart: Drawn, height: int) -> dict[str, Any]:
    """The specification: as wide as its element, without colours of its own for text and ground.

    Its `config` is left to the page.
    """
    sized = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    told: dict[str, Any] = sized.to_dict()
    told.pop("config", None)
    return told


def time_axis(field: str = "t", scale: alt.Scale | None = None) -> alt.X:
    """Seconds, from the first to the last."""
    ticks = alt.Axis(tickCount=alt.ExprRef("ceil(width / 90)"))
    whole = alt.Scale(nice=False, zero=False)
    return alt.X(f"{field}:Q", title="time since the start (s)", scale=scale or whole, axis=ticks)


def log_axis(field: str, title: str, domain: tuple[float, float]) -> alt.X:
    """Seconds on a log scale, a tick at each power of ten."""
    decades = range(math.ceil(math.log10(domain[0]) - 1e-9), math.floor(math.log10(domain[1]) + 1e-9) + 1)
    return alt.X(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=list(domain), nice=False),
        axis=alt.Axis(format="~g", values=[float(f"1e{power}") for power in decades], grid=True),
    )


def legend(names: list[str], **more: Any) -> alt.Legend:  # noqa: ANN401 - Altair's
    """Above the chart, as many entries beside each other as its element has room for."""
    entry = 6.4 * max((len(name) for name in names), default=1) + 38
    fit = alt.ExprRef(f"max(1, floor({ROOM} / {entry}))")
    return alt.Legend(title=None, orient="top", direction="horizontal", columns=fit, **more)


def lines_legend(names: list[str]) -> alt.Legend:
    """Of lines: long enough for their dashes to be seen."""
    return legend(names, symbolType="stroke", symbolSize=500, symbolStrokeWidth=2.5)


def colour(cast: Cast, shown: list[int], field: str = "policy") -> alt.Color:
    """Of the policies shown, each its own."""
    names = [cast.names[i] for i in shown]
    scale = alt.Scale(domain=names, range=[cast.colours[i] for i in shown])
    return alt.Color(f"{field}:N", sort=None, scale=scale, legend=lines_legend(names))


def dash(cast: Cast, shown: list[int], field: str = "policy") -> alt.StrokeDash:
    """As `colour`, for lines."""
    names = [cast.names[i] for i in shown]
    scale = alt.Scale(domain=names, range=[cast.dashes[i] for i in shown])
    return alt.StrokeDash(f"{field}:N", sort=None, scale=scale, legend=lines_legend(names))


def row_names(said: list[dict[str, Any]], y: alt.Y) -> alt.Chart:
    """Texts at the left of rows: `text`, or `short` where there is no room, never wider than the chart."""
    return (
        alt.Chart(alt.InlineData(values=said))
        .transform_calculate(told=f"{ROOM} < length(datum.text) * 6.8 ? datum.short : datum.text")
        .mark_text(align="left", baseline="middle", limit=alt.ExprRef(f"{ROOM} - 12"))
        .encode(y=y, text="told:N", x=alt.value(0))
    )


def chooser(cast: Cast, shown: list[int]) -> alt.Parameter:
    """A drop-down list of results, without any script but Vega's own. Its value is the result's number."""
    first = cast.first if cast.first in shown else shown[0]
    names = [cast.names[i] for i in shown]
    return alt.param(
        name="chosen", value=first, bind=alt.binding_select(options=shown, labels=names, name="Policy ")
    )


def gib(size_bytes: float | None) -> str:
    """A size in words of an alternative text."""
    return "nothing known" if size_bytes is None else f"{size_bytes / GIB:.4g} GiB"

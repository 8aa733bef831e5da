"""How long memory waited until it was reported: the distribution, over reported bytes."""

import altair as alt
import numpy as np
import polars as pl

from replay.report.charts.cast import Cast
from replay.report.charts.drawn import Drawn, colour, dash, finished, log_axis, rows
from replay.report.figures import Figure
from replay.report.material import Material
from tracer.units import human_duration

NAME, TITLE = "latency", "How long does memory wait until it is reported?"
FLOOR_S = 0.001
STEPS = 300  # of a curve


def figure(material: Material, cast: Cast) -> Figure:
    """A curve for each policy that had something to wait for."""
    curves = {i: each for i in range(len(cast.names)) if (each := curve(material.latency, i)) is not None}
    at_once = [cast.names[i] for i, each in curves.items() if not (each["x"] > FLOOR_S).any()]
    shown = [i for i in curves if cast.names[i] not in at_once]
    if not shown:
        missing = "No policy reported memory whose wait is known: "
        missing += "all at once." if at_once else "record for longer, or replay with --start cold."
        return Figure(NAME, TITLE, "", "", None, missing)
    reading = (
        "At each waiting time, the share of the reported bytes that had waited no longer than that: "
        "further to the left is sooner. Memory that was used again before it was reported is not in "
        "it; the next figure has that."
    )
    if at_once:
        reading += f" Not drawn, since it reports at once: {', '.join(at_once)}."
    quantiles = {i: cast.results[i]["latency_s"] for i in shown}
    alt_text = "Waiting time of reported bytes. " + cast.told(
        {
            i: f"half within {human_duration(of['p50'])}, 99% within {human_duration(of['p99'])}"
            for i, of in quantiles.items()
        }
    )
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(curves, shown, cast), 300))


def curve(latency: pl.DataFrame, result: int) -> pl.DataFrame | None:
    """Of one result: `x` (s) and `share` of the reported bytes that waited no longer; None when nothing was
    reported. At most `STEPS` points, on a log axis: of each step of it the last, so a curve goes through
    each of them exactly. What took less than a millisecond is at one.
    """
    mine = latency.filter((pl.col("result") == result) & (pl.col("reported_bytes") > 0)).sort("upper_s")
    total = mine["reported_bytes"].sum()
    if not total:
        return None
    upper = np.maximum(mine["upper_s"].to_numpy(), FLOOR_S)
    share = mine["reported_bytes"].cum_sum().to_numpy() / total
    logs = np.log(upper / FLOOR_S)
    step = np.ceil(logs / max(float(logs[-1]), 1e-9) * (STEPS - 1)).astype(np.int64)
    last = np.append(step[1:] != step[:-1], True)
    return pl.DataFrame({"x": upper[last], "share": share[last]})


def _chart(curves: dict[int, pl.DataFrame], shown: list[int], cast: Cast) -> Drawn:
    longest = max(float(curves[i]["x"][-1]) for i in shown)
    ends = {i: pl.DataFrame({"x": [FLOOR_S, longest], "share": [0.0, 1.0]}) for i in shown}
    drawn = pl.concat(
        pl.concat([ends[i][:1], curves[i], ends[i][1:]]).select(p=pl.lit(i), x="x", share="share")
        for i in shown
    )
    names = alt.param(name="names", value=cast.names)
    lit = alt.selection_point(fields=["policy"], bind="legend", name="lit")
    base = alt.Chart(rows(drawn)).transform_calculate(policy="names[datum.p]")
    x = log_axis("x", "time waited (s)", (FLOOR_S, longest))
    y = alt.Y(
        "share:Q",
        title="share of reported bytes",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 0.9, 1]),
    )
    lines = (
        base.mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x,
            y,
            colour(cast, shown),
            dash(cast, shown),
            opacity=alt.when(lit).then(alt.value(1)).otherwise(alt.value(0.12)),
        )
        .add_params(lit)
    )
    points = base.mark_circle(size=120, opacity=0).encode(
        x,
        y,
        tooltip=[
            alt.Tooltip("policy:N"),
            alt.Tooltip("share:Q", format=".1%", title="share"),
            alt.Tooltip("x:Q", title="within (s)"),
        ],
    )
    return alt.layer(lines, points).add_params(names)

"""What becomes of memory that could be reported: the cumulative incidence, a band for each policy."""

from typing import Any

import altair as alt
import polars as pl

from replay.report.charts.cast import Cast
from replay.report.charts.drawn import Drawn, finished, legend, log_axis, row_names, rows
from replay.report.figures import Figure
from replay.report.material import Material

NAME, TITLE = "fate", "What becomes of memory that could be reported?"
BAND, LABEL = 0.66, 0.83  # of a row: how high its band is, and where its name stands
ROW_HEIGHT = 58
LEAST = 0.005  # of a band: less is no change
COLOURS = {"reported": "#009E73", "used again first": "#D55E00", "still waiting": "rgba(138,143,152,0.35)"}
OF = {"reported": "reported", "used again first": "missed", "still waiting": "waiting"}


def figure(material: Material, cast: Cast) -> Figure:
    """A row for each policy."""
    shares = {i: told for i, result in enumerate(cast.results) if _some(told := result["incidence"])}
    if not shares:
        missing = (
            "No memory became reportable while this was recorded, so nothing became of it: record "
            "for longer, or a busier guest."
        )
        return Figure(NAME, TITLE, "", "", None, missing)
    reading = (
        "Of the bytes that became reportable, from left to right as they wait: green was reported, "
        "orange was used again before it could be, grey still waited. The sooner green grows and the "
        "less orange, the better. Times at which no band changes are left out at both ends."
    )
    if cast.mixed:
        reading += " At another order other bytes can be reported: such a row is of its own bytes."
    alt_text = "In the end, " + cast.told({i: _in_the_end(told) for i, told in shares.items()})
    return Figure(
        NAME, TITLE, reading, alt_text, finished(_chart(shares, cast), ROW_HEIGHT * len(shares) + 20)
    )


def _some(told: dict[str, Any] | None) -> bool:
    return bool(told and told["within_s"])


def _in_the_end(told: dict[str, Any]) -> str:
    return f"{told['reported'][-1]:.0%} reported, {told['missed'][-1]:.0%} used again first"


def bands(shares: dict[int, dict[str, Any]]) -> pl.DataFrame:
    """A row for each result, time and fate: `p`, `x` (s), `fate`, `share`, and `low` and `high` of its part
    of the band, the first result's band on top.
    """
    count, found = len(shares), []
    for place, (index, told) in enumerate(shares.items()):
        base = float(count - 1 - place)
        low = [base] * len(told["within_s"])
        for fate, key in OF.items():
            high = [a + BAND * share for a, share in zip(low, told[key], strict=True)]
            found += [
                {"p": index, "x": x, "fate": fate, "share": share, "low": a, "high": b}
                for x, share, a, b in zip(told["within_s"], told[key], low, high, strict=True)
            ]
            low = high
    return pl.DataFrame(found)


def trimmed(shares: dict[int, dict[str, Any]]) -> tuple[float, float]:
    """The first and the last time (s) between which any band changes by `LEAST` or more."""
    times = [float(x) for x in next(iter(shares.values()))["within_s"]]
    if any([float(x) for x in told["within_s"]] != times for told in shares.values()):
        ends = [float(told["within_s"][k]) for told in shares.values() for k in (0, -1)]
        return min(ends), max(ends)
    lines = [told[key] for told in shares.values() for key in OF.values()]
    first = [k for k in range(len(times)) if any(abs(line[k] - line[0]) >= LEAST for line in lines)]
    last = [k for k in range(len(times)) if any(abs(line[k] - line[-1]) >= LEAST for line in lines)]
    return times[max(min(first, default=1) - 1, 0)], times[min(max(last, default=0) + 1, len(times) - 1)]


def _chart(shares: dict[int, dict[str, Any]], cast: Cast) -> Drawn:
    count, (first, longest) = len(shares), trimmed(shares)
    drawn = bands(shares).filter(pl.col("x").is_between(first, longest))
    names = alt.param(name="names", value=cast.names)
    x = log_axis("x", "within (s)", (first, max(longest, 2 * first)))
    scale = alt.Scale(domain=[0, count], nice=False)
    base = alt.Chart(rows(drawn)).transform_calculate(policy="names[datum.p]")
    area = base.mark_area(interpolate="linear").encode(
        x,
        alt.Y("low:Q", scale=scale, axis=None),
        alt.Y2("high"),
        alt.Color(
            "fate:N",
            sort=None,
            legend=legend(list(OF), symbolType="square"),
            scale=alt.Scale(domain=list(OF), range=list(COLOURS.values())),
        ),
        detail=["policy:N"],
    )
    hover = base.mark_bar(width=14, opacity=0).encode(
        x,
        alt.Y("low:Q", scale=scale),
        alt.Y2("high"),
        tooltip=[
            "policy:N",
            "fate:N",
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("x:Q", title="within (s)"),
        ],
    )
    said = [
        {
            "text": f"{cast.names[i]}: {_in_the_end(told)}",
            "short": f"{cast.names[i]}: {told['reported'][-1]:.0%}",
            "at": count - 1 - place + LABEL,
        }
        for place, (i, told) in enumerate(shares.items())
    ]
    text = row_names(said, alt.Y("at:Q", scale=scale))
    return alt.layer(area, hover, text).add_params(names)

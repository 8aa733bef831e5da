"""Pictures of the comparison: what comes back on each trace, what a knob brings, and for what price."""

from collections.abc import Mapping, Sequence
from statistics import median

import altair as alt
import polars as pl

from data.comparison.answers import (
    AT_0,
    AT_9,
    CPU_S,
    GIB,
    OF_ALL,
    P50_S,
    REFAULTS,
    Answers,
    Shows,
    Writes,
    a_minute,
    label,
    percent,
    points,
    spread,
)
from data.comparison.replayed import KNOBS, POLICIES, UNTOLD
from replay.report.charts.cast import COLOURS, GREY
from replay.report.charts.drawn import finished, legend, rows
from replay.report.figures import Figure

Shares = Mapping[str, Mapping[str, float]]  # of each setting, on each trace
ROW_HEIGHT = 26
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
REPORTING = [name for name in POLICIES if name != "never"]
GREYS = (UNTOLD, "clairvoyant", "oracle")  # what no kernel does, or nobody wants
PRICES: Sequence[tuple[str, Shows, str]] = (
    ("cpu", a_minute(CPU_S), "CPU of host and guest, seconds a minute"),
    ("refaults", a_minute(lambda row: (REFAULTS(row) or 0) / GIB), "memory taken again, GiB a minute"),
    ("latency", P50_S, "half is reported within, seconds"),
)


def pictures(answers: Answers) -> list[Figure]:
    """In the order of the page."""
    return [_returned(answers), _knobs(answers), _prices(answers)]


def _looks(settings: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Each setting's colour and shape, with one legend for both."""
    names = list(map(label, settings))
    bright = [name for name in settings if name not in GREYS]
    colours = [GREY if name in GREYS else COLOURS[bright.index(name) % len(COLOURS)] for name in settings]
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(settings))]
    told = legend(names, symbolType="circle")
    return (
        alt.Color("setting:N", sort=None, scale=alt.Scale(domain=names, range=colours), legend=told),
        alt.Shape("setting:N", sort=None, scale=alt.Scale(domain=names, range=shapes), legend=legend(names)),
    )


def _by_trace(
    name: str, title: str, reading: str, shares: Shares, first: str, axis: alt.X, numbers: str
) -> Figure:
    """A row for each trace, the ones with most of `first` on top, and a mark for each setting."""
    found = [
        {"trace": trace, "setting": label(setting), "value": 100 * share}
        for setting, of in shares.items()
        for trace, share in of.items()
    ]
    frame = pl.DataFrame(found, {"trace": pl.String, "setting": pl.String, "value": pl.Float64})
    traces = sorted(
        {trace for of in shares.values() for trace in of}, key=lambda trace: -shares[first].get(trace, 0)
    )
    colour, shape = _looks(list(shares))
    base = alt.Chart(rows(frame)).encode(
        axis, alt.Y("trace:N", sort=traces, title=None, axis=alt.Axis(grid=True, domain=False))
    )
    marks = base.mark_point(size=70, filled=True, opacity=0.85).encode(
        colour, shape, tooltip=["trace:N", "setting:N", alt.Tooltip("value:Q", format=".1f")]
    )
    chart = finished(alt.layer(marks), ROW_HEIGHT * len(traces))
    return Figure(name, title, reading, f"{numbers}.", chart)


def _told(shares: Shares, write: Writes) -> str:
    """Each setting's median over the traces, and its range."""
    told = "; ".join(f"{label(setting)} {spread(of.values(), write)}" for setting, of in shares.items())
    return f"median over the traces (least to most): {told}"


def _returned(answers: Answers) -> Figure:
    shares = {setting: answers.over(OF_ALL, setting) for setting in (UNTOLD, *REPORTING, AT_0)}
    return _by_trace(
        "returned",
        "How much comes back, and does the policy matter?",
        "A row is a trace, a mark a policy: further to the right has more memory back. Marks on top of each "
        "other get the same. Grey is no choice: `untold` reports nothing that is freed during the trace (the "
        "floor), and what `clairvoyant` and `oracle` do no kernel can.",
        shares,
        "oracle",
        alt.X("value:Q", title="reclaimed, % of what any order could", scale=alt.Scale(zero=False)),
        f"Share of what any order could reclaim, {_told(shares, percent)}",
    )


def _knobs(answers: Answers) -> Figure:
    gains = {setting: answers.more(OF_ALL, setting) for setting in KNOBS}
    return _by_trace(
        "knobs",
        "What does another setting bring?",
        "`upstream` (order 9, 2 s) with one knob turned: how many percentage points more of what any order "
        "could reclaim come back. Left of zero is a loss.",
        gains,
        AT_0,
        alt.X("value:Q", title="points more than the default"),
        f"Percentage points more than the default, {_told(gains, points)}",
    )


def _prices(answers: Answers) -> Figure:
    settings = [*REPORTING, *KNOBS]
    found = []
    for setting in settings:
        shares = answers.over(OF_ALL, setting).values()
        for name, shows, _ in PRICES:
            costs = answers.over(shows, setting).values()
            if shares and costs:
                told = {"setting": label(setting), "price": name, "cost": median(costs)}
                found.append(told | {"share": 100 * median(shares)})
    frame = pl.DataFrame(found)
    chosen = alt.param(
        name="price",
        value=PRICES[0][0],
        bind=alt.binding_select(
            options=[name for name, _, _ in PRICES], labels=[text for _, _, text in PRICES], name="Price "
        ),
    )
    base = (
        alt.Chart(rows(frame))
        .transform_filter("datum.price == price")
        .encode(
            alt.X("cost:Q", title="price (the list below chooses it)", scale=alt.Scale(zero=True)),
            alt.Y("share:Q", title="% of what any order could", scale=alt.Scale(zero=False)),
        )
    )
    colour, shape = _looks(settings)
    marks = base.mark_point(size=90, filled=True, opacity=0.9).encode(
        colour,
        shape,
        tooltip=["setting:N", alt.Tooltip("cost:Q", format=".3~g"), alt.Tooltip("share:Q", format=".1f")],
    )
    usual, lowest = (median(answers.over(OF_ALL, setting).values()) for setting in (AT_9, AT_0))
    return Figure(
        "price",
        "What does each setting get, and for what price?",
        "A mark is the median over the traces: higher gets more memory back, further to the left costs less. "
        "Marks on top of each other get the same for the same.",
        f"Median share of what any order could: {AT_9} {percent(usual)}, {AT_0} {percent(lowest)}.",
        finished(alt.layer(marks).add_params(chosen), 340),
    )

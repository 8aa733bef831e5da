"""What each policy costs against what it gets: nobody does better than those joined by the line."""

import json
import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import altair as alt

from replay.report.charts.cast import GREY, Cast, bound
from replay.report.charts.drawn import GIB, Drawn, finished, gib
from replay.report.figures import Figure
from replay.report.material import Material

NAME, TITLE = "pareto", "What does each policy get, and for what price?"
# A price, and of a result what it is: in the order of the list.
PRICES: dict[str, Callable[[dict[str, Any]], float]] = {
    "CPU time of host and guest (s)": lambda result: result["cost_s"]["total"],
    "memory brought back again (GiB)": lambda result: result["refaults"]["bytes"] / GIB,
    "report calls": lambda result: result["reports"]["calls"],
}
LOGARITHMIC = "report calls"  # from few to a thousand times as many
MARGIN = 1.06  # of the horizontal axis
LEAST_SPAN = 0.05  # of the vertical axis: less is no difference
SAME = 0.01  # of a price or of memory: less is no difference
APART = 0.1  # of the highest price: from here on a price tells policies apart
LINE, BESIDE, WIDE = 0.056, 0.045, 0.6  # of the axes: height of a name, its distance, its reach on a phone
TURN = 0.4  # of the horizontal axis: names of points further to the right are on their left


def figure(material: Material, cast: Cast) -> Figure:
    """A point for each policy that gets something."""
    shown = [i for i, result in enumerate(cast.results) if _gets(result) > 0]
    if not shown:
        return Figure(NAME, TITLE, "", "", None, "No policy reclaimed anything in this replay.")
    bounds = [cast.names[i] for i in shown if bound(cast.results[i])]
    left_out = [name for i, name in enumerate(cast.names) if i not in shown]
    reading = (
        "Higher gets more memory back; further to the left costs less. The thin cross is through "
        f"{cast.names[_own(shown, cast)]}: what is above and left of it is better in both. The dashed line "
        "joins those that no other one beats, patches included, where less than 1% is no difference; where "
        "one beats all others there is no such line. The list below the chart chooses the price."
    )
    if bounds:
        reading += f" Hollow: bounds, which no kernel can do, so not on the line ({', '.join(bounds)})."
    if left_out:
        reading += f" Not drawn, since it gets nothing: {', '.join(left_out)}."
    alt_text = "Reclaimed on average, and the price: " + cast.told({i: _said(cast.results[i]) for i in shown})
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(points(shown, cast), shown, cast), 340))


def _said(result: dict[str, Any]) -> str:
    told = result["refaults"]["bytes"], result["reports"]["calls"]
    cpu = f"{gib(result['reclaimed']['mean_bytes'])} for {result['cost_s']['total']:.3g} s of CPU"
    return f"{cpu}, {gib(told[0])} brought back again, {told[1]:,} calls"


def _gets(result: dict[str, Any]) -> float:
    """What it reclaimed on average, GiB: that can be compared across orders, shares of a ceiling cannot."""
    return float((result["reclaimed"]["mean_bytes"] or 0) / GIB)


def _own(shown: list[int], cast: Cast) -> int:
    """The result that the cross is through."""
    return cast.first if cast.first in shown else shown[0]


def first_price(shown: list[int], cast: Cast) -> str:
    """The first price that differs among the policies of the usual order that can be had; else the first."""
    alike = [i for i in shown if cast.orders[i] == cast.order and not bound(cast.results[i])]
    for price, of in PRICES.items():
        costs = [float(of(cast.results[i])) for i in alike]
        if costs and max(costs) - min(costs) > APART * max(costs):
            return price
    return next(iter(PRICES))


def axis_of(costs: dict[int, float], price: str) -> tuple[dict[int, float], list[float]]:
    """Of a price: where each result is, from 0 to 1, and the axis' low and high end, as a power of ten where
    it is logarithmic.
    """
    if price != LOGARITHMIC:
        ends = [0.0, max(costs.values()) * MARGIN or 1.0]
        return {i: cost / ends[1] for i, cost in costs.items()}, ends
    logs = {i: math.log10(max(cost, 1)) for i, cost in costs.items()}
    low, high = min(logs.values()), max(logs.values())
    room = 0.08 * max(high - low, 0.5)
    ends = [low - room, high + room]
    return {i: (at - ends[0]) / (ends[1] - ends[0]) for i, at in logs.items()}, ends


def points(shown: list[int], cast: Cast) -> list[dict[str, Any]]:
    """For each price and result: `price`, `policy`, `cost`, `y` (GiB), `bound`, `own` (the cross is through
    it), `best` (undominated among what a kernel can do), where it is on the axis (`x`, from 0 to 1), and
    where its name goes: `name_x`, `name_y`, `side` (of the text that is there).
    """
    gets = {i: _gets(cast.results[i]) for i in shown}
    low, high = span(list(gets.values()))
    real = [i for i in shown if not bound(cast.results[i])]
    found = []
    for price, of in PRICES.items():
        costs = {i: float(of(cast.results[i])) for i in shown}
        best = [i for i in real if not any(_beats(costs, gets, j, i) for j in real)]
        at, _ = axis_of(costs, price)
        names = spread({i: (at[i], (gets[i] - low) / (high - low)) for i in shown})
        found += [
            {
                "price": price,
                "policy": cast.names[i],
                "cost": costs[i],
                "x": at[i],
                "y": gets[i],
                "bound": i not in real,
                "best": i in best,
                "own": i == _own(shown, cast),
                "name_x": at[i] + (-1 if at[i] > TURN else 1) * BESIDE,
                "name_y": low + names[i] * (high - low),
                "side": "right" if at[i] > TURN else "left",
            }
            for i in shown
        ]
    return found


def steps(ends: list[float], price: str) -> tuple[list[float], list[float]]:
    """Round numbers on the axis of a price, and where they are, from 0 to 1."""
    low, high = ends
    if price == LOGARITHMIC:
        digits = (1, 10**9) if high - low > 3 else (1, 2, 5)
        round_ones = [d * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for d in digits]
        kept = [value for value in round_ones if low <= math.log10(value) <= high]
        return kept, [(math.log10(value) - low) / (high - low) for value in kept]
    rough = high / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = max(factor * unit for factor in (1, 2, 5) if factor * unit <= rough)
    kept = [float(f"{k * step:.6g}") for k in range(int(high / step) + 1)]
    return kept, [value / high for value in kept]


def span(values: list[float]) -> tuple[float, float]:
    """Of the vertical axis: what there is with some room, never so little that nothing looks like much."""
    low, high = min(values), max(values)
    wide = max(high - low, LEAST_SPAN * high)
    return max(0.0, high - 1.12 * wide), high + 0.12 * wide


def _beats(costs: dict[int, float], gets: dict[int, float], one: int, other: int) -> bool:
    """Is it no worse in both and better in one? Less than `SAME` is neither."""
    cheaper, gets_more = costs[one] < (1 - SAME) * costs[other], gets[one] * (1 - SAME) > gets[other]
    dearer, gets_less = costs[one] * (1 - SAME) > costs[other], gets[one] < (1 - SAME) * gets[other]
    return not dearer and not gets_less and (cheaper or gets_more)


def _middle(x: float) -> float:
    """Of the name of a point."""
    return x + (-WIDE if x > TURN else WIDE) / 2


def spread(at: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Heights for the names of points at (x, y), all as shares of the axes: those that would
    be on top of each other are pushed apart, in their points' order.
    """
    placed = {i: y for i, (_, y) in at.items()}
    order = sorted(at, key=lambda i: at[i][1])
    near = [
        (low, high)
        for low, high in combinations(order, 2)
        if abs(_middle(at[low][0]) - _middle(at[high][0])) < WIDE
    ]
    for _ in range(200):
        for low, high in near:
            push = max(0.0, LINE - (placed[high] - placed[low])) / 2
            placed[low] = max(LINE / 2, placed[low] - push)
            placed[high] = min(1 - LINE / 2, placed[high] + push)
    return placed


def _axes(drawn: list[dict[str, Any]], shown: list[int], cast: Cast) -> tuple[alt.X, alt.Y]:
    """The horizontal axis goes from 0 to 1; what it says depends on the price that is chosen."""
    at, said = {}, {}
    for price, of in PRICES.items():
        _, ends = axis_of({i: float(of(cast.results[i])) for i in shown}, price)
        said[price], at[price] = steps(ends, price)
    low, high = span([each["y"] for each in drawn])
    place = f"indexof({json.dumps(at)}[price], datum.value)"
    x = alt.X(
        "x:Q",
        title=None,
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(
            values=alt.ExprRef(f"{json.dumps(at)}[price]"),
            labelExpr=f"format({json.dumps(said)}[price][{place}], '~s')",
            grid=True,
        ),
    )
    y = alt.Y(
        "y:Q",
        title="reclaimed on average (GiB)",
        scale=alt.Scale(domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(format="~g", tickCount=6),
    )
    return x, y


def _chart(drawn: list[dict[str, Any]], shown: list[int], cast: Cast) -> Drawn:
    bind = alt.binding_select(options=list(PRICES), name="Price ")
    price = alt.param(name="price", value=first_price(shown, cast), bind=bind)
    names = [cast.names[i] for i in shown]
    base = alt.Chart(alt.InlineData(values=drawn)).transform_filter("datum.price == price")
    x, y = _axes(drawn, shown, cast)
    colours = alt.Scale(domain=names, range=[cast.colours[i] for i in shown])
    shapes = alt.Scale(domain=names, range=[cast.shapes[i] for i in shown])
    own = base.transform_filter("datum.own").mark_rule(strokeWidth=1, opacity=0.6)
    cross = [own.encode(x), own.encode(y)]
    front = (
        base.transform_filter("datum.best")
        .mark_line(strokeWidth=1.5, strokeDash=[4, 3], color=GREY)
        .encode(x, y, order="x:Q")
    )
    marks = base.mark_point(size=130, strokeWidth=2.5, opacity=1).encode(
        x,
        y,
        alt.Color("policy:N", scale=colours, legend=None),
        alt.Shape("policy:N", scale=shapes, legend=None),
        fill=alt.when("datum.bound")
        .then(alt.value("transparent"))
        .otherwise(alt.Fill("policy:N", scale=colours, legend=None)),
        tooltip=[
            "policy:N",
            alt.Tooltip("y:Q", title="gets (GiB)", format=".4~g"),
            alt.Tooltip("cost:Q", title="price", format=".4~g"),
        ],
    )
    return alt.layer(*cross, front, *_named(base, x, y), marks).add_params(price)


def _named(base: alt.Chart, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The points' names, each joined to its point, and the price's: no axis has a title that changes."""
    leader = base.mark_rule(color=GREY, strokeWidth=1, opacity=0.7).encode(
        x, y, alt.X2("name_x"), alt.Y2("name_y")
    )
    text = base.mark_text(
        baseline="middle",
        align=alt.ExprRef("datum.side"),
        dx=alt.ExprRef("datum.side == 'right' ? -3 : 3"),
    ).encode(alt.X("name_x:Q"), alt.Y("name_y:Q"), text="policy:N")
    title = alt.ExprRef(f"price == '{LOGARITHMIC}' ? price + ' (log)' : price")
    said = (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_text(align="right", baseline="bottom", dx=-2, dy=-5, style="quiet")
        .encode(x=alt.value("width"), y=alt.value("height"), text=alt.value(title))
    )
    return [leader, text, said]

"""What each policy costs against what it gets: nobody does better than those joined by the line."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import altair as alt

from replay.policies import registry
from replay.report.charts.cast import GREY, Cast
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
MARGIN = 1.06  # of the horizontal axis, which begins at nothing
LEAST_SPAN = 0.05  # of the vertical axis: less is no difference
LINE, BESIDE, WIDE = 0.056, 0.045, 0.4  # of the axes: height of a name, its distance, its reach on a phone


def figure(material: Material, cast: Cast) -> Figure:
    """A point for each policy that gets something."""
    shown = [i for i, result in enumerate(cast.results) if _gets(result, cast) > 0]
    if not shown:
        return Figure(NAME, TITLE, "", "", None, "No policy reclaimed anything in this replay.")
    bounds = [cast.names[i] for i in shown if bound(cast.results[i])]
    left_out = [name for i, name in enumerate(cast.names) if i not in shown]
    reading = (
        "Higher gets more memory back, further to the left costs less. The line joins those that no other "
        "one beats in both, whether a kernel has them or not. The list below the chart chooses the price."
    )
    if bounds:
        reading += f" Hollow: bounds, which no kernel can do, so not on the line ({', '.join(bounds)})."
    if left_out:
        reading += f" Not drawn, since it gets nothing: {', '.join(left_out)}."
    alt_text = "Reclaimed on average, and its CPU time: " + cast.told(
        {i: _said(cast.results[i]) for i in shown}
    )
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(points(shown, cast), shown, cast), 340))


def _said(result: dict[str, Any]) -> str:
    return f"{gib(result['reclaimed']['mean_bytes'])} for {result['cost_s']['total']:.3g} s"


def bound(result: dict[str, Any]) -> bool:
    """Is it a bound, as its policy says?"""
    policy = registry().get(result["policy"])
    return policy is not None and bool(policy.bound)


def _gets(result: dict[str, Any], cast: Cast) -> float:
    """What it reclaimed over time: as a share of the ceiling's, or on average in GiB where there is none."""
    mine = result["reclaimed"]["byte_seconds"]
    if _most(cast):
        return float(mine / _most(cast))
    return float((result["reclaimed"]["mean_bytes"] or 0) / GIB)


def _most(cast: Cast) -> float:
    """Byte seconds of the ceiling among the results; 0 when it is not."""
    if cast.ceiling is None:
        return 0.0
    return float(cast.results[cast.ceiling]["reclaimed"]["byte_seconds"])


def points(shown: list[int], cast: Cast) -> list[dict[str, Any]]:
    """For each price and result: `price`, `policy`, `x`, `y`, `bound`, `best` (undominated among what a
    kernel can do), and where its name goes: `name_x`, `name_y`, `side` (of the text that is there).
    """
    gets = {i: _gets(cast.results[i], cast) for i in shown}
    low, high = span(list(gets.values()))
    found = []
    for price, of in PRICES.items():
        costs = {i: float(of(cast.results[i])) for i in shown}
        real = [i for i in shown if not bound(cast.results[i])]
        best = [i for i in real if not any(_beats(costs, gets, j, i) for j in real)]
        most = max(costs.values()) * MARGIN or 1.0
        at = {i: costs[i] / most for i in shown}
        where = {i: (at[i], (gets[i] - low) / (high - low)) for i in shown}
        names = spread(where)
        found += [
            {
                "price": price,
                "policy": cast.names[i],
                "x": costs[i],
                "y": gets[i],
                "bound": i not in real,
                "best": i in best,
                "name_x": costs[i] + (-1 if at[i] > 0.5 else 1) * BESIDE * most,
                "name_y": low + names[i] * (high - low),
                "side": "right" if at[i] > 0.5 else "left",
                "most": most,
            }
            for i in shown
        ]
    return found


def span(values: list[float]) -> tuple[float, float]:
    """Of the vertical axis: what there is with some room, never so little that nothing looks like much."""
    low, high = min(values), max(values)
    wide = max(high - low, LEAST_SPAN * high)
    return max(0.0, high - 1.12 * wide), high + 0.12 * wide


def _beats(costs: dict[int, float], gets: dict[int, float], one: int, other: int) -> bool:
    no_worse = costs[one] <= costs[other] and gets[one] >= gets[other]
    return no_worse and (costs[one] < costs[other] or gets[one] > gets[other])


def spread(at: dict[int, tuple[float, float]]) -> dict[int, float]:
    """Heights for the names of points at (x, y), all as shares of the axes: those on the same side that would
    be on top of each other are pushed apart, in their points' order.
    """
    placed = {i: y for i, (_, y) in at.items()}
    order = sorted(at, key=lambda i: at[i][1])
    near = [
        (low, high)
        for low, high in combinations(order, 2)
        if abs(at[low][0] - at[high][0]) < WIDE and (at[low][0] > 0.5) == (at[high][0] > 0.5)
    ]
    for _ in range(200):
        for low, high in near:
            push = max(0.0, LINE - (placed[high] - placed[low])) / 2
            placed[low] = max(LINE / 2, placed[low] - push)
            placed[high] = min(1 - LINE / 2, placed[high] + push)
    return placed


def _chart(drawn: list[dict[str, Any]], shown: list[int], cast: Cast) -> Drawn:
    price = alt.param(
        name="price", value=next(iter(PRICES)), bind=alt.binding_select(options=list(PRICES), name="Price ")
    )
    low, high = span([each["y"] for each in drawn])
    most = alt.param(name="most", value={each["price"]: each["most"] for each in drawn})
    names, share = [cast.names[i] for i in shown], bool(_most(cast))
    base = alt.Chart(alt.InlineData(values=drawn)).transform_filter("datum.price == price")
    x = alt.X(
        "x:Q",
        title=None,
        scale=alt.Scale(domainMin=0, domainMax=alt.ExprRef("most[price]"), nice=False),
        axis=alt.Axis(tickCount=alt.ExprRef("ceil(width / 110)"), format="~s", grid=True),
    )
    y = alt.Y(
        "y:Q",
        title=f"reclaimed, of what {cast.names[cast.ceiling or 0]} reclaims"
        if share
        else "reclaimed on average (GiB)",
        scale=alt.Scale(domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(format="~%" if share else "~g", tickCount=6),
    )
    colours = alt.Scale(domain=names, range=[cast.colours[i] for i in shown])
    shapes = alt.Scale(domain=names, range=[cast.shapes[i] for i in shown])
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
            alt.Tooltip("y:Q", title="gets", format=".2%" if share else ".4~g"),
            alt.Tooltip("x:Q", title="price", format=".4~g"),
        ],
    )
    leader = base.mark_rule(color=GREY, strokeWidth=1, opacity=0.7).encode(
        x, y, alt.X2("name_x"), alt.Y2("name_y")
    )
    text = base.mark_text(
        baseline="middle",
        align=alt.ExprRef("datum.side"),
        dx=alt.ExprRef("datum.side == 'right' ? -3 : 3"),
    ).encode(alt.X("name_x:Q"), alt.Y("name_y:Q"), text="policy:N")
    # An axis cannot have a title that changes.
    said = (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_text(align="right", baseline="bottom", dx=-2, dy=-5, style="quiet")
        .encode(x=alt.value("width"), y=alt.value("height"), text=alt.value(alt.ExprRef("price")))
    )
    return alt.layer(front, leader, marks, text, said).add_params(price, most)

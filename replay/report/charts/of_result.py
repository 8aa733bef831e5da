"""Charts of one result: why memory does not come back, and free memory by order, both over time.

They are Altair's, so `chart.save("x.png")` or `.svg` works without a network, and so does what
`save` writes as `.html`. Colours: those of Okabe and Ito, which colour-blind readers tell apart, and
viridis.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import altair as alt

from replay.composition import PARTS, SAMPLED
from replay.geometry import Geometry
from replay.report.charts.parts import LOOKS
from tracer import Fault, plain

if TYPE_CHECKING:
    import polars as pl

WIDTH, HEIGHT, ZONE_HEIGHT = 720, 360, 120
MIB, GIB = 1 << 20, 1 << 30


def composition(frame: "pl.DataFrame", what: str) -> alt.Chart:
    """What managed memory was made of over time (`Result.composition`), as stacked areas; parts that
    never occur are left out. `what`: the policy and its parameters.
    """
    parts = [part for part in PARTS if (frame[f"{part}_bytes"] > 0).any()]
    sampled = all(frame[f"{part}_bytes"].null_count() == 0 for part in SAMPLED)
    names = {part: LOOKS[part][0] for part in parts}
    if not sampled and "other_used" in names:
        names["other_used"] = "used"
    wide = frame.select("time_s", *(frame[f"{part}_bytes"].alias(names[part]) / GIB for part in parts))
    subtitle = [plain(what)]
    if not sampled:
        subtitle.append("no samples in this trace: page cache and per-CPU lists are in what is used")
    return (
        alt.Chart(_inline(wide), title=alt.Title("Why memory does not come back", subtitle=subtitle))
        .transform_fold([*names.values()], as_=["part", "gib"])
        .transform_calculate(rank=f"-indexof({list(names.values())!r}, datum.part)")
        .mark_area(interpolate="step-after")
        .encode(
            _time(),
            alt.Y("gib:Q", title="managed memory (GiB)", stack="zero"),
            alt.Color(
                "part:N",
                title=None,
                sort=None,
                scale=alt.Scale(domain=list(names.values()), range=[LOOKS[part][1] for part in parts]),
                legend=alt.Legend(labelLimit=0, symbolType="square"),
            ),
            alt.Order("rank:Q"),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )


def fragmentation(frame: "pl.DataFrame | None", geometry: Geometry) -> alt.VConcatChart:
    """Free memory by order over time (`Result.fragmentation`), an area chart for each zone that ever
    has some.

    Raises:
        Fault: when the replay kept no free memory by order.
    """
    if frame is None:
        raise Fault(
            "free memory by order was not kept",
            "it costs speed, so it has to be asked for",
            "Options(fragmentation=True), or run(…, fragmentation=True)",
        )
    page, zones = geometry.page_size, geometry.zones
    drawn = []
    for (number,), part in frame.group_by("zone", maintain_order=True):
        if part["blocks"].max():
            zone = zones[int(str(number))]
            drawn.append(_zone(part, page, f"node {zone.node}, zone {plain(zone.name)}"))
    title = alt.Title("Free memory by order of its blocks", anchor="start")
    return alt.vconcat(*drawn, title=title, spacing=10)


def _zone(frame: "pl.DataFrame", page: int, name: str) -> alt.Chart:
    """One zone's free memory, the largest blocks at the bottom."""
    wide = frame.pivot("order", index="time_s", values="blocks")
    orders = [column for column in wide.columns if column != "time_s"]
    free = wide.select("time_s", *(wide[order] * (page << int(order)) for order in orders))
    most = float(free.select(orders).sum_horizontal().to_numpy().max())
    size, unit = (GIB, "GiB") if most >= GIB else (MIB, "MiB")
    shown = free.select("time_s", *(free[order] / size for order in orders))
    return (
        alt.Chart(_inline(shown), title=alt.Title(name, anchor="start", fontSize=11))
        .transform_fold([*orders], as_=["order", "size"])
        .transform_calculate(rank="-toNumber(datum.order)")
        .mark_area(interpolate="step-after")
        .encode(
            _time(),
            alt.Y("size:Q", title=f"free ({unit})", stack="zero"),
            alt.Color(
                "order:O", title="order", sort=orders, scale=alt.Scale(domain=orders, scheme="viridis")
            ),
            alt.Order("rank:Q"),
        )
        .properties(width=WIDTH, height=ZONE_HEIGHT)
    )


def save(chart: alt.Chart | alt.VConcatChart, path: str | Path) -> None:
    """Write a chart as PNG, SVG or, as a page that needs no network, HTML: by the name's ending."""
    if Path(path).suffix == ".html":
        chart.save(str(path), inline=True)
    else:
        chart.save(str(path))


def _time() -> alt.X:
    return alt.X("time_s:Q", title="time (s)", scale=alt.Scale(nice=False))


def _inline(frame: "pl.DataFrame") -> alt.InlineData:
    """The rows inside the chart, however many."""
    return alt.InlineData(values=frame.to_dicts())

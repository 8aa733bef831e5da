"""Into how large blocks free memory falls over time: what is too small for a policy's order is stranded."""

from typing import Any

import altair as alt
import polars as pl

from replay.report.charts.cast import Cast
from replay.report.charts.drawn import GIB, Drawn, finished, last_of_bins, legend, rows, time_axis
from replay.report.figures import Figure
from replay.report.material import Material
from tracer import plain

NAME, TITLE = "orders", "Is free memory in blocks large enough to report?"
LINE = "#D55E00"
MOST_BINS = 500  # a zone
EVERYWHERE = -1  # in place of a zone: all of them


def figure(material: Material, cast: Cast) -> Figure:
    """Stacked areas by order, the largest at the bottom, up to which a policy's order can reach."""
    if material.fragmentation is None:
        missing = (
            "Free memory by order was not kept: make the report from the trace, or replay it with -o again."
        )
        return Figure(NAME, TITLE, "", "", None, missing)
    order = int(cast.results[cast.first]["params"].get("order", 0)) if cast.results else 0
    page = int(material.answer["trace"].get("page_size") or cast.results[0]["page_size"])
    wide, orders = by_order(material.fragmentation, page, order)
    if wide.height == 0 or not orders:
        return Figure(NAME, TITLE, "", "", None, "No memory was free at any instant of this replay.")
    reading = (
        "Free memory by the size of its blocks, the largest at the bottom. Above the orange line are "
        f"blocks smaller than order {order}, the one that {cast.names[cast.first]} reports: stranded "
        "memory, which it cannot."
    )
    free, large = (wide.filter(pl.col("z") == EVERYWHERE)[name].to_list() for name in ("free", "large"))
    alt_text = (
        f"On average {sum(free) / len(free):.4g} GiB were free, {1 - sum(large) / sum(free):.1%} of it in "
        f"blocks smaller than order {order}; at the end {free[-1]:.4g} GiB."
    )
    zones = _zones(material, wide)
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(wide, orders, order, zones), 300))


def by_order(fragmentation: pl.DataFrame, page_size: int, order: int) -> tuple[pl.DataFrame, list[int]]:
    """In GiB, for each zone `z` that ever has some and for all of them together (-1), by time `t`: `o0`,
    `o1` …, `free` (their sum) and `large` (from `order` up); and the orders that ever occur. Of more than
    `MOST_BINS` instants the last of each run is kept: what is shorter can be missing.
    """
    some = fragmentation.filter(pl.col("blocks").max().over("zone") > 0)
    size = fragmentation.select(
        t="time_s",
        z=pl.col("zone").cast(pl.Int64),
        order=pl.col("order").cast(pl.Int64),
        gib=pl.col("blocks").cast(pl.Float64) * page_size * 2.0 ** pl.col("order").cast(pl.Float64) / GIB,
    ).filter(pl.col("z").is_in(some["zone"].unique().cast(pl.Int64).to_list()))
    every = size.group_by("t", "order").agg(pl.col("gib").sum()).with_columns(z=pl.lit(EVERYWHERE, pl.Int64))
    orders = sorted(size.filter(pl.col("gib") > 0)["order"].unique().to_list())
    wide = pl.concat([every.select(size.columns), size]).pivot("order", index=["z", "t"], values="gib")
    wide = wide.rename({name: f"o{name}" for name in wide.columns if name not in {"z", "t"}}).sort("z", "t")
    kept = [last_of_bins(one, MOST_BINS) for one in wide.partition_by("z", maintain_order=True)]
    columns = [f"o{each}" for each in orders]
    large = [f"o{each}" for each in orders if each >= order]
    return pl.concat(kept or [wide]).select(
        "z",
        "t",
        *columns,
        free=pl.sum_horizontal(columns) if columns else pl.lit(0.0),
        large=pl.sum_horizontal(large) if large else pl.lit(0.0),
    ), orders


def _zones(material: Material, wide: pl.DataFrame) -> dict[int, str]:
    """Names for the list, by number."""
    known: list[dict[str, Any]] = material.answer["trace"].get("zones") or []
    names = {EVERYWHERE: "all zones"}
    for number in wide["z"].unique(maintain_order=True).to_list():
        if number >= 0 and number < len(known):
            names[number] = plain(f"node {known[number]['node']}, {known[number]['name']}")
        elif number >= 0:
            names[number] = f"zone {number}"
    return names


def _chart(wide: pl.DataFrame, orders: list[int], order: int, zones: dict[int, str]) -> Drawn:
    zone = alt.param(
        name="zone",
        value=EVERYWHERE,
        bind=alt.binding_select(options=list(zones), labels=list(zones.values()), name="Zone "),
    )
    base = alt.Chart(rows(wide, t=6)).transform_filter("datum.z == zone")
    areas = (
        base.transform_fold([f"o{each}" for each in orders], as_=["key", "gib"])
        .transform_calculate(order="toNumber(slice(datum.key, 1))", rank="-toNumber(slice(datum.key, 1))")
        .mark_area(interpolate="step-after")
        .encode(
            time_axis(),
            alt.Y("gib:Q", title="free memory (GiB)", stack="zero", scale=alt.Scale(nice=False)),
            alt.Color(
                "order:O",
                sort=orders,
                scale=alt.Scale(domain=orders, scheme="viridis"),
                legend=legend(["order 10"], symbolType="square", labelExpr="'order ' + datum.label"),
            ),
            alt.Order("rank:Q"),
        )
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=2.5, color=LINE).encode(
        time_axis(), y="large:Q"
    )
    near = alt.selection_point(
        name="near", nearest=True, on="pointermove", clear="pointerout", fields=["t"], empty=False
    )
    fields = [
        alt.Tooltip("t:Q", title="time (s)"),
        alt.Tooltip("free:Q", title="free (GiB)"),
        alt.Tooltip("stranded:Q", title=f"below order {order}", format=".1%"),
        *(alt.Tooltip(f"o{each}:Q", title=f"order {each} (GiB)") for each in orders),
    ]
    rule = (
        base.transform_calculate(stranded="datum.free > 0 ? 1 - datum.large / datum.free : 0")
        .mark_rule()
        .encode(
            time_axis(), tooltip=fields, opacity=alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
        )
        .add_params(near)
    )
    return alt.layer(areas, line, rule).add_params(zone)

"""Why memory does not come back: what managed memory is made of over time, under one policy."""

import altair as alt
import polars as pl

from replay.composition import PARTS, SAMPLED
from replay.report.charts.cast import Cast
from replay.report.charts.drawn import (
    GIB,
    Drawn,
    chooser,
    finished,
    gib,
    last_of_bins,
    legend,
    rows,
    time_axis,
)
from replay.report.charts.parts import LOOKS
from replay.report.figures import Figure
from replay.report.material import Material

NAME, TITLE = "why", "Why does the rest of the memory not come back?"
MOST_BINS = 600  # a policy


def figure(material: Material, cast: Cast) -> Figure:
    """A stack for the policy that is chosen."""
    wide, parts = stack(material.composition)
    if wide.height == 0:
        return Figure(NAME, TITLE, "", "", None, "No time passed in this replay: record for longer.")
    reading = (
        "All managed memory, by what it is at each instant: the host has back what is green, and the "
        "rest is why it has not more. The list below the chart chooses the policy."
    )
    if not _sampled(material.composition):
        reading += " This trace has no samples, so page cache and per-CPU lists are within what is used."
    mean = material.composition.group_by("result", maintain_order=True).agg(pl.col("^.*_bytes$").mean())
    alt_text = "On average, " + cast.told({int(row["result"]): _said(row, parts) for row in mean.to_dicts()})
    shown = wide["p"].unique(maintain_order=True).to_list()
    return Figure(NAME, TITLE, reading, alt_text, finished(_chart(wide, parts, shown, cast), 340))


def _said(row: dict[str, float | None], parts: list[str]) -> str:
    """The parts that are a hundredth or more."""
    sizes = {part: row[f"{part}_bytes"] or 0.0 for part in parts}
    whole = sum(sizes.values())
    return ", ".join(
        f"{LOOKS[part][0].split(':')[0]} {gib(size)}" for part, size in sizes.items() if size >= whole / 100
    )


def _sampled(composition: pl.DataFrame) -> bool:
    return all(composition[f"{part}_bytes"].null_count() == 0 for part in SAMPLED)


def stack(composition: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """`p` (the result), `t`, and in GiB each part that ever occurs; and these parts. At most `MOST_BINS`
    instants of each result, so that a stack still adds up: what is shorter can be missing.
    """
    parts = [part for part in PARTS if (composition[f"{part}_bytes"].fill_null(0) > 0).any()]
    kept = [
        last_of_bins(one.sort("time_s"), MOST_BINS)
        for one in composition.partition_by("result", maintain_order=True)
    ]
    columns = {part: pl.col(f"{part}_bytes").fill_null(0) / GIB for part in parts}
    return pl.concat(kept or [composition]).select(p="result", t="time_s", **columns), parts


def _chart(wide: pl.DataFrame, parts: list[str], shown: list[int], cast: Cast) -> Drawn:
    names = [LOOKS[part][0] for part in parts]
    of = alt.param(name="names_of", value=dict(zip(parts, names, strict=True)))
    base = alt.Chart(rows(wide, t=6)).transform_filter("datum.p == chosen")
    areas = (
        base.transform_fold([*parts], as_=["key", "gib"])
        .transform_calculate(part="names_of[datum.key]", rank=f"-indexof({parts!r}, datum.key)")
        .mark_area(interpolate="step-after")
        .encode(
            time_axis(),
            alt.Y("gib:Q", title="managed memory (GiB)", stack="zero", scale=alt.Scale(nice=False)),
            alt.Color(
                "part:N",
                sort=None,
                scale=alt.Scale(domain=names, range=[LOOKS[part][1] for part in parts]),
                legend=legend(names, symbolType="square"),
            ),
            alt.Order("rank:Q"),
        )
    )
    near = alt.selection_point(
        name="near", nearest=True, on="pointermove", clear="pointerout", fields=["t"], empty=False
    )
    fields = [alt.Tooltip("t:Q", title="time (s)")]
    fields += [
        alt.Tooltip(f"{part}:Q", title=f"{name} (GiB)") for part, name in zip(parts, names, strict=True)
    ]
    rule = (
        base.mark_rule()
        .encode(
            time_axis(), tooltip=fields, opacity=alt.when(near).then(alt.value(0.6)).otherwise(alt.value(0))
        )
        .add_params(near)
    )
    return alt.layer(areas, rule).add_params(of, chooser(cast, shown))

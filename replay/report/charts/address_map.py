"""Where in the guest's memory it happens: blocks of frames by time; used, free, reclaimed, refaulted."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import polars as pl

from replay.report.charts.cast import Cast
from replay.report.charts.drawn import GIB, Drawn, chooser, finished, legend, rows, time_axis
from replay.report.figures import Figure
from replay.report.material import Material
from tracer.units import human_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME, TITLE = "map", "Where in memory is it free, reclaimed and taken back?"
# What most of a block is, in the order of the letters of a cell: its name and colour.
KINDS = {
    "in use": "rgba(138,143,152,0.45)",
    "free, host still has it": "#F0E442",
    "reclaimed": "#009E73",
    "taken back just now": "#D55E00",
}
REFAULTED = len(KINDS) - 1
LEVELS = (0.4, 0.6, 0.8, 1.0)  # opacity by quarters of the block that are so, in even steps
NOTICED = 16  # a block is taken back when so small a part of it is: 1/16
LETTERS = "abcdefghijklmnop"  # kind by kind, level by level
NOTHING = "."
MIB, MOST_TICKS = 1 << 20, 9


@dataclass(frozen=True)
class Grid:
    """Cells of one result: a text for each block of frames, the lowest address first, with a letter for each
    instant, the same instants for all: `LETTERS` by kind and level, `NOTHING` where no memory is.
    """

    pfns: list[int]
    instants_s: list[float]
    texts: list[str]


def figure(material: Material, cast: Cast) -> Figure:
    """A map for the policy that is chosen."""
    frame = material.address_map
    if frame is None:
        missing = "What was where was not kept: make the report from the trace, or replay it with -o again."
        return Figure(NAME, TITLE, "", "", None, missing)
    if frame.height == 0:
        return Figure(NAME, TITLE, "", "", None, "No time passed in this replay: record for longer.")
    parts = frame.partition_by("result", maintain_order=True)
    grids = {int(one["result"][0]): grid(one) for one in parts}
    page = int(material.answer["trace"].get("page_size") or cast.results[0]["page_size"])
    size = int(frame["frames"][0]) * page
    reading = (
        "From left to right time passes, from bottom to top addresses rise: a cell is "
        f"{size / (1 << 20):g} MiB and has the colour of what most of it is, paler where it is mixed, as it "
        f"is at the cell's right edge{_every(next(iter(grids.values())))}; what comes and goes in between is "
        "not seen. Green is what the host has back; orange is where a sixteenth or more of it was taken back "
        "since the cell before. Addresses without memory are left out. The list below the chart chooses the "
        "policy."
    )
    alt_text = "At the end, shares of the guest's bytes. " + cast.told(
        {int(one["result"][0]): _at_the_end(one) for one in parts}
    )
    chart = _chart(grids, cast, size, page)
    most = max(len(each.pfns) for each in grids.values())
    return Figure(NAME, TITLE, reading, alt_text, finished(chart, min(max(3 * most, 180), 400)))


def grid(frame: pl.DataFrame) -> Grid:
    """The cells of one result's part of `Material.address_map`."""
    pfns, row = np.unique(frame["pfn"].to_numpy(), return_inverse=True)
    instants, column = np.unique(frame["time_s"].to_numpy(), return_inverse=True)
    cells = np.full((len(pfns), len(instants)), NOTHING)
    cells[row, column] = np.array([*LETTERS, NOTHING])[letters(frame)]
    return Grid(pfns.tolist(), instants.tolist(), ["".join(line) for line in cells.tolist()])


def letters(frame: pl.DataFrame) -> "NDArray[np.int64]":
    """Of each cell the index of its letter, behind the last one where no memory is."""
    managed, free, away, back = (
        frame[f"{name}_frames"].to_numpy().astype(np.int64)
        for name in ("managed", "free", "reclaimed", "refaulted")
    )
    used, waiting = managed - np.maximum(free, away), np.maximum(free - away, 0)
    parts = np.stack([used, waiting, away])
    kind = parts.argmax(axis=0)
    most = parts.max(axis=0)
    taken = (back > 0) & (back * NOTICED >= managed)
    kind, most = np.where(taken, REFAULTED, kind), np.where(taken, back, most)
    quarter = np.clip(-(-4 * most // np.maximum(managed, 1)) - 1, 0, len(LEVELS) - 1)
    found: NDArray[np.int64] = np.where(managed > 0, kind * len(LEVELS) + quarter, len(LETTERS))
    return found


def _at_the_end(frame: pl.DataFrame) -> str:
    """Shares of one result's memory."""
    last = frame.filter(pl.col("time_s") == pl.col("time_s").max())
    managed, free, away = (int(last[f"{name}_frames"].sum()) for name in ("managed", "free", "reclaimed"))
    told = (managed - max(free, away), max(free - away, 0), away)
    said = (f"{frames / managed:.0%} {name}" for name, frames in zip(KINDS, told, strict=False) if frames)
    return ", ".join(said) if managed else "no memory"


def _every(one: Grid) -> str:
    """How far the instants are from each other."""
    apart = [b - a for a, b in pairwise(one.instants_s)]
    return f", every {human_duration(median(apart))} or so" if apart else ""


def ticks(one: Grid, size_bytes: int, page: int) -> dict[float, float]:
    """Round addresses (GiB) by where they are on the axis, in rows: every 2^n GiB, at most `MOST_TICKS`."""
    low = [pfn * page for pfn in one.pfns]
    step = MIB
    while (low[-1] + size_bytes - low[0]) / step > MOST_TICKS:
        step *= 2
    found = {}
    for row, begin in enumerate(low):
        at = -(-begin // step) * step
        if at < begin + size_bytes:
            found[round(row + (at - begin) / size_bytes, 4)] = at / GIB
    return found


def _chart(grids: dict[int, Grid], cast: Cast, size_bytes: int, page: int) -> Drawn:
    one = next(iter(grids.values()))
    lines = pl.concat(
        pl.DataFrame({"p": i, "row": range(len(each.pfns)), "cells": each.texts}) for i, each in grids.items()
    )
    marked = ticks(one, size_bytes, page)
    at = [round(pfn * page / GIB, 3) for pfn in one.pfns]
    edges = alt.param(name="edges", value=[0.0, *(float(f"{t:.6g}") for t in one.instants_s)])
    kinds = alt.param(name="kinds", value=list(KINDS))
    address = alt.param(name="address", value=[*at, round(at[-1] + size_bytes / GIB, 3)])
    levels = alt.Scale(domain=[0, len(LEVELS) - 1], range=[LEVELS[0], LEVELS[-1]])
    return (
        alt.Chart(rows(lines))
        .transform_filter("datum.p == chosen")
        .transform_calculate(cell="split(datum.cells, '')", k="sequence(length(datum.cells))")
        .transform_flatten(["cell", "k"])
        .transform_filter(f"datum.cell != '{NOTHING}'")
        .transform_calculate(
            letter=f"indexof('{LETTERS}', datum.cell)",
            start="edges[datum.k]",
            end="edges[datum.k + 1]",
            top="datum.row + 1",
            gib="address[datum.row]",
        )
        .transform_calculate(
            kind=f"kinds[floor(datum.letter / {len(LEVELS)})]", level=f"datum.letter % {len(LEVELS)}"
        )
        .mark_rect()
        .encode(
            time_axis("start"),
            alt.X2("end"),
            alt.Y(
                "row:Q",
                title="address (GiB)",
                scale=alt.Scale(domain=[0, len(one.pfns)], nice=False),
                axis=alt.Axis(
                    values=list(marked),
                    labelExpr=f"format({list(marked.values())}[indexof({list(marked)}, datum.value)], '~r')",
                    grid=False,
                ),
            ),
            alt.Y2("top"),
            alt.Color(
                "kind:N",
                sort=None,
                scale=alt.Scale(domain=list(KINDS), range=list(KINDS.values())),
                legend=legend(list(KINDS), symbolType="square"),
            ),
            alt.Opacity("level:Q", scale=levels, legend=None),
            tooltip=[
                alt.Tooltip("end:Q", title="time (s)"),
                alt.Tooltip("gib:Q", title="address (GiB)"),
                alt.Tooltip("kind:N", title="mostly"),
            ],
        )
        .add_params(edges, kinds, address, chooser(cast, list(grids)))
    )

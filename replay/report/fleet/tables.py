"""Tables of a fleet's page: numbers as people read them, each with its own value beside."""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from replay.fleets.display import written
from replay.fleets.measures import MEASURES, WEIGHTS, Measure
from replay.report.fleet.compared import SHARE, Compared, points
from replay.report.sheet import NONE

MOST_GUESTS = 200
GROUPS = {
    "how much": ("given_back_gib", SHARE, "ceiling_share", "stranded_share"),
    "how soon, at what price": (
        "latency_p50_s", "latency_p90_s", "refaults_gib_per_hour", "cpu_s_per_hour",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What people read, in two lines, and the value as JSON. `key`: of what in the frame."""

    key: str
    text: str
    below: str = ""
    value: str = "null"


@dataclass(frozen=True)
class Group:
    """A table: measures that answer one question, and each setting's cells."""

    title: str
    measures: list[Measure]
    rows: list[tuple[str, list[Cell]]]


def of_settings(of: Compared) -> list[Group]:
    """Each setting's means over guests with their intervals, in tables narrow enough to be read."""
    return [
        Group(
            title,
            [MEASURES[name] for name in names],
            [(of.names[each], [_mean(of, each, name) for name in names]) for each in of.fleet.compared],
        )
        for title, names in GROUPS.items()
    ]


def _mean(of: Compared, setting: str, measure: str) -> Cell:
    row = of.statistic(setting, measure)
    return _cell(measure, row, "")


def _cell(measure: str, row: dict[str, Any], prefix: str) -> Cell:
    if row["mean"] is None:
        return Cell(f"{prefix}{measure}", NONE)
    ends = [written(measure, row[name]) for name in ("low", "high") if row[name] is not None]
    below = " to ".join(ends)
    return Cell(f"{prefix}{measure}", written(measure, row["mean"]), below, json.dumps(row["mean"]))


def of_weights(of: Compared) -> list[tuple[str, list[Cell]]]:
    """What each setting gives back, under each of the weights."""
    found: list[tuple[str, list[Cell]]] = []
    tables = {name: of.weighted[name].statistics.filter(measure=SHARE) for name in WEIGHTS}
    for each in of.fleet.compared:
        told = {
            name: table.row(by_predicate=pl.col("setting") == each, named=True)
            for name, table in tables.items()
        }
        found.append((of.names[each], [_cell(SHARE, row, f"{name}:") for name, row in told.items()]))
    return found


def of_guests(of: Compared) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Heads, and a row for each of at most MOST_GUESTS guests: those that gain most and least where there are
    more.
    """
    rows = of.guests
    best = of.best
    if best is not None:
        more = of.gains[best].guests.select("address", "difference", theirs="setting")
        rows = rows.join(more, on="address", how="left", maintain_order="left")
        rows = rows.sort("difference", descending=True, nulls_last=True, maintain_order=True)
    else:
        rows = rows.sort(SHARE, descending=True, nulls_last=True, maintain_order=True)
    if rows.height > MOST_GUESTS:
        rows = rows.head(MOST_GUESTS // 2).vstack(rows.tail(MOST_GUESTS // 2))
    names = [SHARE, "latency_p50_s", "stranded_share", "cpu_s_per_hour"]
    heads = ["whole", "memory", "time", *(MEASURES[name].title for name in names)]
    if best is not None:
        heads.append(f"{of.names[best]}: more")
    return heads, [(row["guest"], _guest(row, names)) for row in rows.iter_rows(named=True)]


def _guest(row: dict[str, Any], names: list[str]) -> list[Cell]:
    from tracer import human_bytes
    from tracer.units import human_duration

    cells = [
        Cell("whole", "yes" if row["whole"] else "no"),
        Cell("managed_bytes", human_bytes(row["managed_bytes"]), "", json.dumps(row["managed_bytes"])),
        Cell("duration_s", human_duration(row["duration_s"]), "", json.dumps(row["duration_s"])),
        *(_value(name, row[name]) for name in names),
    ]
    if "difference" in row:
        gain = row["difference"]
        cells.append(Cell("difference", NONE if gain is None else points(gain), "", json.dumps(gain)))
    return cells


def _value(name: str, value: float | None) -> Cell:
    return Cell(name, NONE if value is None else written(name, value), "", json.dumps(value))

"""The tables of the page: the numbers of `--json`, each with its own value beside what people read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from replay.report.rows import Row
from replay.report.sheet import NONE
from replay.tables import shorter
from tracer import human_bytes
from tracer.units import human_duration


@dataclass(frozen=True)
class Column:
    """A key of a result, like `latency_s.p50`, and how people read it."""

    key: str
    title: str
    written: Callable[[Any], str]
    meaning: str = ""


@dataclass(frozen=True)
class Group:
    """Columns that answer one question."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Cell:
    """What people read, below which title, and the value as JSON."""

    key: str
    title: str
    text: str
    value: str


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _count(value: float) -> str:
    return shorter(int(value))


GROUPS = (
    Group(
        "how much",
        (
            Column("params.order", "order", str, "of the least pieces that it reports"),
            Column("reclaimed.mean_bytes", "mean", human_bytes, "reclaimed, on average"),
            Column(
                "reclaimed.share_of_oracle",
                "of ceiling",
                _percent,
                "of the most that is possible at its order",
            ),
            Column("reclaimed.start_bytes", "at start", human_bytes, "reclaimed when the replay begins"),
            Column("reclaimed.end_bytes", "at end", human_bytes, "reclaimed when it ends"),
        ),
    ),
    Group(
        "how soon",
        (
            Column("latency_s.p50", "p50", human_duration, "latency of half of what was reported"),
            Column("latency_s.p90", "p90", human_duration, "of 90 %"),
            Column("latency_s.p99", "p99", human_duration, "of 99 %"),
            Column("latency_s.max", "longest", human_duration, "the longest"),
            Column("missed.bytes", "missed", human_bytes, "in use again before it was reported"),
            Column("unreported_end_bytes", "left", human_bytes, "still unreported at the end"),
        ),
    ),
    Group(
        "at what price",
        (
            Column("cost_s.total", "CPU", human_duration, "of host and guest, estimated; the next three"),
            Column(
                "cost_s.refault", "host: refaults", human_duration, "backing memory anew; the guest waits"
            ),
            Column("cost_s.discard", "host: taking", human_duration, "discarding what is reported"),
            Column("cost_s.walk", "guest: finding", human_duration, "walking lists and moving blocks"),
            Column("refaults.bytes", "refaulted", human_bytes, "reclaimed, then used again"),
            Column("reports.calls", "calls", _count, "to the host"),
        ),
    ),
    Group(
        "what else it does",
        (
            Column("reports.passes", "passes", _count, "over the free lists"),
            Column(
                "reports.redundant_bytes",
                "redundant",
                human_bytes,
                "reported, though the host lacked it already",
            ),
            Column("cost_s.device", "device", human_duration, "time the reporting device was busy"),
            Column("collisions.blocks", "collisions", _count, "blocks wanted while the policy held them"),
            Column(
                "divergence", "divergence", _percent, "pieces broken that were not next on the model's list"
            ),
        ),
    ),
    Group(
        "the work to find it",
        (
            Column("work.entries_walked", "entries", _count, "of free lists, looked at"),
            Column("work.bits_scanned", "bits", _count, "of bitmaps, looked at"),
            Column("work.lock_takes", "locks", _count, "takes of a zone's lock"),
            Column("work.max_entries_per_lock", "longest walk", _count, "entries under one hold of the lock"),
        ),
    ),
)


def value_of(told: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - what JSON has
    """What a result has under a key with dots."""
    for part in key.split("."):
        told = told[part]
    return told


def cells(row: Row, group: Group) -> list[Cell]:
    """A row's cells in a group."""
    return [_cell(row, column) for column in group.columns]


def _cell(row: Row, column: Column) -> Cell:
    value = value_of(row.told, column.key)
    text = NONE if value is None else column.written(value)
    return Cell(column.key, column.title, text, json.dumps(value))

"""Rows as a batch writes them, made of real replays, for as many guests as a test wants."""

import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

import replay
from replay.batching.dataset import MARK, engine, file_of
from replay.batching.rows import Belongs, rows_of
from replay.costs import Costs
from replay.policies import parse

Row = dict[str, Any]
SETTINGS = ("never", "upstream", "upstream:delay=100ms", "upstream:order=5", "boundary", "oracle")
TRACE = "data/stock.trace"
# What grows with the guest.
_SIZES = ("baseline_gib_min", "footprint_gib_min", "free_byte_seconds", "free_stranded_byte_seconds")


@cache
def of_trace(trace: str = TRACE, settings: tuple[str, ...] = SETTINGS) -> list[Row]:
    """What a batch writes of a trace, a row for each setting."""
    options = replay.Options()
    done = replay.replay(trace, settings, options)
    asked = [parse(each, done.trace.manifest.guest) for each in settings]
    belongs = Belongs.of(done.trace, options, Costs())
    return rows_of(done, asked, options, belongs, trace).to_dicts()


def guest(address: str, seed: int = 0, settings: Sequence[str] = SETTINGS, **changed: Any) -> list[Row]:
    """Another guest, of another size and other fortunes; `changed`: what its rows have instead."""
    chance = random.Random(seed)
    size, gives = chance.lognormvariate(1, 1), chance.uniform(0.3, 1.2)
    return [
        {
            **row,
            "address": address,
            **{name: row[name] * size for name in _SIZES},
            "reclaimed_mean_bytes": row["reclaimed_mean_bytes"] * size * gives * chance.uniform(0.95, 1.05),
            "refaults_bytes": int(row["refaults_bytes"] * size * chance.uniform(0.5, 2)),
            "cost_total_s": row["cost_total_s"] * size * chance.uniform(0.5, 2),
            "latency_p50_s": row["latency_p50_s"] and row["latency_p50_s"] * chance.uniform(0.5, 2),
            "latency_p90_s": row["latency_p90_s"] and row["latency_p90_s"] * chance.uniform(0.5, 2),
            "free_stranded_byte_seconds": row["free_stranded_byte_seconds"] * size * chance.uniform(0.3, 1),
            **changed,
        }
        for row in of_trace()
        if row["label"] in settings
    ]


def fleet_of(count: int) -> list[Row]:
    """That many guests."""
    return [row for at in range(count) for row in guest(f"traces/guest-{at:05}.trace", at)]


def frame(rows: Iterable[Row]) -> pl.LazyFrame:
    """Rows as a frame."""
    return pl.DataFrame(list(rows), infer_schema_length=None).lazy()


def written(folder: Path, rows: Iterable[Row], of_engine: str = "") -> Path:
    """The same as the dataset of a batch: a file for each guest."""
    by_guest: dict[str, list[Row]] = {}
    for row in rows:
        by_guest.setdefault(row["address"], []).append(row)
    for address, own in by_guest.items():
        place = folder / file_of(address).replace(engine(), of_engine or engine())
        place.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(own, infer_schema_length=None).write_parquet(place)
    (folder / MARK).write_text(json.dumps({"format": 1}))
    return folder


def manifest(folder: Path, *lines: Row) -> Path:
    """What became of the tasks of a last run."""
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder

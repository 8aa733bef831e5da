"""Rows as a batch writes them, made of real replays, for as many guests as a test wants."""

import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

import replay
from replay.sweeping.frame import metrics

Row = dict[str, Any]
SETTINGS = ("never", "upstream", "upstream:delay=100ms", "upstream:order=5", "boundary", "oracle")
TRACE = "data/stock.trace"
# What grows with the guest.
_SIZES = ("baseline_gib_min", "footprint_gib_min", "free_byte_seconds", "free_stranded_byte_seconds")


@cache
def of_trace(trace: str = TRACE, settings: tuple[str, ...] = SETTINGS) -> list[Row]:
    """What `replay.replay` says of a trace, a row for each setting."""
    done = replay.replay(trace, settings)
    told, counts = done.trace_section(replay.Options()), done.fidelity
    impossible = (counts["exit_of_used"] or 0) + (counts["entry_of_free"] or 0)
    whole = done.trace.complete
    facts = {
        "address": trace,
        "kernel_release": told["kernel_release"],
        "status": told["status"],
        "whole": whole,
        "events": told["events"],
        "duration_s": told["duration_s"],
        "lost_events": told["lost_events"],
        "impossible_share": impossible / (counts["steps"] or 1),
        "start": told["start"],
        "backing": told["backing"],
        "digest": "0" * 16,
        "options": "1" * 16,
    }
    return [
        {
            **facts,
            "policy": result.policy,
            "setting": text,
            "params": json.dumps(result.summary["params"]),
            "order": result.run.setting.order,
            **metrics(result.summary),
        }
        for text, result in zip(settings, done.results, strict=True)
    ]


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
        if row["setting"] in settings
    ]


def fleet_of(count: int) -> list[Row]:
    """That many guests."""
    return [row for at in range(count) for row in guest(f"traces/guest-{at:05}.trace", at)]


def frame(rows: Iterable[Row]) -> pl.LazyFrame:
    """Rows as a frame."""
    return pl.DataFrame(list(rows), infer_schema_length=None).lazy()


def written(folder: Path, rows: Iterable[Row], engine: str = "1.0.0-abcdef") -> Path:
    """The same as the dataset of a batch: a file for each guest."""
    by_guest: dict[str, list[Row]] = {}
    for row in rows:
        by_guest.setdefault(row["address"], []).append(row)
    for at, (address, own) in enumerate(by_guest.items()):
        place = folder / "results" / f"engine={engine}" / f"trace={Path(address).stem}-{at:08x}"
        place.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(own, infer_schema_length=None).write_parquet(place / "results.parquet")
    return folder


def manifest(folder: Path, *lines: Row) -> Path:
    """What became of the tasks of a last run."""
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder

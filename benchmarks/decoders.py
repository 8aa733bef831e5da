"""Decoding the columns that a replay needs and nothing else, by whoever may be fastest."""

import json
from pathlib import Path

from benchmarks.ready import COLUMNS, Ready, hold_to, threads_allowed

ARROW_ROWS = 1 << 17  # at once: what decodes fastest
POLARS_ROWS = 1 << 18


def _files(trace: str) -> list[Path]:
    lines = Path(trace, "segments.jsonl").read_text().splitlines()
    return [Path(trace, json.loads(line)["line"]["file"]) for line in lines]


def arrow_batches(trace: str) -> Ready:
    """Pyarrow decodes the columns that a replay needs, in bounded batches."""
    import pyarrow.parquet as pq

    threads = threads_allowed()
    hold_to(threads)
    files = _files(trace)

    def act() -> None:
        for file in files:
            opened = pq.ParquetFile(file)
            for _ in opened.iter_batches(ARROW_ROWS, columns=COLUMNS, use_threads=threads != 1):
                pass

    return Ready(act)


def polars_batches(trace: str) -> Ready:
    """Polars decodes them in bounded batches."""
    import polars as pl

    query = pl.scan_parquet(_files(trace)).select(COLUMNS)

    def act() -> None:
        for _ in query.collect_batches(chunk_size=POLARS_ROWS):
            pass

    return Ready(act)


def polars_files(trace: str) -> Ready:
    """Polars decodes them a whole file at a time."""
    import polars as pl

    files = _files(trace)

    def act() -> None:
        for file in files:
            pl.read_parquet(file, columns=COLUMNS)

    return Ready(act)

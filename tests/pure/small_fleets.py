"""Some small guests below one folder, and the rows that a batch of them wrote."""

from pathlib import Path

import polars as pl

from replay.batching.batch import Batch
from tests.pure import small_traces


def guests_in(folder: Path, *names: str) -> Path:
    """`folder`, made, with a trace of each name."""
    folder.mkdir()
    for name in names:
        small_traces.write(folder / f"{name}.trace")
    return folder


def rows(out: Path | str) -> pl.DataFrame:
    """Of a dataset, in an order that depends on nothing else."""
    return Batch(str(out), {}).results.collect().sort("trace", "key")

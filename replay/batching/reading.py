"""The dataset of a batch, read back as one table."""

from typing import TYPE_CHECKING

from replay.batching.dataset import FILE, MARK, RESULTS
from tracer import Fault, Place

if TYPE_CHECKING:
    import polars as pl


def is_dataset(out: Place) -> bool:
    """Whether `pagetide batch` wrote there."""
    return (out / MARK).exists()


def results(out: str) -> "pl.LazyFrame":
    """A row for each trace, setting and engine; `engine` and `trace` are from the folders' names.

    Raises:
        Fault: when there are none.
    """
    import polars as pl

    place = Place.of(out)
    if not is_dataset(place):
        raise Fault(f"{place} holds no batch", f"it has no {MARK}", "make one: pagetide batch TRACES -o DIR")
    files = [str(file) for file in (place / RESULTS / "*" / "*" / FILE).glob()]
    if not files:
        raise Fault(f"{place} holds no results", "no trace came to any", f"{place}/manifest.jsonl says why")
    return pl.scan_parquet(files, hive_partitioning=True, try_parse_hive_dates=False)

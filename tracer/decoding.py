"""Columns of event files, decoded once more, in order, while the caller uses the batch before.

For files that were read and checked before (`Files.batches` looks at each page's checksum and each row):
a replay that comes after that needs some columns, as fast as they can be had. polars streams them in two
thirds of pyarrow's time (`benchmarks.codecs`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tracer.faults import Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


def decoded(paths: list[Path], names: list[str]) -> "Iterator[dict[str, NDArray[Any]]]":
    """The columns of Parquet files, read-only, some 100,000 rows at a time, by as many threads as polars has
    (POLARS_MAX_THREADS).

    Raises:
        Fault: when a file is not what it was any more.
    """
    import polars as pl

    try:
        # Nothing else of polars streams into Python. It calls this unstable: it may change with a release.
        frames = pl.scan_parquet(paths, glob=False).select(names).collect_batches(lazy=True)
        for frame in frames:
            yield {name: frame[name].to_numpy() for name in names}
    except (OSError, pl.exceptions.PolarsError) as error:
        how = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Fault(f"{paths[0].parent} has changed since it was read", how, "replay it again") from error


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made by another thread while the caller uses the one before."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc] # it is not `end`

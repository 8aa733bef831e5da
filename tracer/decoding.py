"""Columns of event files decoded by several threads at once, in order, a row group at a time.

For files that were read and checked before (`Files.batches` looks at each page's checksum and each row):
a replay that comes after that needs some columns, as fast as they can be had. polars decodes them in less
time than pyarrow (`benchmarks.codecs`).
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.parquet as pq

from tracer.faults import Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

MOST_THREADS = 4  # more decode faster than anybody uses events, and each holds a row group


@dataclass(frozen=True)
class Piece:
    """Rows of a file, all of one row group."""

    path: Path
    first: int
    rows: int


def pieces_of(path: Path, most: int) -> Iterator[Piece]:
    """A file's row groups, in order, cut where they have more than `most` rows.

    Raises:
        OSError, pa.ArrowException: when it is no Parquet file.
    """
    groups, first = pq.read_metadata(path), 0
    for index in range(groups.num_row_groups):
        end = first + groups.row_group(index).num_rows
        for begin in range(first, end, most):
            yield Piece(path, begin, min(most, end - begin))
        first = end


def decoded(pieces: Iterator[Piece], names: list[str], threads: int) -> "Iterator[dict[str, NDArray[Any]]]":
    """The columns of each piece, in order, read-only. `threads` pieces are decoded at a time while the
    caller uses the one before, and one more may wait for it.

    Raises:
        Fault: when a file is not what it was any more.
    """
    threads = min(threads, MOST_THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(_columns, piece, names) for piece in islice(pieces, threads + 1))
        while waiting:
            columns = waiting.popleft().result()
            waiting.extend(pool.submit(_columns, piece, names) for piece in islice(pieces, 1))
            yield columns


def _columns(piece: Piece, names: list[str]) -> "dict[str, NDArray[Any]]":
    import polars as pl

    rows = pl.scan_parquet(piece.path, glob=False).select(names).slice(piece.first, piece.rows)
    try:
        frame = rows.collect(engine="in-memory")
    except (OSError, pl.exceptions.PolarsError) as error:
        how = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Fault(f"{piece.path} has changed since it was checked", how, "replay it again") from error
    return {name: frame[name].to_numpy() for name in names}


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made by another thread while the caller uses the one before."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc] # it is not `end`

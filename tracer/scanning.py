"""Events of a trace in an object store as a LazyFrame: only the columns that a query needs travel."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tracer.parquet import arrow_schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROWS = 1_000_000


def scanned(
    columns: dict[str, str], batches: "Callable[[list[str], int], Iterator[pa.RecordBatch]]"
) -> "pl.LazyFrame":
    """All rows of `batches(names, rows)`, lazily. `columns`: their names and Arrow types."""
    import polars as pl
    from polars.io.plugins import register_io_source

    empty = pl.DataFrame(arrow_schema(columns).empty_table())

    def frames(
        names: list[str] | None, predicate: "pl.Expr | None", most: int | None, _rows: int | None
    ) -> "Iterator[pl.DataFrame]":
        left = most
        for batch in batches(list(columns) if names is None else names or list(columns)[:1], ROWS):
            frame = pl.DataFrame(batch)
            if left is not None:
                frame = frame.head(left)
                left -= len(frame)
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    # polars calls this unstable: it may change with a release.
    return register_io_source(frames, schema=empty.schema, is_pure=True)

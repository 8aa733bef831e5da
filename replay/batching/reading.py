"""The dataset of a batch, read back as one table."""

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from replay.batching.dataset import FILE, MARK, RESULTS, file_of, refuse_newer
from replay.batching.journal import NAME as MANIFEST
from tracer import Fault, Place

if TYPE_CHECKING:
    import polars as pl


def is_dataset(out: Place) -> bool:
    """Whether `pagetide batch` wrote there."""
    return (out / MARK).exists()


def results(out: str, traces: Iterable[str] | None = None) -> "pl.LazyFrame":
    """A row for each trace, setting and engine; `engine` and `trace` are from the folders' names.

    `traces`: only of these addresses, and of this engine.

    Raises:
        Fault: when there are none, or they are of another format.
    """
    import polars as pl

    place = Place.of(out)
    if not is_dataset(place):
        raise Fault(f"{place} holds no batch", f"it has no {MARK}", "make one: pagetide batch TRACES -o DIR")
    refuse_newer(place / MARK)
    files = (place / RESULTS / "*" / "*" / FILE).glob()
    if traces is not None:
        todays = {str(place / file_of(trace)) for trace in traces}
        files = [file for file in files if str(file) in todays]
    if not files:
        raise Fault(f"{place} holds no results", "no trace came to any", f"{place / MANIFEST} says why")
    if place.local:
        kinds = {"engine": pl.String, "trace": pl.String}
        return pl.scan_parquet([file.path for file in files], hive_schema=kinds)
    return pl.scan_pyarrow_dataset(_stored(files))


def first_unreadable(out: str) -> tuple[Place, str] | None:
    """A file of a dataset that is none, and what is wrong with it."""
    import polars as pl

    for file in (Place.of(out) / RESULTS / "*" / "*" / FILE).glob():
        try:
            pl.read_parquet_schema(BytesIO(file.read_bytes()))
        except pl.exceptions.PolarsError as error:
            return file, str(error).splitlines()[0]
    return None


def _stored(files: "list[Place]") -> Any:  # noqa: ANN401 - a pyarrow.dataset.Dataset
    """Of an object store, through the same file system that traces are read with."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    kinds = pa.schema([("engine", pa.string()), ("trace", pa.string())])
    places = [file.arrow() for file in files]
    return ds.dataset(
        [name for _, name in places],
        filesystem=places[0][0],
        format="parquet",
        partitioning=ds.partitioning(kinds, flavor="hive"),
    )

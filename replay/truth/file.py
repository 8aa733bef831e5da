"""What the host says: which ranges it discarded when, and how much memory it had behind the guest's.

One Parquet or CSV file, in order of time, each row one of two kinds (`docs/truth.md`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tracer import Fault

if TYPE_CHECKING:
    import polars as pl

RANGE = ("pfn", "pages", "batch")
MEASUREMENT = "resident_bytes"
COLUMNS = ("ts_ns", *RANGE, MEASUREMENT)
FIX = "docs/truth.md describes the file"


@dataclass(frozen=True)
class Truth:
    """One host's account. Times are the guest's CLOCK_MONOTONIC in ns.

    Attributes:
        ranges: `ts_ns`, `pfn`, `pages`, `batch` (int64): each range that was discarded because of a report;
            those of one report call follow each other as the host saw them.
        resident: `ts_ns`, `resident_bytes` (int64): host memory behind the guest's. May be empty.
    """

    path: Path
    ranges: "pl.DataFrame"
    resident: "pl.DataFrame"

    def between(self, begin_ns: int, end_ns: int) -> "Truth":
        """What it says of (begin, end]."""
        import polars as pl

        inside = (pl.col("ts_ns") > begin_ns) & (pl.col("ts_ns") <= end_ns)
        return Truth(self.path, self.ranges.filter(inside), self.resident.filter(inside))


def read_truth(path: Path, frames: int) -> Truth:
    """Read and check. `frames`: one past the guest's last pfn.

    Raises:
        Fault: for a file that cannot be read, lacks a column, or says what cannot be.
    """
    import polars as pl

    table = _table(path)
    if missing := [name for name in COLUMNS[:-1] if name not in table.columns]:
        how = f"no column {', '.join(missing)}; it has {', '.join(table.columns) or 'none'}"
        raise Fault(f"{path} is no truth file", how, FIX)
    if MEASUREMENT not in table.columns:
        table = table.with_columns(pl.lit(None, pl.Int64).alias(MEASUREMENT))
    try:
        table = table.select(pl.col(name).cast(pl.Int64) for name in COLUMNS)
    except pl.exceptions.PolarsError as error:
        raise _bad(path, f"not all of it is numbers: {str(error).splitlines()[0]}") from error
    _check(path, table, frames)
    is_range = pl.col("pfn").is_not_null()
    ranges = table.filter(is_range).select("ts_ns", *RANGE)
    resident = table.filter(pl.col(MEASUREMENT).is_not_null()).select("ts_ns", MEASUREMENT)
    return Truth(path, ranges, resident)


def _table(path: Path) -> "pl.DataFrame":
    import polars as pl

    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        return pl.read_parquet(path) if parquet else pl.read_csv(path, infer_schema=False)
    except OSError as error:
        how = error.strerror or str(error)
        raise Fault(f"{path} cannot be read", how, "name a truth file that can") from error
    except pl.exceptions.PolarsError as error:
        how = f"neither Parquet nor CSV: {str(error).splitlines()[0]}"
        raise Fault(f"{path} is no truth file", how, FIX) from error


def _check(path: Path, table: "pl.DataFrame", frames: int) -> None:
    """Refuse what no host can have seen.

    Raises:
        Fault: naming the first row (from 0) that says it.
    """
    import polars as pl

    given = [pl.col(name).is_not_null() for name in RANGE]
    whole, none = pl.all_horizontal(given), ~pl.any_horizontal(given)
    measured = pl.col(MEASUREMENT).is_not_null()
    wrong = {
        "it has no time": pl.col("ts_ns").is_null(),
        "it is earlier than the one before": pl.col("ts_ns").diff() < 0,
        f"it is neither a range ({', '.join(RANGE)}) nor a measurement ({MEASUREMENT})": ~(
            (whole & ~measured) | (none & measured)
        ),
        f"its range is not in the guest's {frames:,} frames": (
            (pl.col("pfn") < 0) | (pl.col("pages") <= 0) | (pl.col("pfn") > frames - pl.col("pages"))
        ),
        "its batch is less than the one before": pl.col("batch").forward_fill().diff() < 0,
        f"its {MEASUREMENT} is below zero": pl.col(MEASUREMENT) < 0,
    }
    for what, says in wrong.items():
        rows = np.flatnonzero(table.select(says.fill_null(value=False)).to_series().to_numpy())
        if len(rows):
            others = f", and {len(rows) - 1:,} more rows are such" if len(rows) > 1 else ""
            raise _bad(path, f"row {rows[0]}: {what}{others}")


def _bad(path: Path, how: str) -> Fault:
    return Fault(f"{path} cannot be the truth", how, FIX)

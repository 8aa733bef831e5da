"""The results of a batch: one Parquet file for each trace and engine, always whole.

`OUT/results/engine=ENGINE/trace=NAME-DIGEST/results.parquet`: what `pl.scan_parquet` and DuckDB read as one
table with the columns `engine` and `trace`. A file is replaced as a whole when results are added to it, and
the file itself says what is there: nothing else has to be believed. `OUT/batch.json` says that it is such a
folder.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from io import BytesIO
from typing import TYPE_CHECKING

from replay.batching.rows import KEYS, Belongs
from replay.jit import digest_of_sources
from replay.output import check_parent
from tracer import Fault, Place, __version__

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1
MARK, RESULTS, FILE = "batch.json", "results", "results.parquet"


@cache
def engine() -> str:
    """What computes results: another one may come to other numbers."""
    return f"{__version__}-{digest_of_sources()[:12]}"


def trace_id(address: str) -> str:
    """A short name for a trace that is a folder's name anywhere, no two the same."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", address.rstrip("/").rpartition("/")[2].removesuffix(".trace"))
    return f"{name.lstrip('.')[:48] or 'trace'}-{blake2b(address.encode(), digest_size=6).hexdigest()}"


def file_of(address: str) -> str:
    """Where a trace's results are, below the dataset's folder."""
    return f"{RESULTS}/engine={engine()}/trace={trace_id(address)}/{FILE}"


def make_dataset(out: Place) -> None:
    """Mark a place as a batch's, if it is not one.

    Raises:
        Fault: when it holds something else, or cannot be written.
    """
    mark = out / MARK
    if mark.exists():
        refuse_newer(mark)
        return
    if out.local:
        check_parent(out.path)
    if out.children():
        raise Fault(
            f"{out} exists already, and holds no batch",
            f"it has no {MARK}; nothing is written between other files",
            "name another folder",
        )
    mark.put(json.dumps({"format": FORMAT, "tool": f"pagetide {__version__}"}).encode() + b"\n")


def refuse_newer(mark: Place) -> None:
    """Raises:
    Fault: when the mark of a dataset is damaged, or of another format.
    """
    try:
        told = json.loads(mark.read_bytes())
        version = told["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(
            f"{mark} is damaged", f"{type(error).__name__}: {error}", "name another folder"
        ) from error
    if version != FORMAT:
        how = f"it has format {version}, this pagetide writes {FORMAT}"
        raise Fault(f"{mark} is of another pagetide", how, "name another folder")


class OfTrace:
    """The results of one trace that are there.

    Attributes:
        file: below the dataset's folder.
        belongs: what they belong to.
        rows: of this content of the trace, under whatever options; None where there are none.
    """

    def __init__(self, out: Place, address: str, belongs: Belongs) -> None:
        self.file, self.belongs = file_of(address), belongs
        self._place = out / self.file
        self.rows = self._read()

    def _read(self) -> "pl.DataFrame | None":
        """A file that is none, or of another content of the trace, is as if it were not there."""
        import polars as pl

        if not self._place.exists():
            return None
        try:
            rows = pl.read_parquet(BytesIO(self._place.read_bytes()), hive_partitioning=False)
            rows = rows.filter(pl.col("digest") == self.belongs.digest)
        except (pl.exceptions.PolarsError, OSError):
            return None
        return rows if rows.height else None

    @property
    def keys(self) -> set[str]:
        """Of the settings that are there under these options."""
        import polars as pl

        if self.rows is None:
            return set()
        return set(self.rows.filter(pl.col("options") == self.belongs.options)["key"])

    def add(self, more: "Sequence[pl.DataFrame]") -> None:
        """Put a file with these rows, too, in its place.

        Raises:
            Fault: when it cannot be written.
        """
        import polars as pl

        frames = [*([] if self.rows is None else [self.rows]), *more]
        self.rows = pl.concat(frames).sort(*KEYS)
        told = BytesIO()
        self.rows.write_parquet(told, compression="zstd")
        self._place.put(told.getvalue())

"""What a shard leaves on disk: reduced events, zone counts, and what it comes to in all.

A folder for each shard, written aside and renamed as a whole. Its files are named with their checksums in
`told.json`: a scratch file that is damaged is a fault, never another answer.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replay.buddy.reduced import COUNT_DTYPE, REDUCED_DTYPE
from tracer import Fault, output_fault

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

TOLD, COUNTS = "told.json", "counts.arrow"
SEQUENCE = "sequence"  # the column that says which of all events a reduced one comes of
BATCH_ROWS = 1 << 18
AGAIN = "replay it again; do not touch its scratch folder meanwhile"


class Rows(NamedTuple):
    """Rows in order, and what they are merged by.

    `keys`: int64, ascending; `rows`: REDUCED_DTYPE or COUNT_DTYPE.
    """

    keys: "NDArray[np.int64]"
    rows: "NDArray[np.void]"


def events_name(order: int) -> str:
    """The file of the reduced events at a reporting order."""
    return f"events-{order}.arrow"


class RowsFile:
    """A file that takes rows of one dtype, a part at a time, with or without a sequence."""

    def __init__(self, path: Path, dtype: "np.dtype[Any]", *, numbered: bool = False) -> None:
        import pyarrow as pa

        fields = {name: pa.from_numpy_dtype(dtype[name]) for name in dtype.names or ()}
        self._schema = pa.schema({SEQUENCE: pa.int64()} | fields if numbered else fields)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_file(str(path), self._schema, options=options)
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._rows = 0

    def write(self, rows: "NDArray[np.void]", sequence: "NDArray[np.int64] | None" = None) -> None:
        """Take the next rows, copied."""
        if not len(rows):
            return
        columns = {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()}
        self._parts.append(columns if sequence is None else columns | {SEQUENCE: sequence})
        self._rows += len(rows)
        if self._rows >= BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = [
            pa.array(np.concatenate([part[name] for part in self._parts])) for name in self._schema.names
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._parts, self._rows = [], 0


@contextlib.contextmanager
def shard_folder(folder: Path, index: int) -> Iterator[Path]:
    """Where to write a shard: in its place at the end, or gone without a trace.

    Raises:
        Fault: when it cannot be written.
    """
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".shard-{index}-", dir=folder))
    except OSError as error:
        raise output_fault(folder, error) from error
    try:
        yield aside
        with contextlib.suppress(FileExistsError):
            _rename(aside, shard_place(folder, index))
    except OSError as error:
        raise output_fault(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def shard_place(folder: Path, index: int) -> Path:
    """Where a shard is when it is done."""
    return folder / f"shard-{index}"


def _rename(aside: Path, place: Path) -> None:
    """Put it in its place, unless another worker was asked to do the same and was faster."""
    if place.exists():
        raise FileExistsError
    aside.rename(place)


def write_told(folder: Path, told: dict[str, Any]) -> None:
    """Say what the shard comes to, and what its files are."""
    digests = {path.name: digest_of(path) for path in sorted(folder.iterdir())}
    (folder / TOLD).write_text(json.dumps(told | {"files": digests}))


def digest_of(path: Path) -> str:
    """A checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class Shard:
    """A shard that is done.

    Attributes:
        told: what it comes to (`reducing.told_of`).
    """

    def __init__(self, folder: Path, index: int, digest: str) -> None:
        """`folder`: of all shards; `digest`: of what it says of itself.

        Raises:
            Fault: when a file of it is missing, or is not what was written.
        """
        self._folder = shard_place(folder, index)
        self._check(TOLD, digest)
        self.told: dict[str, Any] = json.loads((self._folder / TOLD).read_bytes())
        for name, written in self.told["files"].items():
            self._check(name, written)

    def _check(self, name: str, digest: str) -> None:
        path = self._folder / name
        try:
            found = digest_of(path)
        except OSError as error:
            raise damaged(path, f"{error.strerror} (errno {error.errno})") from error
        if found != digest:
            raise damaged(path, "its checksum is not the one with which it was written")

    def events(self, order: int) -> Iterator[Rows]:
        """Reduced events at a reporting order, by their sequence."""
        return self._read(events_name(order), REDUCED_DTYPE, SEQUENCE)

    def counts(self) -> Iterator[Rows]:
        """Free frames of the zones' parts in here, by time."""
        return self._read(COUNTS, COUNT_DTYPE, "ts_ns")

    def _read(self, name: str, dtype: "np.dtype[Any]", key: str) -> Iterator[Rows]:
        import pyarrow as pa

        try:
            with pa.memory_map(str(self._folder / name)) as file:
                reader = pa.ipc.open_file(file)
                for index in range(reader.num_record_batches):
                    yield _rows(reader.get_batch(index), dtype, key)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise damaged(self._folder / name, str(error)) from error


def _rows(batch: "pa.RecordBatch", dtype: "np.dtype[Any]", key: str) -> Rows:
    rows = np.empty(batch.num_rows, dtype)
    for name in dtype.names or ():
        rows[name] = batch.column(name).to_numpy()
    return Rows(batch.column(key).to_numpy(), rows)


def damaged(path: Path, how: str) -> Fault:
    """What to say of a scratch file that is not as it was written."""
    return Fault(f"the scratch file {path} cannot be read", how.splitlines()[0], AGAIN)


def check_same_trace(shards: Iterable[Shard]) -> None:
    """All shards went through the same events.

    Raises:
        Fault: when they did not: the trace was changed meanwhile, or is another one elsewhere.
    """
    seen = [shard.told["seen"] for shard in shards]
    other = next((index for index, each in enumerate(seen) if each != seen[0]), None)
    if other is not None:
        raise Fault(
            "the workers have not read the same trace",
            f"shard 0 has seen {seen[0]}, shard {other} {seen[other]}",
            "replay it again when nothing writes to it, with one version of pagetide everywhere",
        )

"""Writing a trace so that it opens again whatever happens: each file aside, then renamed.

A segment counts once its line is in segments.jsonl; what has no line is not part of the trace.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracer.faults import Fault, environment
from tracer.format import (
    EVENT_COLUMNS,
    LOCK,
    MANIFEST,
    OPTIONAL_COLUMNS,
    SEGMENTS,
    Loss,
    Manifest,
    Probe,
    Segment,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

ROW_GROUP_ROWS = 1_000_000
DELTA_COLUMNS = ("ts_ns", "pfn")


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a column of `tracer.format`; `list<T>` is the only nested one."""
    if kind.startswith("list<"):
        return pa.list_(pa.type_for_alias(kind[5:-1]))
    return pa.type_for_alias(kind)


def arrow_schema(columns: dict[str, str]) -> pa.Schema:
    """The Arrow schema of the columns of a kind of file."""
    return pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])


def checksum(path: Path) -> str:
    """blake2b-128 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _write_parquet(table: pa.Table, path: Path, delta: tuple[str, ...], level: int) -> None:
    """Write aside, sync, rename; nothing is left behind when it fails."""
    aside = path.with_name(f".{path.name}.tmp")
    others = [name for name in table.column_names if name not in delta]
    try:
        pq.write_table(
            table,
            aside,
            compression="zstd",
            compression_level=level,
            use_dictionary=others,
            column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,
            store_schema=False,
        )
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file aside and rename it."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("w") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def is_being_recorded(path: Path) -> bool:
    """Does a living recorder hold this trace?"""
    try:
        with (path / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that exists or cannot be made, before anything else is done.

    Raises:
        Fault: saying which and why.
    """
    if path.suffix != ".trace":
        raise Fault(
            f"a trace is a folder NAME.trace, not {path.name}",
            "the name has another ending",
            f"write {path.name}.trace",
        )
    try:
        path.exists()
    except OSError as error:
        raise output_fault(path, error) from error
    if path.is_symlink():
        raise Fault(f"{path} is a link", "a trace is never written through one", "name the folder itself")
    if path.exists() and not force:
        raise Fault(
            f"{path} exists already",
            "nothing is overwritten unasked",
            "name another, or add --force",
        )
    if path.exists() and not (path / MANIFEST).is_file():
        raise Fault(
            f"{path} is not a trace: --force replaces traces only",
            f"it has no {MANIFEST}",
            "name another output",
        )
    if is_being_recorded(path):
        raise Fault(
            f"{path} is being recorded", "its recorder holds its lock", "end that one, or name another"
        )
    parent = path.absolute().parent
    if not parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(parent))}"
        raise Fault(f"there is no folder {parent}", "it does not exist", fix)
    if not os.access(parent, os.W_OK):
        raise environment(
            f"{parent} is not writable",
            "the kernel says so (access(2))",
            "name another output folder",
        )


class TraceWriter:
    """An open recording on disk: segments, snapshots, and a manifest at start and end.

    It is made aside and put in its place once it has a manifest, so that a failure costs nothing.
    """

    def __init__(self, path: Path, manifest: Manifest, *, force: bool = False, level: int = 3) -> None:
        """Make the trace.

        Raises:
            Fault: when it cannot be made; what was at `path` is there as before.
        """
        check_output(path, force=force)
        self.path, self.level = path.with_name(f".{path.name}.new"), level
        self.segments: list[Segment] = []
        with contextlib.ExitStack() as undo:
            try:
                self._create(undo)
                self.write_manifest(manifest)
                _put_in_place(self.path, path)
            except OSError as error:
                raise output_fault(path, error) from error
            undo.pop_all()
        self.path = path

    def _create(self, undo: contextlib.ExitStack) -> None:
        """The folder, its lock and its index; `undo` removes them again."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(mode=0o700)
        undo.callback(shutil.rmtree, self.path, ignore_errors=True)
        (self.path / "events").mkdir()
        (self.path / "frames").mkdir()
        self._lock = undo.enter_context((self.path / LOCK).open("w"))
        # Held while recording lives: how a reader tells it from one that was killed.
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._index = os.open(self.path / SEGMENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        undo.callback(os.close, self._index)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace manifest.json as a whole."""
        write_json(self.path / MANIFEST, to_json(manifest))

    def write_frames(self, name: str, runs: pa.Table) -> None:
        """Write frames/NAME.parquet."""
        _write_parquet(runs, self.path / "frames" / f"{name}.parquet", ("pfn", "count"), self.level)

    def write_segment(
        self,
        columns: "Mapping[str, NDArray[np.generic]]",
        probes: list[Probe],
        losses: "Iterable[Loss]" = (),
    ) -> None:
        """Write one closed segment and its line.

        `columns`: `EVENT_COLUMNS` and those of `OPTIONAL_COLUMNS` that were asked for, time-ordered,
        not empty.
        """
        optional = {name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in columns}
        table = pa.table(dict(columns), schema=arrow_schema(EVENT_COLUMNS | optional))
        name = f"events/{len(self.segments):05d}.parquet"
        _write_parquet(table, self.path / name, DELTA_COLUMNS, self.level)
        ts_ns = columns["ts_ns"]
        segment = Segment(
            file=name,
            rows=table.num_rows,
            first_ts_ns=int(ts_ns[0]),
            last_ts_ns=int(ts_ns[-1]),
            size_bytes=(self.path / name).stat().st_size,
            checksum=checksum(self.path / name),
            probes=probes,
            losses=list(losses),
        )
        self._append(index_line(segment))
        self.segments.append(segment)

    def _append(self, line: bytes) -> None:
        """Add a whole line to the index, or none of it."""
        size = os.fstat(self._index).st_size
        try:
            while line:
                line = line[os.write(self._index, line) :]
            os.fsync(self._index)
        except OSError:
            os.ftruncate(self._index, size)
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes of events on disk so far."""
        return sum(segment.size_bytes for segment in self.segments)

    def close(self, manifest: Manifest) -> None:
        """Write the final manifest and end the recording."""
        try:
            self.write_manifest(manifest)
            (self.path / LOCK).unlink()
        finally:
            self._lock.close()
            os.close(self._index)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename a finished folder; what it replaces is removed only when it is there."""
    if not path.exists():
        new.rename(path)
        return
    old = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def index_line(segment: Segment) -> bytes:
    """A line of segments.jsonl: the segment and a checksum over its own text."""
    text = json.dumps(to_json(segment), sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f'{{"line": {text}, "checksum": "{digest}"}}\n'.encode()


def output_fault(path: Path, error: OSError) -> Fault:
    """A fault for an output that cannot be written."""
    if error.errno == errno.ENOSPC:
        fix = "free some space or record to another disk"
    else:
        fix = "name another output folder"
    return environment(f"{path} cannot be written", f"{error.strerror} (errno {error.errno})", fix)

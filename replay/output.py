"""What this half writes: aside, and put in its place when it is whole. For a trace this is the one use
of the tracer's writer.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tracer import (
    Fault,
    Loss,
    Manifest,
    Probe,
    Snapshot,
    TraceWriter,
    check_output,
    output_fault,
    put_in_place,
    remove_tree,
    segment_of,
)
from tracer.faults import ExitCode

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.buddy.steps import Columns


def check_parent(out: Path) -> None:
    """Refuse a folder for results that cannot be made.

    Raises:
        Fault: when what it would be in is not there, or not writable.
    """
    parent = out.absolute().parent
    if parent.is_dir() and not os.access(parent, os.W_OK):
        how = "the kernel says so (access(2))"
        raise Fault(f"{parent} is not writable", how, "name another folder", ExitCode.ENVIRONMENT)
    if not parent.is_dir():
        raise Fault(f"there is no folder {parent}", "it does not exist", "make it, or name another")


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Where to write a file: at the end it is synced and put in its place, or gone without a trace.

    Raises:
        Fault: when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise output_fault(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


class TraceOutput:
    """A new trace at `path`, as a context; what was there before stays until it is closed."""

    def __init__(self, path: Path, manifest: Manifest, *, force: bool = False) -> None:
        """Begin it.

        Raises:
            Fault: when it cannot be made.
        """
        check_output(path, force=force)
        self._path, self._aside = path, path.with_name(f".{path.stem}.sliced.trace")
        self._writer = TraceWriter(self._aside, manifest, force=True)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Remove what was not closed; an output that could not be written is a fault."""
        if not self._closed:
            self._writer.release()
            parent = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                remove_tree(parent, self._aside.name)
            finally:
                os.close(parent)
        if isinstance(error, OSError):
            raise output_fault(self._path, error) from error

    def write_snapshot(self, shot: Snapshot, runs: "pa.Table", lists: "pa.Table | None" = None) -> Snapshot:
        """Write a snapshot's frame runs and, where they were read, its free lists; the snapshot that
        names these files.
        """
        return replace(shot, parts=self._writer.write_snapshot(shot.name, runs, lists))

    def write_segment(
        self,
        columns: "Columns",
        probes: list[Probe],
        losses: Sequence[Loss] = (),
        samples: "pa.Table | None" = None,
        counters: "pa.Table | None" = None,
    ) -> None:
        """Write a segment, not empty: its events, the probes' counters after it, and what was seen
        beside them.
        """
        import pyarrow as pa

        name = self._writer.next_name
        events = self._writer.write_part("events", name, pa.table(columns))
        beside = {
            kind: self._writer.write_part(kind, name, table)
            for kind, table in (("samples", samples), ("counters", counters))
            if table
        }
        span_ns = int(columns["ts_ns"].min()), int(columns["ts_ns"].max())
        self._writer.append_segment(segment_of(events, span_ns, probes, losses=list(losses), **beside))

    def close(self, manifest: Manifest) -> None:
        """It is whole: put it in its place."""
        self._writer.close(manifest)
        self._closed = True
        parent = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            put_in_place(parent, self._aside.name, self._path.name)
        finally:
            os.close(parent)

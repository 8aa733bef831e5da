"""A trace written by this half: aside, and put in its place when it is whole. The one use of the
tracer's writer.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tracer import (
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

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.buddy.steps import Columns


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

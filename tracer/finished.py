"""A trace made of another one: written aside, and put in its place when it is whole."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from tracer.faults import Fault
from tracer.format import Loss, Manifest, Probe, Snapshot
from tracer.layouts import Layout
from tracer.output import check_output, output_fault, put_in_place, remove_tree
from tracer.parquet import PartFile
from tracer.writer import TraceWriter, segment_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


def refuse_itself(source: Path, out: Path, done_to_it: str) -> None:
    """Refuse an output that is, by whatever name, the folder being read, holds it, or lies in it.

    Raises:
        Fault: saying that `out` is the trace that is being `done_to_it` (sliced, converted).
    """
    folders = [source.resolve(), *source.resolve().parents]
    if out.exists() and any(folder.samefile(out) for folder in folders):
        raise Fault(
            f"{out} is the trace that is being {done_to_it}",
            f"it is the same folder as {source}, or holds it",
            "name another output",
        )
    if source.resolve() in (out.absolute().parent.resolve() / out.name).parents:
        how = f"it would be one of the files of {source}"
        raise Fault(f"{out} lies inside the trace that is being {done_to_it}", how, "name another output")


class TraceOutput:
    """A new trace at `path`, as a context; what was there before stays until it is closed."""

    def __init__(
        self, path: Path, manifest: Manifest, *, force: bool = False, layout: Layout | None = None
    ) -> None:
        """Begin it. `layout`: how events are written, if not as a recording's.

        Raises:
            Fault: when it cannot be made.
        """
        check_output(path, force=force)
        self._path, self._aside = path, path.with_name(f".{path.stem}.unfinished.trace")
        try:
            self._writer = TraceWriter(self._aside, manifest, force=True, layout=layout)
        except Fault as fault:
            if isinstance(fault.__cause__, OSError):  # nobody knows of the place aside
                raise output_fault(path, fault.__cause__) from fault
            raise
        self._open: PartFile | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Remove what was not closed; an output that could not be written is a fault."""
        if not self._closed:
            if self._open is not None:
                self._open.abandon(error)
            self._writer.release()
            parent = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                remove_tree(parent, self._aside.name)
            finally:
                os.close(parent)
        if isinstance(error, OSError):
            raise output_fault(self._path, error) from error

    def write_snapshot(self, shot: Snapshot, runs: pa.Table, lists: pa.Table | None = None) -> Snapshot:
        """Write a snapshot's frame runs and, where they were read, its free lists; the snapshot that
        names these files.
        """
        return replace(shot, parts=self._writer.write_snapshot(shot.name, runs, lists))

    def write_segment(
        self,
        columns: "Mapping[str, NDArray[np.generic]]",
        probes: list[Probe],
        losses: Sequence[Loss] = (),
        samples: pa.Table | None = None,
        counters: pa.Table | None = None,
    ) -> None:
        """Write a segment, not empty: its events, the probes' counters after it, and what was seen
        beside them.
        """
        table = pa.table(dict(columns))
        events = self.open_events(table.schema)
        events.append(table)
        span_ns = int(columns["ts_ns"].min()), int(columns["ts_ns"].max())
        self.close_segment(span_ns, probes, losses, samples=samples, counters=counters)

    def open_events(self, schema: pa.Schema) -> PartFile:
        """The next segment's events, to be written bit by bit; `close_segment` closes it."""
        self._open = self._writer.open_part("events", self._writer.next_name, schema)
        return self._open

    def close_segment(
        self,
        span_ns: tuple[int, int],
        probes: list[Probe],
        losses: Sequence[Loss],
        **beside: pa.Table | None,
    ) -> None:
        """Close the segment whose events were opened. `beside`: its samples and counters; empty ones
        are left out.
        """
        if self._open is None:
            raise AssertionError
        name = self._writer.next_name
        parts = {kind: self._writer.write_part(kind, name, table) for kind, table in beside.items() if table}
        events, self._open = self._open.close(), None
        self._writer.append_segment(segment_of(events, span_ns, probes, losses=list(losses), **parts))

    def close(self, manifest: Manifest) -> None:
        """It is whole: put it in its place."""
        self._writer.close(manifest)
        self._closed = True
        parent = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            put_in_place(parent, self._aside.name, self._path.name)
        finally:
            os.close(parent)

"""A trace rewritten for another use: every row as it was, in another layout, in fewer and larger files.

Rows pass through by row groups, so that memory does not grow with the trace.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from tracer import __version__
from tracer.faults import Fault
from tracer.finished import TraceOutput, refuse_itself
from tracer.format import (
    COUNTER_COLUMNS,
    EVENT_COLUMNS,
    FRAME_COLUMNS,
    LIST_COLUMNS,
    OPTIONAL_COLUMNS,
    SAMPLE_COLUMNS,
    SEGMENTS,
    Converted,
    Manifest,
    Segment,
    Snapshot,
)
from tracer.layouts import CONVERTED, Target
from tracer.naming import trace_after
from tracer.output import check_output, is_being_recorded
from tracer.parquet import event_schema
from tracer.reader import Trace, open_trace
from tracer.recording.merger import MAX_BYTES, MAX_SPAN_NS

BATCH_ROWS = 1 << 17
KNOWN = {
    "events": EVENT_COLUMNS | OPTIONAL_COLUMNS,
    "frames": FRAME_COLUMNS | LIST_COLUMNS,
    "samples": SAMPLE_COLUMNS,
    "counters": COUNTER_COLUMNS,
}
Tell = Callable[[int], object]


def _silent(_: int) -> None:
    """Tell nobody."""


def convert(
    trace: str | Path | Trace,
    out: str | Path | None,
    target: str,
    *,
    force: bool = False,
    tell: Tell = _silent,
) -> Trace:
    """Rewrite a trace for `archive` (small) or `replay` (fast to decode); returns the new trace.

    Rows, losses, counters of the probes and status are as they were. `out`: None for `NAME-archive.trace`,
    say, beside it. `force`: replace a trace that is there. `tell(events)` hears how many more are written.

    Raises:
        Fault: when the target is none, `out` is the trace itself or cannot be written, or a file of the
            trace is damaged or would lose a column. Nothing is written then.
    """
    layout = CONVERTED[_target(target)]
    source = trace if isinstance(trace, Trace) else open_trace(trace)
    out = trace_after(source.path, target) if out is None else Path(out)
    if source.place.local:
        refuse_itself(source.path, out, "converted")
    check_output(out, force=force)
    _refuse_unfinished(source)
    source.verify_files()  # what is damaged would get checksums that hide it
    _refuse_unknown(source)
    manifest = _manifest(source, target)
    with TraceOutput(out, replace(manifest, snapshots=[]), force=force, layout=layout) as output:
        shots = [_rewrite(source, shot, output) for shot in source.manifest.snapshots]
        _Segments(source, output, layout.group_rows, tell).write()
        output.close(replace(manifest, snapshots=shots))
    return open_trace(out)


def _target(name: str) -> Target:
    if name not in list(Target):
        raise Fault(
            f"no trace is converted for {name!r:.80}", "it is no target", f"one of {', '.join(Target)}"
        )
    return Target(name)


def _refuse_unfinished(source: Trace) -> None:
    if source.place.local and is_being_recorded(source.path):
        raise Fault(
            f"{source.place} is still being recorded",
            "its recorder holds its lock",
            "wait until it has ended",
        )


def _refuse_unknown(source: Trace) -> None:
    """Refuse a trace with columns that would be lost: of a later version, or not in each segment."""
    owners: chain[Segment | Snapshot] = chain(source.segments, source.manifest.snapshots)
    wanted = set(source.columns)
    for file in (part.file for owner in owners for part in owner.parts):
        kind, names = file.partition("/")[0], set(source.columns_of(file))
        lost = names - (wanted if kind == "events" else set(KNOWN[kind]))
        if lost:
            told = "no other segment has" if lost <= set(KNOWN[kind]) else "this pagetide does not know"
            raise Fault(
                f"converting {source.place} would lose a column",
                f"{file} has {', '.join(sorted(lost))}, which {told}",
                "convert it with the pagetide that wrote it",
            )


def _manifest(source: Trace, target: str) -> Manifest:
    """The source's as a reader knows it: of a recorder that was killed, with the last counters."""
    whole = source.manifest
    gone = [w for w in source.warnings if w.startswith(SEGMENTS) and w.endswith(("read once", "left out"))]
    return replace(
        whole,
        ended_by=whole.ended_by or ("killed" if whole.status == "recovered" else None),
        notes=whole.notes + [f"before it was converted: {line}" for line in gone],
        converted=Converted(target, f"pagetide {__version__}"),
    )


def _rewrite(source: Trace, shot: Snapshot, output: TraceOutput) -> Snapshot:
    return output.write_snapshot(shot, source.frames(shot.name), source.lists(shot.name))


class _Segments:
    """The events and what was seen beside them; neighbours become one segment, as while recording: up to
    a size and a span. Segments that are out of order stay what they are, so that a reader still says so.
    """

    def __init__(self, source: Trace, output: TraceOutput, group_rows: int, tell: Tell) -> None:
        self._source, self._output, self._group_rows, self._tell = source, output, group_rows, tell
        columns = source.columns
        self._schema = event_schema(with_pid="pid" in columns, with_gfp="gfp" in columns)
        self._batches = source.batches(self._schema.names, BATCH_ROWS)
        self._some: list[Segment] = []  # that become one
        self._waiting: list[pa.RecordBatch] = []

    def write(self) -> None:
        """Write all of them."""
        for segment in self._source.segments:
            if self._some and not self._joins(segment):
                self._close()
            if not self._some:
                self._file = self._output.open_events(self._schema)
                self._beside: dict[str, list[pa.Table]] = {}
            self._some.append(segment)
            self._copy(segment)
        if self._some:
            self._close()
        for _ in self._batches:  # no row is left, but the reader's last word on them
            pass

    def _joins(self, segment: Segment) -> bool:
        """May it become one with those before it?"""
        late = self._source.manifest.late_events > 0
        in_order = late or not segment.rows or segment.first_ts_ns >= self._some[-1].last_ts_ns
        short = segment.last_ts_ns - self._some[0].first_ts_ns <= MAX_SPAN_NS
        return in_order and short and self._file.size_bytes + segment.size_bytes <= MAX_BYTES

    def _copy(self, segment: Segment) -> None:
        left = segment.rows
        while left:
            batch = next(self._batches)
            left -= batch.num_rows
            arrays = [batch[name] for name in self._schema.names]
            self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._append(self._group_rows)
            self._tell(batch.num_rows)
        for kind, table in self._source.beside(segment).items():
            self._beside.setdefault(kind, []).append(table)

    def _append(self, least: int) -> None:
        """Write a row group when so many rows wait."""
        if sum(batch.num_rows for batch in self._waiting) >= least:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._file.append(table.slice(0, self._group_rows))
            self._waiting = table.slice(self._group_rows).to_batches()

    def _close(self) -> None:
        self._append(0)
        some, self._some = self._some, []
        span_ns = min(each.first_ts_ns for each in some), max(each.last_ts_ns for each in some)
        losses = [loss for each in some for loss in each.losses]
        beside = {kind: pa.concat_tables(tables) for kind, tables in self._beside.items()}
        self._output.close_segment(span_ns, some[-1].probes, losses, **beside)

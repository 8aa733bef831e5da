"""Reading a trace: its manifest, its frame runs, and its events as ordered batches or lazily.

A trace killed at any instant opens: segments without a line in the index are not part of it, and
its status becomes `recovered`.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracer.checks import check_segment, check_values
from tracer.faults import Fault
from tracer.format import (
    COUNTER_COLUMNS,
    EVENT_COLUMNS,
    FORMAT_VERSION,
    FRAME_COLUMNS,
    LIST_COLUMNS,
    MANIFEST,
    OPTIONAL_COLUMNS,
    SAMPLE_COLUMNS,
    SEGMENTS,
    Loss,
    Manifest,
    Part,
    Segment,
    Snapshot,
    Zone,
    from_json,
)
from tracer.output import is_being_recorded
from tracer.parquet import arrow_schema, arrow_type, checksum
from tracer.zones import over_time

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 1_000_000
_RECORD_AGAIN = "record it again, or restore it from a copy"


def open_trace(path: str | Path) -> "Trace":
    """Open a trace folder.

    Raises:
        Fault: when there is none, it is of a newer format, or it is damaged.
    """
    path = Path(path)
    manifest_path = path / MANIFEST
    try:
        there = path.exists()
    except OSError as error:
        raise Fault(f"{path} cannot be opened", f"{error.strerror}", "check its name and rights") from error
    if not there:
        raise Fault(f"there is no trace {path}", "the folder does not exist", "check its name")
    if not manifest_path.is_file():
        raise Fault(
            f"{path} is not a trace",
            f"it has no {MANIFEST}",
            "name a folder that pagetide record made",
        )
    try:
        data = json.loads(manifest_path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        how = f"{MANIFEST}: {error}".splitlines()[0]
        raise Fault(f"the trace {path} is damaged", how, _RECORD_AGAIN) from error
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise Fault(
            f"{path} has format {version}, newer than this pagetide reads ({FORMAT_VERSION})",
            f"{MANIFEST} says so, written by {data.get('tool')}",
            "upgrade pagetide",
        )
    manifest: Manifest = from_json(Manifest, data, MANIFEST)
    check_values(manifest)
    return Trace(path, manifest)


class Trace:
    """An open trace. Cheap to make: rows are read when asked for.

    Attributes:
        path: the folder.
        manifest: its manifest; `status` is `recovered` when the recorder was killed.
        segments: the closed segments, in order.
        warnings: what is wrong with it, one line each.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.segments = list(self._read_index())
        if manifest.status == "recording" and is_being_recorded(path):
            self.warnings.append("it is still being recorded: what is not stored yet is missing")
        elif manifest.status == "recording":
            manifest = replace(manifest, status="recovered", probes=self._last_counters(manifest))
            self.warnings.append(
                f"the recorder was killed: {len(self.segments)} closed segments are here, "
                "the last unclosed one and the end snapshot are missing"
            )
        elif manifest.status == "recovered":
            self.warnings.append(f"the recording ended early ({manifest.ended_by}): its tail is missing")
        self.manifest = manifest
        self.warnings += self._missing()

    def _last_counters(self, manifest: Manifest) -> list[Any]:
        return self.segments[-1].probes if self.segments else manifest.probes

    def _read_index(self) -> Iterator[Segment]:
        """Segments in order; a torn last line is a segment that was never closed."""
        try:
            lines = (self.path / SEGMENTS).read_bytes().splitlines()
        except FileNotFoundError:
            return
        seen: set[str] = set()
        began_ns: int | None = None
        for number, line in enumerate(lines, 1):
            segment = _parse_line(line)
            if segment is None and number == len(lines):
                self.warnings.append(f"{SEGMENTS}: the last line is torn; its segment is left out")
                return
            if segment is None:
                raise Fault(
                    f"the trace {self.path} is damaged",
                    f"{SEGMENTS} line {number} does not match its checksum",
                    _RECORD_AGAIN,
                )
            if segment.file in seen:
                self.warnings.append(f"{SEGMENTS} line {number}: {segment.file} is listed twice; read once")
                continue
            check_segment(segment, f"{SEGMENTS} line {number}")
            if segment.rows and began_ns is not None and segment.last_ts_ns < began_ns:
                self.warnings.append(
                    f"{SEGMENTS} line {number}: {segment.file} ends before the one before it began: "
                    "lines are out of time order"
                )
            began_ns = segment.first_ts_ns if segment.rows else began_ns
            seen.add(segment.file)
            yield segment

    def _missing(self) -> Iterator[str]:
        for segment in self.segments:
            for part in segment.parts:
                self._check_file(part)
        kept = sum(probe.kept for probe in self.manifest.probes) - self.manifest.discarded_events
        if self.manifest.status == "complete" and self.rows != kept:
            yield f"{SEGMENTS} lists {self.rows} events, {kept} were recorded: lines of it are gone"
        lost = self.manifest.lost
        if lost:
            yield f"{lost} events were lost while recording"
        if self.manifest.late_events:
            yield f"{self.manifest.late_events} events were stored out of time order"

    def _check_file(self, part: Part) -> None:
        path = self._inside(part.file)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise Fault(
                f"the trace {self.path} lacks {part.file}", f"{error.strerror}", _RECORD_AGAIN
            ) from error
        if size != part.size_bytes:
            raise Fault(
                f"the trace {self.path} is truncated or changed at {part.file}",
                f"it has {size} bytes, its index says {part.size_bytes}",
                _RECORD_AGAIN,
            )

    def _inside(self, name: str) -> Path:
        """A file of this trace; a manifest cannot name one outside its folder."""
        path = (self.path / name).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise Fault(
                f"the trace {self.path} names a file outside itself",
                f"{SEGMENTS}: {name}",
                "do not use it",
            )
        return path

    @property
    def complete(self) -> bool:
        """Recorded to its end without loss."""
        return self.manifest.status == "complete" and not self.warnings

    @property
    def start(self) -> Snapshot | None:
        """The snapshot at which the trace begins; None for an imported trace, which has none."""
        shots = self.manifest.snapshots
        return shots[0] if shots and shots[0].name != "end" else None

    @property
    def resyncs(self) -> list[Snapshot]:
        """Snapshots taken in between, after a loss or because --resync asked for them, in order."""
        return [shot for shot in self.manifest.snapshots[1:] if shot.name != "end"]

    @property
    def losses(self) -> list[Loss]:
        """When events were lost, in order."""
        return [loss for segment in self.segments for loss in segment.losses]

    @property
    def owners_only(self) -> bool:
        """Only who owns a page is known, not when it leaves or enters the buddy (frame layer alone)."""
        return "buddy" not in self.manifest.layers

    @property
    def zones(self) -> list[Zone]:
        """The zones as the trace begins: of the start snapshot when there is one. Their spans cover
        what the manifest and later snapshots say of them, too, and zones that only those have follow
        (`over_time`).
        """
        first = self.start.zones if self.start else self.manifest.zones
        return over_time(first, [self.manifest.zones, *(shot.zones for shot in self.manifest.snapshots)])

    @property
    def rows(self) -> int:
        """Events in the trace."""
        return sum(segment.rows for segment in self.segments)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last instant the trace tells of: end of the start snapshot to the last event, the
        last resync, the end snapshot or the end of a slice. Equal when it tells of nothing.
        """
        start, end = self.start, self.manifest.snapshot("end")
        first = start.end_ns if start else self.segments[0].first_ts_ns if self.segments else 0
        shots = [shot.end_ns for shot in self.resyncs] + ([end.begin_ns] if end else [])
        ends = [] if self.manifest.end_ns is None else [self.manifest.end_ns]
        last = max([s.last_ts_ns for s in self.segments] + shots + ends + [first])
        return first, last

    def frames(self, name: str | None = None) -> pa.Table:
        """Frame runs of a snapshot (`FRAME_COLUMNS`); without a name, of the first one.

        Raises:
            Fault: when the trace has no such snapshot, or its file is damaged.
        """
        name = name or (self.start.name if self.start else "start")
        if self.manifest.snapshot(name) is None:
            raise Fault(
                f"the trace {self.path} has no {name} snapshot",
                f"status {self.manifest.status}; it has "
                + (", ".join(shot.name for shot in self.manifest.snapshots) or "none"),
                "record it again and let it end by itself, by --duration or by Ctrl-C",
            )
        return self._table(f"frames/{name}.parquet", FRAME_COLUMNS)

    def lists(self, name: str) -> pa.Table | None:
        """The free lists read with a snapshot (`LIST_COLUMNS`), or None where they could not be read.

        Raises:
            Fault: when their file is damaged.
        """
        shot = self.manifest.snapshot(name)
        return self._table(f"frames/{name}-lists.parquet", LIST_COLUMNS) if shot and shot.lists else None

    @property
    def samples(self) -> pa.Table:
        """The kernel's own view, second by second (`SAMPLE_COLUMNS`).

        Raises:
            Fault: naming the file, when one cannot be read.
        """
        return self._parts([segment.samples for segment in self.segments], SAMPLE_COLUMNS)

    @property
    def counters(self) -> pa.Table:
        """Hits and losses so far, second by second, per probe and CPU (`COUNTER_COLUMNS`).

        Raises:
            Fault: naming the file, when one cannot be read.
        """
        return self._parts([segment.counters for segment in self.segments], COUNTER_COLUMNS)

    def _parts(self, parts: list[Part | None], columns: dict[str, str]) -> pa.Table:
        tables = [self._table(part.file, columns) for part in parts if part]
        return pa.concat_tables([arrow_schema(columns).empty_table(), *tables])

    def _table(self, name: str, columns: dict[str, str]) -> pa.Table:
        path = self._inside(name)
        table: pa.Table = self._checked(lambda: pq.read_table(path, page_checksum_verification=True), path)
        self._check_columns(table.schema, columns, path)
        if any(column.null_count for column in table.columns):
            raise self._damaged(path, "it has empty fields")
        return table.select(list(columns)).cast(arrow_schema(columns))

    @property
    def events(self) -> "pl.LazyFrame":
        """All events, lazily (polars)."""
        import polars as pl

        files = [self._inside(segment.file) for segment in self.segments]
        if not files:
            return pl.LazyFrame(pa.table({n: pa.array([], t) for n, t in EVENT_COLUMNS.items()}))
        return pl.scan_parquet(files)

    @property
    def columns(self) -> list[str]:
        """Names of the events' columns: `EVENT_COLUMNS` and the optional ones that were recorded."""
        if not self.segments:
            return list(EVENT_COLUMNS)
        path = self._inside(self.segments[0].file)
        names = self._checked(lambda: pq.read_schema(path), path).names
        return [*EVENT_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in names)]

    def batches(self, columns: list[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Events in time order, at most `rows` at a time, only `columns`.

        Raises:
            Fault: naming the file, when a segment cannot be read.
        """
        all_columns = EVENT_COLUMNS | OPTIONAL_COLUMNS
        for segment in self.segments:
            path = self._inside(segment.file)
            file = self._checked(
                lambda path=path: pq.ParquetFile(path, page_checksum_verification=True), path
            )
            self._check_columns(file.schema_arrow, {name: all_columns[name] for name in columns}, path)
            batches = file.iter_batches(rows, columns=columns)
            while (batch := self._checked(lambda it=batches: next(it, None), path)) is not None:
                if any(column.null_count for column in batch.columns):
                    raise self._damaged(path, f"it has empty fields in {', '.join(columns)}")
                yield batch

    def verify(self) -> None:
        """Compare every file of the segments with its checksum, and read every snapshot, whose pages
        carry their own.

        Raises:
            Fault: naming the first file that differs.
        """
        for part in (part for segment in self.segments for part in segment.parts):
            path = self._inside(part.file)
            if self._checked(lambda path=path: checksum(path), path) != part.checksum:
                raise self._damaged(path, "the file does not match its checksum")
        for shot in self.manifest.snapshots:
            self.frames(shot.name)
            self.lists(shot.name)

    def _checked(self, read: Any, path: Path) -> Any:  # noqa: ANN401
        """What `read()` returns, or a fault naming the file."""
        try:
            return read()
        except (OSError, pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise self._damaged(path, reason) from error

    def _check_columns(self, schema: pa.Schema, columns: dict[str, str], path: Path) -> None:
        """Refuse a file in which a column is missing or has another type."""
        for name, kind in columns.items():
            if name not in schema.names:
                raise self._damaged(path, f"it has no column {name}, only {', '.join(schema.names)}")
            found = schema.field(name).type
            if found != arrow_type(kind):
                raise self._damaged(path, f"its column {name} is {found}, not {kind}")

    def _damaged(self, path: Path, how: str) -> Fault:
        name = path.relative_to(self.path.resolve())
        return Fault(f"the trace {self.path} is damaged at {name}", how, _RECORD_AGAIN)


def _parse_line(line: bytes) -> Segment | None:
    """A line of segments.jsonl, or None when it does not match its own checksum."""
    try:
        entry = json.loads(line)
        text = json.dumps(entry["line"], sort_keys=True)
        if hashlib.blake2b(text.encode(), digest_size=8).hexdigest() != entry["checksum"]:
            return None
        segment: Segment = from_json(Segment, entry["line"], SEGMENTS)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return segment

"""Reading a trace: its manifest, its frame runs, and its events as ordered batches or lazily.

A trace killed at any instant opens: segments without a line in the index are not part of it, and
its status becomes `recovered`.
"""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tracer.checks import contradictions
from tracer.decoding import ahead, decoded
from tracer.display import Displayed
from tracer.faults import Fault
from tracer.files import Files
from tracer.format import (
    COUNTER_COLUMNS,
    EVENT_COLUMNS,
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
)
from tracer.index import read_index
from tracer.opening import manifest_of
from tracer.output import is_being_recorded
from tracer.parquet import arrow_schema
from tracer.places import Place
from tracer.rows import EventRows, SampleRows, check_counters, check_lists, check_runs
from tracer.scanning import scanned
from tracer.zones import over_time

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

BATCH_ROWS = 1_000_000
AGAIN_ROWS = 1 << 17
_KINDS = EVENT_COLUMNS | OPTIONAL_COLUMNS


def open_trace(path: str | Path | Place) -> "Trace":
    """Open a trace folder, or what is below an address of an object store (docs/stores.md).

    Raises:
        Fault: when there is none, it is of a newer format, or it is damaged; when a store refuses it.
    """
    place = Place.of(path)
    return Trace(place, manifest_of(place))


class Trace(Displayed, by="tracer.describe:shown"):
    """An open trace. Cheap to make: rows are read when asked for.

    Attributes:
        place: the folder, or the address of an object store.
        manifest: its manifest; `status` is `recovered` when the recorder was killed.
        segments: the closed segments, in order.
        warnings: what is wrong with it, one line each.
        partial: why its last events are left out (`until`); None when they are not.
    """

    partial: Fault | None = None

    def __init__(self, place: Place, manifest: Manifest) -> None:
        self.place, self._files = place, Files(place)
        self.warnings: list[str] = []
        self.segments = self._stored = read_index(place, self._warn, late=manifest.late_events > 0)
        if manifest.status == "recording" and place.local and is_being_recorded(place.path):
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
        self.warnings += [*contradictions(manifest), *self._missing()]

    def until(self, rows: int, last_ts_ns: int, why: Fault) -> "Trace":
        """This trace up to where it cannot be read: its first `rows` events, the last one of which was at
        `last_ts_ns`, and the snapshots before that. It is `partial` since `why`, and warns of it.
        """
        cut, left = copy.copy(self), rows
        cut.segments, cut.partial = [], why
        for segment in self.segments:
            if left > 0:
                last_ns = min(segment.last_ts_ns, last_ts_ns)
                cut.segments.append(replace(segment, rows=min(segment.rows, left), last_ts_ns=last_ns))
            left -= segment.rows
        shots = [shot for shot in self.manifest.snapshots if shot.end_ns <= last_ts_ns and shot.name != "end"]
        cut.manifest = replace(self.manifest, status="partial", snapshots=shots, end_ns=None)
        line = f"{why.what}: {why.how}: only the {rows:,} of {self.rows:,} events before that are used"
        cut.warnings = [*self.warnings, line]
        return cut

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            Fault: when the trace is in an object store (`place`).
        """
        return self.place.path

    @property
    def identity(self) -> str:
        """Another one as soon as a file is changed: by names, sizes, times and inodes of all, and the
        content of the small ones, which holds checksums of the large. For what is kept beside a trace, not
        against forgery.
        """
        entries = list(self._files.objects.entries.values()) if self._files.objects else self.place.below()
        here = self.place.path.resolve() if self.place.local else self.place
        digest = hashlib.blake2b(f"{here} {self.rows}".encode(), digest_size=16)
        for entry in entries:
            told = entry.name, entry.size_bytes, entry.changed_ns, entry.inode
            digest.update(repr(told).encode())
            if entry.name in (MANIFEST, SEGMENTS):
                digest.update(entry.place.read_bytes())
        return digest.hexdigest()

    def _warn(self, line: str) -> None:
        """Add a warning, unless it was said already: files may be read more than once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def _last_counters(self, manifest: Manifest) -> list[Any]:
        return self.segments[-1].probes if self.segments else manifest.probes

    def _missing(self) -> Iterator[str]:
        for part in self._listed_parts:
            self._files.check_size(part)
        for shot in self.manifest.snapshots:
            for name in () if shot.parts else shot.files:
                self._files.size(name)
        kept = sum(probe.kept for probe in self.manifest.probes) - self.manifest.discarded_events
        if self.manifest.status == "complete" and self.rows != kept:
            how = "lines of it are gone" if self.rows < kept else "lines of it are no part of the recording"
            yield f"{SEGMENTS} lists {self.rows} events, {kept} were recorded: {how}"
        lost = self.manifest.lost
        if lost:
            yield f"{lost} events were lost while recording"
        if self.manifest.late_events:
            yield f"{self.manifest.late_events} events were stored out of time order"

    @property
    def _listed_parts(self) -> Iterator[Part]:
        """All files of which the trace says what they hold."""
        for segment in self.segments:
            yield from segment.parts
        for shot in self.manifest.snapshots:
            yield from shot.parts

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
        """Bytes of all files."""
        if self._files.objects:
            return self._files.objects.size_bytes
        return sum(entry.size_bytes for entry in self.place.below())

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
        shot = self.manifest.snapshot(name)
        if shot is None:
            raise Fault(
                f"the trace {self.place} has no {name} snapshot",
                f"status {self.manifest.status}; it has "
                + (", ".join(shot.name for shot in self.manifest.snapshots) or "none"),
                "record it again and let it end by itself, by --duration or by Ctrl-C",
            )
        runs = self._files.table(shot.files[0], FRAME_COLUMNS, *shot.parts[:1])
        for line in check_runs(shot.files[0], runs, shot, self.zones):
            self._warn(line)
        return runs

    def lists(self, name: str) -> pa.Table | None:
        """The free lists read with a snapshot (`LIST_COLUMNS`), or None where they could not be read.

        Raises:
            Fault: when their file is damaged.
        """
        shot = self.manifest.snapshot(name)
        if shot is None or not shot.lists:
            return None
        lists = self._files.table(shot.files[1], LIST_COLUMNS, *shot.parts[1:])
        check_lists(shot.files[1], lists, shot, self.manifest.guest)
        return lists

    @property
    def samples(self) -> pa.Table:
        """The kernel's own view, second by second (`SAMPLE_COLUMNS`).

        Raises:
            Fault: naming the file, when one cannot be read.
        """
        rows, tables = SampleRows(self.manifest), [arrow_schema(SAMPLE_COLUMNS).empty_table()]
        for part in [segment.samples for segment in self.segments if segment.samples]:
            tables.append(self._files.table(part.file, SAMPLE_COLUMNS, part))
            for line in rows.check(part.file, tables[-1]):
                self._warn(line)
        return pa.concat_tables(tables)

    @property
    def counters(self) -> pa.Table:
        """Hits and losses so far, second by second, per probe and CPU (`COUNTER_COLUMNS`).

        Raises:
            Fault: naming the file, when one cannot be read.
        """
        tables = [arrow_schema(COUNTER_COLUMNS).empty_table()]
        for part in [segment.counters for segment in self.segments if segment.counters]:
            tables.append(self._files.table(part.file, COUNTER_COLUMNS, part))
            check_counters(part.file, tables[-1])
        return pa.concat_tables(tables)

    @property
    def events(self) -> "pl.LazyFrame":
        """All events, lazily (polars)."""
        import polars as pl

        if not self.segments:
            return pl.LazyFrame(pa.table({n: pa.array([], t) for n, t in EVENT_COLUMNS.items()}))
        if self._files.objects:
            return scanned({name: _KINDS[name] for name in self.columns}, self._again)
        return pl.scan_parquet([self._files.inside(segment.file) for segment in self.segments])

    @property
    def columns(self) -> list[str]:
        """Names of the events' columns: `EVENT_COLUMNS` and the optional ones that were recorded."""
        if not self.segments:
            return list(EVENT_COLUMNS)
        names = self.columns_of(self.segments[0].file)
        return [*EVENT_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in names)]

    def columns_of(self, file: str) -> list[str]:
        """Names of the columns of a file of the trace, those that the format does not know, too.

        Raises:
            Fault: when it cannot be read.
        """
        return self._files.names(file)

    def beside(self, segment: Segment) -> dict[str, pa.Table]:
        """What was seen beside a segment's events: its `samples` and `counters`, where it has them.

        Raises:
            Fault: naming the file, when one cannot be read.
        """
        kinds = {"samples": SAMPLE_COLUMNS, "counters": COUNTER_COLUMNS}
        parts = {"samples": segment.samples, "counters": segment.counters}
        return {kind: self._files.table(p.file, kinds[kind], p) for kind, p in parts.items() if p}

    def batches(self, columns: list[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Events in time order, at most `rows` at a time, only `columns`.

        Raises:
            Fault: naming the file, when a segment cannot be read.
        """
        return self._batches(columns, rows)

    def arrays(self, columns: list[str]) -> "Iterator[dict[str, NDArray[Any]]]":
        """Events in time order as read-only arrays by column name: for a trace whose events were all read
        before (`batches`), since nothing is checked here. Of a `partial` trace, all is checked.
        """
        if self.partial:
            for batch in self.batches(columns):
                yield {name: batch.column(name).to_numpy() for name in columns}
            return
        rows = 0
        for arrays in self._decoded(columns) if self.segments else ():
            rows += len(arrays[columns[0]])
            yield arrays
        if rows != self.rows:  # polars ends a stream in silence when somebody presses Ctrl-C
            how = f"{rows:,} of {self.rows:,} events came"
            raise Fault(f"the trace {self.place} was not read to its end", how, "replay it again")

    def _decoded(self, columns: list[str]) -> "Iterator[dict[str, NDArray[Any]]]":
        if not self._files.objects:
            return decoded([self._files.inside(segment.file) for segment in self.segments], columns)
        batches = self._again(columns, AGAIN_ROWS)
        return ahead({name: batch.column(name).to_numpy() for name in columns} for batch in batches)

    def _again(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Events of a trace in a store, their values unchecked."""
        parts = [segment.parts[0] for segment in self.segments]
        return chain.from_iterable(self._files.batches(parts, {name: _KINDS[name] for name in columns}, rows))

    def _batches(self, columns: list[str], rows: int, *, thorough: bool = False) -> Iterator[pa.RecordBatch]:
        checked, left = EventRows(self.manifest, self.zones, thorough=thorough), self.rows
        parts = [segment.parts[0] for segment in self._stored]
        streams = self._files.batches(parts, {name: _KINDS[name] for name in columns}, rows)
        for segment, batches in zip(self._stored, streams, strict=True):
            done = 0
            for batch in batches:
                checked.check(segment, batch, done)
                done += batch.num_rows
                yield batch.slice(0, left)
                left -= batch.num_rows
                if self.partial and left <= 0:
                    return
        for line in checked.warnings:
            self._warn(line)

    def verify_files(self) -> None:
        """Compare every file with its checksum; snapshots of older recorders have none, but their pages
        carry their own.

        Raises:
            Fault: naming the first file that differs.
        """
        for part in self._listed_parts:
            self._files.check_content(part)

    def verify(self) -> None:
        """Compare every file with its checksum, and read every row.

        Raises:
            Fault: naming the first file that differs, or its row that cannot be.
        """
        self.verify_files()
        for shot in self.manifest.snapshots:
            self.frames(shot.name)
            self.lists(shot.name)
        for _ in self._batches(list(EVENT_COLUMNS), BATCH_ROWS, thorough=True):
            pass
        _ = self.samples, self.counters

"""Small closed segments become larger ones in the background, so that an hour is not 720 files.

Eight neighbours of one rank become one of the next, up to 64 MiB or an hour; so each row is written
again at most a few times. A kill in between costs nothing: until the index names the new file, the
old ones are the trace.
"""

import contextlib
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tracer.format import Part, Segment
from tracer.recording import footprint, priority
from tracer.writer import segment_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracer.writer import TraceWriter

FAN_IN = 8
MAX_BYTES = 64 << 20
MAX_SPAN_NS = 3600 * 1_000_000_000
GROUP_ROWS = 1 << 16  # a merge takes some twenty times as much memory as these rows
_NICE = 10
KINDS = ("events", "samples", "counters")  # what a segment is made of


def rank(segment: Segment) -> int:
    """How many segments, as first written, it is made of: its name is FIRST or FIRST-LAST."""
    stem = segment.file.rpartition("/")[2].partition(".")[0]
    first, _, last = stem.partition("-")
    return int(last or first) - int(first) + 1


def choose(segments: list[Segment], max_span_ns: int = MAX_SPAN_NS) -> list[Segment]:
    """Neighbours to merge now: the first eight of one rank that stay within the limits, or none."""
    for at in range(len(segments) - FAN_IN + 1):
        some = segments[at : at + FAN_IN]
        if len({rank(segment) for segment in some}) > 1:
            continue
        span_ns = some[-1].last_ts_ns - some[0].first_ts_ns
        if sum(segment.size_bytes for segment in some) <= MAX_BYTES and span_ns <= max_span_ns:
            return some
    return []


def merged_name(segments: list[Segment]) -> str:
    """FIRST-LAST of the segments a merged one is made of; it sorts where they did."""
    stems = [segment.file.rpartition("/")[2].partition(".")[0] for segment in (segments[0], segments[-1])]
    return f"{stems[0].partition('-')[0]}-{stems[1].rpartition('-')[2]}"


class Merger:
    """A thread that merges when told that a segment was closed.

    Attributes:
        failure: the error that ended it, if one did; the trace is whole without it.
    """

    def __init__(self, writer: "TraceWriter", max_span_ns: int = MAX_SPAN_NS) -> None:
        self.failure: Exception | None = None
        self._writer, self._max_span_ns = writer, max_span_ns
        self._wake, self._stop = threading.Event(), threading.Event()
        self.exclusive = threading.Lock()  # held while files of the index are being replaced
        self._thread = threading.Thread(target=self._run, name="pagetide-merge", daemon=True)
        self._thread.start()

    @property
    def notes(self) -> list[str]:
        """What went wrong, a line each."""
        return [f"segments were no longer merged: {self.failure}"] if self.failure else []

    def look(self) -> None:
        """Look for something to merge."""
        self._wake.set()

    def finish(self) -> None:
        """End it; what it is at is given up."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        priority.lower(_NICE)
        while self._wake.wait() and not self._stop.is_set():
            self._wake.clear()
            try:
                while not self._stop.is_set() and self._merge_once():
                    footprint.shrink()  # decoding and encoding side by side leaves a lot behind
            except Exception as error:
                self.failure = error
                return

    def _merge_once(self) -> bool:
        with self.exclusive:
            some = choose(list(self._writer.segments), self._max_span_ns)
            return bool(some) and merge(self._writer, some, self._stop.is_set)


def merge(writer: "TraceWriter", some: list[Segment], given_up: "Callable[[], bool]") -> bool:
    """Replace neighbours by one segment of the same rows; False when it was given up."""
    name = merged_name(some)
    with contextlib.ExitStack() as undo:
        undo.callback(writer.remove_parts, [f"{kind}/{name}.parquet" for kind in KINDS])
        events = _concatenate(writer, "events", name, [segment.parts[0] for segment in some], given_up)
        if events is None:
            return False
        new = segment_of(
            events,
            (min(segment.first_ts_ns for segment in some), max(segment.last_ts_ns for segment in some)),
            some[-1].probes,
            losses=[loss for segment in some for loss in segment.losses],
            samples=_beside(writer, "samples", name, [segment.samples for segment in some]),
            counters=_beside(writer, "counters", name, [segment.counters for segment in some]),
        )
        undo.pop_all()
    writer.replace_segments(some, [new])
    return True


def _beside(writer: "TraceWriter", kind: str, name: str, parts: list[Part | None]) -> Part | None:
    there = [part for part in parts if part]
    return _concatenate(writer, kind, name, there, lambda: False) if there else None


def _concatenate(
    writer: "TraceWriter", kind: str, name: str, parts: list[Part], given_up: "Callable[[], bool]"
) -> Part | None:
    """One file of the rows of several, a bounded number at a time."""
    with writer.open_part_for_reading(parts[0].file) as file:
        out = writer.open_part(kind, name, pq.read_schema(file))
    waiting: list[pa.RecordBatch] = []
    try:
        for part in parts:
            with writer.open_part_for_reading(part.file) as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
                    GROUP_ROWS, use_threads=False
                ):
                    if given_up():
                        out.abandon()
                        return None
                    waiting.append(batch)
                    if sum(b.num_rows for b in waiting) >= GROUP_ROWS:
                        out.append(pa.Table.from_batches(waiting))
                        waiting = []
        if waiting:
            out.append(pa.Table.from_batches(waiting))
        return out.close()
    except BaseException as error:
        out.abandon(error)
        raise

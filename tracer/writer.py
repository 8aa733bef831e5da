"""Writing a trace so that it opens again whatever happens: each file aside, then renamed.

A segment counts once its line is in segments.jsonl; what has no line is not part of the trace.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from tracer.folder import Folder
from tracer.format import (
    LOCK,
    MANIFEST,
    SEGMENTS,
    Loss,
    Manifest,
    Part,
    Probe,
    Segment,
    to_json,
)
from tracer.layouts import BUDDY, Layout, recorded
from tracer.output import check_output, output_fault, put_in_place, remove_tree
from tracer.parquet import PartFile, event_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

KINDS = ("events", "frames", "samples", "counters")


class TraceWriter:
    """An open trace on disk: segments, snapshots, and a manifest at start and end.

    It is made aside and put in its place once it has a manifest, so that a failure costs nothing.
    Its methods may be called from several threads.

    Attributes:
        path: the trace's folder.
        folder: the same, held open.
        segments: the segments in its index.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        force: bool = False,
        file_mode: int = 0o600,
        layout: Layout | None = None,
    ) -> None:
        """Make the trace. `layout`: how events are written, if not as a recording's.

        Raises:
            Fault: when it cannot be made; what was at `path` is there as before.
        """
        check_output(path, force=force)
        self.path, self._layout = path, layout or recorded(manifest.layers)
        self.segments: list[Segment] = []
        self._lock = threading.RLock()
        self._part_sizes: dict[str, int] = {}
        self._manifest_bytes = 0
        new = f".{path.name}.new"
        with contextlib.ExitStack() as undo:
            try:
                parent = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
                undo.callback(os.close, parent)
                with contextlib.ExitStack() as created:
                    remove_tree(parent, new)
                    self.folder = Folder.make(new, parent, file_mode)
                    created.callback(self.folder.close)
                    created.callback(remove_tree, parent, new)
                    self._create(created)
                    self.write_manifest(manifest)
                    put_in_place(parent, new, path.name)
                    created.pop_all()
            except OSError as error:
                raise output_fault(path, error) from error

    def _create(self, undo: contextlib.ExitStack) -> None:
        """The folder's parts, its lock and its index."""
        self._kinds = {kind: self.folder.sub(kind) for kind in KINDS}
        for kind in self._kinds.values():
            undo.callback(kind.close)
        self._alive = os.fdopen(self.folder.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w")
        undo.callback(self._alive.close)
        # Held while recording lives: how a reader tells it from one that was killed.
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        self._index = self._open_index(os.O_CREAT)
        undo.callback(os.close, self._index)

    def _open_index(self, flags: int = 0) -> int:
        return self.folder.open(SEGMENTS, os.O_WRONLY | os.O_APPEND | flags)

    def give_to(self, uid: int, gid: int) -> None:
        """Make another user the owner of all that is there."""
        for folder in (*self._kinds.values(), self.folder):
            folder.give_to(uid, gid)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace manifest.json as a whole."""
        text = json.dumps(to_json(manifest), indent=1).encode() + b"\n"
        with self._lock, self.folder.aside(MANIFEST) as file:
            file.write(text)
            self._manifest_bytes = len(text)

    def open_part(self, kind: str, name: str, schema: pa.Schema) -> PartFile:
        """A file KIND/NAME.parquet to be written row group by row group."""
        layout = self._layout if kind == "events" else BUDDY
        return PartFile(self._kinds[kind], kind, f"{name}.parquet", schema, layout)

    def write_part(self, kind: str, name: str, table: pa.Table) -> Part:
        """Write KIND/NAME.parquet at once."""
        file = self.open_part(kind, name, table.schema)
        file.append(table)
        part = file.close()
        with self._lock:
            self._part_sizes[part.file] = part.size_bytes
        return part

    def write_frames(self, name: str, runs: pa.Table) -> Part:
        """Write frames/NAME.parquet."""
        return self.write_part("frames", name, runs)

    def write_snapshot(self, name: str, runs: pa.Table, lists: pa.Table | None = None) -> list[Part]:
        """Write a snapshot's frame runs and, where they were read, its free lists; what its `parts` are."""
        frames = self.write_frames(name, runs)
        return [frames] if lists is None else [frames, self.write_frames(f"{name}-lists", lists)]

    def open_part_for_reading(self, part: str) -> IO[bytes]:
        """A file of this trace by its name in the index."""
        kind, _, name = part.partition("/")
        return os.fdopen(self._kinds[kind].open(name), "rb")

    def remove_parts(self, names: "Iterable[str]") -> None:
        """Remove files that no segment and no snapshot names any more."""
        for full in names:
            kind, _, name = full.partition("/")
            self._kinds[kind].remove(name)
            with self._lock:
                self._part_sizes.pop(full, None)

    def write_segment(
        self,
        columns: "Mapping[str, NDArray[np.generic]]",
        probes: list[Probe],
        losses: "Iterable[Loss]" = (),
    ) -> None:
        """Write one closed segment and its line. `columns`: of `EVENT_COLUMNS`, time-ordered, not empty."""
        schema = event_schema(with_pid="pid" in columns, with_gfp="gfp" in columns)
        table = pa.table(dict(columns), schema=schema)
        part = self.write_part("events", self.next_name, table)
        ts_ns = columns["ts_ns"]
        span = int(ts_ns.min()), int(ts_ns.max())
        self.append_segment(segment_of(part, span, probes, losses=list(losses)))

    @property
    def next_name(self) -> str:
        """Name of the next segment: five digits; those of merged ones are FIRST-LAST."""
        with self._lock:
            last = self.segments[-1].file if self.segments else "-1"
        number = int(Path(last).stem.rpartition("-")[2] or 0) if self.segments else -1
        return f"{number + 1:05d}"

    def append_segment(self, segment: Segment) -> None:
        """Make a closed segment part of the trace."""
        with self._lock:
            self._append(index_line(segment))
            self.segments.append(segment)

    def replace_segments(self, old: list[Segment], new: list[Segment]) -> None:
        """Put `new` in the place of `old`, which follow each other in the index, and remove their files."""
        with self._lock:
            at = self.segments.index(old[0])
            segments = [*self.segments[:at], *new, *self.segments[at + len(old) :]]
            with self.folder.aside(SEGMENTS) as file:
                file.write(b"".join(map(index_line, segments)))
            os.close(self._index)
            self._index = self._open_index()
            self.segments = segments
        kept = {part.file for segment in new for part in segment.parts}
        self.remove_parts({part.file for segment in old for part in segment.parts} - kept)

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
        """Bytes on disk so far, without what is still being written."""
        with self._lock:
            listed = {part.file: part.size_bytes for segment in self.segments for part in segment.parts}
            own = self._manifest_bytes + os.fstat(self._index).st_size
            return own + sum((self._part_sizes | listed).values())

    @property
    def size_of_events(self) -> int:
        """Bytes of the segments' events."""
        with self._lock:
            return sum(segment.size_bytes for segment in self.segments)

    def size_of_kind(self, kind: str) -> int:
        """Bytes of the largest file of a kind that no segment lists: of a snapshot, say."""
        with self._lock:
            return max((n for file, n in self._part_sizes.items() if file.startswith(f"{kind}/")), default=0)

    def close(self, manifest: Manifest) -> None:
        """Write the final manifest and end the recording."""
        try:
            self.write_manifest(manifest)
            self.folder.remove(LOCK)
        finally:
            self.release()

    def release(self) -> None:
        """Let go of the trace as it is, as happens to a recorder that is killed."""
        self._alive.close()
        os.close(self._index)
        for folder in (*self._kinds.values(), self.folder):
            folder.close()


def segment_of(
    part: Part,
    span_ns: tuple[int, int],
    probes: list[Probe],
    *,
    losses: list[Loss],
    samples: Part | None = None,
    counters: Part | None = None,
) -> Segment:
    """A segment from its files."""
    return Segment(
        part.file, part.rows, *span_ns, part.size_bytes, part.checksum, probes, losses, samples, counters
    )


def index_line(segment: Segment) -> bytes:
    """A line of segments.jsonl: the segment and a checksum over its own text."""
    text = json.dumps(to_json(segment), sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f'{{"line": {text}, "checksum": "{digest}"}}\n'.encode()

"""Bounds of a recording that may run for ever: what it may keep, and when it has to end."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tracer.format import Manifest, Snapshot
from tracer.recording.settings import Settings

if TYPE_CHECKING:
    from tracer.writer import TraceWriter

# Room on the disk to end in good order, as multiples of a snapshot.
_END_SNAPSHOTS = 3


def outdated(snapshots: list[Snapshot], keep_ns: int, now_ns: int) -> list[Snapshot]:
    """Snapshots that are no longer needed: all before the last one older than `keep_ns`."""
    old = [index for index, shot in enumerate(snapshots) if shot.end_ns <= now_ns - keep_ns]
    return snapshots[: old[-1]] if old else []


def forget(writer: "TraceWriter", manifest: Manifest, old: list[Snapshot]) -> Manifest:
    """Remove some first snapshots and the segments before the one that is first then.

    The manifest is written first: whatever is left behind by a kill lies before its first snapshot.
    """
    start = manifest.snapshots[len(old)]
    segments = [segment for segment in writer.segments if segment.last_ts_ns < start.begin_ns]
    kept = replace(
        manifest,
        snapshots=manifest.snapshots[len(old) :],
        discarded_events=manifest.discarded_events + sum(segment.rows for segment in segments),
    )
    writer.write_manifest(kept)
    if segments:
        writer.replace_segments(segments, [])
    names = [f"frames/{shot.name}.parquet" for shot in old]
    names += [f"frames/{shot.name}-lists.parquet" for shot in old if shot.lists]
    writer.remove_parts(names)
    return kept


class Growth:
    """How fast a trace grew at its fastest, and so what may come while its end snapshot is read."""

    def __init__(self) -> None:
        self._rows_per_ns = 0.0
        self._last: tuple[int, int] | None = None

    def note(self, now_ns: int, rows: int) -> None:
        """So many rows came so far."""
        if self._last is not None and now_ns > self._last[0]:
            self._rows_per_ns = max(self._rows_per_ns, (rows - self._last[1]) / (now_ns - self._last[0]))
        self._last = now_ns, rows

    def rows_within(self, span_ns: int) -> int:
        """Rows to be expected within so many ns."""
        return int(self._rows_per_ns * span_ns)


def reason_to_end(settings: Settings, writer: "TraceWriter", coming_bytes: int) -> str | None:
    """max-size or disk when one of them is reached, with room to end in good order.

    `coming_bytes`: what is still to be written, were it to end now.
    """
    if settings.max_bytes is not None and writer.size_bytes + coming_bytes >= settings.max_bytes:
        return "max-size"
    room = max(coming_bytes, _END_SNAPSHOTS * writer.size_of_kind("frames"))
    return "disk" if writer.folder.free_bytes() < settings.min_free_bytes + room else None

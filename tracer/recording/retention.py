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


def reason_to_end(
    settings: Settings, writer: "TraceWriter", open_bytes: int, snapshot_bytes: int
) -> str | None:
    """max-size or disk when one of them is reached, with room to end in good order."""
    size = writer.size_bytes + open_bytes + snapshot_bytes
    if settings.max_bytes is not None and size >= settings.max_bytes:
        return "max-size"
    if writer.folder.free_bytes() < settings.min_free_bytes + _END_SNAPSHOTS * snapshot_bytes:
        return "disk"
    return None

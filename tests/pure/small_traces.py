"""Small traces on disk, written as a recording writes them, and ways to damage them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracer.format import (
    BuddyInfo,
    Clock,
    FrameState,
    Guest,
    Manifest,
    Op,
    Probe,
    Reporting,
    Segment,
    Snapshot,
    Zone,
)
from tracer.guest.snapshot import RawFrames, runs_table
from tracer.parquet import checksum
from tracer.writer import TraceWriter, index_line

FRAMES = 8192  # the upper half is free at the start
GUEST = Guest(
    kernel_release="6.12.0", machine="x86_64", cpus=2, page_size=4096, max_order=10, pageblock_order=9,
    migratetypes=["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"], pcp_orders=[0],
    thp_mode="madvise", hz=250, jiffies=None, jiffies_monotonic_ns=None,
)  # fmt: skip
ZONES = [Zone(0, "Normal", 0, FRAMES, FRAMES, FRAMES, FRAMES // 2, 10, 20, 30, 0)]
NAME = "kmem:mm_page_alloc_zone_locked"
START_NS, END_NS = 1_000_000, 9_000_000_000
SEGMENTS = ((2_000_000, 3_000_000), (4_000_000, 5_000_000, 6_000_000))


def manifest(**over: Any) -> Manifest:
    given: dict[str, Any] = {
        "format": 1, "tool": "pagetide test", "status": "recording", "guest": GUEST, "zones": ZONES,
        "reporting": Reporting(9, active=False), "clock": Clock(1, 2), "layers": ["buddy"],
        "rung": "tracepoints", "probes": [Probe(NAME, "tracepoint", Op.ZONE_LOCKED)],
        "command_line": ["pagetide", "record"],
    }  # fmt: skip
    return Manifest(**(given | over))


def snapshot(name: str, begin_ns: int, end_ns: int) -> Snapshot:
    return Snapshot(name, begin_ns, end_ns, ZONES, [BuddyInfo(0, "Normal", [0] * 10 + [4], end_ns, end_ns)])


def frame_runs(at_ns: int) -> pa.Table:
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[FRAMES // 2 :] = FrameState.BUDDY
    times = np.full(FRAMES // 4096, at_ns, np.int64)
    return runs_table(state, RawFrames(np.zeros(FRAMES, np.uint8), times, times + 1))


def columns(ts_ns: Sequence[int]) -> dict[str, Any]:
    """Exits of single free frames, one after the other."""
    count = len(ts_ns)
    return {
        "ts_ns": np.array(ts_ns, np.int64),
        "op": np.full(count, Op.ZONE_LOCKED, np.uint8),
        "pfn": np.arange(FRAMES // 2, FRAMES // 2 + count, dtype=np.uint64),
        "order": np.zeros(count, np.uint8),
        "migratetype": np.full(count, 1, np.int8),
        "cpu": np.zeros(count, np.uint16),
        "aux": np.zeros(count, np.uint64),
    }


def counted(rows: int, lost: int = 0) -> list[Probe]:
    return [Probe(NAME, "tracepoint", Op.ZONE_LOCKED, hits=rows + lost, kept=rows, lost=lost)]


def begin(path: Path, segments: Sequence[Sequence[int]] = SEGMENTS) -> TraceWriter:
    """A recording under way: its start snapshot and some segments are on disk."""
    writer = TraceWriter(path, manifest())
    writer.write_frames("start", frame_runs(START_NS - 100))
    writer.write_manifest(manifest(snapshots=[snapshot("start", START_NS - 200, START_NS)]))
    rows = 0
    for ts_ns in segments:
        rows += len(ts_ns)
        writer.write_segment(columns(ts_ns), counted(rows))
    return writer


def write(path: Path, segments: Sequence[Sequence[int]] = SEGMENTS, *, lost: int = 0, **over: Any) -> Path:
    """A whole trace."""
    writer = begin(path, segments)
    writer.write_frames("end", frame_runs(END_NS + 100))
    shots = [snapshot("start", START_NS - 200, START_NS), snapshot("end", END_NS, END_NS + 500)]
    probes = counted(sum(len(part) for part in segments), lost)
    last: dict[str, Any] = {"status": "complete", "snapshots": shots, "probes": probes}
    writer.close(manifest(**(last | over)))
    return path


def kill(writer: TraceWriter) -> Path:
    """The recorder dies: the kernel closes its files, nothing else happens."""
    writer.release()
    return writer.path


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((path / "manifest.json").read_text())
    change(data)
    (path / "manifest.json").write_text(json.dumps(data))


def replace_events(path: Path, table: pa.Table) -> None:
    """Make `table` the only segment, with a right index line."""
    file = path / "events/00000.parquet"
    pq.write_table(table, file)
    size = file.stat().st_size
    segment = Segment(
        "events/00000.parquet", table.num_rows, *SEGMENTS[0], size, checksum(file), counted(table.num_rows)
    )
    (path / "segments.jsonl").write_bytes(index_line(segment))
    edit_manifest(path, lambda data: data["probes"][0].update(hits=table.num_rows, kept=table.num_rows))

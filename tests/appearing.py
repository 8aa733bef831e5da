"""What a trace tells of memory that appeared while it was recorded, read off its rows by plain loops."""

from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.frames import Frames
from replay.buddy.ops import Meaning, meaning_of
from replay.geometry import Geometry
from tracer import FrameState, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ["ts_ns", "op", "pfn", "order"]


def grown_frames(trace: Trace) -> int:
    """Frames that the kernel says it manages more at the end than at the start."""
    first, *_, last = trace.manifest.snapshots
    return sum(zone.managed for zone in last.zones) - sum(zone.managed for zone in first.zones)


def first_entries(trace: Trace) -> "NDArray[Any]":
    """Events (COLUMNS) by which frames that were absent at the start enter the buddy, each frame's first."""
    geometry = Geometry.of(trace.manifest.guest, trace.zones)
    absent = Frames.of(trace.frames("start"), geometry.frames).state == FrameState.ABSENT
    found, meaning = [], meaning_of(trace)
    for batch in trace.batches(COLUMNS):
        ts_ns, op, pfn, order = (column.to_numpy() for column in batch.columns)
        enters = (meaning[op, order] == Meaning.ENTER) & absent[pfn.astype(np.int64)]
        for at in np.flatnonzero(enters):
            block = slice(int(pfn[at]), int(pfn[at]) + (1 << int(order[at])))
            if absent[block].any():
                assert absent[block].all(), (pfn[at], order[at])
                absent[block] = False
                found.append((ts_ns[at], op[at], pfn[at], order[at]))
    return np.array(found, dtype=[(name, np.int64) for name in COLUMNS])


def first_exits(trace: Trace, new: "NDArray[Any]") -> dict[int, float]:
    """Of each frame of the blocks `new`: when it left the buddy first, ns."""
    blocks = [range(int(pfn), int(pfn) + (1 << int(order))) for _, _, pfn, order in new]
    frames = {frame: float("inf") for block in blocks for frame in block}
    first, end, meaning = min(frames), max(frames) + 1, meaning_of(trace)
    for batch in trace.batches(COLUMNS):
        ts_ns, op, pfn, order = (column.to_numpy() for column in batch.columns)
        leaves = (meaning[op, order] == Meaning.EXIT) | (meaning[op, order] == Meaning.FALLBACK)
        for at in np.flatnonzero(leaves & (first <= pfn) & (pfn < end)):
            for frame in range(int(pfn[at]), int(pfn[at]) + (1 << int(order[at]))):
                frames[frame] = min(frames.get(frame, 0), float(ts_ns[at]))
    return frames


def managed_by_second(trace: Trace) -> list[int]:
    """Frames managed in all zones, sample by sample."""
    by_time: dict[int, int] = {}
    for row in trace.samples.select(["read_begin_ns", "managed"]).to_pylist():
        by_time[row["read_begin_ns"]] = by_time.get(row["read_begin_ns"], 0) + row["managed"]
    return [managed for _, managed in sorted(by_time.items())]


def reports_of_untouched_blocks(trace: Trace, reports: Any, new: "NDArray[Any]") -> list[int]:
    """Newly reclaimed bytes of each of the `reports` (`Result.reports`) that were of new frames only,
    done before any of these was used: none of them has memory of the host.
    """
    used_ns, start_ns, found = first_exits(trace, new), trace.span_ns[0], []
    for row in reports.iter_rows(named=True):
        block = range(row["pfn"], row["pfn"] + (1 << row["order"]))
        exits = [used_ns[frame] for frame in block if frame in used_ns]
        if len(exits) == len(block) and start_ns + row["done_s"] * 1e9 < min(exits):
            found.append(row["new_bytes"])
    return found

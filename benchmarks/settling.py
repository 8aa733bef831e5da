"""How soon an idle guest's memory is at the host: a made-up guest, all free in blocks of order 10.

The published figure is for 32 GiB: about 30 s (the series' cover letters, and the comment in
mm/page_reporting.c).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from replay import Options
from replay import replay as replayed
from tests.pure.small_traces import GUEST, manifest
from tests.pure.worlds import PROBES, event_columns
from tracer import CHUNK_FRAMES, FrameState, Snapshot, TraceWriter, Zone
from tracer.guest.snapshot import RawFrames, runs_table

GIB_FRAMES = 1 << 18
SECOND_NS = 10**9
END_NS = 120 * SECOND_NS
HZ = 250
Event = tuple[int, bool, int, int]  # when, does it enter the buddy, pfn, order


def made_up(path: Path, free_gib: int, events: Sequence[Event] = ()) -> Path:
    """A trace of two minutes; the guest's last GiB is in use, and below it all is free at the start.

    A page is taken at the end.
    """
    frames = (free_gib + 1) * GIB_FRAMES
    state = np.full(frames, FrameState.BUDDY, np.uint8)
    state[-GIB_FRAMES:] = FrameState.USED
    zones = [Zone(0, "Normal", 0, frames, frames, frames, 0, 10, 20, 30, 0)]
    shots = [Snapshot("start", 0, 10, zones, []), Snapshot("end", END_NS, END_NS + 10, zones, [])]
    about = manifest(guest=replace(GUEST, hz=HZ), zones=zones, snapshots=shots)
    rows = event_columns([*events, (END_NS - 1, False, 0, 0)])
    kept = [int((rows["op"] == probe.op).sum()) for probe in PROBES]
    probes = [replace(probe, hits=count, kept=count) for probe, count in zip(PROBES, kept, strict=True)]
    writer = TraceWriter(path, about)
    for shot in shots:
        begin_ns = np.full(frames // CHUNK_FRAMES, shot.begin_ns, np.int64)
        read = RawFrames(np.zeros(frames, np.uint8), begin_ns, begin_ns + 1)
        writer.write_frames(shot.name, runs_table(state, read))
    writer.write_segment(rows, probes)
    writer.close(replace(about, status="complete", probes=probes))
    return path


def settled(free_gib: int = 32, policy: str = "upstream") -> tuple[float, int]:
    """Seconds from the device's registration until all of it is reported, and passes that took it."""
    with tempfile.TemporaryDirectory() as folder:
        trace = made_up(Path(folder, "idle.trace"), free_gib)
        reports = replayed(trace, [policy], Options(start="cold", logging=True)).results[0].reports
    return max(reports["done_s"].to_list()), reports["pass"].n_unique()

"""The state of every frame, read from /proc/kpageflags while the guest goes on running.

Frames are read in chunks, each with the instants around its read: a snapshot has no single moment,
and a reader applies each chunk at its own (`FORMAT.md`, "frames").
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tracer.faults import environment
from tracer.format import FrameState, Snapshot, Zone
from tracer.procfs import PROC, read_buddyinfo, read_zones

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# include/uapi/linux/kernel-page-flags.h, fs/proc/page.c
KPF_UPTODATE = 3
KPF_BUDDY = 10
KPF_NOPAGE = 20
KPF_RESERVED = 32

# One read: 0.3 ms, so a frame's state is known to within that; a multiple of any zone's blocks.
CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class RawFrames:
    """kpageflags of [0, end): `flags` uint64 a frame; per chunk the instants around its read, ns."""

    flags: "NDArray[np.uint64]"
    begin_ns: "NDArray[np.int64]"
    end_ns: "NDArray[np.int64]"


def read_flags(end_pfn: int, proc: Path = PROC) -> RawFrames:
    """Read kpageflags up to `end_pfn`, chunk by chunk. Frames past the file's end have no page.

    Raises:
        Fault: when the file cannot be read (it needs CAP_SYS_ADMIN).
    """
    chunks = -(-end_pfn // CHUNK_FRAMES)
    flags = np.full(chunks * CHUNK_FRAMES, np.uint64(1 << KPF_NOPAGE), dtype=np.uint64)
    begin_ns = np.empty(chunks, np.int64)
    end_ns = np.empty(chunks, np.int64)
    path = proc / "kpageflags"
    try:
        with path.open("rb", buffering=0) as file:
            for chunk in range(chunks):
                begin_ns[chunk] = time.monotonic_ns()
                data = file.read(CHUNK_FRAMES * 8)
                end_ns[chunk] = time.monotonic_ns()
                words = np.frombuffer(data, np.uint64)
                flags[chunk * CHUNK_FRAMES : chunk * CHUNK_FRAMES + len(words)] = words
    except OSError as error:
        raise environment(
            f"the state of the guest's frames cannot be read: {path}",
            f"{error.strerror} (errno {error.errno})",
            "record as root; in a container, with CAP_SYS_ADMIN and the host's /proc",
        ) from error
    return RawFrames(flags, begin_ns, end_ns)


def blank_runs(flags: "NDArray[np.uint64]") -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """(start, length) of the runs of frames without any flag."""
    blank = np.concatenate(([False], flags == 0, [False]))
    edges = np.flatnonzero(blank[1:] != blank[:-1])
    return edges[::2], edges[1::2] - edges[::2]


def classify(flags: "NDArray[np.uint64]", zones: list[Zone], pageblock_order: int) -> "NDArray[np.uint8]":
    """`FrameState` of each frame, shape as `flags`.

    Known from a flag: in the buddy, a hole, reserved. A frame without any flag is memory that is
    not managed yet, or on a pcp list, or isolated, or a kernel allocation that sets no flag. Frames
    not managed yet are the longest such runs, as many as zoneinfo's managed count leaves over (they
    are what deferred initialisation has not reached). Whole aligned pageblocks of the rest are limbo
    (isolated, or a huge page on a pcp list); smaller ones cannot be told from kernel
    allocations and stay used.
    """
    state = np.full(len(flags), FrameState.ABSENT, np.uint8)
    for zone in zones:
        part = slice(zone.start_pfn, min(zone.end_pfn, len(flags)))
        state[part] = _classify_zone(flags[part], zone, pageblock_order)
    return state


def _classify_zone(flags: "NDArray[np.uint64]", zone: Zone, pageblock_order: int) -> "NDArray[np.uint8]":
    unmanaged = (flags & np.uint64(1 << KPF_NOPAGE | 1 << KPF_RESERVED)) != 0
    state = np.full(len(flags), FrameState.USED, np.uint8)
    state[(flags & np.uint64(1 << KPF_BUDDY)) != 0] = FrameState.BUDDY
    state[unmanaged] = FrameState.ABSENT

    starts, lengths = blank_runs(flags)
    surplus = len(flags) - int(unmanaged.sum()) - zone.managed
    for run in np.argsort(-lengths, kind="stable"):
        # A run that is not mostly surplus is memory in use: better used than wrongly absent.
        if surplus < lengths[run] // 2 or surplus <= 0 or lengths[run] < 1 << pageblock_order:
            break
        state[starts[run] : starts[run] + lengths[run]] = FrameState.ABSENT
        surplus -= int(lengths[run])
        lengths[run] = 0
    _mark_limbo(state, starts + zone.start_pfn, lengths, zone.start_pfn, 1 << pageblock_order)
    return state


def _mark_limbo(
    state: "NDArray[np.uint8]",
    starts: "NDArray[np.int64]",
    lengths: "NDArray[np.int64]",
    zone_start: int,
    block: int,
) -> None:
    """Mark the whole aligned blocks inside blank runs; `starts` are pfns, `block` in frames."""
    first = -(-starts // block) * block
    last = (starts + lengths) // block * block
    for begin, end in zip(first, last, strict=True):
        if begin < end:
            state[begin - zone_start : end - zone_start] = FrameState.LIMBO


def runs_table(state: "NDArray[np.uint8]", raw: RawFrames) -> "pa.Table":
    """Run-length frame states (`FRAME_COLUMNS`): a run never crosses a chunk, and a reported block's
    head starts one.
    """
    import pyarrow as pa

    reported = (raw.flags & np.uint64(1 << KPF_UPTODATE | 1 << KPF_BUDDY)) == np.uint64(
        1 << KPF_UPTODATE | 1 << KPF_BUDDY
    )
    begins = np.empty(len(state), bool)
    begins[0] = True
    np.not_equal(state[1:], state[:-1], out=begins[1:])
    begins[::CHUNK_FRAMES] = True
    begins |= reported
    pfn = np.flatnonzero(begins)
    chunk = pfn // CHUNK_FRAMES
    return pa.table(
        {
            "pfn": pfn.astype(np.uint64),
            "count": np.diff(np.append(pfn, len(state))).astype(np.uint32),
            "state": state[pfn],
            "reported_head": reported[pfn],
            "read_begin_ns": raw.begin_ns[chunk],
            "read_ts_ns": raw.end_ns[chunk],
        }
    )


def take(name: str, pageblock_order: int, proc: Path = PROC) -> tuple[Snapshot, "pa.Table"]:
    """Read a whole snapshot now: what the manifest says of it, and its frame runs."""
    zones = read_zones(proc)
    begin_ns = time.monotonic_ns()
    raw = read_flags(max(zone.end_pfn for zone in zones), proc)
    end_ns = time.monotonic_ns()
    buddyinfo = [info for info in read_buddyinfo(proc) if _populated(info.node, info.zone, zones)]
    zones_after = read_zones(proc)
    # Managed may grow while the frames are read: the later count is the one the last chunks saw.
    table = runs_table(classify(raw.flags, zones_after, pageblock_order), raw)
    return Snapshot(name, begin_ns, end_ns, zones_after, buddyinfo), table


def _populated(node: int, zone: str, zones: list[Zone]) -> bool:
    return any(z.node == node and z.name == zone for z in zones)

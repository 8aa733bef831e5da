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
from tracer.format import CHUNK_FRAMES, FrameState, Snapshot, Zone
from tracer.guest.procfs import PROC, read_buddyinfo, read_zones

if TYPE_CHECKING:
    from io import FileIO

    import pyarrow as pa
    from numpy.typing import NDArray

# include/uapi/linux/kernel-page-flags.h, fs/proc/page.c
KPF_UPTODATE = 3
KPF_BUDDY = 10
KPF_NOPAGE = 20
KPF_RESERVED = 32


# Limbo that the guest's reporting holds comes back to the buddy by itself, in milliseconds.
_LIMBO_ROUNDS = 10
_LIMBO_PAUSE_S = 0.02

# What is kept of a frame's flags: one byte.
BUDDY, REPORTED, UNMANAGED, BLANK = 1, 2, 4, 8


@dataclass(frozen=True)
class RawFrames:
    """Frames [0, end) as read: `bits` uint8 a frame (BUDDY, REPORTED, UNMANAGED, BLANK); per chunk
    the instants around its read, ns.
    """

    bits: "NDArray[np.uint8]"
    begin_ns: "NDArray[np.int64]"
    end_ns: "NDArray[np.int64]"


def compact(flags: "NDArray[np.uint64]") -> "NDArray[np.uint8]":
    """The bits that matter of kpageflags words."""
    buddy = (flags >> np.uint64(KPF_BUDDY)) & np.uint64(1)
    reported = buddy & (flags >> np.uint64(KPF_UPTODATE))
    unmanaged = (flags & np.uint64(1 << KPF_NOPAGE | 1 << KPF_RESERVED)) != 0
    bits = buddy | reported << np.uint64(1)
    blank = flags == 0
    compacted: NDArray[np.uint8] = bits.astype(np.uint8)
    compacted |= unmanaged.astype(np.uint8) * np.uint8(UNMANAGED) | blank.astype(np.uint8) * np.uint8(BLANK)
    return compacted


def read_frames(end_pfn: int, proc: Path = PROC) -> RawFrames:
    """Read kpageflags up to `end_pfn`, chunk by chunk. Frames past the file's end have no page.

    Raises:
        Fault: when the file cannot be read (it needs CAP_SYS_ADMIN).
    """
    chunks = -(-end_pfn // CHUNK_FRAMES)
    bits = np.full(chunks * CHUNK_FRAMES, UNMANAGED, np.uint8)
    begin_ns, end_ns = np.empty(chunks, np.int64), np.empty(chunks, np.int64)
    path = proc / "kpageflags"
    try:
        with path.open("rb", buffering=0) as file:
            for chunk in range(chunks):
                begin_ns[chunk] = time.monotonic_ns()
                words = np.frombuffer(file.read(CHUNK_FRAMES * 8), np.uint64)
                end_ns[chunk] = time.monotonic_ns()
                bits[chunk * CHUNK_FRAMES : chunk * CHUNK_FRAMES + len(words)] = compact(words)
    except OSError as error:
        raise environment(
            f"the state of the guest's frames cannot be read: {path}",
            f"{error.strerror} (errno {error.errno})",
            "record as root; in a container, with CAP_SYS_ADMIN and the host's /proc",
        ) from error
    return RawFrames(bits, begin_ns, end_ns)


def blank_runs(bits: "NDArray[np.uint8]") -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """(start, length) of the runs of frames without any flag."""
    blank = np.concatenate(([False], (bits & BLANK) != 0, [False]))
    edges = np.flatnonzero(blank[1:] != blank[:-1])
    return edges[::2], edges[1::2] - edges[::2]


def classify(bits: "NDArray[np.uint8]", zones: list[Zone], pageblock_order: int) -> "NDArray[np.uint8]":
    """`FrameState` of each frame, shape as `bits`; limbo is told by `mark_limbo`.

    Known from a flag: in the buddy, a hole, reserved. A frame without any flag is memory that is
    not managed yet, or on a pcp list, or isolated, or a kernel allocation that sets no flag. Frames
    not managed yet are the longest such runs, as many as zoneinfo's managed count leaves over (what
    deferred initialisation has not reached); the others are used until they are known better.
    """
    state = np.full(len(bits), FrameState.ABSENT, np.uint8)
    for zone in zones:
        part = slice(zone.start_pfn, min(zone.end_pfn, len(bits)))
        state[part] = _classify_zone(bits[part], zone.managed, 1 << pageblock_order)
    return state


def _classify_zone(bits: "NDArray[np.uint8]", managed: int, pageblock: int) -> "NDArray[np.uint8]":
    state = np.full(len(bits), FrameState.USED, np.uint8)
    state[(bits & BUDDY) != 0] = FrameState.BUDDY
    state[(bits & UNMANAGED) != 0] = FrameState.ABSENT
    surplus = int((state != FrameState.ABSENT).sum()) - managed
    starts, lengths = blank_runs(bits)
    for run in np.argsort(-lengths, kind="stable"):
        # A run that is not mostly surplus is memory in use: better used than wrongly absent.
        if lengths[run] < pageblock or surplus <= lengths[run] // 2:
            break
        state[starts[run] : starts[run] + lengths[run]] = FrameState.ABSENT
        surplus -= int(lengths[run])
    return state


def mark_limbo(
    state: "NDArray[np.uint8]", bits: "NDArray[np.uint8]", pageblock_order: int, proc: Path = PROC
) -> None:
    """Mark the whole pageblocks without flags that come back to the buddy by themselves.

    Those are in the hands of the guest's own reporting or of compaction. A huge page on a pcp list
    and a kernel allocation look the same at first, but stay as they are.
    """
    pageblock = 1 << pageblock_order
    whole = len(bits) // pageblock * pageblock
    blank = (((bits & BLANK) != 0) & (state == FrameState.USED))[:whole].reshape(-1, pageblock).all(axis=1)
    waiting = np.flatnonzero(blank) << pageblock_order
    with (proc / "kpageflags").open("rb", buffering=0) as file:
        for _ in range(_LIMBO_ROUNDS):
            if not len(waiting):
                return
            time.sleep(_LIMBO_PAUSE_S)
            back = np.array([bool(_read_one(file, int(pfn)) & 1 << KPF_BUDDY) for pfn in waiting])
            for pfn in waiting[back]:
                state[pfn : pfn + pageblock] = FrameState.LIMBO
            waiting = waiting[~back]


def _read_one(file: "FileIO", pfn: int) -> int:
    file.seek(pfn * 8)
    return int.from_bytes(file.read(8), "little")


def runs_table(state: "NDArray[np.uint8]", raw: RawFrames) -> "pa.Table":
    """Run-length frame states (`FRAME_COLUMNS`): a run never crosses a chunk, and a reported block's
    head starts one.
    """
    import pyarrow as pa

    reported = (raw.bits & REPORTED) != 0
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
    end_pfn = max(zone.end_pfn for zone in read_zones(proc))
    begin_ns = time.monotonic_ns()
    raw = read_frames(end_pfn, proc)
    # Managed may grow while the frames are read: the later count is the one the last chunks saw.
    zones = read_zones(proc)
    named = {(zone.node, zone.name) for zone in zones}
    buddyinfo = [info for info in read_buddyinfo(proc) if (info.node, info.zone) in named]
    state = classify(raw.bits, zones, pageblock_order)
    mark_limbo(state, raw.bits, pageblock_order, proc)
    return Snapshot(name, begin_ns, time.monotonic_ns(), zones, buddyinfo), runs_table(state, raw)

"""The state of every frame, read from /proc/kpageflags while the guest goes on running.

Frames are read in chunks, each with the instants around its read: a snapshot has no single moment,
and a reader applies each chunk at its own (`FORMAT.md`, "frames").

Snapshots are taken while another thread drains the ring, from guests of any size: two bytes a frame
are held, the rest is worked on a step at a time, so that neither memory nor Python's lock is hogged.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tracer.faults import environment
from tracer.format import CHUNK_FRAMES, Filters, FrameState, PageTypes, Snapshot, Zone
from tracer.guest.procfs import read_buddyinfo, read_zones

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tracer.guest.files import GuestFiles

# include/uapi/linux/kernel-page-flags.h, fs/proc/page.c
KPF_UPTODATE = 3
KPF_BUDDY = 10
KPF_NOPAGE = 20
KPF_RESERVED = 32

# Limbo that the guest's reporting holds comes back to the buddy by itself, in milliseconds.
_LIMBO_ROUNDS = 10
_LIMBO_PAUSE_S = 0.02

_STEP_FRAMES = 16 * CHUNK_FRAMES

# What is kept of a frame's flags: one byte.
BUDDY, REPORTED, UNMANAGED, BLANK = 1, 2, 4, 8
_STATE_OF_BITS = np.full(16, FrameState.USED, np.uint8)
_STATE_OF_BITS[[BUDDY, BUDDY | REPORTED]] = FrameState.BUDDY
_STATE_OF_BITS[[bits for bits in range(16) if bits & UNMANAGED]] = FrameState.ABSENT


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


def _steps(frames: int, multiple: int = 1) -> Iterator[slice]:
    """Cover [0, frames) in slices whose starts are aligned to `multiple`, a power of two."""
    step = max(_STEP_FRAMES, multiple)
    return (slice(start, min(start + step, frames)) for start in range(0, frames, step))


def read_frames(files: "GuestFiles", end_pfn: int, wanted: list[slice] | None = None) -> RawFrames:
    """Read kpageflags up to `end_pfn`, chunk by chunk. Frames past the file's end have no page, and
    so it is said of chunks without a frame of `wanted` (None: all), which are not read.

    Raises:
        Fault: when the file cannot be read, or is empty.
    """
    chunks = -(-end_pfn // CHUNK_FRAMES)
    bits = np.full(chunks * CHUNK_FRAMES, UNMANAGED, np.uint8)
    begin_ns, end_ns = np.empty(chunks, np.int64), np.empty(chunks, np.int64)
    read = np.full(chunks, wanted is None)
    for part in wanted or []:
        read[part.start // CHUNK_FRAMES : -(-part.stop // CHUNK_FRAMES)] = True
    there = 0
    for chunk in range(chunks):
        pfn = chunk * CHUNK_FRAMES
        begin_ns[chunk] = time.monotonic_ns()
        words = files.read_flags(pfn, CHUNK_FRAMES if read[chunk] else 0)
        end_ns[chunk] = time.monotonic_ns()
        bits[pfn : pfn + len(words)] = compact(words)
        there += len(words)
    if read.any() and not there:
        raise environment(
            "the state of the guest's frames cannot be read",
            f"{files.proc / 'kpageflags'} says nothing of its frames",
            "record where the guest's own /proc is mounted",
        )
    return RawFrames(bits, begin_ns, end_ns)


def blank_runs(
    bits: "NDArray[np.uint8]", shortest: int = 1
) -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """(start, length) of the runs of at least `shortest` frames without any flag."""
    runs, open_run = [np.empty((0, 2), np.int64)], np.empty(0, np.int64)
    inside = np.bool_(False)  # was the frame before?
    for part in _steps(len(bits)):
        blank = (bits[part] & BLANK) != 0
        edges = np.concatenate((open_run, part.start + np.flatnonzero(np.diff(blank, prepend=inside))))
        closed = edges[: len(edges) // 2 * 2].reshape(-1, 2)
        runs.append(closed[closed[:, 1] - closed[:, 0] >= shortest])
        open_run, inside = edges[closed.size :], blank[-1]
    if len(open_run) and len(bits) - open_run[0] >= shortest:
        runs.append(np.array([[open_run[0], len(bits)]]))
    found = np.concatenate(runs)
    return found[:, 0], found[:, 1] - found[:, 0]


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
        _classify_zone(state[part], bits[part], zone.managed, 1 << pageblock_order)
    return state


def _classify_zone(
    state: "NDArray[np.uint8]", bits: "NDArray[np.uint8]", managed: int, pageblock: int
) -> None:
    """Fill in the `state` of a zone's frames."""
    surplus = -managed
    for part in _steps(len(bits)):
        state[part] = _STATE_OF_BITS[bits[part]]
        surplus += int(np.count_nonzero(state[part] != FrameState.ABSENT))
    starts, lengths = blank_runs(bits, shortest=pageblock)
    for run in np.argsort(-lengths, kind="stable"):
        # A run that is not mostly surplus is memory in use: better used than wrongly absent.
        if surplus <= lengths[run] // 2:
            break
        state[starts[run] : starts[run] + lengths[run]] = FrameState.ABSENT
        surplus -= int(lengths[run])


def blank_pageblocks(
    state: "NDArray[np.uint8]", bits: "NDArray[np.uint8]", pageblock_order: int
) -> "NDArray[np.int64]":
    """First frames of the whole pageblocks that are used, as far as is known, but have no flags."""
    pageblock = 1 << pageblock_order
    found = []
    for part in _steps(len(bits) // pageblock * pageblock, pageblock):
        blank = ((bits[part] & BLANK) != 0) & (state[part] == FrameState.USED)
        whole = blank.reshape(-1, pageblock).all(axis=1)
        found.append(part.start + (np.flatnonzero(whole) << pageblock_order))
    return np.concatenate([np.empty(0, np.int64), *found])


def mark_limbo(
    state: "NDArray[np.uint8]", bits: "NDArray[np.uint8]", pageblock_order: int, files: "GuestFiles"
) -> None:
    """Mark the whole pageblocks without flags that come back to the buddy by themselves.

    Those are in the hands of the guest's own reporting or of compaction. A huge page on a pcp list
    and a kernel allocation look the same at first, but stay as they are.

    Raises:
        Fault: when kpageflags cannot be read.
    """
    waiting = blank_pageblocks(state, bits, pageblock_order)
    for _ in range(_LIMBO_ROUNDS):
        if not len(waiting):
            return
        time.sleep(_LIMBO_PAUSE_S)
        flags = np.array([files.read_flags(int(pfn), 1).sum() for pfn in waiting], np.uint64)
        back = (compact(flags) & BUDDY) != 0
        for pfn in waiting[back]:
            state[pfn : pfn + (1 << pageblock_order)] = FrameState.LIMBO
        waiting = waiting[~back]


def runs_table(state: "NDArray[np.uint8]", raw: RawFrames) -> "pa.Table":
    """Run-length frame states (`FRAME_COLUMNS`): a run never crosses a chunk, and a reported block's
    head starts one.
    """
    import pyarrow as pa

    # In pieces, never joined: where memory is in shreds, the runs outweigh the frames.
    return pa.Table.from_batches([_runs(state, raw, part) for part in _steps(len(state), CHUNK_FRAMES)])


def _runs(state: "NDArray[np.uint8]", raw: RawFrames, part: slice) -> "pa.RecordBatch":
    """The runs of some whole chunks."""
    import pyarrow as pa

    state, reported = state[part], (raw.bits[part] & REPORTED) != 0
    begins = reported.copy()
    begins[1:] |= state[1:] != state[:-1]
    begins[::CHUNK_FRAMES] = True
    at = np.flatnonzero(begins)
    pfn = part.start + at
    chunk = pfn // CHUNK_FRAMES
    return pa.record_batch(
        {
            "pfn": pfn.astype(np.uint64),
            "count": np.diff(at, append=len(state)).astype(np.uint32),
            "state": state[at],
            "reported_head": reported[at],
            "read_begin_ns": raw.begin_ns[chunk],
            "read_ts_ns": raw.end_ns[chunk],
        }
    )


def kept_spans(zones: list[Zone], filters: Filters | None) -> list[slice]:
    """The pfn ranges, zone by zone, of which events are kept."""
    names = filters.zones if filters else None
    first, end = (filters and filters.pfns) or (0, max(zone.end_pfn for zone in zones))
    spans = [
        slice(max(zone.start_pfn, first), min(zone.end_pfn, end))
        for zone in zones
        if names is None or zone.name in names
    ]
    return [span for span in spans if span.start < span.stop]


def hide(state: "NDArray[np.uint8]", raw: RawFrames, kept: list[slice]) -> None:
    """Say nothing of the frames outside the kept ranges: absent, and no reported head."""
    edges = sorted((span.start, span.stop) for span in kept)
    begin = 0
    for start, stop in [*edges, (len(state), len(state))]:
        state[begin:start], raw.bits[begin:start] = FrameState.ABSENT, UNMANAGED
        begin = max(begin, stop)


def take(
    name: str,
    files: "GuestFiles",
    pageblock_order: int,
    filters: Filters | None = None,
    page_types: Callable[[], list[PageTypes]] = list,
) -> tuple[Snapshot, "pa.Table"]:
    """Read a whole snapshot now: what the manifest says of it, and its frame runs. `page_types` is
    asked right after buddyinfo was read, whose blocks it sorts by type.

    Zones that `filters` leaves out are not in it; of a zone kept in part the other frames are absent,
    and its free blocks are told whole.

    Raises:
        Fault: when one of the files cannot be read (any more).
    """
    begin_ns = time.monotonic_ns()
    zones = read_zones(files)
    # A zone is read whole even where a part of it is kept: what is managed is known of all of it.
    touched = [slice(zone.start_pfn, zone.end_pfn) for zone in zones if kept_spans([zone], filters)]
    raw = read_frames(files, max(zone.end_pfn for zone in zones), touched)
    # Managed may grow while the frames are read: the later count is the one the last chunks saw.
    zones = read_zones(files)
    named = {(zone.node, zone.name) for zone in zones}
    buddyinfo = [info for info in read_buddyinfo(files) if (info.node, info.zone) in named]
    types = [each for each in page_types() if (each.node, each.zone) in named]
    state = classify(raw.bits, zones, pageblock_order)
    hide(state, raw, kept_spans(zones, filters))
    mark_limbo(state, raw.bits, pageblock_order, files)
    if filters and filters.zones is not None:
        zones = [zone for zone in zones if zone.name in filters.zones]
        buddyinfo = [info for info in buddyinfo if info.zone in filters.zones]
        types = [each for each in types if each.zone in filters.zones]
    taken = Snapshot(name, begin_ns, time.monotonic_ns(), zones, buddyinfo, page_types=types)
    return taken, runs_table(state, raw)

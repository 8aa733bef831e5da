"""The state of single frames, moved by events inside each frame's own window of time.

A snapshot has no single moment: each of its chunks was read at its own. So an event counts for a
frame only from the moment that frame's chunk was read, and, when a later snapshot is to be
compared, only until that one read it. Used to bring a start snapshot to one instant, and by
`validate`; the replay itself uses `occupancy`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.bitmap import all_set, bitmap_of, lowest
from replay.buddy.steps import (
    BAD,
    COUNTERS,
    ENTER,
    ENTRY_OF_FREE,
    EXIT_OF_USED,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    OUTSIDE,
    PFN,
    STEPS,
    TS,
    UNKNOWN,
    UNKNOWN_OPS,
    step_of,
    zone_bounds,
)
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from tracer import CHUNK_FRAMES, FrameState

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from replay.buddy.steps import Columns

FAR_FUTURE_NS = np.iinfo(np.int64).max

_BUDDY, _USED, _LIMBO = int(FrameState.BUDDY), int(FrameState.USED), int(FrameState.LIMBO)
_UNKNOWN = int(FrameState.UNKNOWN)

CHUNK_ORDER = CHUNK_FRAMES.bit_length() - 1


@dataclass(frozen=True)
class Frames:
    """Every frame of a snapshot.

    Attributes:
        state: `FrameState` per frame, uint8, frame 0 first.
        begin_ns, end_ns: the read window of each chunk of `CHUNK_FRAMES` frames, int64.
        reported_heads: pfns of the heads of reported blocks, ascending.
    """

    state: "NDArray[np.uint8]"
    begin_ns: "NDArray[np.int64]"
    end_ns: "NDArray[np.int64]"
    reported_heads: "NDArray[np.int64]"

    @classmethod
    def of(cls, runs: "pa.Table", frames: int) -> "Frames":
        """Expand frame runs to `frames` frames; what the runs do not cover is absent.

        `runs`: as `Trace.frames` gives them, none empty or over the border of a chunk. What lies beyond
        `frames` is left out, which the trace warns of.
        """
        columns = {name: runs[name].to_numpy() for name in runs.column_names}
        first, count = columns["pfn"].astype(np.int64), columns["count"].astype(np.int64)
        last = first + count - 1
        chunks = -(-frames // CHUNK_FRAMES)
        state = np.full(chunks * CHUNK_FRAMES, FrameState.ABSENT, np.uint8)
        begin_ns, end_ns = np.zeros(chunks, np.int64), np.zeros(chunks, np.int64)
        inside = last < len(state)
        _expand(state, first[inside], count[inside], columns["state"][inside])
        begin_ns[first[inside] >> CHUNK_ORDER] = columns["read_begin_ns"][inside]
        end_ns[first[inside] >> CHUNK_ORDER] = columns["read_ts_ns"][inside]
        return cls(state, begin_ns, end_ns, first[inside & columns["reported_head"]])

    def runs(self) -> "pa.Table":
        """The frame runs of these frames (`FRAME_COLUMNS`): the way back of `of`."""
        import pyarrow as pa

        heads = np.zeros(len(self.state), np.bool_)
        heads[self.reported_heads] = True
        begins = heads.copy()
        begins[1:] |= self.state[1:] != self.state[:-1]
        begins[::CHUNK_FRAMES] = True
        pfn = np.flatnonzero(begins)
        return pa.table(
            {
                "pfn": pfn.astype(np.uint64),
                "count": np.diff(np.append(pfn, len(self.state))).astype(np.uint32),
                "state": self.state[pfn],
                "reported_head": heads[pfn],
                "read_begin_ns": self.begin_ns[pfn >> CHUNK_ORDER],
                "read_ts_ns": self.end_ns[pfn >> CHUNK_ORDER],
            }
        )


@compiled(nb.void(nb.uint8[::1], nb.int64[::1], nb.int64[::1], nb.uint8[::1]))
def _expand(state: Words, first: Words, count: Words, value: Words) -> None:
    """Write runs of frames."""
    for run in range(len(first)):
        state[first[run] : first[run] + count[run]] = value[run]


# What a frame has seen inside its window (bits).
CHANGED, AMBIGUOUS, IMPOSSIBLE, SCANNED = 1, 2, 4, 8
_WINDOWS = nb.int64[:, ::1]


@compiled(
    nb.void(
        TS,
        OP,
        PFN,
        ORDER,
        MEANING,
        nb.int64[:, ::1],
        nb.int64[:, ::1],
        nb.uint8[::1],
        nb.uint8[::1],
        _WINDOWS,
        nb.int64,
        nb.int64[::1],
    )
)
def _play(
    ts_ns: Words,
    op: Words,
    pfn: Words,
    order: Words,
    meaning: Words,
    bounds: Words,
    last: Words,
    state: Words,
    seen: Words,
    windows: Words,
    settled_ns: Int,
    counters: Words,
) -> None:
    """Apply events frame by frame, each frame inside its own windows; see `FrameModel`."""
    for i in range(len(ts_ns)):
        what, _ = step_of(op[i], np.int64(pfn[i]), np.int64(order[i]), meaning, bounds, last)
        if what == NOTHING:
            continue
        if what == UNKNOWN:
            counters[UNKNOWN_OPS] += 1
            continue
        if what == BAD:
            counters[OUTSIDE] += 1
            continue
        target = _BUDDY if what == ENTER else _USED
        impossible = False
        judged = False
        for frame in range(np.int64(pfn[i]), np.int64(pfn[i]) + (np.int64(1) << np.int64(order[i]))):
            if ts_ns[i] < windows[0, frame >> CHUNK_ORDER] or ts_ns[i] > windows[3, frame >> CHUNK_ORDER]:
                continue
            if ts_ns[i] >= windows[2, frame >> CHUNK_ORDER]:
                seen[frame] |= AMBIGUOUS
                continue
            limbo = state[frame] == _LIMBO
            if ts_ns[i] > windows[1, frame >> CHUNK_ORDER] and not (limbo and ts_ns[i] <= settled_ns):
                judged = True
                was_free = limbo or state[frame] == _BUDDY
                if state[frame] != _UNKNOWN and was_free == (target == _BUDDY):
                    impossible = True
                    seen[frame] |= IMPOSSIBLE
            state[frame] = target
            seen[frame] |= CHANGED
        if judged:
            counters[STEPS] += 1
        if impossible:
            counters[ENTRY_OF_FREE if what == ENTER else EXIT_OF_USED] += 1


class FrameModel:
    """Frames brought forward in time by a trace's events.

    An event applies to a frame from the begin of its start window on; inside that window silently,
    since the snapshot may or may not have seen it; after it, a step that changes nothing is counted
    as impossible. With an end window, an event inside it leaves the frame ambiguous and later ones
    are ignored.

    An unknown frame is known from its first event on, which cannot be impossible.

    Limbo is memory that was seen in the buddy again before the snapshot was settled: from then on it
    is free. Until then nobody can tell whether an event took it or gave it back.

    Attributes:
        state: `FrameState` per frame, uint8.
        seen: bits per frame: CHANGED, AMBIGUOUS, IMPOSSIBLE (a step of it was), SCANNED (`mark_scanned`).
        counters: STEPS, EXIT_OF_USED, ENTRY_OF_FREE, OUTSIDE, UNKNOWN_OPS.
    """

    def __init__(
        self,
        meaning: "NDArray[np.uint8]",
        geometry: Geometry,
        start: Frames,
        settled_ns: int,
        end: Frames | None = None,
    ) -> None:
        """`meaning`: see `ops`. `settled_ns`: the end of the start snapshot."""
        frames = len(start.state)
        self.state = start.state.copy()
        self.seen = np.zeros(frames, np.uint8)
        self.counters = np.zeros(len(COUNTERS), np.int64)
        self._windows = np.full((4, len(start.begin_ns)), FAR_FUTURE_NS, np.int64)
        self._windows[0], self._windows[1] = start.begin_ns, start.end_ns
        if end is not None:
            self._windows[2], self._windows[3] = end.begin_ns, end.end_ns
        self._settled_ns = settled_ns
        self._meaning = meaning
        self._bounds = zone_bounds(geometry)
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)

    @property
    def free(self) -> "NDArray[np.bool_]":
        """The frames that are in the buddy now, limbo settled."""
        return (self.state == FrameState.BUDDY) | (self.state == FrameState.LIMBO)

    @property
    def settled(self) -> "NDArray[np.uint8]":
        """`FrameState` per frame now, limbo settled."""
        return np.where(self.state == FrameState.LIMBO, np.uint8(FrameState.BUDDY), self.state)

    def correct(self, state: "NDArray[np.uint8]") -> None:
        """Take over what a snapshot, limbo settled, says of the frames it knows (used or in the buddy)."""
        known = (state == FrameState.USED) | (state == FrameState.BUDDY)
        self.state = np.where(known, state, self.state)

    def play(self, columns: "Columns") -> None:
        """Apply events, in time order; call again for the next batch."""
        ts_ns, op, pfn, order = (columns[name] for name in ("ts_ns", "op", "pfn", "order"))
        model = (self._meaning, self._bounds, self._last, self.state, self.seen, self._windows)
        _play(ts_ns, op, pfn, order, *model, self._settled_ns, self.counters)

    def mark_scanned(self, first: "NDArray[np.int64]", count: "NDArray[np.int64]") -> None:
        """Frames in ranges of which compaction took some, nobody knows which."""
        for start, size in zip(first.tolist(), count.tolist(), strict=True):
            self.seen[start : start + size] |= SCANNED


def untouched(
    seen: "NDArray[np.uint8]", pfn: "NDArray[np.int64]", order: "NDArray[np.int64] | int"
) -> "NDArray[np.bool_]":
    """Which of the blocks (pfn, order) hold no frame that has seen an event."""
    same = np.empty(len(pfn), np.bool_)
    _untouched(seen, pfn.astype(np.int64), np.broadcast_to(order, pfn.shape).astype(np.int64), same)
    return same


@compiled(nb.void(nb.uint8[::1], nb.int64[::1], nb.int64[::1], nb.boolean[::1]))
def _untouched(seen: Words, pfn: Words, order: Words, same: Words) -> None:
    """See `untouched`."""
    for block in range(len(pfn)):
        frame, end = pfn[block], pfn[block] + (np.int64(1) << order[block])
        while frame < end and not seen[frame]:
            frame += 1
        same[block] = frame == end


def free_blocks(free: "NDArray[np.bool_]", geometry: Geometry, zone: int) -> list["NDArray[np.int64]"]:
    """Heads (pfn) of the maximal aligned free blocks of a zone, one ascending array per order.

    mm/page_alloc.c __free_one_page: two free buddies always merge, so the blocks follow from the
    frames, as long as no type border or isolated block kept them apart.
    """
    bounds = geometry.zones[zone]
    base = bounds.start_pfn >> max(geometry.max_order, 6) << max(geometry.max_order, 6)
    first, end = bounds.start_pfn - base, bounds.end_pfn - base
    found = (bitmap_of(free[base : bounds.end_pfn], end), first, end, geometry.max_order)
    blocks = np.empty((blocks_in(*found, np.empty((0, 2), np.int64), 0), 2), np.int64)
    blocks_in(*found, blocks, 0)
    heads, orders = blocks[:, 0] + base, blocks[:, 1]
    return [heads[orders == order] for order in range(geometry.max_order + 1)]


@compiled(nb.int64(nb.uint64[::1], nb.int64, nb.int64, nb.int64, nb.int64[:, ::1], nb.int64))
def blocks_in(words: Words, first: Int, end: Int, max_order: Int, blocks: Words, at: Int) -> Int:
    """The maximal aligned blocks of set bits in [first, end), ascending; returns how many there are.

    `blocks`, shape (blocks, 2): first bit and order of as many of them as it has room for from `at` on.
    """
    count = 0
    while first < end:
        word = words[first >> 6] >> np.uint64(first & 63)
        if not word:
            first = ((first >> 6) + 1) << 6
            continue
        first += lowest(word)
        if first >= end:
            break
        order, size = 0, np.int64(1)
        while order < max_order and not first & size and first + 2 * size <= end:
            if not all_set(words, first + size, size):
                break
            order, size = order + 1, 2 * size
        if at + count < len(blocks):
            blocks[at + count, 0], blocks[at + count, 1] = first, order
        count += 1
        first += size
    return count

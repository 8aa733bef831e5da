"""Step 1: which units are wholly free, and when. Shared by all policies of one reporting order.

Events of single frames become far rarer ones: a block whose units became wholly free, a block whose
units stopped being so, a frame's first exit since its unit was last wholly free (all that the host
can notice), frames that appear, and pageblock types. Exact, one pass, state sized by the guest.

Epochs: a unit's wholly-free periods are numbered 1, 2, ... A frame remembers the epoch of its last
exit. A frame the host took away in a report of epoch e is still away iff its last exit was before
e, so a TOUCH carries the epoch of the exit before, and each policy compares it with its own last
report of that unit: the per-frame work is done once, for any number of policies.
"""

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

from replay.buddy.bitmap import bitmap_of
from replay.buddy.corrections import correct
from replay.buddy.memory import (
    BY_PAGEBLOCK,
    FREE,
    MANAGED,
    MEMORY,
    REPORTABLE,
    Memory,
    memory_at,
    widened,
)
from replay.buddy.moves import claim, emit, enter, leave, retype, turn_movable
from replay.buddy.neighbours import alike_until
from replay.buddy.reduced import (
    COUNT_DTYPE,
    COUNTS,
    NOT_SEEN,
    REDUCED,
    REDUCED_DTYPE,
    RESHUFFLED,
    RETURNED,
    Reduced,
)
from replay.buddy.runs import in_time_until, run
from replay.buddy.steps import (
    AUX,
    BAD,
    BOUNDS,
    CLAIM,
    CPU,
    ENTER,
    EXIT,
    FALLBACK,
    ISOLATE,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    PFN,
    PUT_BACK,
    RESHUFFLE,
    TS,
    TYPE,
    UNKNOWN,
    detail_of,
    event_arrays,
    zone_at,
    zone_bounds,
)
from replay.exact import settle
from replay.geometry import Geometry
from replay.jit import Int, Records, Words, compiled
from tracer import FrameState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from replay.buddy.rules import Rules

MS = 1_000_000


@compiled(nb.void(MEMORY, COUNTS, nb.int64), inline=True)
def _count(m: Memory, counts: Records, zone: Int) -> None:
    """Tell a zone's free frames after its last event, unless that was told."""
    if m.zone_ns[zone, 1]:
        return
    t = m.totals[0]
    row = counts[t.counts]
    row.ts_ns = m.zone_ns[zone, 0]
    row.zone = zone
    row.free = m.zone_free[zone]
    t.counts += 1
    m.zone_ns[zone, 1] = True


@compiled(nb.void(MEMORY, COUNTS, nb.int64), inline=True)
def _will_change(m: Memory, counts: Records, zone: Int) -> None:
    """A zone's free frames change now: its count of an earlier millisecond is told before."""
    now_ns = m.totals[0].now_ns
    if now_ns >= m.zone_ns[zone, 2]:
        _count(m, counts, zone)
        m.zone_ns[zone, 2] = (now_ns // MS + 1) * MS
    m.zone_ns[zone, 0] = now_ns
    m.zone_ns[zone, 1] = False


@compiled(nb.void(MEMORY, nb.int64), inline=True)
def _advance_clock(m: Memory, now_ns: Int) -> None:
    """Bring the integrals and the series to `now_ns`."""
    t = m.totals[0]
    while t.bin < len(m.bins_ns) and m.bins_ns[t.bin] < now_ns:
        m.series[FREE, t.bin] = t.free
        m.series[REPORTABLE, t.bin] = t.reportable
        m.series[MANAGED, t.bin] = t.managed
        t.bin += 1
    settle(m.integrals, FREE, t.free, now_ns - t.now_ns)
    settle(m.integrals, REPORTABLE, t.reportable, now_ns - t.now_ns)
    settle(m.integrals, MANAGED, t.managed, now_ns - t.now_ns)
    t.now_ns = now_ns


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64, nb.uint64, nb.int64), inline=True)
def _move(
    m: Memory, out: Records, what: Int, first: Int, order: Int, migratetype: Int, aux: Int, zone: Int
) -> None:
    """One step of the buddy: what it does to types, then to frames."""
    if what in (ENTER, PUT_BACK):
        enter(m, out, first, order, migratetype, RETURNED if what == PUT_BACK else 0, zone)
        return
    rest = migratetype
    if what in (FALLBACK, CLAIM):
        rest = claim(m, out, first, aux, zone)
    elif what == ISOLATE:
        turn_movable(m, out, first, order, zone)
        rest = -1
    elif m.shape[BY_PAGEBLOCK] and migratetype >= 0:
        retype(m, out, first, np.int64(1) << order, migratetype, zone)
    if what != CLAIM:
        leave(m, out, first, order, rest, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, BOUNDS))
def _reshuffled(m: Memory, out: Records, pfn: Int, ts_ns: Int, bounds: Words) -> None:
    """Compaction searched the lists of a zone."""
    zone = zone_at(pfn, 1, bounds, 0)
    if zone >= 0:
        _advance_clock(m, max(ts_ns, m.totals[0].now_ns))
        emit(m, out, RESHUFFLED, pfn, 1, 0, -1, zone)


@compiled(nb.int64(MEMORY, nb.int64), inline=True)
def _until(m: Memory, zone: Int) -> Int:
    """The first instant at which a count or a bin of the series is due."""
    t, until_ns = m.totals[0], m.zone_ns[zone, 2]
    return min(until_ns, m.bins_ns[t.bin] + 1) if t.bin < len(m.bins_ns) else until_ns


@compiled(
    nb.int64(
        MEMORY,
        REDUCED,
        COUNTS,
        TS,
        OP,
        PFN,
        ORDER,
        TYPE,
        AUX,
        CPU,
        MEANING,
        BOUNDS,
        nb.int64[:, ::1],
        nb.int64,
    )
)
def _reduce(
    m: Memory,
    out: Records,
    counts: Records,
    ts_ns: Words,
    op: Words,
    pfn: Words,
    order: Words,
    migratetype: Words,
    aux: Words,
    cpu: Words,
    meaning: Words,
    bounds: Words,
    last: Words,
    start: Int,
) -> Int:
    """Reduce events from `start` on; returns the first one not done (an output was full)."""
    t = m.totals[0]
    t.events = 0
    t.counts = 0
    # The most one event can tell: every frame of a block of the maximum order on its own, twice.
    room = (np.int64(4) << m.shape[1]) + 8
    i = alike = start
    while (
        i < len(ts_ns)
        and not t.too_narrow
        and t.events + room <= len(out)
        and t.counts + 2 * len(bounds) <= len(counts)
    ):
        first, size_order = np.int64(pfn[i]), np.int64(order[i])
        what, zone = detail_of(op[i], first, size_order, meaning, bounds, last)
        if ts_ns[i] < t.now_ns:
            t.clock_back += 1
        if what == UNKNOWN:
            t.unknown_ops += 1
        elif what == BAD:
            t.outside += 1
        elif what == NOTHING:
            if meaning[op[i], 0] == RESHUFFLE:
                _reshuffled(m, out, first, ts_ns[i], bounds)
        else:
            _advance_clock(m, max(ts_ns[i], t.now_ns))
            _will_change(m, counts, zone)
            if size_order == 0 and what in (ENTER, EXIT) and ts_ns[i] == t.now_ns:
                if alike <= i:
                    alike = alike_until(op, order, migratetype, i, len(op))
                end = in_time_until(ts_ns, i, alike, _until(m, zone))
                kind = np.int64(migratetype[i])
                done = run(m, out, ts_ns, pfn, cpu, i, end, what == ENTER, kind, bounds[zone], zone)
                if done > i:
                    last[zone, 1] = pfn[done - 1]
                    i = done
                    continue
            t.steps += what != CLAIM
            t.cpu = cpu[i]
            _move(m, out, what, first, size_order, np.int64(migratetype[i]), aux[i], zone)
        i += 1
    for zone in range(len(bounds)):
        _count(m, counts, zone)
    return i


@compiled(
    nb.int64(MEMORY, REDUCED, COUNTS, nb.uint64[::1], nb.uint64[::1], nb.int64, nb.int64, nb.int64, nb.int64)
)
def _correct(
    m: Memory,
    out: Records,
    counts: Records,
    used: Words,
    free: Words,
    zone: Int,
    first: Int,
    end: Int,
    now_ns: Int,
) -> Int:
    """Correct frames [first, end) of a zone at an instant; returns the first one not done."""
    t = m.totals[0]
    t.events = 0
    t.counts = 0
    t.cpu = 0
    _advance_clock(m, max(now_ns, t.now_ns))
    _will_change(m, counts, zone)
    done = correct(m, out, used, free, zone, first, end)
    _count(m, counts, zone)
    return done


class Occupancy:
    """Step 1 of one replay: feed it batches in time order.

    Attributes:
        totals: counters and current sums (TOTALS_DTYPE, one row).
        integrals: FREE, REPORTABLE, MANAGED frames over time.
    """

    def __init__(
        self,
        meaning: "NDArray[np.uint8]",
        geometry: Geometry,
        rules: "Rules",
        state: "NDArray[np.uint8]",
        start_ns: int,
        bins_ns: "NDArray[np.int64]",
    ) -> None:
        """`meaning`: see `ops`; `rules`: of its kernel. `state`: `FrameState` per frame at `start_ns`,
        limbo already settled, uint8.
        """
        self.geometry = geometry
        self._meaning = meaning
        self._bounds = zone_bounds(geometry)
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._memory = memory_at(geometry, rules, state, start_ns, bins_ns)
        # One event may tell of every frame of a block of the maximum order, several times. Larger than it
        # has to be, it would not stay in the processor's cache.
        self._out = np.empty(max(1 << 15, 8 << geometry.max_order), REDUCED_DTYPE)
        self._counts = np.empty(1 << 14, COUNT_DTYPE)
        self._no_cpu = np.empty(0, np.uint16)

    @property
    def totals(self) -> "NDArray[np.void]":
        """Counters and current sums, a record array of length 1."""
        return self._memory.totals

    @property
    def integrals(self) -> "NDArray[np.int64]":
        """FREE, REPORTABLE and MANAGED frames over time (see `exact.settle`)."""
        return self._memory.integrals

    @property
    def series(self) -> "NDArray[np.int64]":
        """FREE, REPORTABLE and MANAGED frames at each bin, shape (3, bins)."""
        return self._memory.series

    @property
    def free_words(self) -> "NDArray[np.uint64]":
        """Which frames are free now, a bitmap."""
        return self._memory.free

    def seen(self) -> "NDArray[np.bool_]":
        """Which frames are free or were in use since the replay began, or when it did."""
        used = self._memory.last_exit < NOT_SEEN & 0xFFFF
        free = np.unpackbits(self._memory.free.view(np.uint8), bitorder="little", count=len(used))
        return used | free.view(np.bool_)

    def free_frames(self) -> int:
        """Frames that are free now, counted one by one."""
        return sum(map(int.bit_count, self._memory.free.tolist()))

    def zone_free(self) -> "NDArray[np.int64]":
        """Free frames of each zone now."""
        return self._memory.zone_free.copy()

    def reduce(self, columns: "dict[str, NDArray[Any]]") -> "Iterator[Reduced]":
        """Apply one batch (ts_ns, op, pfn, order, migratetype, aux; cpu, else all are of CPU 0); yields
        what it comes to, in parts.

        The arrays of a part are reused by the next one.
        """
        ts_ns, (op, pfn, order, migratetype, aux) = columns["ts_ns"], event_arrays(columns)
        cpu = columns.get("cpu", self._no_cpu[: len(ts_ns)])
        if len(cpu) < len(ts_ns):
            cpu = self._no_cpu = np.zeros(len(ts_ns), np.uint16)
        done = 0
        while done < len(ts_ns):
            done = _reduce(
                self._memory,
                self._out,
                self._counts,
                ts_ns,
                op,
                pfn,
                order,
                migratetype,
                aux,
                cpu,
                self._meaning,
                self._bounds,
                self._last,
                done,
            )
            yield self._told()
            self._widen()

    def correct(self, state: "NDArray[np.uint8]", now_ns: int) -> "Iterator[Reduced]":
        """Bring the frames to what a snapshot says of them at `now_ns` (`corrections`); as `reduce`.

        `state`: `FrameState` per frame, limbo settled, uint8.
        """
        frames = self.geometry.frames
        said = bitmap_of(state == FrameState.USED, frames), bitmap_of(state == FrameState.BUDDY, frames)
        for zone, (first, end) in enumerate(self._bounds.tolist()):
            done = first
            while done < end:
                done = _correct(self._memory, self._out, self._counts, *said, zone, done, end, now_ns)
                yield self._told()
        self._widen()

    def _widen(self) -> None:
        """Make room for larger epochs, if one came near the most that there is room for."""
        if self.totals["too_narrow"][0]:
            self._memory = widened(self._memory)

    def _told(self) -> Reduced:
        """What the last call wrote."""
        counts = self._counts[: self.totals["counts"][0]]
        return Reduced(
            self._out[: self.totals["events"][0]], counts[np.argsort(counts["ts_ns"], kind="stable")]
        )

    def finish(self, end_ns: int) -> None:
        """Bring the integrals and the series to the end of the replay."""
        _advance_clock(self._memory, end_ns)
        done = int(self.totals["bin"][0])
        for row, name in ((FREE, "free"), (REPORTABLE, "reportable"), (MANAGED, "managed")):
            self.series[row, done:] = self.totals[name][0]

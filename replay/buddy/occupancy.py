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

from replay.buddy.bitmap import is_set, mark
from replay.buddy.memory import FREE, MANAGED, MEMORY, REPORTABLE, Memory, memory_at
from replay.buddy.ops import meaning_table
from replay.buddy.reduced import (
    APPEAR,
    BROKEN,
    COUNT_DTYPE,
    COUNTS,
    FREED,
    NEVER_USED,
    REDUCED,
    REDUCED_DTYPE,
    RETYPE,
    TOUCH,
    Reduced,
)
from replay.buddy.steps import (
    BAD,
    BOUNDS,
    ENTER,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    PFN,
    TS,
    TYPE,
    UNKNOWN,
    step_of,
    zone_bounds,
)
from replay.exact import settle
from replay.geometry import Geometry
from replay.jit import Int, Records, Words, compiled
from tracer import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MS = 1_000_000


@compiled(
    nb.void(MEMORY, REDUCED, nb.uint8, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64),
    inline=True,
)
def _emit(
    m: Memory,
    out: Records,
    kind: Int,
    pfn: Int,
    size: Int,
    before: Int,
    migratetype: Int,
    zone: Int,
) -> None:
    t = m.totals[0]
    row = out[t.events]
    row.ts_ns = t.now_ns
    row.kind = kind
    row.pfn = pfn
    row.size = size
    row.before = before
    row.migratetype = migratetype
    row.zone = zone
    t.events += 1


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64), inline=True)
def _is_unit(m: Memory, unit: Int, zone: Int) -> bool:
    """Units across a zone border, or of no zone, are never reportable."""
    return m.zone[unit] == zone


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _retype(m: Memory, out: Records, pfn: Int, size: Int, migratetype: Int, zone: Int) -> None:
    """Learn the type of the pageblocks an entry lies in; say so where a policy may not know it."""
    shift = m.shape[2]
    for block in range(pfn >> shift, ((pfn + size - 1) >> shift) + 1):
        if m.type[block] != migratetype or m.stale[block]:
            m.type[block] = migratetype
            m.stale[block] = False
            _emit(m, out, RETYPE, block << shift, shift, 0, migratetype, zone)


@compiled(nb.boolean(MEMORY, nb.int64), inline=True)
def _is_absent(m: Memory, frame: Int) -> bool:
    """Not managed yet: neither free nor ever used."""
    return m.last_exit[frame] == NEVER_USED and not is_set(m.free, frame)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def _appear(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> None:
    """Tell the frames of an entering block that were not managed before: nobody has used them."""
    frame = first
    while frame < end:
        run = frame
        while run < end and _is_absent(m, run):
            run += 1
        if run > frame:
            _emit(m, out, APPEAR, frame, run - frame, 0, -1, zone)
            m.totals[0].managed += run - frame
        frame = run + 1


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _freed(m: Memory, out: Records, first: Int, order: Int, migratetype: Int, zone: Int) -> None:
    size = np.int64(1) << order
    for unit in range(first >> m.shape[0], (first + size) >> m.shape[0]):
        m.epoch[unit] += 1
    for block in range(first >> m.shape[2], ((first + size - 1) >> m.shape[2]) + 1):
        m.stale[block] = True
    m.totals[0].reportable += size
    _emit(m, out, FREED, first, order, 0, migratetype, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _enter(m: Memory, out: Records, first: Int, order: Int, migratetype: Int, zone: Int) -> None:
    """An entry: units that became wholly free, as one block where the whole entry did."""
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    _appear(m, out, first, first + size, zone)
    already = mark(m.free, first, size, True)
    if already:
        t.entry_of_free += 1
    t.free += size - already
    m.zone_free[zone] += size - already
    if migratetype >= 0:
        _retype(m, out, first, size, migratetype, zone)
    if order < unit_order:
        unit = first >> unit_order
        m.free_frames[unit] += size - already
        if m.free_frames[unit] == unit_size and already < size and _is_unit(m, unit, zone):
            _freed(m, out, unit << unit_order, unit_order, migratetype, zone)
        return
    units = range(first >> unit_order, (first + size) >> unit_order)
    if already == 0:
        for unit in units:
            m.free_frames[unit] = unit_size
        _freed(m, out, first, order, migratetype, zone)
        return
    for unit in units:
        was = m.free_frames[unit]
        m.free_frames[unit] = unit_size
        if was < unit_size:
            _freed(m, out, unit << unit_order, unit_order, migratetype, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def _touch(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> None:
    """Frames of one unit exit: tell of those whose last exit was before the unit's epoch."""
    epoch = m.epoch[first >> m.shape[0]]
    frame = first
    while frame < end:
        before = m.last_exit[frame]
        run = frame
        while run < end and m.last_exit[run] == before:
            m.last_exit[run] = epoch
            run += 1
        if before != epoch:
            _emit(m, out, TOUCH, frame, run - frame, before, -1, zone)
        frame = run


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def _exit(m: Memory, out: Records, first: Int, order: Int, zone: Int) -> None:
    """An exit: units that stopped being wholly free, then what the host notices."""
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    for frame in range(first, first + size):
        if _is_absent(m, frame):  # in use before it was ever seen free: the host backs it already
            t.managed += 1
            m.last_exit[frame] = m.epoch[frame >> unit_order]
    free = mark(m.free, first, size, False)
    if free < size:
        t.exit_of_used += 1
    t.free -= free
    m.zone_free[zone] -= free
    if order < unit_order:
        unit = first >> unit_order
        if m.free_frames[unit] == unit_size and _is_unit(m, unit, zone):
            t.reportable -= unit_size
            _emit(m, out, BROKEN, unit << unit_order, unit_order, 0, -1, zone)
        m.free_frames[unit] -= free
        _touch(m, out, first, first + size, zone)
        return
    units = range(first >> unit_order, (first + size) >> unit_order)
    if free == size:
        t.reportable -= size
        _emit(m, out, BROKEN, first, order, 0, -1, zone)
    else:
        for unit in units:
            if m.free_frames[unit] == unit_size:
                t.reportable -= unit_size
                _emit(m, out, BROKEN, unit << unit_order, unit_order, 0, -1, zone)
    for unit in units:
        m.free_frames[unit] = 0
        _touch(m, out, unit << unit_order, (unit + 1) << unit_order, zone)


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
    i = start
    while i < len(ts_ns) and t.events + room <= len(out) and t.counts + 2 * len(bounds) <= len(counts):
        first, size_order = np.int64(pfn[i]), np.int64(order[i])
        what, zone = step_of(op[i], first, size_order, meaning, bounds, last)
        if ts_ns[i] < t.now_ns:
            t.clock_back += 1
        if what == UNKNOWN:
            t.unknown_ops += 1
        elif what == BAD:
            t.outside += 1
        elif what != NOTHING:
            _advance_clock(m, max(ts_ns[i], t.now_ns))
            if t.now_ns >= m.zone_ns[zone, 2]:
                _count(m, counts, zone)
                m.zone_ns[zone, 2] = (t.now_ns // MS + 1) * MS
            m.zone_ns[zone, 0] = t.now_ns
            m.zone_ns[zone, 1] = False
            t.steps += 1
            if what == ENTER:
                _enter(m, out, first, size_order, np.int64(migratetype[i]), zone)
            else:
                _exit(m, out, first, size_order, zone)
        i += 1
    for zone in range(len(bounds)):
        _count(m, counts, zone)
    return i


class Occupancy:
    """Step 1 of one replay: feed it batches in time order.

    Attributes:
        totals: counters and current sums (TOTALS_DTYPE, one row).
        integrals: FREE, REPORTABLE, MANAGED frames over time.
    """

    def __init__(
        self,
        guest: Guest,
        geometry: Geometry,
        state: "NDArray[np.uint8]",
        start_ns: int,
        bins_ns: "NDArray[np.int64]",
    ) -> None:
        """`state`: `FrameState` per frame at `start_ns`, limbo already settled, uint8."""
        self.geometry = geometry
        self._meaning = meaning_table(guest)
        self._bounds = zone_bounds(geometry)
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._memory = memory_at(geometry, state, start_ns, bins_ns)
        self._out = np.empty(1 << 18, REDUCED_DTYPE)
        self._counts = np.empty(1 << 14, COUNT_DTYPE)

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

    def zone_free(self) -> "NDArray[np.int64]":
        """Free frames of each zone now."""
        return self._memory.zone_free.copy()

    def reduce(self, columns: "dict[str, NDArray[Any]]") -> "Iterator[Reduced]":
        """Apply one batch (ts_ns, op, pfn, order, migratetype); yields what it comes to, in parts.

        The arrays of a part are reused by the next one.
        """
        ts_ns, op, pfn = columns["ts_ns"], columns["op"], columns["pfn"]
        order, migratetype = columns["order"], columns["migratetype"]
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
                self._meaning,
                self._bounds,
                self._last,
                done,
            )
            counts = self._counts[: self.totals["counts"][0]]
            yield Reduced(
                self._out[: self.totals["events"][0]],
                counts[np.argsort(counts["ts_ns"], kind="stable")],
            )

    def finish(self, end_ns: int) -> None:
        """Bring the integrals and the series to the end of the replay."""
        _advance_clock(self._memory, end_ns)
        done = int(self.totals["bin"][0])
        for row, name in ((FREE, "free"), (REPORTABLE, "reportable"), (MANAGED, "managed")):
            self.series[row, done:] = self.totals[name][0]

"""Runs of single frames: nearly all events, in loops that do little else. The rest is for `moves`.

A run is of alike events (op, order 0, migratetype) next to each other, inside one zone, millisecond
and bin: what depends on those is then due once. Most steps tell step 2 nothing and only flip a bit;
neighbours come one after the other, so the bits of a block are flipped in a register. What the others
tell is told here too: a unit became wholly free or stopped being so, a frame's first exit in its
unit's epoch, a pageblock's type. A step that is not possible, or of a frame never seen, ends the run.
"""

import numba as nb
import numpy as np

from replay.buddy.memory import (
    BY_PAGEBLOCK,
    FREE,
    MANAGED,
    MEMORY,
    PAGEBLOCK_ORDER,
    REPORTABLE,
    UNIT_ORDER,
    Memory,
)
from replay.buddy.moves import MOST_TOLD_OF_A_FRAME, break_unit, complete_unit, retype, touch_frame
from replay.buddy.reduced import REDUCED
from replay.buddy.steps import CPU, PFN, TS
from replay.exact import settle
from replay.jit import Int, Records, Words, compiled

_AT_ONCE = 64  # instants compared in one go


@compiled(nb.int64(TS, nb.int64, nb.int64, nb.int64))
def in_time_until(ts_ns: Words, start: Int, end: Int, until_ns: Int) -> Int:
    """The first of events (start, end) that goes back in time, or is not before `until_ns`."""
    i, stop = np.uint64(start + 1), np.uint64(end)
    while i + np.uint64(_AT_ONCE) <= stop and ts_ns[i + np.uint64(_AT_ONCE - 1)] < until_ns:
        back = False
        for k in range(i, i + np.uint64(_AT_ONCE)):
            back |= ts_ns[k] < ts_ns[k - np.uint64(1)]
        if back:
            break
        i += np.uint64(_AT_ONCE)
    while i < stop and ts_ns[i - np.uint64(1)] <= ts_ns[i] < until_ns:
        i += np.uint64(1)
    return np.int64(i)


@compiled(nb.uint64(nb.uint64, nb.uint64), inline=True)
def _unit_part(frame: Int, order: Int) -> Int:
    """The bits of a frame's word that are of its unit."""
    if order >= np.uint64(6):
        return ~np.uint64(0)
    size = np.uint64(1) << order
    return ((np.uint64(1) << size) - np.uint64(1)) << (frame & np.uint64(63) & -size)


@compiled(nb.boolean(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def _learn(m: Memory, out: Records, frame: Int, migratetype: Int, zone: Int) -> bool:
    """Tell the type of a frame's pageblock, unless it is known; is it known now?"""
    if m.type[frame >> m.shape[PAGEBLOCK_ORDER]] == migratetype:
        return True
    retype(m, out, frame, 1, migratetype, zone)
    return m.type[frame >> m.shape[PAGEBLOCK_ORDER]] == migratetype


_ALL = nb.types.UniTuple(nb.int64, 2)(
    MEMORY, REDUCED, TS, PFN, CPU, nb.int64, nb.int64, nb.int64, nb.int64[::1], nb.int64
)


@compiled(_ALL)
def _enter_all(
    m: Memory,
    out: Records,
    ts_ns: Words,
    pfn: Words,
    cpu: Words,
    start: Int,
    end: Int,
    migratetype: Int,
    bounds: Words,
    zone: Int,
) -> tuple[Int, Int]:
    """Alike entries [start, end), while each is of a frame in use that was free before: (the first that
    is not, frame nanoseconds since `start` in which units were not wholly free yet).

    A block is within a pageblock and a word. Where its pageblock's type is not known for long, it goes
    frame by frame.
    """
    t, late, free, exited = m.totals[0], np.int64(0), m.free, m.exited
    unit_order, shift = np.uint64(m.shape[UNIT_ORDER]), np.uint64(min(m.shape[PAGEBLOCK_ORDER], 6))
    lowest, highest = bounds[0], bounds[1] - (np.int64(1) << np.int64(shift))
    i, until = np.uint64(start), np.uint64(end)
    while i < until and not t.too_narrow:
        block, began, stop = pfn[i] >> shift, i, until
        first, word = np.int64(block << shift), block << shift >> np.uint64(6)
        if first < lowest or first > highest:
            break
        t.now_ns, t.cpu = ts_ns[i], cpu[i]
        if migratetype >= 0 and not _learn(m, out, first, migratetype, zone):
            stop = i + np.uint64(1)
        now, seen = free[word], exited[word]
        while i < stop and pfn[i] >> shift == block:
            bit = np.uint64(1) << (pfn[i] & np.uint64(63))
            if not ~now & seen & bit:
                break
            now |= bit
            if not ~now & _unit_part(pfn[i], unit_order):
                free[word] = now
                t.now_ns, t.cpu, reportable = ts_ns[i], cpu[i], t.reportable
                complete_unit(m, out, np.int64(pfn[i]), zone)
                late += (t.reportable - reportable) * (ts_ns[i] - ts_ns[start])
                seen = exited[word]
                if t.too_narrow or m.type[first >> m.shape[PAGEBLOCK_ORDER]] != migratetype:
                    stop = i + np.uint64(1)
            i += np.uint64(1)
        free[word] = now
        if i == began:
            break
    return np.int64(i), late


@compiled(_ALL)
def _leave_all(
    m: Memory,
    out: Records,
    ts_ns: Words,
    pfn: Words,
    cpu: Words,
    start: Int,
    end: Int,
    migratetype: Int,
    bounds: Words,
    zone: Int,
) -> tuple[Int, Int]:
    """Alike exits [start, end), while each is of a free frame: (the first that is not, less the frame
    nanoseconds since `start` in which units were wholly free still). Blocks: see `_enter_all`.
    """
    t, late, free, exited = m.totals[0], np.int64(0), m.free, m.exited
    unit_order, shift = np.uint64(m.shape[UNIT_ORDER]), np.uint64(min(m.shape[PAGEBLOCK_ORDER], 6))
    lowest, highest = bounds[0], bounds[1] - (np.int64(1) << np.int64(shift))
    learns = migratetype >= 0 and m.shape[BY_PAGEBLOCK] != 0
    i, until = np.uint64(start), np.uint64(end)
    while i < until:
        block, began, stop = pfn[i] >> shift, i, until
        first, word = np.int64(block << shift), block << shift >> np.uint64(6)
        if first < lowest or first > highest:
            break
        t.now_ns, t.cpu = ts_ns[i], cpu[i]
        if learns and not _learn(m, out, first, migratetype, zone):
            stop = i + np.uint64(1)
        now, seen = free[word], exited[word]
        while i < stop and pfn[i] >> shift == block:
            bit = np.uint64(1) << (pfn[i] & np.uint64(63))
            if not now & bit:
                break
            if not seen & bit:
                t.now_ns, t.cpu, reportable = ts_ns[i], cpu[i], t.reportable
                if not ~now & _unit_part(pfn[i], unit_order):
                    free[word] = now
                    break_unit(m, out, np.int64(pfn[i]), migratetype, zone)
                    late += (t.reportable - reportable) * (ts_ns[i] - ts_ns[start])
                touch_frame(m, out, np.int64(pfn[i]), zone)
                seen |= bit
            now ^= bit
            i += np.uint64(1)
        free[word] = now
        if i == began:
            break
    return np.int64(i), late


@compiled(
    nb.int64(
        MEMORY, REDUCED, TS, PFN, CPU, nb.int64, nb.int64, nb.boolean, nb.int64, nb.int64[::1], nb.int64
    ),
    inline=True,
)
def run(
    m: Memory,
    out: Records,
    ts_ns: Words,
    pfn: Words,
    cpu: Words,
    start: Int,
    end: Int,
    enters: bool,
    migratetype: Int,
    bounds: Words,
    zone: Int,
) -> Int:
    """Apply alike events [start, end) of a zone, whose clock is at `start`, as far as they are for here;
    returns the first one that is not.
    """
    t, begin_ns = m.totals[0], ts_ns[start]
    end = min(end, start + (len(out) - t.events) // MOST_TOLD_OF_A_FRAME)
    if enters:
        done, late = _enter_all(m, out, ts_ns, pfn, cpu, start, end, migratetype, bounds, zone)
    else:
        done, late = _leave_all(m, out, ts_ns, pfn, cpu, start, end, migratetype, bounds, zone)
    t.now_ns = begin_ns
    if done == start:
        return start
    end_ns = ts_ns[done - 1]
    waited_ns = np.int64(0)
    for i in range(np.uint64(start), np.uint64(done)):
        waited_ns += ts_ns[i] - begin_ns
    gained = done - start if enters else start - done
    t.steps += done - start
    t.free += gained
    m.zone_free[zone] += gained
    # As if all had moved at the begin, less the time until they did.
    settle(m.integrals, FREE, t.free, end_ns - begin_ns)
    m.integrals[FREE, 1] -= waited_ns if enters else -waited_ns
    settle(m.integrals, REPORTABLE, t.reportable, end_ns - begin_ns)
    m.integrals[REPORTABLE, 1] -= late
    settle(m.integrals, MANAGED, t.managed, end_ns - begin_ns)
    t.now_ns = end_ns
    m.zone_ns[zone, 0] = end_ns
    return done

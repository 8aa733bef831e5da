"""Runs of plain steps: nearly all events, in a loop that does nothing else. The rest is for `moves`.

A step is plain when it tells step 2 nothing: one frame that exits, and has exited before in its
unit's epoch, or one that enters where its unit does not become wholly free; and the type it tells
of its pageblock is no news. A run is of alike events (op, order 0, migratetype) next to each other,
inside one zone, millisecond and bin: what depends on those is then due once.
"""

import numba as nb
import numpy as np

from replay.buddy.bitmap import all_set
from replay.buddy.memory import BY_PAGEBLOCK, FREE, MANAGED, MEMORY, PAGEBLOCK_ORDER, REPORTABLE, Memory
from replay.buddy.steps import ENTER, OP, ORDER, PFN, TS, TYPE
from replay.exact import settle
from replay.jit import Int, Words, compiled

_BITS = nb.uint64[::1]


@compiled(nb.int64(TS, OP, ORDER, TYPE, nb.int64, nb.int64))
def alike_until(ts_ns: Words, op: Words, order: Words, migratetype: Words, start: Int, until_ns: Int) -> Int:
    """The first event after `start` that is not like it, or goes back in time, or is not before
    `until_ns`.
    """
    i, end = np.uint64(start), np.uint64(len(ts_ns))
    same_op, same_order, same_type, now_ns = op[i], order[i], migratetype[i], ts_ns[i]
    while i < end and now_ns <= ts_ns[i] < until_ns:
        if op[i] != same_op or order[i] != same_order or migratetype[i] != same_type:
            break
        now_ns = ts_ns[i]
        i += np.uint64(1)
    return np.int64(i)


@compiled(
    nb.uint64(
        _BITS, _BITS, nb.int8[::1], nb.int64[::1], nb.int64, nb.int64, nb.boolean, nb.int64, nb.int64[::1]
    ),
    inline=True,
)
def _plain(
    free: Words,
    exited: Words,
    types: Words,
    shape: Words,
    first: Int,
    size: Int,
    enters: bool,
    migratetype: Int,
    bounds: Words,
) -> Int:
    """For which frames of an aligned block (at most a word) this step is plain: bits of their word."""
    if first < bounds[0] or first + size > bounds[1]:
        return np.uint64(0)
    learns = enters or shape[BY_PAGEBLOCK] != 0
    if learns and migratetype >= 0 and types[first >> shape[PAGEBLOCK_ORDER]] != migratetype:
        return np.uint64(0)
    inside = ~np.uint64(0) >> np.uint64(64 - size) << np.uint64(first & 63)
    word = np.uint64(first) >> np.uint64(6)
    was = ~free[word] if enters else free[word]
    return was & exited[word] & inside


@compiled(
    nb.int64(
        _BITS,
        _BITS,
        nb.int8[::1],
        nb.int64[::1],
        PFN,
        nb.int64,
        nb.int64,
        nb.boolean,
        nb.int64,
        nb.int64[::1],
    )
)
def _flip(
    free: Words,
    exited: Words,
    types: Words,
    shape: Words,
    pfn: Words,
    start: Int,
    end: Int,
    enters: bool,
    migratetype: Int,
    bounds: Words,
) -> Int:
    """Flip the frames of alike events while they are plain; returns the first event that is not.

    Frames near each other come one after the other, so those of one word are done in a register.
    """
    one, until = np.uint64(1), np.uint64(end)
    shift = np.uint64(min(shape[0], shape[2], 6))  # within a unit, a pageblock and a word
    unit_size = np.int64(1) << shape[0]
    i = np.uint64(start)
    while i < until:
        block = pfn[i] >> shift
        first = np.int64(block << shift)
        plain = _plain(free, exited, types, shape, first, np.int64(one << shift), enters, migratetype, bounds)
        left = plain
        while i < until and pfn[i] >> shift == block:
            bit = one << (pfn[i] & np.uint64(63))
            if not left & bit:
                break
            left ^= bit
            i += one
        if left == plain:
            break
        free[first >> 6] ^= plain ^ left
        if enters and not left and all_set(free, first & -unit_size, unit_size):
            i -= one
            free[first >> 6] ^= one << (pfn[i] & np.uint64(63))
            break
    return np.int64(i)


@compiled(
    nb.int64(MEMORY, TS, PFN, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64[::1], nb.int64), inline=True
)
def plain_run(
    m: Memory,
    ts_ns: Words,
    pfn: Words,
    start: Int,
    end: Int,
    what: Int,
    migratetype: Int,
    bounds: Words,
    zone: Int,
) -> Int:
    """Apply the plain ones of alike events [start, end) of a zone, whose clock is at `start`; returns
    the first event that is not plain.
    """
    enters = what == ENTER
    done = _flip(m.free, m.exited, m.type, m.shape, pfn, start, end, enters, migratetype, bounds)
    if done == start:
        return start
    t, begin_ns, end_ns = m.totals[0], ts_ns[start], ts_ns[done - 1]
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
    settle(m.integrals, MANAGED, t.managed, end_ns - begin_ns)
    t.now_ns = end_ns
    m.zone_ns[zone, 0] = end_ns
    return done

"""What one entry or exit does to frames and units, and what step 2 is told of it."""

import numba as nb
import numpy as np

from replay.buddy.bitmap import all_set, count, is_set, mark, mask_of
from replay.buddy.claims import MOVE_BLOCKS, SET_TYPE, TURN_MOVABLE, claim_of
from replay.buddy.memory import (
    BY_PAGEBLOCK,
    MAX_ORDER,
    MEMORY,
    MIGRATETYPES,
    NOT_TOLD,
    PAGEBLOCK_ORDER,
    WIDEST_EPOCH,
    Memory,
    exit_all_now,
    exit_now,
    last_exit_of,
)
from replay.buddy.reduced import APPEAR, BROKEN, FREED, NEVER_USED, NEW, NOT_SEEN, REDUCED, RETYPE, TOUCH
from replay.geometry import MOVABLE
from replay.jit import Int, Records, compiled

MOST_TOLD_OF_A_FRAME = 3  # reduced events that the step of one frame comes to


@compiled(
    nb.void(MEMORY, REDUCED, nb.uint8, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64),
    inline=True,
)
def emit(
    m: Memory,
    out: Records,
    kind: Int,
    pfn: Int,
    size: Int,
    before: Int,
    migratetype: Int,
    zone: Int,
) -> None:
    """Write one reduced event of this instant."""
    t = m.totals[0]
    row = out[t.events]
    row.ts_ns = t.now_ns
    row.kind = kind
    row.pfn = pfn
    row.size = size
    row.before = before
    row.migratetype = migratetype
    row.zone = zone
    row.fpi = 0
    row.cpu = t.cpu
    t.events += 1


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64), inline=True)
def is_unit(m: Memory, unit: Int, zone: Int) -> bool:
    """Units across a zone border, or of no zone, are never reportable."""
    return m.zone[unit] == zone


@compiled(nb.boolean(MEMORY, nb.int64), inline=True)
def is_whole(m: Memory, unit: Int) -> bool:
    """Are all frames of a unit free?"""
    return all_set(m.free, unit << m.shape[0], np.int64(1) << m.shape[0])


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64))
def has_whole(m: Memory, first: Int, size: Int) -> bool:
    """Is any unit of a block wholly free?"""
    unit, end = first >> m.shape[0], (first + size) >> m.shape[0]
    while unit < end and not is_whole(m, unit):
        unit += 1
    return unit < end


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64))
def may_turn(m: Memory, block: Int, migratetype: Int) -> bool:
    """May a policy change the type of a pageblock, as free as it is now?

    It does so when it isolates half of it, which turns movable, or all; and all of it may merge with a
    pageblock of another type. A unit larger than half a pageblock leaves only that.
    """
    order = m.shape[PAGEBLOCK_ORDER]
    first, half = block << order, np.int64(1) << max(order - 1, 0)
    if migratetype == MOVABLE or m.shape[0] >= order:
        return all_set(m.free, first, np.int64(1) << order)
    return all_set(m.free, first, half) or all_set(m.free, first + half, half)


@compiled(nb.void(MEMORY, nb.int64, nb.int64), inline=True)
def _learn(m: Memory, block: Int, migratetype: Int) -> None:
    """A pageblock's type is known, and stays so, unless a policy may change it."""
    m.type[block] = NOT_TOLD if may_turn(m, block, migratetype) else migratetype


@compiled(nb.void(MEMORY, nb.int64, nb.int64), inline=True)
def forget_types(m: Memory, first: Int, size: Int) -> None:
    """Frames are free now: their pageblocks' types are not known where a policy may change them."""
    order = m.shape[PAGEBLOCK_ORDER]
    for block in range(first >> order, ((first + size - 1) >> order) + 1):
        if m.type[block] != NOT_TOLD and may_turn(m, block, np.int64(m.type[block])):
            m.type[block] = NOT_TOLD


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def retype(m: Memory, out: Records, pfn: Int, size: Int, migratetype: Int, zone: Int) -> None:
    """Learn the type of the pageblocks an entry lies in; say so where a policy may not know it."""
    shift = m.shape[PAGEBLOCK_ORDER]
    for block in range(pfn >> shift, ((pfn + size - 1) >> shift) + 1):
        if m.type[block] != migratetype:
            _learn(m, block, migratetype)
            emit(m, out, RETYPE, block << shift, shift, SET_TYPE | MOVE_BLOCKS, migratetype, zone)


@compiled(nb.int64(MEMORY, REDUCED, nb.int64, nb.uint64, nb.int64))
def claim(m: Memory, out: Records, pfn: Int, aux: Int, zone: Int) -> Int:
    """What a fallback does to types; returns the list that the rest of its block goes to."""
    limits = (m.shape[MAX_ORDER], m.shape[PAGEBLOCK_ORDER], m.shape[MIGRATETYPES], m.shape[BY_PAGEBLOCK] != 0)
    how, first, pageblocks, rest = claim_of(aux, pfn, *limits)
    shift = m.shape[PAGEBLOCK_ORDER]
    for block in range(first, first + pageblocks):
        emit(m, out, RETYPE, block << shift, shift, how, rest, zone)
        if how & SET_TYPE:
            _learn(m, block, rest)
    return rest


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64))
def turn_movable(m: Memory, out: Records, pfn: Int, order: Int, zone: Int) -> None:
    """__isolate_free_page(): isolating half a pageblock or more turns its pageblocks movable."""
    shift = m.shape[PAGEBLOCK_ORDER]
    if order < shift - 1:
        return
    for block in range(pfn >> shift, ((pfn + (np.int64(1) << order) - 1) >> shift) + 1):
        emit(m, out, RETYPE, block << shift, shift, TURN_MOVABLE, MOVABLE, zone)
        m.type[block] = NOT_TOLD


@compiled(nb.void(MEMORY, nb.int64), inline=True)
def begin_epoch(m: Memory, unit: Int) -> None:
    """A unit is wholly free again: none of its frames has exited since."""
    m.epoch[unit] += 1
    if m.epoch[unit] >= m.shape[WIDEST_EPOCH]:
        m.totals[0].too_narrow = True
    mark(m.exited, unit << m.shape[0], np.int64(1) << m.shape[0], False)


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64), inline=True)
def has_unseen(m: Memory, first: Int, size: Int) -> bool:
    """Is there a frame in a block that is in use and was never seen free?"""
    if size < 64:
        return (~(m.free[first >> 6] | m.exited[first >> 6]) & mask_of(first, size)) != 0
    word, end = first >> 6, (first + size) >> 6
    while word < end and not ~(m.free[word] | m.exited[word]):
        word += 1
    return word < end


@compiled(nb.boolean(MEMORY, nb.int64), inline=True)
def is_absent(m: Memory, frame: Int) -> bool:
    """Not managed yet: neither free nor ever used."""
    return last_exit_of(m, frame) == NEVER_USED and not is_set(m.free, frame)


@compiled(nb.boolean(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def appear(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> bool:
    """Tell the frames of an entering block that were not managed before: nobody has used them.

    Frames of which nothing was known were in use until now, so the host backs them. Is it new memory?
    """
    frame, new = first, True
    while frame < end:
        run = frame
        while run < end and is_absent(m, run):
            run += 1
        if run > frame:
            emit(m, out, APPEAR, frame, run - frame, 0, -1, zone)
            m.totals[0].managed += run - frame
        if run < end and last_exit_of(m, run) == NOT_SEEN:
            exit_now(m, run)
            m.totals[0].managed += 1
            new = False
        frame = run + 1
    return new


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def freed(m: Memory, out: Records, first: Int, order: Int, fpi: Int, zone: Int) -> None:
    """The units of a block became wholly free: a new epoch of each. `fpi`: see `reduced`."""
    size = np.int64(1) << order
    for unit in range(first >> m.shape[0], (first + size) >> m.shape[0]):
        begin_epoch(m, unit)
    forget_types(m, first, size)
    m.totals[0].reportable += size
    emit(m, out, FREED, first, order, 0, -1, zone)
    out[m.totals[0].events - 1].fpi = fpi


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def broken(m: Memory, out: Records, first: Int, order: Int, rest: Int, zone: Int) -> None:
    """The units of a block stop being wholly free. `rest`: see `leave`."""
    m.totals[0].reportable -= np.int64(1) << order
    emit(m, out, BROKEN, first, order, 0, rest, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64), inline=True)
def complete_unit(m: Memory, out: Records, frame: Int, zone: Int) -> None:
    """A frame has entered: has its unit become wholly free?"""
    unit = frame >> m.shape[0]
    if is_whole(m, unit) and is_unit(m, unit, zone):
        freed(m, out, unit << m.shape[0], m.shape[0], 0, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def break_unit(m: Memory, out: Records, frame: Int, rest: Int, zone: Int) -> None:
    """A free frame is about to leave: was its unit wholly free?"""
    unit = frame >> m.shape[0]
    if is_whole(m, unit) and is_unit(m, unit, zone):
        broken(m, out, unit << m.shape[0], m.shape[0], rest, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def enter(m: Memory, out: Records, first: Int, order: Int, migratetype: Int, fpi: Int, zone: Int) -> None:
    """An entry: units that became wholly free, as one block where the whole entry did."""
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    if has_unseen(m, first, size) and appear(m, out, first, first + size, zone):
        fpi |= NEW
    already = count(m.free, first, size)
    if already:
        t.entry_of_free += 1
    t.free += size - already
    m.zone_free[zone] += size - already
    if migratetype >= 0:
        retype(m, out, first, size, migratetype, zone)
    if order < unit_order:
        mark(m.free, first, size, True)
        unit = first >> unit_order
        if already < size and is_whole(m, unit) and is_unit(m, unit, zone):
            freed(m, out, unit << unit_order, unit_order, fpi, zone)
        return
    if already == 0 or not has_whole(m, first, size):
        mark(m.free, first, size, True)
        freed(m, out, first, order, fpi, zone)
        return
    for unit in range(first >> unit_order, (first + size) >> unit_order):
        if mark(m.free, unit << unit_order, unit_size, True) < unit_size:
            freed(m, out, unit << unit_order, unit_order, fpi, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def touch(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> None:
    """Frames of one unit exit: tell of those whose last exit was before the unit's epoch."""
    frame = first
    while frame < end:
        run, before = frame, last_exit_of(m, frame)
        while run < end and not is_set(m.exited, run) and last_exit_of(m, run) == before:
            run += 1
        exit_all_now(m, frame, run)
        if run > frame:
            emit(m, out, TOUCH, frame, run - frame, before, -1, zone)
        frame = max(run, frame + 1)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64), inline=True)
def touch_frame(m: Memory, out: Records, frame: Int, zone: Int) -> None:
    """A frame exits whose last exit was before its unit's epoch."""
    before = last_exit_of(m, frame)
    exit_now(m, frame)
    emit(m, out, TOUCH, frame, 1, before, -1, zone)


@compiled(nb.int64(MEMORY, nb.int64, nb.int64), inline=True)
def leave_unseen(m: Memory, first: Int, size: Int) -> Int:
    """Frames in use that were never seen free: the host backs them already. Returns those of which
    nothing was known.
    """
    unknown = 0
    for frame in range(first, first + size):
        if not is_set(m.free, frame) and not is_set(m.exited, frame):
            if last_exit_of(m, frame) == NOT_SEEN:
                unknown += 1
            m.totals[0].managed += 1
            exit_now(m, frame)
    return unknown


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def leave(m: Memory, out: Records, first: Int, order: Int, rest: Int, zone: Int) -> None:
    """An exit: units that stopped being wholly free, then what the host notices.

    `rest`: of the list that the rest of a split block goes to, -1: the one it is on.
    """
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    unknown = leave_unseen(m, first, size) if has_unseen(m, first, size) else 0
    free = count(m.free, first, size)
    if free + unknown < size:
        t.exit_of_used += 1
    t.free -= free
    m.zone_free[zone] -= free
    if order < unit_order:
        break_unit(m, out, first, rest, zone)
        mark(m.free, first, size, False)
        touch(m, out, first, first + size, zone)
        return
    if free == size:
        mark(m.free, first, size, False)
        broken(m, out, first, order, rest, zone)
    else:
        for unit in range(first >> unit_order, (first + size) >> unit_order):
            if mark(m.free, unit << unit_order, unit_size, False) == unit_size:
                broken(m, out, unit << unit_order, unit_order, rest, zone)
    for unit in range(first >> unit_order, (first + size) >> unit_order):
        touch(m, out, unit << unit_order, (unit + 1) << unit_order, zone)

"""What one entry or exit does to frames and units, and what step 2 is told of it."""

import numba as nb
import numpy as np

from replay.buddy.bitmap import is_set, mark
from replay.buddy.memory import MEMORY, Memory
from replay.buddy.reduced import APPEAR, BROKEN, FREED, NEVER_USED, NOT_SEEN, REDUCED, RETYPE, TOUCH
from replay.jit import Int, Records, compiled


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
    t.events += 1


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64), inline=True)
def is_unit(m: Memory, unit: Int, zone: Int) -> bool:
    """Units across a zone border, or of no zone, are never reportable."""
    return m.zone[unit] == zone


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def retype(m: Memory, out: Records, pfn: Int, size: Int, migratetype: Int, zone: Int) -> None:
    """Learn the type of the pageblocks an entry lies in; say so where a policy may not know it."""
    shift = m.shape[2]
    for block in range(pfn >> shift, ((pfn + size - 1) >> shift) + 1):
        if m.type[block] != migratetype or m.stale[block]:
            m.type[block] = migratetype
            m.stale[block] = False
            emit(m, out, RETYPE, block << shift, shift, 0, migratetype, zone)


@compiled(nb.boolean(MEMORY, nb.int64), inline=True)
def is_absent(m: Memory, frame: Int) -> bool:
    """Not managed yet: neither free nor ever used."""
    return m.last_exit[frame] == NEVER_USED and not is_set(m.free, frame)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def appear(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> None:
    """Tell the frames of an entering block that were not managed before: nobody has used them.

    Frames of which nothing was known were in use until now, so the host backs them.
    """
    frame = first
    while frame < end:
        run = frame
        while run < end and is_absent(m, run):
            run += 1
        if run > frame:
            emit(m, out, APPEAR, frame, run - frame, 0, -1, zone)
            m.totals[0].managed += run - frame
        if run < end and m.last_exit[run] == NOT_SEEN:
            m.last_exit[run] = m.epoch[run >> m.shape[0]]
            m.totals[0].managed += 1
        frame = run + 1


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def freed(m: Memory, out: Records, first: Int, order: Int, migratetype: Int, zone: Int) -> None:
    """The units of a block became wholly free: a new epoch of each."""
    size = np.int64(1) << order
    for unit in range(first >> m.shape[0], (first + size) >> m.shape[0]):
        m.epoch[unit] += 1
    for block in range(first >> m.shape[2], ((first + size - 1) >> m.shape[2]) + 1):
        m.stale[block] = True
    m.totals[0].reportable += size
    emit(m, out, FREED, first, order, 0, migratetype, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def enter(m: Memory, out: Records, first: Int, order: Int, migratetype: Int, zone: Int) -> None:
    """An entry: units that became wholly free, as one block where the whole entry did."""
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    appear(m, out, first, first + size, zone)
    already = mark(m.free, first, size, True)
    if already:
        t.entry_of_free += 1
    t.free += size - already
    m.zone_free[zone] += size - already
    if migratetype >= 0:
        retype(m, out, first, size, migratetype, zone)
    if order < unit_order:
        unit = first >> unit_order
        m.free_frames[unit] += size - already
        if m.free_frames[unit] == unit_size and already < size and is_unit(m, unit, zone):
            freed(m, out, unit << unit_order, unit_order, migratetype, zone)
        return
    units = range(first >> unit_order, (first + size) >> unit_order)
    if already == 0:
        for unit in units:
            m.free_frames[unit] = unit_size
        freed(m, out, first, order, migratetype, zone)
        return
    for unit in units:
        was = m.free_frames[unit]
        m.free_frames[unit] = unit_size
        if was < unit_size:
            freed(m, out, unit << unit_order, unit_order, migratetype, zone)


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def touch(m: Memory, out: Records, first: Int, end: Int, zone: Int) -> None:
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
            emit(m, out, TOUCH, frame, run - frame, before, -1, zone)
        frame = run


@compiled(nb.void(MEMORY, REDUCED, nb.int64, nb.int64, nb.int64), inline=True)
def leave(m: Memory, out: Records, first: Int, order: Int, zone: Int) -> None:
    """An exit: units that stopped being wholly free, then what the host notices."""
    t, unit_order = m.totals[0], m.shape[0]
    size, unit_size = np.int64(1) << order, np.int64(1) << unit_order
    unknown = 0
    for frame in range(first, first + size):
        if m.last_exit[frame] >= NOT_SEEN and not is_set(m.free, frame):
            # In use before it was ever seen free: the host backs it already.
            if m.last_exit[frame] == NOT_SEEN:
                unknown += 1
            t.managed += 1
            m.last_exit[frame] = m.epoch[frame >> unit_order]
    free = mark(m.free, first, size, False)
    if free + unknown < size:
        t.exit_of_used += 1
    t.free -= free
    m.zone_free[zone] -= free
    if order < unit_order:
        unit = first >> unit_order
        if m.free_frames[unit] == unit_size and is_unit(m, unit, zone):
            t.reportable -= unit_size
            emit(m, out, BROKEN, unit << unit_order, unit_order, 0, -1, zone)
        m.free_frames[unit] -= free
        touch(m, out, first, first + size, zone)
        return
    units = range(first >> unit_order, (first + size) >> unit_order)
    if free == size:
        t.reportable -= size
        emit(m, out, BROKEN, first, order, 0, -1, zone)
    else:
        for unit in units:
            if m.free_frames[unit] == unit_size:
                t.reportable -= unit_size
                emit(m, out, BROKEN, unit << unit_order, unit_order, 0, -1, zone)
    for unit in units:
        m.free_frames[unit] = 0
        touch(m, out, unit << unit_order, (unit + 1) << unit_order, zone)

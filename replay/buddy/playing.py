"""How events move the full model: step by step, and neighbours in a row as blocks."""

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from replay.buddy.area import AREA, BY_PAGEBLOCK, MAX_ORDER, NOBODY, PAGEBLOCK_ORDER, TO_TAIL
from replay.buddy.bitmap import count, mark
from replay.buddy.claims import MOVE_BLOCKS, SET_TYPE, claim_of
from replay.buddy.lists import (
    block_of,
    insert,
    move_blocks,
    pageblock_of,
    put_back,
    set_type,
    take,
    turn_movable,
)
from replay.buddy.neighbours import alike_until, block_at, stretch_at
from replay.buddy.steps import (
    AUX,
    BAD,
    BOUNDS,
    CLAIM,
    ENTER,
    ENTRY_OF_FREE,
    EXIT,
    EXIT_OF_USED,
    FALLBACK,
    ISOLATE,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    OUTSIDE,
    PFN,
    PUT_BACK,
    STEPS,
    TYPE,
    UNKNOWN,
    UNKNOWN_OPS,
    detail_of,
    zone_at,
)
from replay.jit import Int, Words, compiled


class Full(NamedTuple):
    """The state. Bitmaps of frames: `free`; `strange`, not known to be managed; `unknown`, those of
    them of which nothing was read.
    """

    area: Any
    free: Any
    strange: Any
    unknown: Any
    last: Any  # see `steps.detail_of`
    counters: Any
    zone_steps: Any  # (zones, 2): steps, and impossible ones, of each zone


FULL = nb.types.NamedTuple(
    [
        AREA,
        nb.uint64[::1],
        nb.uint64[::1],
        nb.uint64[::1],
        nb.int64[:, ::1],
        nb.int64[::1],
        nb.int64[:, ::1],
    ],
    Full,
)


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64), inline=True)
def _learn(f: Full, first: Int, size: Int, migratetype: Int) -> None:
    """An event tells the type of the pageblocks it touches."""
    for pageblock in range(pageblock_of(f.area, first), pageblock_of(f.area, first + size - 1) + 1):
        if f.area.types[pageblock] != migratetype:
            set_type(f.area, pageblock, migratetype, True)


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.boolean, nb.boolean), inline=True)
def _insert(f: Full, first: Int, order: Int, isolated: bool, new: bool) -> None:
    """List a block that was isolated until now, or new to the guest, or neither."""
    if isolated:
        put_back(f.area, first, order, f.area.shape[TO_TAIL] != 0)
    else:
        insert(f.area, first, order, new)


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64, nb.boolean), inline=True)
def _enter(f: Full, first: Int, order: Int, migratetype: Int, isolated: bool) -> None:
    """Frames enter: as one block, or, where some were free already, each of the others."""
    size = np.int64(1) << order
    new = False
    if mark(f.strange, first, size, False):
        new = mark(f.unknown, first, size, False) == 0
    already = mark(f.free, first, size, True)
    if migratetype >= 0:
        _learn(f, first, size, migratetype)
    if already == 0:
        _insert(f, first, order, isolated, new)
        return
    f.counters[ENTRY_OF_FREE] += 1
    for frame in range(first, first + size):
        if block_of(f.area, frame) == NOBODY:
            _insert(f, frame, 0, isolated, new)


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64), inline=True)
def take_out(f: Full, first: Int, order: Int, rest: Int) -> None:
    """Free frames leave the blocks they are in; `rest`: see `lists.take`."""
    frame, end = first, first + (np.int64(1) << order)
    while frame < end:
        block = block_of(f.area, frame)
        if block == NOBODY:
            frame += 1
            continue
        target = min(order, np.int64(f.area.blocks[block].order))
        take(f.area, block, frame, target, rest)
        frame += np.int64(1) << target


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64), inline=True)
def _leave(f: Full, first: Int, order: Int, rest: Int) -> None:
    """Frames leave: as one block, or, where some were in use already, each of the others."""
    size = np.int64(1) << order
    free = mark(f.free, first, size, False)
    if mark(f.strange, first, size, False):
        free += mark(f.unknown, first, size, False)
        if free < size:
            f.counters[EXIT_OF_USED] += 1
    elif free == size:
        take_out(f, first, order, rest)
        return
    else:
        f.counters[EXIT_OF_USED] += 1
    for frame in range(first, first + size):
        take_out(f, frame, 0, rest)


@compiled(nb.int64(FULL, nb.int64, nb.uint64))
def _claim(f: Full, first: Int, aux: Int) -> Int:
    """What a fallback does to types; returns the list that the rest of its block goes to."""
    shape = f.area.shape
    limits = (shape[MAX_ORDER], shape[PAGEBLOCK_ORDER], f.area.lists.shape[2], shape[BY_PAGEBLOCK] != 0)
    how, pageblock, count, rest = claim_of(aux, first, *limits)
    for each in range(pageblock, pageblock + count):
        if how & SET_TYPE:
            set_type(f.area, each, rest, True)
        elif how & MOVE_BLOCKS:
            move_blocks(f.area, each, rest)
    return rest


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64, nb.int64, nb.uint64, nb.boolean), inline=True)
def _step(f: Full, what: Int, first: Int, order: Int, migratetype: Int, aux: Int, by_pageblock: bool) -> None:
    """One step of the buddy."""
    if migratetype >= f.area.lists.shape[2]:
        migratetype = -1
    if what in (ENTER, PUT_BACK):
        _enter(f, first, order, migratetype, what == PUT_BACK)
        return
    rest = migratetype
    if what in (FALLBACK, CLAIM):
        rest = _claim(f, first, aux)
    elif what == ISOLATE:
        turn_movable(f.area, first, order)
        rest = -1
    elif by_pageblock and migratetype >= 0:
        _learn(f, first, np.int64(1) << order, migratetype)
    if what != CLAIM:
        _leave(f, first, order, rest)


@compiled(nb.boolean(FULL, nb.int64, nb.int64, nb.boolean), inline=True)
def _is_plain(f: Full, first: Int, size: Int, enters: bool) -> bool:
    """Are all frames of an aligned block known to be where they enter or leave from?"""
    free = count(f.free, first, size)
    return free == (0 if enters else size) and count(f.strange, first, size) == 0


@compiled(nb.void(FULL, nb.int64, nb.int64, nb.int64, nb.boolean, nb.boolean), inline=True)
def _move(f: Full, first: Int, order: Int, migratetype: Int, enters: bool, by_pageblock: bool) -> None:
    """A plain step of at most a pageblock."""
    pageblock, size = pageblock_of(f.area, first), np.int64(1) << order
    if (enters or by_pageblock) and migratetype >= 0 and f.area.types[pageblock] != migratetype:
        set_type(f.area, pageblock, migratetype, True)
    mark(f.free, first, size, enters)
    if enters:
        insert(f.area, first, order, False)
    else:
        take_out(f, first, order, migratetype)


@compiled(
    nb.void(FULL, nb.uint8, nb.int64, nb.int64, nb.int64, nb.uint64, MEANING, BOUNDS, nb.boolean),
)
def _play_one(
    f: Full,
    op: Int,
    first: Int,
    order: Int,
    migratetype: Int,
    aux: Int,
    meaning: Words,
    bounds: Words,
    by_pageblock: bool,
) -> None:
    """One event."""
    what, zone = detail_of(op, first, order, meaning, bounds, f.last)
    if what == UNKNOWN:
        f.counters[UNKNOWN_OPS] += 1
    elif what == BAD:
        f.counters[OUTSIDE] += 1
    elif what != NOTHING:
        impossible = f.counters[EXIT_OF_USED] + f.counters[ENTRY_OF_FREE]
        _step(f, what, first, order, migratetype, aux, by_pageblock)
        if what != CLAIM:
            f.counters[STEPS] += 1
            f.zone_steps[zone, 0] += 1
            f.zone_steps[zone, 1] += f.counters[EXIT_OF_USED] + f.counters[ENTRY_OF_FREE] - impossible


@compiled(nb.void(FULL, nb.uint8, PFN, nb.int64, nb.int64, nb.int64, MEANING, BOUNDS, nb.boolean))
def _play_frames(
    f: Full,
    op: Int,
    pfn: Words,
    start: Int,
    end: Int,
    migratetype: Int,
    meaning: Words,
    bounds: Words,
    by_pageblock: bool,
) -> None:
    """Single frames [start, end) that all enter or all leave.

    Those that do not as they should, or may have been told before (`steps.detail_of`), one by one.
    """
    what, known = np.int64(meaning[op, 0]), migratetype if migratetype < f.area.lists.shape[2] else -1
    most = min(f.area.shape[PAGEBLOCK_ORDER], f.area.shape[MAX_ORDER])
    i, zone, left, direction = start, np.int64(0), np.int64(0), np.int64(1)
    while i < end:
        if left == 0:
            left, direction = stretch_at(pfn, i, end)
        first, order = block_at(np.int64(pfn[i]), left, direction, most)
        size = np.int64(1) << order
        zone = zone_at(first, size, bounds, max(zone, 0))
        if zone >= 0 and f.last[zone, 0] != FALLBACK and _is_plain(f, first, size, what == ENTER):
            _move(f, first, order, known, what == ENTER, by_pageblock)
            f.counters[STEPS] += size
            f.zone_steps[zone, 0] += size
            f.last[zone, 0], f.last[zone, 1] = what, pfn[i + size - 1]
        else:
            size = np.int64(1)
            _play_one(f, op, np.int64(pfn[i]), 0, migratetype, np.uint64(0), meaning, bounds, by_pageblock)
        i += size
        left -= size


@compiled(nb.void(FULL, OP, PFN, ORDER, TYPE, AUX, MEANING, BOUNDS, nb.int64, nb.int64, nb.boolean))
def play(
    f: Full,
    op: Words,
    pfn: Words,
    order: Words,
    migratetype: Words,
    aux: Words,
    meaning: Words,
    bounds: Words,
    start: Int,
    stop: Int,
    by_pageblock: bool,
) -> None:
    """Events [start, stop), those alike next to each other in one go."""
    end = start
    while start < stop:
        end = alike_until(op, order, migratetype, start, stop)
        same_op, same_order, kind = op[start], np.int64(order[start]), np.int64(migratetype[start])
        if same_order == 0 and meaning[same_op, 0] in (ENTER, EXIT):
            _play_frames(f, same_op, pfn, start, end, kind, meaning, bounds, by_pageblock)
        else:
            for i in range(start, end):
                first = np.int64(pfn[i])
                _play_one(f, same_op, first, same_order, kind, aux[i], meaning, bounds, by_pageblock)
        start = end

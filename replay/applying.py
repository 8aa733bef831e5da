"""What a reduced event does to one policy's world: its units, its lists and its host."""

import numba as nb
import numpy as np

from replay import bounds, host, meters
from replay.buddy.area import BY_PAGEBLOCK, PAGEBLOCK_ORDER, TO_TAIL
from replay.buddy.claims import MOVE_BLOCKS, SET_TYPE, TURN_MOVABLE
from replay.buddy.lists import entering_order, insert, move_blocks, put_back, set_type, slots_of
from replay.buddy.reduced import (
    APPEAR,
    BROKEN,
    FOUND,
    FREED,
    NEW,
    REDUCED,
    RESHUFFLED,
    RETURNED,
    RETYPE,
    TOUCH,
)
from replay.geometry import MERGEABLE_TYPES
from replay.isolation import leave
from replay.jit import Int, Records, compiled
from replay.parts import put_in, take_out
from replay.policies import protocol as policy
from replay.policies.protocol import CODE, INSTANT, SLEEP, Code
from replay.prefetch import ask_for
from replay.state import CLOCK_UNKNOWN, FREE, GRANULE_ORDER, IN_HANDS, ORDER, STATE, TOLD, State

AHEAD = 16  # events: so many take as long as memory does to answer
FEW = 1 << 15  # units: of so many all that is told of them fits a cache


@compiled(nb.void(STATE, CODE, nb.int64, nb.int64, nb.uint8, nb.uint8, nb.int64, nb.int64), inline=True)
def _freed(s: State, code: Code, unit: Int, order: Int, clock: Int, fpi: Int, cpu: Int, now_ns: Int) -> None:
    """Units became wholly free: their clocks start, the block is listed, the policy hears of it.

    Of each piece of it, where a block enters in pieces (`entering_order`).
    `clock`: 0, or CLOCK_UNKNOWN where a snapshot found them so. `fpi`: see `reduced`.
    """
    for each in range(unit, unit + slots_of(s.area, order)):
        s.units[each].epoch += np.uint32(1)
        s.units[each].since_ns = now_ns
        s.units[each].flags = (s.units[each].flags & ~np.uint8(CLOCK_UNKNOWN | TOLD)) | np.uint8(FREE) | clock
        put_in(s, each, now_ns)
    returned, action, merged = fpi & RETURNED != 0, SLEEP, order
    entering = order if returned else entering_order(s.area, order)
    for piece in range(unit, unit + slots_of(s.area, order), slots_of(s.area, entering)):
        if returned:
            _, merged = put_back(s.area, piece, entering, s.area.shape[TO_TAIL] != 0)
        else:
            _, merged = insert(s.area, piece, entering, fpi & NEW != 0)
        if s.device[0].registered:
            action = code.arrive(s, code.memory, now_ns, piece, entering, merged, returned, cpu)
    if action == INSTANT:
        bounds.report_entry(s, unit, order, merged, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _broken(s: State, unit: Int, order: Int, migratetype: Int, now_ns: Int) -> None:
    """Units stopped being wholly free."""
    for each in range(unit, unit + slots_of(s.area, order)):
        meters.miss(s, each, now_ns)
        take_out(s, each, now_ns)
        s.units[each].flags &= ~np.uint8(FREE | IN_HANDS)
    leave(s, unit, order, migratetype, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def _retype(s: State, pageblock: Int, migratetype: Int, how: Int) -> None:
    """A pageblock gets another type, or its free blocks go to other lists. `how`: see `claims`."""
    if how & TURN_MOVABLE:
        if s.area.types[pageblock] < MERGEABLE_TYPES:
            set_type(s.area, pageblock, migratetype, s.area.shape[BY_PAGEBLOCK] != 0)
    elif how & SET_TYPE:
        set_type(s.area, pageblock, migratetype, how & MOVE_BLOCKS != 0)
    else:
        move_blocks(s.area, pageblock, migratetype)


@compiled(nb.void(STATE, REDUCED, nb.int64), inline=True)
def _look_ahead(s: State, events: Records, index: Int) -> None:
    """Ask for what the event `AHEAD` of this one will change, where that may take long."""
    if len(s.units) > FEW and index + AHEAD < len(events):
        pfn = events[np.uint64(index + AHEAD)].pfn
        ask_for(s.units, pfn >> s.shape[ORDER])
        ask_for(s.granules, pfn >> s.shape[GRANULE_ORDER])
        ask_for(s.area.blocks, pfn >> s.shape[ORDER])


@compiled(nb.int64(STATE, REDUCED, nb.int64, nb.int64))
def touches(s: State, events: Records, index: Int, until_ns: Int) -> Int:
    """Live through touches, from `index` on, up to `until_ns`; returns the first event that is none.

    Nearly all events are touches, above order 0, and only the host hears of them: nothing can become
    due meanwhile, and nothing is reported.
    """
    at, end = np.uint64(index), np.uint64(len(events))
    while at < end:
        event = events[at]
        if event.kind != TOUCH or event.ts_ns > until_ns:
            break
        _look_ahead(s, events, np.int64(at))
        host.touch(s, event.pfn, np.int64(event.size), event.before, event.ts_ns)
        at += np.uint64(1)
    return np.int64(at)


@compiled(nb.void(STATE, CODE, REDUCED, nb.int64), inline=True)
def apply(s: State, code: Code, events: Records, index: Int) -> None:
    """Live through one of the reduced events that is no touch."""
    _look_ahead(s, events, index)
    event = events[index]
    kind, pfn, size = event.kind, event.pfn, np.int64(event.size)
    if kind in (FREED, FOUND):
        clock = np.uint8(CLOCK_UNKNOWN) if kind == FOUND else np.uint8(0)
        unit, cpu = pfn >> s.shape[ORDER], np.int64(event.cpu)
        _freed(s, code, unit, size, clock, event.fpi, cpu, event.ts_ns)
    elif kind == BROKEN:
        _broken(s, pfn >> s.shape[ORDER], size, np.int64(event.migratetype), event.ts_ns)
    elif kind == RETYPE:
        _retype(s, pfn >> s.area.shape[PAGEBLOCK_ORDER], np.int64(event.migratetype), event.before)
    elif kind == APPEAR:
        host.appear(s, pfn, size, event.ts_ns)
    elif kind == RESHUFFLED:
        code.tell(s, code.memory, event.ts_ns, policy.RESHUFFLED, np.int64(event.zone))

"""Going over hints: recheck, isolate, report, return. Nothing is remembered of what was reported.

A hint names the unit that a free block of order >= R began with when it was freed; what is there by
now only the free lists know. Each hint is looked up under its own hold of the zone lock, and the
block that begins there now is isolated whole. The type of its pageblock is saved and restored, that of
its first one only: the others of a larger block turn movable, as __isolate_free_page() leaves them.
"""

import numba as nb

from replay.buddy.area import HELD
from replay.buddy.lists import slots_of
from replay.device import listed
from replay.isolation import FIRST_KEPT, drain, isolate
from replay.jit import Int, compiled
from replay.state import STATE, State


@compiled(nb.int64(STATE, nb.int64, nb.int64), inline=True)
def hint_of(s: State, unit: Int, merged: Int) -> Int:
    """The first unit of the block that `unit` has merged into."""
    return unit & ~(slots_of(s.area, merged) - 1)


@compiled(nb.boolean(STATE, nb.int64), inline=True)
def still_free(s: State, unit: Int) -> bool:
    """PageBuddy() and an order of at least R: does a listed block begin here?"""
    block = s.area.blocks[unit]
    return block.order >= 0 and not block.flags & HELD


@compiled(nb.boolean(STATE, nb.int64, nb.int64))
def recheck(s: State, unit: Int, now_ns: Int) -> bool:
    """Take the block that a hint names, if it can be had; True when the batch is full."""
    m = s.meters[0]
    m.lock_takes += 1
    if not still_free(s, unit):
        m.rechecks_failed += 1
    elif not isolate(s, unit, FIRST_KEPT, now_ns):
        m.hints_dropped += 1
    return s.device[0].first == 0


@compiled(nb.void(STATE, nb.int64))
def give_back(s: State, now_ns: Int) -> None:
    """The report is done: its blocks return, under one hold of the lock; failed, their hints are lost."""
    m = s.meters[0]
    m.lock_takes += 1
    if s.device[0].failed:
        m.hints_dropped += listed(s)
    drain(s, now_ns, False)

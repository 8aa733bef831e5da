"""Reports that no kernel can make: at once, without isolation, and even into the past.

The bounds of the comparison are made of them (`policies.oracle`, `policies.clairvoyant`).
"""

import numba as nb
import numpy as np

from replay import host, meters
from replay.buddy.area import NOBODY
from replay.buddy.lists import block_of, slots_of
from replay.exact import settle
from replay.jit import Int, compiled
from replay.parts import backed_in_unit, put_in, take_out
from replay.state import (
    BACKING,
    BACKING_2M,
    HOST_ORDER,
    INHIBITED,
    LOGGING,
    MAX_ORDER,
    ORDER,
    PART_KEPT,
    PART_WAITING,
    RECLAIMED,
    STATE,
    TOLD,
    State,
)


@compiled(nb.boolean(STATE), inline=True)
def has_room(s: State) -> bool:
    """Can the log take what one step may add: an entry's units, or a full batch?"""
    if not s.shape[LOGGING]:
        return True
    return s.meters[0].logged + (np.int64(1) << s.shape[MAX_ORDER]) + s.device[0].capacity <= len(s.log)


@compiled(nb.boolean(STATE, nb.int64), inline=True)
def reportable(s: State, unit: Int) -> bool:
    """Is it wholly free and not told in this period, and does the host back something of it?"""
    return meters.is_waiting(s, unit) and backed_in_unit(s, unit) > 0


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def _backdate(s: State, row: Int, frames: Int, since_ns: Int, now_ns: Int) -> None:
    """Frames that came to a level (`row`) just now were there since earlier, and waited for nothing.

    Both levels are told up to now: the boundaries of the timeline before it are corrected.
    """
    if since_ns == now_ns:
        return
    s.meters[0].backdated = 1
    for each, gained in ((row, frames), (PART_WAITING, -frames)):
        settle(s.integrals, each, gained, now_ns - since_ns)
        told = s.levels[each].bin - 1
        while told >= 0 and s.bins_ns[told] >= since_ns:
            s.timeline[each, told] += gained
            told -= 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def _report(s: State, unit: Int, booked_ns: Int, now_ns: Int) -> None:
    """One unit, one call; what the host gains counts from `booked_ns` on."""
    m, size = s.meters[0], np.int64(1) << s.shape[ORDER]
    m.calls += 1
    m.blocks += 1
    m.frames += size
    came, into, new = backed_in_unit(s, unit), PART_KEPT, np.int64(0)
    if s.shape[INHIBITED]:
        m.acknowledged_only += size
        meters.censor(s, unit, booked_ns)
    else:
        m.discards += 1
        new = host.discard_unit(s, unit, s.units[unit].epoch, now_ns)
        m.redundant += size - new
        meters.sample(s, unit, new, booked_ns)
        into = RECLAIMED
    take_out(s, unit, now_ns)
    s.units[unit].flags |= np.uint8(TOLD)
    put_in(s, unit, now_ns)
    _backdate(s, into, came, booked_ns, now_ns)
    meters.log_block(s, unit, s.shape[ORDER], new, booked_ns, booked_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def report_units(s: State, first: Int, last: Int, now_ns: Int) -> None:
    """Report units [first, last) at once: those of which the host still backs something."""
    for unit in range(first, last):
        if reportable(s, unit):
            _report(s, unit, now_ns, now_ns)


@compiled(nb.boolean(STATE), inline=True)
def _smaller_than_a_host_page(s: State) -> bool:
    """Is a unit too small for the host, which takes whole huge pages only?"""
    return s.shape[BACKING] == BACKING_2M and s.shape[ORDER] < s.shape[HOST_ORDER]


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def report_since(s: State, unit: Int, since_ns: Int, now_ns: Int) -> None:
    """Report a unit now, as if it had been at `since_ns`, since when it is wholly free.

    Where the host takes whole huge pages only: all of its page, if the page is free since then too, and
    not only since a later unit of it, whose turn that is.
    """
    size = np.int64(1)
    if _smaller_than_a_host_page(s):
        head = block_of(s.area, unit)
        if head == NOBODY or s.area.blocks[head].order < s.shape[HOST_ORDER]:
            return
        size = slots_of(s.area, s.shape[HOST_ORDER])
    first = unit & ~(size - 1)
    for each in range(first, first + size):
        if s.units[each].since_ns > since_ns:
            return
    for each in range(first, first + size):
        if reportable(s, each):
            _report(s, each, since_ns, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def report_entry(s: State, unit: Int, order: Int, merged: Int, now_ns: Int) -> None:
    """An entry is reported at once; where the host takes whole huge pages only, with all of its page."""
    size = slots_of(s.area, order)
    if _smaller_than_a_host_page(s):
        if merged < s.shape[HOST_ORDER]:
            return
        size = max(size, slots_of(s.area, s.shape[HOST_ORDER]))
    first = unit & ~(size - 1)
    report_units(s, first, first + size, now_ns)

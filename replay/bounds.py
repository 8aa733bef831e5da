"""Reports that no kernel can make: at once, without isolation, and even into the past.

The bounds of the comparison are made of them (`policies.oracle`, `policies.clairvoyant`).
"""

import numba as nb
import numpy as np

from replay import host, meters
from replay.buddy.lists import slots_of
from replay.exact import settle
from replay.jit import Int, compiled
from replay.parts import backed_in_unit, put_in, take_out
from replay.state import (
    BACKING,
    BACKING_2M,
    FREE,
    HOST_ORDER,
    INHIBITED,
    LOGGING,
    MAX_ORDER,
    ORDER,
    PART_WAITING,
    RECLAIMED,
    STATE,
    State,
)


@compiled(nb.boolean(STATE), inline=True)
def has_room(s: State) -> bool:
    """Can the log take what one step may add: an entry's units, or a full batch?"""
    if not s.shape[LOGGING]:
        return True
    return s.meters[0].logged + (np.int64(1) << s.shape[MAX_ORDER]) + s.device[0].capacity <= len(s.log)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def _backdate(s: State, frames: Int, since_ns: Int, now_ns: Int) -> None:
    """Frames that were reclaimed now have been so since earlier, and waited for nothing."""
    if since_ns == now_ns:
        return
    s.meters[0].backdated = 1
    for row, gained in ((RECLAIMED, frames), (PART_WAITING, -frames)):
        settle(s.integrals, row, gained, now_ns - since_ns)
        told = s.levels[row].bin - 1
        while told >= 0 and s.bins_ns[told] >= since_ns:
            s.timeline[row, told] += gained
            told -= 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def _report(s: State, unit: Int, booked_ns: Int, now_ns: Int) -> None:
    """One unit, one call; what the host gains counts from `booked_ns` on."""
    m, size = s.meters[0], np.int64(1) << s.shape[ORDER]
    m.calls += 1
    m.blocks += 1
    m.frames += size
    if s.shape[INHIBITED]:
        m.acknowledged_only += size
        new = np.int64(0)
    else:
        m.discards += 1
        new = host.discard_unit(s, unit, s.units[unit].epoch, now_ns)
        m.redundant += size - new
        meters.sample(s, unit, new, booked_ns)
        _backdate(s, new, booked_ns, now_ns)
    take_out(s, unit, now_ns)
    s.units[unit].told = s.units[unit].epoch
    put_in(s, unit, now_ns)
    meters.log_block(s, unit, s.shape[ORDER], new, booked_ns, booked_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def report_units(s: State, first: Int, last: Int, now_ns: Int) -> None:
    """Report units [first, last) at once: those of which the host still backs something."""
    for unit in range(first, last):
        if not s.units[unit].flags & FREE or s.units[unit].told == s.units[unit].epoch:
            continue
        if backed_in_unit(s, unit):
            _report(s, unit, now_ns, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64))
def report_since(s: State, unit: Int, now_ns: Int) -> None:
    """Report a wholly free unit now, as if it had been the moment it became so."""
    if s.units[unit].flags & FREE and s.units[unit].told != s.units[unit].epoch and backed_in_unit(s, unit):
        _report(s, unit, s.units[unit].since_ns, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def report_entry(s: State, unit: Int, order: Int, merged: Int, now_ns: Int) -> None:
    """An entry is reported at once; where the host takes whole huge pages only, with all of its page."""
    size = slots_of(s.area, order)
    if s.shape[BACKING] == BACKING_2M and s.shape[ORDER] < s.shape[HOST_ORDER]:
        if merged < s.shape[HOST_ORDER]:
            return
        size = max(size, slots_of(s.area, s.shape[HOST_ORDER]))
    first = unit & ~(size - 1)
    report_units(s, first, first + size, now_ns)

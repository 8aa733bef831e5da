"""What a snapshot in the middle of a trace puts right: frames that the events left in a wrong state.

No step: nobody saw it happen, so it counts neither as one nor as impossible. A frame that the model
holds free and the snapshot used has exited unseen, and the host notices now. A frame that turns out
to be free entered unseen; a unit that becomes wholly free by it has an unknown clock.
"""

import numba as nb
import numpy as np

from replay.buddy.bitmap import is_set, mark
from replay.buddy.memory import MEMORY, Memory
from replay.buddy.moves import emit, is_unit, touch
from replay.buddy.reduced import APPEAR, BROKEN, FOUND, NEVER_USED, NOT_SEEN, REDUCED
from replay.jit import Int, Records, Words, compiled
from tracer import FrameState

_STATE = nb.uint8[::1]
_BUDDY, _USED = int(FrameState.BUDDY), int(FrameState.USED)


@compiled(nb.int64(MEMORY, REDUCED, nb.int64, nb.int64))
def _found_free(m: Memory, out: Records, frame: Int, zone: Int) -> Int:
    """A frame is in the buddy; returns how many the model did not hold free."""
    if is_set(m.free, frame):
        return 0
    t = m.totals[0]
    if m.last_exit[frame] >= NOT_SEEN:
        t.managed += 1
    if m.last_exit[frame] == NEVER_USED:
        emit(m, out, APPEAR, frame, 1, 0, -1, zone)
    if m.last_exit[frame] == NOT_SEEN:
        m.last_exit[frame] = m.epoch[frame >> m.shape[0]]
    else:
        t.corrected += 1
    mark(m.free, frame, 1, True)
    return 1


@compiled(nb.int64(MEMORY, REDUCED, nb.int64, nb.int64))
def _found_used(m: Memory, out: Records, frame: Int, zone: Int) -> Int:
    """A frame is in use; returns how many the model held free. Its unit is broken by the first one."""
    t, unit = m.totals[0], frame >> m.shape[0]
    unit_size = np.int64(1) << m.shape[0]
    if not is_set(m.free, frame):
        if m.last_exit[frame] >= NOT_SEEN:
            t.managed += 1
            m.last_exit[frame] = m.epoch[unit]
        return 0
    if m.free_frames[unit] == unit_size and is_unit(m, unit, zone):
        t.reportable -= unit_size
        emit(m, out, BROKEN, unit << m.shape[0], m.shape[0], 0, -1, zone)
    t.corrected += 1
    mark(m.free, frame, 1, False)
    m.free_frames[unit] -= 1
    touch(m, out, frame, frame + 1, zone)
    return 1


@compiled(nb.void(MEMORY, REDUCED, _STATE, nb.int64, nb.int64, nb.int64))
def _correct_unit(m: Memory, out: Records, state: Words, zone: Int, first: Int, end: Int) -> None:
    """Frames [first, end) of one unit: those in use first, so that it is broken before it is found."""
    t, unit = m.totals[0], first >> m.shape[0]
    lost = found = 0
    for frame in range(first, end):
        if state[frame] == _USED:
            lost += _found_used(m, out, frame, zone)
    for frame in range(first, end):
        if state[frame] == _BUDDY:
            found += _found_free(m, out, frame, zone)
    m.free_frames[unit] += found
    t.free += found - lost
    m.zone_free[zone] += found - lost
    if found and m.free_frames[unit] == np.int64(1) << m.shape[0] and is_unit(m, unit, zone):
        m.epoch[unit] += 1
        for block in range(first >> m.shape[2], ((end - 1) >> m.shape[2]) + 1):
            m.stale[block] = True
        t.reportable += np.int64(1) << m.shape[0]
        emit(m, out, FOUND, unit << m.shape[0], m.shape[0], 0, -1, zone)


@compiled(nb.int64(MEMORY, REDUCED, _STATE, nb.int64, nb.int64, nb.int64))
def correct(m: Memory, out: Records, state: Words, zone: Int, first: Int, end: Int) -> Int:
    """Bring frames [first, end) of a zone to `state`, unit by unit; returns the first one not done
    (the output was full). What the snapshot does not know (absent, unknown) stays as it is.
    """
    unit_size = np.int64(1) << m.shape[0]
    while first < end and m.totals[0].events + 2 * unit_size + 2 <= len(out):
        until = min(end, (first // unit_size + 1) * unit_size)
        _correct_unit(m, out, state, zone, first, until)
        first = until
    return first

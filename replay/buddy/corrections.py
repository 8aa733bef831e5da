"""What a snapshot in the middle of a trace puts right: frames that the events left in a wrong state.

No step: nobody saw it happen, so it counts neither as one nor as impossible. A frame that the model
holds free and the snapshot used has exited unseen, and the host notices now. A frame that turns out
to be free entered unseen; a unit that becomes wholly free by it has an unknown clock.
"""

import numba as nb
import numpy as np

from replay.buddy.bitmap import is_set, mark
from replay.buddy.memory import MEMORY, NOT_TOLD, Memory, exit_now, last_exit_of
from replay.buddy.moves import begin_epoch, broken, emit, is_unit, is_whole, touch
from replay.buddy.reduced import APPEAR, FOUND, NEVER_USED, NOT_SEEN, REDUCED
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
    if last_exit_of(m, frame) >= NOT_SEEN:
        t.managed += 1
    if last_exit_of(m, frame) == NEVER_USED:
        emit(m, out, APPEAR, frame, 1, 0, -1, zone)
    if last_exit_of(m, frame) == NOT_SEEN:
        exit_now(m, frame)
    else:
        t.corrected += 1
    mark(m.free, frame, 1, True)
    return 1


@compiled(nb.int64(MEMORY, REDUCED, nb.int64, nb.int64))
def _found_used(m: Memory, out: Records, frame: Int, zone: Int) -> Int:
    """A frame is in use; returns how many the model held free. Its unit is broken by the first one."""
    t, unit = m.totals[0], frame >> m.shape[0]
    if not is_set(m.free, frame):
        if last_exit_of(m, frame) >= NOT_SEEN:
            t.managed += 1
            exit_now(m, frame)
        return 0
    if is_whole(m, unit) and is_unit(m, unit, zone):
        broken(m, out, unit << m.shape[0], m.shape[0], -1, zone)
    t.corrected += 1
    mark(m.free, frame, 1, False)
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
    t.free += found - lost
    m.zone_free[zone] += found - lost
    if found and is_whole(m, unit) and is_unit(m, unit, zone):
        begin_epoch(m, unit)
        for block in range(first >> m.shape[2], ((end - 1) >> m.shape[2]) + 1):
            m.type[block] = NOT_TOLD
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

"""The host: which frames it took back, which it must back again. Exact per frame.

The guest's reported flag is lost on split and merge while the host's memory stays gone, so this
knows nothing of lists. A frame is away iff its granule's last discard came in a later epoch than
the frame's own last exit (see `buddy.occupancy`); counts per granule say how many are.
"""

import numba as nb
import numpy as np

from replay.buddy.reduced import NEVER_USED
from replay.jit import Int, compiled
from replay.parts import change, put_in, take_out
from replay.state import (
    BACKING,
    BACKING_2M,
    BACKING_THP,
    GRANULE_ORDER,
    HOST_ORDER,
    IN_HANDS,
    INHIBITED,
    NEVER_BACKED,
    ORDER,
    RECLAIMED,
    STATE,
    State,
)


@compiled(nb.int64(STATE, nb.int64, nb.uint32, nb.int64))
def discard_unit(s: State, unit: Int, epoch: Int, now_ns: Int) -> Int:
    """Take away every backed frame of a unit reported in `epoch`; returns how many were new."""
    per_unit = np.int64(1) << (s.shape[ORDER] - s.shape[GRANULE_ORDER])
    size = np.int64(1) << s.shape[GRANULE_ORDER]
    new = 0
    take_out(s, unit, now_ns)
    for granule in range(unit * per_unit, (unit + 1) * per_unit):
        g = s.granules[granule]
        gained = size - np.int64(g.away) - np.int64(g.fresh)
        g.away += gained
        g.reported = epoch
        s.pages[(granule << s.shape[GRANULE_ORDER]) >> s.shape[HOST_ORDER]].away += gained
        new += gained
    change(s, RECLAIMED, new, now_ns)
    put_in(s, unit, now_ns)
    return new


@compiled(nb.void(STATE, nb.int64, nb.int64), inline=True)
def _bring_back(s: State, frames: Int, now_ns: Int) -> None:
    change(s, RECLAIMED, -frames, now_ns)
    s.meters[0].refaults += frames


@compiled(nb.void(STATE, nb.int64, nb.int64))
def _fill_page(s: State, page: Int, now_ns: Int) -> None:
    """The host backs a whole huge page."""
    frame, size = page << s.shape[HOST_ORDER], np.int64(1) << s.shape[HOST_ORDER]
    units = range(frame >> s.shape[ORDER], ((frame + size - 1) >> s.shape[ORDER]) + 1)
    shift = s.shape[HOST_ORDER] - s.shape[GRANULE_ORDER]
    for unit in units:
        if unit < len(s.units):
            take_out(s, unit, now_ns)
    for granule in range(page << shift, (page + 1) << shift):
        if granule < len(s.granules):
            g = s.granules[granule]
            _bring_back(s, np.int64(g.away), now_ns)
            change(s, NEVER_BACKED, -np.int64(g.fresh), now_ns)
            g.away = 0
            g.fresh = 0
            g.reported = 0
    s.meters[0].faults += s.pages[page].away != 0
    s.pages[page].away = 0
    s.pages[page].fresh = 0
    for unit in units:
        if unit < len(s.units):
            put_in(s, unit, now_ns)


@compiled(nb.boolean(STATE, nb.int64), inline=True)
def _wholly_absent(s: State, page: Int) -> bool:
    return s.pages[page].away + s.pages[page].fresh == np.int64(1) << s.shape[HOST_ORDER]


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.boolean, nb.int64))
def _fault(s: State, granule: Int, frames: Int, fresh: bool, now_ns: Int) -> None:
    """Frames of a granule that the host does not back are used: it backs them, or their huge page."""
    page = (granule << s.shape[GRANULE_ORDER]) >> s.shape[HOST_ORDER]
    backing = s.shape[BACKING]
    if backing == BACKING_2M or (backing == BACKING_THP and _wholly_absent(s, page)):
        _fill_page(s, page, now_ns)
        return
    g, unit = s.granules[granule], (granule << s.shape[GRANULE_ORDER]) >> s.shape[ORDER]
    take_out(s, unit, now_ns)
    if fresh:
        g.fresh -= frames
        s.pages[page].fresh -= frames
        change(s, NEVER_BACKED, -frames, now_ns)
    else:
        g.away -= frames
        s.pages[page].away -= frames
        s.meters[0].faults += frames
        _bring_back(s, frames, now_ns)
    put_in(s, unit, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.uint32, nb.int64), inline=True)
def touch(s: State, pfn: Int, frames: Int, before: Int, now_ns: Int) -> None:
    """Frames of one unit leave the buddy for the first time since `before`, an epoch of it."""
    size = np.int64(1) << s.shape[GRANULE_ORDER]
    end = pfn + frames
    while pfn < end:
        granule = pfn >> s.shape[GRANULE_ORDER]
        part = min(end, (granule + 1) * size) - pfn
        g = s.granules[granule]
        fresh = before == NEVER_USED and g.fresh > 0
        epoch = np.uint32(0) if before == NEVER_USED else before
        if g.in_flight > epoch:
            g.taken += part
        if fresh or epoch < g.reported:
            _fault(s, granule, part, fresh, now_ns)
        pfn += part


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def appear(s: State, pfn: Int, frames: Int, now_ns: Int) -> None:
    """Frames that were not managed before join the guest: the host has no memory for them yet."""
    for frame in range(pfn, pfn + frames):
        s.granules[frame >> s.shape[GRANULE_ORDER]].fresh += 1
        s.pages[frame >> s.shape[HOST_ORDER]].fresh += 1
    change(s, NEVER_BACKED, frames, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.uint32))
def hand_over(s: State, unit: Int, epoch: Int) -> None:
    """A unit goes to the device."""
    per_unit = np.int64(1) << (s.shape[ORDER] - s.shape[GRANULE_ORDER])
    for granule in range(unit * per_unit, (unit + 1) * per_unit):
        s.granules[granule].in_flight = epoch
        s.granules[granule].taken = 0


@compiled(nb.uint32(STATE, nb.int64), inline=True)
def epoch_in_flight(s: State, unit: Int) -> Int:
    """Epoch in which a unit was handed to the device, 0 when it is not there."""
    return s.granules[unit << (s.shape[ORDER] - s.shape[GRANULE_ORDER])].in_flight


@compiled(nb.void(STATE, nb.int64, nb.int64))
def hand_back(s: State, unit: Int, now_ns: Int) -> None:
    """A unit comes back from the device: what exited meanwhile is in use, so it is backed again.

    Unless the report failed: then nothing was taken away.
    """
    take_out(s, unit, now_ns)
    s.units[unit].flags &= ~np.uint8(IN_HANDS)
    put_in(s, unit, now_ns)
    per_unit = np.int64(1) << (s.shape[ORDER] - s.shape[GRANULE_ORDER])
    for granule in range(unit * per_unit, (unit + 1) * per_unit):
        g = s.granules[granule]
        g.in_flight = 0
        if g.taken and g.away and not s.device[0].failed:
            _fault(s, granule, np.int64(g.taken), False, now_ns)
        g.taken = 0


@compiled(nb.boolean(STATE, nb.int64), inline=True)
def discards(s: State, order: Int) -> bool:
    """Does the host do anything for a reported range of this order? Where something else pins the guest's
    memory (vfio), discards are inhibited: it acknowledges, and nothing happens.
    """
    return not s.shape[INHIBITED] and (s.shape[BACKING] != BACKING_2M or order >= s.shape[HOST_ORDER])

"""What is measured: latency samples, missed and censored units, the log of reported blocks.

Weights are the frames that a report newly reclaims (or would have): what the host already lacks is
redundant and gives no sample.
"""

import numba as nb
import numpy as np

from replay import host
from replay.buddy.lists import slots_of
from replay.exact import bucket_of, settle
from replay.jit import Int, compiled
from replay.parts import backed_in_unit
from replay.state import (
    BY_CENSORING,
    BY_LATENCY,
    BY_MISS,
    CLOCK_UNKNOWN,
    FREE,
    LATENCY,
    LOGGING,
    ORDER,
    STATE,
    TOLD,
    State,
)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def sample(s: State, unit: Int, new_frames: Int, done_ns: Int) -> None:
    """A unit was reported: its latency is completion minus when it last became wholly free."""
    m = s.meters[0]
    if s.units[unit].flags & CLOCK_UNKNOWN:
        m.left_censored += new_frames
        return
    latency_ns = done_ns - s.units[unit].since_ns
    m.samples += 1
    m.reported_frames += new_frames
    m.max_latency_ns = max(m.max_latency_ns, latency_ns)
    s.histograms[BY_LATENCY, bucket_of(latency_ns)] += new_frames
    settle(s.integrals, LATENCY, new_frames, latency_ns)


@compiled(nb.boolean(STATE, nb.int64), inline=True)
def is_waiting(s: State, unit: Int) -> bool:
    """Wholly free and not told in this period."""
    return s.units[unit].flags & (FREE | TOLD) == FREE


@compiled(nb.void(STATE, nb.int64, nb.int64))
def miss(s: State, unit: Int, now_ns: Int) -> None:
    """A waiting unit is broken before it was reported: a competing end of its wait."""
    if not is_waiting(s, unit) or host.epoch_in_flight(s, unit) == s.units[unit].epoch:
        return
    frames = backed_in_unit(s, unit)
    if not frames:
        return
    m = s.meters[0]
    m.missed_units += 1
    m.missed_frames += frames
    if s.units[unit].flags & CLOCK_UNKNOWN:
        m.left_censored += frames
        return
    s.histograms[BY_MISS, bucket_of(now_ns - s.units[unit].since_ns)] += frames


@compiled(nb.void(STATE, nb.int64, nb.int64))
def censor(s: State, unit: Int, now_ns: Int) -> None:
    """A unit that waited is told, but its host does nothing: it leaves the risk set, neither reported nor
    missed.
    """
    if is_waiting(s, unit) and not s.units[unit].flags & CLOCK_UNKNOWN:
        s.histograms[BY_CENSORING, bucket_of(now_ns - s.units[unit].since_ns)] += backed_in_unit(s, unit)


@compiled(nb.int64(STATE, nb.int64))
def still_waiting(s: State, end_ns: Int) -> Int:
    """At the end: frames of waiting units, their waits booked as censored."""
    total = 0
    for unit in range(len(s.units)):
        if is_waiting(s, unit):
            frames = backed_in_unit(s, unit)
            total += frames
            if frames and not s.units[unit].flags & CLOCK_UNKNOWN:
                s.histograms[BY_CENSORING, bucket_of(end_ns - s.units[unit].since_ns)] += frames
    return total


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64))
def log_block(s: State, unit: Int, order: Int, new_frames: Int, submit_ns: Int, done_ns: Int) -> None:
    """One row of the report log, when it is kept."""
    m = s.meters[0]
    if not s.shape[LOGGING]:
        return
    row = s.log[m.logged]
    row.submit_ns = submit_ns
    row.done_ns = done_ns
    row.call = m.calls
    row["pass"] = m.passes
    row.pfn = unit << s.shape[ORDER]
    row.new_frames = new_frames
    row.order = order
    row.zone = s.area.blocks[unit].zone
    row.migratetype = s.area.blocks[unit].migratetype
    m.logged += 1


@compiled(nb.int64(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def report_block(s: State, unit: Int, order: Int, submit_ns: Int, done_ns: Int) -> Int:
    """A report of a block completes: the host discards, each unit gives a sample; returns new frames.

    The epochs are those in which the units were handed to the device.
    """
    m = s.meters[0]
    size = np.int64(1) << order
    does = host.discards(s, order)
    m.blocks += 1
    m.discards += does
    m.frames += size
    new = np.int64(0)
    for each in range(unit, unit + slots_of(s.area, order)):
        epoch = host.epoch_in_flight(s, each)
        if does:
            gained = host.discard_unit(s, each, epoch, done_ns)
            if gained:
                sample(s, each, gained, done_ns)
            new += gained
        if s.units[each].epoch == epoch:
            if not does:
                censor(s, each, done_ns)
            s.units[each].flags |= np.uint8(TOLD)  # still in hands: its part is the same
    if does:
        m.redundant += size - new
    else:
        m.acknowledged_only += size
    log_block(s, unit, order, new, submit_ns, done_ns)
    return new

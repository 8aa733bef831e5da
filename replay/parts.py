"""Which part of managed memory each backed free frame is in, kept up to date as units change.

A wholly free unit's backed frames are held (a policy or the device has it), kept (it was told in this
period, and the host backs them all the same), gated (not told, in a zone whose last visit by the
policy a watermark refused) or waiting for a pass. Whoever changes a unit's flags, its report or what
the host backs of it takes it out of its part before, and puts it into one after.
"""

import numba as nb
import numpy as np

from replay.buddy.lists import slots_of
from replay.exact import settle
from replay.jit import Int, compiled
from replay.state import (
    FREE,
    GRANULE_ORDER,
    IN_HANDS,
    ORDER,
    PART_GATED,
    PART_HELD,
    PART_KEPT,
    PART_WAITING,
    STATE,
    TOLD,
    State,
)


@compiled(nb.void(STATE, nb.int64, nb.int64), inline=True)
def advance(s: State, row: Int, now_ns: Int) -> None:
    """Bring a level's integral and timeline to `now_ns`, before it changes.

    The peak is of what an instant ends with, not of what passes within one.
    """
    level = s.levels[row]
    if now_ns == level.now_ns:
        return
    level.peak = max(level.peak, level.frames)
    while level.bin < len(s.bins_ns) and s.bins_ns[level.bin] < now_ns:
        s.timeline[row, level.bin] = level.frames
        level.bin += 1
    settle(s.integrals, row, level.frames, now_ns - level.now_ns)
    level.now_ns = now_ns


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64), inline=True)
def change(s: State, row: Int, frames: Int, now_ns: Int) -> None:
    """A level rises by so many frames, or falls."""
    if frames:
        advance(s, row, now_ns)
        s.levels[row].frames += frames


@compiled(nb.void(STATE, nb.int64))
def close(s: State, end_ns: Int) -> None:
    """Tell all levels up to the end."""
    for row in range(len(s.levels)):
        advance(s, row, end_ns)
        level = s.levels[row]
        level.peak = max(level.peak, level.frames)
        while level.bin < len(s.bins_ns):
            s.timeline[row, level.bin] = level.frames
            level.bin += 1


@compiled(nb.int64(STATE, nb.int64), inline=True)
def backed_in_unit(s: State, unit: Int) -> Int:
    """Frames of a unit that the host still backs."""
    per_unit = np.int64(1) << (s.shape[ORDER] - s.shape[GRANULE_ORDER])
    first = s.granules[unit * per_unit]  # mostly the only one, for which a loop is too much
    backed = (np.int64(1) << s.shape[ORDER]) - np.int64(first.away) - np.int64(first.fresh)
    for granule in range(unit * per_unit + 1, (unit + 1) * per_unit):
        backed -= np.int64(s.granules[granule].away) + np.int64(s.granules[granule].fresh)
    return backed


@compiled(nb.int64(STATE, nb.int64), inline=True)
def part_of(s: State, unit: Int) -> Int:
    """The part that a wholly free unit's backed frames are in."""
    u = s.units[unit]
    if u.flags & IN_HANDS:
        return PART_HELD
    if u.flags & TOLD:
        return PART_KEPT
    return PART_GATED if s.zones[s.area.blocks[unit].zone].refused else PART_WAITING


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64), inline=True)
def _shift(s: State, unit: Int, sign: Int, now_ns: Int) -> None:
    frames = sign * backed_in_unit(s, unit)
    if frames == 0:
        return
    part = part_of(s, unit)
    change(s, part, frames, now_ns)
    if part in (PART_GATED, PART_WAITING):
        s.zones[s.area.blocks[unit].zone].untold += frames


@compiled(nb.void(STATE, nb.int64, nb.int64), inline=True)
def take_out(s: State, unit: Int, now_ns: Int) -> None:
    """Something of a unit is about to change."""
    if s.units[unit].flags & FREE:
        _shift(s, unit, -1, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64), inline=True)
def put_in(s: State, unit: Int, now_ns: Int) -> None:
    """It has changed."""
    if s.units[unit].flags & FREE:
        _shift(s, unit, 1, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.boolean, nb.int64))
def into_hands(s: State, unit: Int, order: Int, held: bool, now_ns: Int) -> None:
    """The units of a block come into the policy's hands, or leave them.

    As if each was taken out and put in, but its parts change once.
    """
    hands = np.uint8(IN_HANDS) if held else np.uint8(0)
    kept, untold = np.int64(0), np.int64(0)
    for each in range(unit, unit + slots_of(s.area, order)):
        u = s.units[each]
        if u.flags & FREE and u.flags & IN_HANDS != hands:
            frames = backed_in_unit(s, each)
            if u.flags & TOLD:
                kept += frames
            else:
                untold += frames
        u.flags = (u.flags & ~np.uint8(IN_HANDS)) | hands
    if not held:
        kept, untold = -kept, -untold
    zone = s.zones[s.area.blocks[unit].zone]
    zone.untold -= untold
    change(s, PART_HELD, kept + untold, now_ns)
    change(s, PART_KEPT, -kept, now_ns)
    change(s, PART_GATED if zone.refused else PART_WAITING, -untold, now_ns)


@compiled(nb.void(STATE, nb.int64, nb.boolean, nb.int64))
def visit(s: State, zone: Int, refused: bool, now_ns: Int) -> None:
    """The policy comes to a zone; a watermark refuses it, or lets it in."""
    z = s.zones[zone]
    if (z.refused != 0) == refused:
        return
    z.refused = refused
    gated = z.untold if refused else -z.untold
    change(s, PART_GATED, gated, now_ns)
    change(s, PART_WAITING, -gated, now_ns)

"""What a policy does to the lists: it isolates blocks, puts them back, and marks lists.

Isolation is temporary. A held block is on no list, counts against the watermarks, and nothing merges
with it; a recorded exit that hits it wins (a collision). Rules from mm/page_isolation.c and
mm/page_alloc.c: `__isolate_free_page`, `__putback_isolated_page`; `page_reporting_drain`.
"""

import numba as nb
import numpy as np

from replay.buddy.area import HELD, NOBODY
from replay.buddy.lists import (
    block_of,
    flag_reported,
    put_back,
    rotate_to_front,
    slots_of,
    take,
    turn,
    unlink,
)
from replay.device import listed, slot_at
from replay.exact import settle
from replay.geometry import MOVABLE
from replay.jit import Int, compiled
from replay.parts import into_hands, visit
from replay.state import DISSOLVED, EMPTY, HELD_FRAMES, ISOLATED, STATE, State

MS = 1_000_000

# isolate: pageblocks keep their types; the first one does, and the others turn MOVABLE.
KEPT, FIRST_KEPT = -1, -2


@compiled(nb.int64(STATE, nb.int64))
def free_known(s: State, zone: Int) -> Int:
    """Free frames of a zone as a policy reads them: without those it holds isolated."""
    return s.zones[zone].free - s.zones[zone].held


@compiled(nb.void(STATE, nb.int64))
def read_counts(s: State, now_ns: Int) -> None:
    """Let the zones' counts of milliseconds that are over become visible."""
    for zone in range(len(s.zones)):
        if s.zones[zone].latest_ms < now_ns // MS:
            s.zones[zone].free = s.zones[zone].latest_free


@compiled(nb.boolean(STATE, nb.int64, nb.int64, nb.int64))
def isolate(s: State, unit: Int, migratetype: Int, now_ns: Int) -> bool:
    """__isolate_free_page(): take a listed block into the batch's next slot, of which there must be one.

    Refused when the zone would fall to its min watermark. From half a pageblock on, its pageblocks turn
    to `migratetype`: MOVABLE in the kernel; KEPT, or FIRST_KEPT where a policy restores the block's type.
    """
    block = s.area.blocks[unit]
    order, zone = np.int64(block.order), np.int64(block.zone)
    size = np.int64(1) << order
    if free_known(s, zone) <= s.zones[zone].min + size:
        visit(s, zone, True, now_ns)
        return False
    list_type = block.migratetype
    unlink(s.area, unit)
    s.meters[0].isolations += 1
    s.zones[zone].held += size
    device = s.device[0]
    device.first -= 1
    slot = s.slots[device.first]
    slot.unit, slot.order, slot.migratetype, slot.zone = unit, order, list_type, zone
    slot.isolated_ns = now_ns
    slot.state = ISOLATED
    block.order = order
    block.flags |= np.uint8(HELD)
    block.next = device.first
    if migratetype == FIRST_KEPT:
        turn(s.area, unit, order, MOVABLE, 1)
    elif migratetype != KEPT:
        turn(s.area, unit, order, migratetype, 0)
    into_hands(s, unit, order, True, now_ns)
    return True


@compiled(nb.void(STATE, nb.int64, nb.int64))
def _release(s: State, slot_index: Int, now_ns: Int) -> None:
    """A held block stops being held."""
    slot = s.slots[slot_index]
    size = np.int64(1) << np.int64(slot.order)
    s.zones[slot.zone].held -= size
    settle(s.integrals, HELD_FRAMES, size, now_ns - slot.isolated_ns)
    s.area.blocks[slot.unit].order = -1
    s.area.blocks[slot.unit].flags &= ~np.uint8(HELD)
    if not s.device[0].busy:  # a busy device has its units until it is done
        into_hands(s, np.int64(slot.unit), np.int64(slot.order), False, now_ns)


@compiled(nb.boolean(STATE, nb.int64, nb.int64, nb.boolean))
def _empty(s: State, slot_index: Int, now_ns: Int, mark: bool) -> bool:
    """Put a slot's block back, unless an exit took it; True when there was one."""
    slot, device = s.slots[slot_index], s.device[0]
    found = slot.state == ISOLATED
    if found:
        unit, order = np.int64(slot.unit), np.int64(slot.order)
        _release(s, slot_index, now_ns)
        head, merged = put_back(s.area, unit, order, device.to_tail != 0)
        if mark and not device.failed and head == unit and merged == order:
            flag_reported(s.area, unit)
    slot.state = EMPTY
    return found


@compiled(nb.void(STATE, nb.int64, nb.boolean))
def drain(s: State, now_ns: Int, mark: bool) -> None:
    """page_reporting_drain(): put the batch back, in the order of the list, and empty it.

    With `mark`, unless its report failed, a block that did not merge on its way back is flagged reported.
    """
    device = s.device[0]
    for place in range(listed(s)):
        _empty(s, slot_at(s, place), now_ns, mark)
    device.first = device.capacity


@compiled(nb.int64(STATE, nb.int64))
def undo(s: State, now_ns: Int) -> Int:
    """Put the batch back, the block that was isolated last first, and empty it; how many there were."""
    device, blocks = s.device[0], 0
    for index in range(device.first, device.capacity):
        blocks += _empty(s, index, now_ns, False)
    device.first = device.capacity
    return blocks


@compiled(nb.void(STATE, nb.int64))
def hold(s: State, now_ns: Int) -> None:
    """The device is done, and the policy holds the batch still."""
    device = s.device[0]
    for index in range(device.first, device.capacity):
        slot = s.slots[index]
        if slot.state == ISOLATED:
            into_hands(s, np.int64(slot.unit), np.int64(slot.order), True, now_ns)


@compiled(nb.void(STATE, nb.int64))
def rotate(s: State, unit: Int) -> None:
    """Let the next walk of a block's list begin with it."""
    if rotate_to_front(s.area, unit):
        s.meters[0].list_rotations += 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def _collide(s: State, head: Int, unit: Int, target: Int, now_ns: Int) -> None:
    """A recorded exit hits a held block: the exit wins, the rest is put back, largest piece first."""
    slot_index = np.int64(s.area.blocks[head].next)
    slot = s.slots[slot_index]
    order = np.int64(slot.order)
    s.meters[0].collisions += 1
    s.meters[0].collision_frames += np.int64(1) << order
    _release(s, slot_index, now_ns)
    slot.state = DISSOLVED
    while order > target:
        order -= 1
        half = head + slots_of(s.area, order)
        if unit >= half:
            half, head = head, half
        put_back(s.area, half, order, s.device[0].to_tail != 0)


@compiled(nb.void(STATE, nb.int64), inline=True)
def _note_choice(s: State, head: Int) -> None:
    """Was this the block the allocator would have taken: the head of its list?"""
    block = s.area.blocks[head]
    s.meters[0].broken += 1
    if s.area.lists[block.zone, block.order, block.migratetype].head != head:
        s.meters[0].broken_not_head += 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def leave(s: State, unit: Int, order: Int, migratetype: Int, now_ns: Int) -> None:
    """A recorded exit of a whole block of units: out of whatever blocks the model has there.

    `migratetype`: of the list that what is left of a split block goes to, -1: stays on.
    """
    end = unit + slots_of(s.area, order)
    while unit < end:
        head = block_of(s.area, unit)
        if head == NOBODY:
            s.meters[0].inconsistent += 1
            unit += 1
            continue
        target = min(order, np.int64(s.area.blocks[head].order))
        if s.area.blocks[head].flags & HELD:
            _collide(s, head, unit, target, now_ns)
        else:
            _note_choice(s, head)
            take(s.area, head, unit, target, migratetype)
        unit += slots_of(s.area, target)

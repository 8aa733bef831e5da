"""Step 2's free lists: blocks of orders >= R, per zone, order and migratetype, in the kernel's order.

Rules from mm/page_alloc.c: `__free_one_page` and `buddy_merge_likely` (merging, head or tail),
`expand` (remainders to the head), `__del_page_from_free_list` (the reported flag goes with any
removal), `__isolate_free_page`, `__putback_isolated_page`; `list_rotate_to_front` from list.h.
Known from the events: which frames enter and leave. Inferred: which block they merge into or come
out of. Assumed: remainders stay on the list of the block they come from.
"""

import numba as nb
import numpy as np

from replay.exact import settle
from replay.geometry import MERGEABLE_TYPES, MOVABLE
from replay.jit import Int, compiled
from replay.state import (
    DISSOLVED,
    EMPTY,
    HELD,
    HELD_FRAMES,
    ISOLATED,
    MAX_ORDER,
    NOBODY,
    ORDER,
    PAGEBLOCK_ORDER,
    REPORTED,
    STATE,
    TO_TAIL,
    State,
)

MS = 1_000_000


@compiled(nb.int64(STATE, nb.int64), inline=True)
def pageblock_type(s: State, unit: Int) -> Int:
    """Migratetype of the pageblock that a unit begins in."""
    return np.int64(s.types[(unit << s.shape[ORDER]) >> s.shape[PAGEBLOCK_ORDER]])


@compiled(nb.int64(STATE, nb.int64), inline=True)
def units_of(s: State, order: Int) -> Int:
    """Units in a block of this order (at least R)."""
    return np.int64(1) << (order - s.shape[ORDER])


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.boolean))
def link(s: State, unit: Int, order: Int, migratetype: Int, tail: bool) -> None:
    """Put a block on its list."""
    block = s.units[unit]
    block.order = order
    block.migratetype = migratetype
    free_list = s.lists[block.zone, order, migratetype]
    if tail:
        block.prev, block.next = free_list.tail, NOBODY
        if free_list.tail == NOBODY:
            free_list.head = unit
        else:
            s.units[free_list.tail].next = unit
        free_list.tail = unit
    else:
        block.prev, block.next = NOBODY, free_list.head
        if free_list.head == NOBODY:
            free_list.tail = unit
        else:
            s.units[free_list.head].prev = unit
        free_list.head = unit
    s.nr_free[block.zone, order] += 1


@compiled(nb.void(STATE, nb.int64))
def unlink(s: State, unit: Int) -> None:
    """Take a block off its list; its reported flag goes with it."""
    block = s.units[unit]
    free_list = s.lists[block.zone, block.order, block.migratetype]
    if block.prev == NOBODY:
        free_list.head = block.next
    else:
        s.units[block.prev].next = block.next
    if block.next == NOBODY:
        free_list.tail = block.prev
    else:
        s.units[block.next].prev = block.prev
    s.nr_free[block.zone, block.order] -= 1
    block.order = -1
    block.flags &= ~np.uint8(REPORTED)


@compiled(nb.boolean(STATE, nb.int64, nb.int64, nb.int64), inline=True)
def is_listed(s: State, unit: Int, order: Int, zone: Int) -> bool:
    """Is this the head of a listed (not isolated) block of exactly this order in this zone?"""
    if unit < s.zones[zone].start_unit or unit >= s.zones[zone].end_unit:
        return False
    block = s.units[unit]
    return block.order == order and not block.flags & HELD


@compiled(nb.boolean(STATE, nb.int64, nb.int64, nb.int64))
def merge_likely(s: State, unit: Int, order: Int, zone: Int) -> bool:
    """buddy_merge_likely(): the block's next-higher buddy is free, so keep it unused a while."""
    if order >= s.shape[MAX_ORDER] - 1:
        return False
    size = units_of(s, order)
    return is_listed(s, (unit & ~size) ^ (2 * size), order + 1, zone)


@compiled(nb.types.UniTuple(nb.int64, 2)(STATE, nb.int64, nb.int64, nb.int64, nb.boolean))
def insert(s: State, unit: Int, order: Int, migratetype: Int, put_back: bool) -> tuple[Int, Int]:
    """Free a block: merge it with its buddies, list it; returns (head unit, order) of the result."""
    zone = np.int64(s.units[unit].zone)
    while order < s.shape[MAX_ORDER]:
        buddy = unit ^ units_of(s, order)
        if not is_listed(s, buddy, order, zone):
            break
        if order >= s.shape[PAGEBLOCK_ORDER]:
            other = np.int64(s.units[buddy].migratetype)
            if other != migratetype and max(other, migratetype) >= MERGEABLE_TYPES:
                break
        unlink(s, buddy)
        unit = min(unit, buddy)
        order += 1
    tail = merge_likely(s, unit, order, zone) if not (put_back and s.shape[TO_TAIL]) else True
    link(s, unit, order, migratetype, tail)
    return unit, order


@compiled(nb.int64(STATE, nb.int64))
def block_of(s: State, unit: Int) -> Int:
    """Head of the listed or held block that contains a unit, or NOBODY."""
    order = s.shape[ORDER]
    while order <= s.shape[MAX_ORDER]:
        head = unit & ~(units_of(s, order) - 1)
        if s.units[head].order == order:
            return head
        order += 1
    return NOBODY


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


@compiled(nb.boolean(STATE, nb.int64, nb.int64))
def isolate(s: State, unit: Int, now_ns: Int) -> bool:
    """__isolate_free_page(): take a listed block into the batch's next slot.

    Refused when the zone would fall to its min watermark. Turns the pageblocks of a block of at
    least half a pageblock movable.
    """
    block = s.units[unit]
    order, zone = np.int64(block.order), np.int64(block.zone)
    size = np.int64(1) << order
    if free_known(s, zone) <= s.zones[zone].min + size:
        return False
    migratetype = block.migratetype
    unlink(s, unit)
    s.zones[zone].held += size
    device = s.device[0]
    device.first -= 1
    slot = s.slots[device.first]
    slot.unit, slot.order, slot.migratetype, slot.zone = unit, order, migratetype, zone
    slot.isolated_ns = now_ns
    slot.state = ISOLATED
    block.order = order
    block.flags |= np.uint8(HELD)
    block.next = device.first
    if order >= s.shape[PAGEBLOCK_ORDER] - 1:
        first = (unit << s.shape[ORDER]) >> s.shape[PAGEBLOCK_ORDER]
        for pageblock in range(first, first + max(size >> s.shape[PAGEBLOCK_ORDER], 1)):
            if s.types[pageblock] < MERGEABLE_TYPES:
                s.types[pageblock] = MOVABLE
    return True


@compiled(nb.void(STATE, nb.int64, nb.int64))
def _release(s: State, slot_index: Int, now_ns: Int) -> None:
    """A held block stops being held."""
    slot = s.slots[slot_index]
    size = np.int64(1) << np.int64(slot.order)
    s.zones[slot.zone].held -= size
    settle(s.integrals, HELD_FRAMES, size, now_ns - slot.isolated_ns)
    s.units[slot.unit].order = -1
    s.units[slot.unit].flags &= ~np.uint8(HELD)


@compiled(nb.void(STATE, nb.int64, nb.boolean))
def drain(s: State, now_ns: Int, mark: bool) -> None:
    """page_reporting_drain(): put the batch back, lowest slot first, and empty it.

    With `mark`, a block that did not merge on its way back is flagged reported.
    """
    device = s.device[0]
    for index in range(device.first, device.capacity):
        slot = s.slots[index]
        if slot.state == ISOLATED:
            unit, order = np.int64(slot.unit), np.int64(slot.order)
            _release(s, index, now_ns)
            head, merged = insert(s, unit, order, pageblock_type(s, unit), True)
            if mark and head == unit and merged == order:
                s.units[unit].flags |= np.uint8(REPORTED)
        slot.state = EMPTY
    device.first = device.capacity


@compiled(nb.void(STATE, nb.int64))
def rotate_to_front(s: State, unit: Int) -> None:
    """list_rotate_to_front(): make a block its list's head, the ones before it going to the tail."""
    block = s.units[unit]
    if block.prev == NOBODY:
        return
    free_list = s.lists[block.zone, block.order, block.migratetype]
    old_head, old_tail, new_tail = free_list.head, free_list.tail, block.prev
    s.units[old_tail].next = old_head
    s.units[old_head].prev = old_tail
    s.units[new_tail].next = NOBODY
    block.prev = NOBODY
    free_list.head, free_list.tail = unit, new_tail
    s.meters[0].list_rotations += 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64))
def _split(s: State, head: Int, order: Int, unit: Int, target: Int, migratetype: Int) -> None:
    """expand(): from a block taken off the lists, the halves away from `unit` go to the head."""
    while order > target:
        order -= 1
        size = units_of(s, order)
        half = head + size
        if unit >= half:
            half, head = head, half
        link(s, half, order, migratetype, False)


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def _collide(s: State, head: Int, unit: Int, target: Int, now_ns: Int) -> None:
    """A recorded exit hits a held block: the exit wins, the rest is put back, largest piece first."""
    slot_index = np.int64(s.units[head].next)
    slot = s.slots[slot_index]
    order = np.int64(slot.order)
    migratetype = pageblock_type(s, head)
    s.meters[0].collisions += 1
    s.meters[0].collision_frames += np.int64(1) << order
    _release(s, slot_index, now_ns)
    slot.state = DISSOLVED
    while order > target:
        order -= 1
        half = head + units_of(s, order)
        if unit >= half:
            half, head = head, half
        insert(s, half, order, migratetype, True)


@compiled(nb.void(STATE, nb.int64))
def _note_choice(s: State, head: Int) -> None:
    """Was this the block the allocator would have taken: the head of its list?"""
    block = s.units[head]
    s.meters[0].broken += 1
    if s.lists[block.zone, block.order, block.migratetype].head != head:
        s.meters[0].broken_not_head += 1


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64))
def take(s: State, unit: Int, order: Int, now_ns: Int) -> None:
    """A recorded exit of a whole block of units: out of whatever blocks the model has there."""
    end = unit + units_of(s, order)
    while unit < end:
        head = block_of(s, unit)
        if head == NOBODY:
            s.meters[0].inconsistent += 1
            unit += 1
            continue
        found = np.int64(s.units[head].order)
        target = min(order, found)
        if s.units[head].flags & HELD:
            _collide(s, head, unit, target, now_ns)
        else:
            _note_choice(s, head)
            migratetype = np.int64(s.units[head].migratetype)
            unlink(s, head)
            _split(s, head, found, unit, target, migratetype)
        unit += units_of(s, target)

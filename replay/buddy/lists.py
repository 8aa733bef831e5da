"""How blocks move on the free lists: merging, splitting, head or tail, and changes of type.

Rules from mm/page_alloc.c: `__free_one_page` and `buddy_merge_likely` (merging, head or tail),
`expand` (remainders to the head), `__del_page_from_free_list` (the reported flag goes with any
removal), `move_freepages` (not with a move between lists); `list_rotate_to_front` from list.h.

Known from the events: which frames enter and leave, when, and the type of the list they leave or
enter. Inferred: which block they merge into or come out of. Assumed: free frames merge as far as
they can, and page_alloc.shuffle is off.
"""

import numba as nb
import numpy as np

from replay.buddy.area import (
    AREA,
    BASE,
    BY_PAGEBLOCK,
    HELD,
    MAX_ORDER,
    NOBODY,
    PAGEBLOCK_ORDER,
    REPORTED,
    TO_TAIL,
    Area,
)
from replay.geometry import MERGEABLE_TYPES, MOVABLE
from replay.jit import Int, compiled


@compiled(nb.int64(AREA, nb.int64), inline=True)
def slots_of(a: Area, order: Int) -> Int:
    """Slots in a block of this order (at least the base)."""
    return np.int64(1) << (order - a.shape[BASE])


@compiled(nb.int64(AREA, nb.int64), inline=True)
def pageblock_of(a: Area, slot: Int) -> Int:
    """The pageblock that a slot begins in."""
    return (slot << a.shape[BASE]) >> a.shape[PAGEBLOCK_ORDER]


@compiled(nb.int64(AREA, nb.int64), inline=True)
def pageblock_type(a: Area, slot: Int) -> Int:
    """get_pfnblock_migratetype(): the type of the pageblock that a slot begins in."""
    return np.int64(a.types[pageblock_of(a, slot)])


@compiled(nb.void(AREA, nb.int64, nb.int64))
def _link_before(a: Area, slot: Int, mark: Int) -> None:
    """Put a block next to one on a list, on the head's side of it."""
    block, behind = a.blocks[slot], a.blocks[mark]
    block.prev, block.next = behind.prev, mark
    if behind.prev == NOBODY:
        a.lists[block.zone, block.order, block.migratetype].head = slot
    else:
        a.blocks[behind.prev].next = slot
    behind.prev = slot
    a.redirected[0] += 1


@compiled(nb.void(AREA, nb.int64, nb.int64, nb.int64, nb.boolean), inline=True)
def link(a: Area, slot: Int, order: Int, migratetype: Int, tail: bool) -> None:
    """Put a block on its list."""
    block = a.blocks[slot]
    block.order = order
    block.migratetype = migratetype
    free_list = a.lists[block.zone, order, migratetype]
    if tail and free_list.mark != NOBODY:
        _link_before(a, slot, np.int64(free_list.mark))
    elif tail:
        block.prev, block.next = free_list.tail, NOBODY
        if free_list.tail == NOBODY:
            free_list.head = slot
        else:
            a.blocks[free_list.tail].next = slot
        free_list.tail = slot
    else:
        block.prev, block.next = NOBODY, free_list.head
        if free_list.head == NOBODY:
            free_list.tail = slot
        else:
            a.blocks[free_list.head].prev = slot
        free_list.head = slot
    a.nr_free[block.zone, order] += 1


@compiled(nb.void(AREA, nb.int64), inline=True)
def unlink(a: Area, slot: Int) -> None:
    """Take a block off its list; its reported flag goes with it, and a mark on it moves towards the tail."""
    block = a.blocks[slot]
    free_list = a.lists[block.zone, block.order, block.migratetype]
    if block.prev == NOBODY:
        free_list.head = block.next
    else:
        a.blocks[block.prev].next = block.next
    if block.next == NOBODY:
        free_list.tail = block.prev
    else:
        a.blocks[block.next].prev = block.prev
    a.nr_free[block.zone, block.order] -= 1
    if block.flags & REPORTED:
        a.nr_reported[block.zone, block.order] -= 1
        block.flags &= ~np.uint8(REPORTED)
        if free_list.mark == slot:
            free_list.mark = block.next
    block.order = -1


@compiled(nb.void(AREA, nb.int64), inline=True)
def flag_reported(a: Area, slot: Int) -> None:
    """__SetPageReported() on a listed block's head."""
    block = a.blocks[slot]
    block.flags |= np.uint8(REPORTED)
    a.nr_reported[block.zone, block.order] += 1


@compiled(nb.boolean(AREA, nb.int64, nb.int64, nb.int64), inline=True)
def is_listed(a: Area, slot: Int, order: Int, zone: Int) -> bool:
    """page_is_buddy(): does a listed block of exactly this order and zone begin here?"""
    if slot < a.bounds[zone, 0] or slot >= a.bounds[zone, 1]:
        return False
    block = a.blocks[slot]
    return block.order == order and not block.flags & HELD


@compiled(nb.boolean(AREA, nb.int64, nb.int64, nb.int64), inline=True)
def _merge_likely(a: Area, slot: Int, order: Int, zone: Int) -> bool:
    """buddy_merge_likely(): the block's next-higher buddy is free, so keep it unused a while."""
    if order >= a.shape[MAX_ORDER] - 1:
        return False
    size = slots_of(a, order)
    return is_listed(a, (slot & ~size) ^ (2 * size), order + 1, zone)


@compiled(nb.boolean(AREA, nb.int64, nb.int64), inline=True)
def _types_merge(a: Area, buddy: Int, migratetype: Int) -> bool:
    """From the pageblock order on, only some types merge; the buddy's may become that of the other."""
    pageblock = pageblock_of(a, buddy)
    other = np.int64(a.types[pageblock])
    if other == migratetype:
        return True
    if max(other, migratetype) >= MERGEABLE_TYPES:
        return False
    if a.shape[BY_PAGEBLOCK]:
        a.types[pageblock] = migratetype
    return True


@compiled(nb.types.UniTuple(nb.int64, 2)(AREA, nb.int64, nb.int64, nb.boolean), inline=True)
def _insert(a: Area, slot: Int, order: Int, tail: bool) -> tuple[Int, Int]:
    """__free_one_page(): merge a block with its buddies and list it."""
    zone = np.int64(a.blocks[slot].zone)
    migratetype = pageblock_type(a, slot)
    while order < a.shape[MAX_ORDER]:
        buddy = slot ^ slots_of(a, order)
        if not is_listed(a, buddy, order, zone):
            break
        if order >= a.shape[PAGEBLOCK_ORDER] and not _types_merge(a, buddy, migratetype):
            break
        unlink(a, buddy)
        slot = min(slot, buddy)
        order += 1
    link(a, slot, order, migratetype, tail or _merge_likely(a, slot, order, zone))
    return slot, order


@compiled(nb.types.UniTuple(nb.int64, 2)(AREA, nb.int64, nb.int64, nb.boolean))
def put_back(a: Area, slot: Int, order: Int, tail: bool) -> tuple[Int, Int]:
    """__putback_isolated_page(): as `insert`, but whole, and with `tail` to the tail in any case."""
    return _insert(a, slot, order, tail)


@compiled(nb.int64(AREA, nb.int64), inline=True)
def entering_order(a: Area, order: Int) -> Int:
    """The order in which a block is freed: one larger than a pageblock enters pageblock by pageblock
    where the kernel does so (split_large_buddy()).
    """
    if a.shape[BY_PAGEBLOCK]:
        return min(order, max(a.shape[PAGEBLOCK_ORDER], a.shape[BASE]))
    return order


@compiled(nb.types.UniTuple(nb.int64, 2)(AREA, nb.int64, nb.int64, nb.boolean), inline=True)
def insert(a: Area, slot: Int, order: Int, new: bool) -> tuple[Int, Int]:
    """Free a block onto the list of its pageblock's type; (first slot, order) of what it merged into.

    Memory that is `new` to the guest goes to the tail (__free_pages_core()).
    """
    tail = new and a.shape[TO_TAIL] != 0
    end, piece = slot + slots_of(a, order), entering_order(a, order)
    merged = (slot, order)
    while slot < end:
        merged = _insert(a, slot, piece, tail)
        slot += slots_of(a, piece)
    return merged


@compiled(nb.int64(AREA, nb.int64), inline=True)
def block_of(a: Area, slot: Int) -> Int:
    """First slot of the listed or held block that contains a slot, or NOBODY."""
    order = a.shape[BASE]
    while order <= a.shape[MAX_ORDER]:
        first = slot & ~(slots_of(a, order) - 1)
        if a.blocks[first].order == order:
            return first
        order += 1
    return NOBODY


@compiled(nb.void(AREA, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def take(a: Area, first: Int, slot: Int, target: Int, migratetype: Int) -> None:
    """A listed block leaves, but only the `target` order around `slot` is wanted.

    expand(): the halves away from it go to the head of a list: of `migratetype`, or, where that is
    -1, of the one they come from.
    """
    order = np.int64(a.blocks[first].order)
    if migratetype < 0:
        migratetype = np.int64(a.blocks[first].migratetype)
    unlink(a, first)
    while order > target:
        order -= 1
        half = first + slots_of(a, order)
        if slot >= half:
            half, first = first, half
        link(a, half, order, migratetype, False)


@compiled(nb.boolean(AREA, nb.int64))
def rotate_to_front(a: Area, slot: Int) -> bool:
    """list_rotate_to_front(): make a block its list's head, the ones before it going to the tail.

    False when it was the head.
    """
    block = a.blocks[slot]
    if block.prev == NOBODY:
        return False
    free_list = a.lists[block.zone, block.order, block.migratetype]
    old_head, old_tail, new_tail = free_list.head, free_list.tail, block.prev
    a.blocks[old_tail].next = old_head
    a.blocks[old_head].prev = old_tail
    a.blocks[new_tail].next = NOBODY
    block.prev = NOBODY
    free_list.head, free_list.tail = slot, new_tail
    return True


@compiled(nb.void(AREA, nb.int64, nb.int64))
def move_blocks(a: Area, pageblock: Int, migratetype: Int) -> None:
    """move_freepages(): a pageblock's free blocks go to the tails of another type's lists.

    In ascending order; they stay reported. A block larger than the pageblock stays.
    """
    if a.shape[BASE] > a.shape[PAGEBLOCK_ORDER]:
        return
    slot = (pageblock << a.shape[PAGEBLOCK_ORDER]) >> a.shape[BASE]
    end = slot + slots_of(a, a.shape[PAGEBLOCK_ORDER])
    while slot < end:
        block = a.blocks[slot]
        order = np.int64(block.order)
        if order < 0 or order > a.shape[PAGEBLOCK_ORDER]:
            slot += 1
            continue
        if block.migratetype != migratetype and not block.flags & HELD:
            reported = block.flags & REPORTED
            unlink(a, slot)
            link(a, slot, order, migratetype, True)
            if reported:
                flag_reported(a, slot)
        slot += slots_of(a, order)


@compiled(nb.void(AREA, nb.int64, nb.int64, nb.boolean))
def set_type(a: Area, pageblock: Int, migratetype: Int, with_blocks: bool) -> None:
    """A pageblock gets another type, and its free blocks the lists of that type."""
    if a.types[pageblock] == migratetype:
        return
    a.types[pageblock] = migratetype
    if with_blocks:
        move_blocks(a, pageblock, migratetype)


@compiled(nb.void(AREA, nb.int64, nb.int64, nb.int64, nb.int64))
def turn(a: Area, slot: Int, order: Int, migratetype: Int, kept: Int) -> None:
    """Half a pageblock or more is taken: its pageblocks, but the first `kept`, get another type.

    Those of the mergeable types; where lists follow pageblocks, what else is free in them moves too.
    """
    if order < a.shape[PAGEBLOCK_ORDER] - 1:
        return
    first, pageblocks = pageblock_of(a, slot), np.int64(1) << max(order - a.shape[PAGEBLOCK_ORDER], 0)
    for pageblock in range(first + kept, first + pageblocks):
        if a.types[pageblock] < MERGEABLE_TYPES:
            set_type(a, pageblock, migratetype, a.shape[BY_PAGEBLOCK] != 0)


@compiled(nb.void(AREA, nb.int64, nb.int64))
def turn_movable(a: Area, slot: Int, order: Int) -> None:
    """__isolate_free_page(): isolating half a pageblock or more turns its pageblocks movable."""
    turn(a, slot, order, MOVABLE, 0)

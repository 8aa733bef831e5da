"""Which block the allocator takes: mm/page_alloc.c since 6.10, without per-CPU lists and compaction.

The rules of splitting and merging are `replay.buddy.lists`; here is what chooses: __rmqueue_smallest(),
and, where a type's lists are empty, __rmqueue_claim() with try_to_claim_block(), then __rmqueue_steal().
"""

import numba as nb
import numpy as np

from replay.buddy.area import AREA, MAX_ORDER, NOBODY, PAGEBLOCK_ORDER, Area
from replay.buddy.lists import pageblock_of, set_type, slots_of, take
from replay.geometry import MOVABLE, RECLAIMABLE, UNMOVABLE
from replay.jit import Int, compiled

# Which events tell of a taking: mm_page_alloc_zone_locked, mm_page_alloc_extfrag, or the one and the other.
ZONE_LOCKED, EXTFRAG, BOTH = range(3)
_TAKEN = nb.types.UniTuple(nb.int64, 3)

# fallbacks[] of mm/page_alloc.c: by type, whose blocks are taken first and second.
_FALLBACKS = ((RECLAIMABLE, MOVABLE), (RECLAIMABLE, UNMOVABLE), (UNMOVABLE, MOVABLE))


@compiled(nb.int64(AREA, nb.int64, nb.int64, nb.int64), inline=True)
def _smallest(a: Area, zone: Int, order: Int, migratetype: Int) -> Int:
    """__rmqueue_smallest(): the head of the first list of that type that has a block, split; or NOBODY."""
    for found in range(order, a.shape[MAX_ORDER] + 1):
        slot = np.int64(a.lists[zone, found, migratetype].head)
        if slot != NOBODY:
            take(a, slot, slot, order, migratetype)
            return slot
    return NOBODY


@compiled(nb.int64(AREA, nb.int64, nb.int64, nb.int64))
def _fallback(a: Area, zone: Int, order: Int, migratetype: Int) -> Int:
    """find_suitable_fallback(): the type whose list of that order has a block, or -1."""
    for other in _FALLBACKS[migratetype]:
        if a.lists[zone, order, other].head != NOBODY:
            return np.int64(other)
    return -1


@compiled(nb.int64(AREA, nb.int64))
def _free_in(a: Area, pageblock: Int) -> Int:
    """Free frames of a pageblock, none of which is in a larger block."""
    slot, free = pageblock << a.shape[PAGEBLOCK_ORDER], np.int64(0)
    end = slot + slots_of(a, a.shape[PAGEBLOCK_ORDER])
    while slot < end:
        size = np.int64(1)
        if a.blocks[slot].order >= 0:
            size = slots_of(a, np.int64(a.blocks[slot].order))
            free += size
        slot += size
    return free


@compiled(nb.uint64(nb.int64, nb.int64, nb.int64, nb.boolean), inline=True)
def _aux(found: Int, thief: Int, victim: Int, owned: bool) -> Int:
    """What an extfrag tells, see FORMAT.md."""
    return np.uint64(found | thief << 8 | victim << 16 | np.int64(owned) << 24)


@compiled(_TAKEN(AREA, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64))
def _claim_block(a: Area, zone: Int, order: Int, thief: Int, found: Int, victim: Int) -> tuple[Int, Int, Int]:
    """try_to_claim_block(): a block of another type, and its pageblocks with it.

    A smaller block's pageblock is claimed where half of it is free. (The kernel also counts pages in use
    that would suit the thief, which it learns by looking at each.)
    """
    slot = np.int64(a.lists[zone, found, victim].head)
    pageblock, aux = pageblock_of(a, slot), _aux(found, thief, victim, True)
    if found >= a.shape[PAGEBLOCK_ORDER]:
        for each in range(pageblock, pageblock + (np.int64(1) << (found - a.shape[PAGEBLOCK_ORDER]))):
            a.types[each] = thief
        take(a, slot, slot, order, thief)
        return slot, EXTFRAG, np.int64(aux)
    first, size = pageblock << a.shape[PAGEBLOCK_ORDER], slots_of(a, a.shape[PAGEBLOCK_ORDER])
    inside = a.bounds[zone, 0] <= first and first + size <= a.bounds[zone, 1]
    if not inside or _free_in(a, pageblock) < size >> 1:
        return NOBODY, 0, 0
    set_type(a, pageblock, thief, True)
    return _smallest(a, zone, order, thief), BOTH, np.int64(aux)


@compiled(_TAKEN(AREA, nb.int64, nb.int64, nb.int64))
def _claim(a: Area, zone: Int, order: Int, thief: Int) -> tuple[Int, Int, Int]:
    """__rmqueue_claim(): the largest block of another type that is worth it (should_try_claim_block())."""
    half = a.shape[PAGEBLOCK_ORDER] // 2
    for found in range(a.shape[MAX_ORDER], order - 1, -1):
        victim = _fallback(a, zone, found, thief)
        if victim < 0:
            continue
        if thief == MOVABLE and found < half:
            break
        slot, told, aux = _claim_block(a, zone, order, thief, found, victim)
        if slot != NOBODY:
            return slot, told, aux
    return NOBODY, 0, 0


@compiled(_TAKEN(AREA, nb.int64, nb.int64, nb.int64))
def take_block(a: Area, zone: Int, order: Int, migratetype: Int) -> tuple[Int, Int, Int]:
    """__rmqueue(): a block of a zone; (its first slot or NOBODY, which events tell, aux of an extfrag)."""
    slot = _smallest(a, zone, order, migratetype)
    if slot != NOBODY:
        return slot, ZONE_LOCKED, 0
    slot, told, aux = _claim(a, zone, order, migratetype)
    if slot != NOBODY:
        return slot, told, aux
    for found in range(order, a.shape[MAX_ORDER] + 1):
        victim = _fallback(a, zone, found, migratetype)
        if victim >= 0:
            slot = np.int64(a.lists[zone, found, victim].head)
            take(a, slot, slot, order, -1)
            return slot, EXTFRAG, np.int64(_aux(found, migratetype, victim, False))
    return NOBODY, 0, 0

"""What a fallback does to types: which pageblocks the thief claims, which free blocks it takes along.

mm/page_alloc.c: before 6.10 `__rmqueue_fallback` and `steal_suitable_fallback`, then
`try_to_claim_block` and `__rmqueue_steal`. mm_page_alloc_extfrag tells the order and type of the
block that was found, the type asked for, and whether its pageblock has that type now.
"""

import numba as nb
import numpy as np

from replay.geometry import MOVABLE
from replay.jit import Int, compiled

# What happens to pageblocks (bits).
NO_CLAIM, SET_TYPE, MOVE_BLOCKS = 0, 1, 2
TURN_MOVABLE = 4  # set the type, if it is one that can be; not by a claim but by an isolation


@compiled(
    nb.types.UniTuple(nb.int64, 4)(nb.uint64, nb.int64, nb.int64, nb.int64, nb.int64, nb.boolean), inline=True
)
def claim_of(
    aux: Int, pfn: Int, max_order: Int, pageblock_order: Int, types: Int, by_pageblock: bool
) -> tuple[Int, Int, Int, Int]:
    """(what happens, first pageblock, pageblocks, list of the rest of a split block) of an extfrag.

    `types`: how many migratetypes there are; what cannot be claims nothing, and the rest's list (-1)
    is not known. `by_pageblock`: see `Rules`.

    A claim at or above the pageblock order covers the whole block. Below, it
    moves the pageblock's free blocks. Before 6.10 those moved without a claim too, when the block
    found was large or the thief not movable, and the rest of the block went with the thief.
    """
    found_order, thief = np.int64(aux & np.uint64(255)), np.int64((aux >> np.uint64(8)) & np.uint64(255))
    victim = np.int64((aux >> np.uint64(16)) & np.uint64(255))
    owned = (aux >> np.uint64(24)) & np.uint64(1) != 0
    if found_order > max_order or max(thief, victim) >= types:
        return NO_CLAIM, 0, 0, -1
    rest = thief if owned or not by_pageblock else victim
    if owned and found_order >= pageblock_order:
        first = (pfn >> found_order << found_order) >> pageblock_order
        return SET_TYPE | MOVE_BLOCKS, first, np.int64(1) << (found_order - pageblock_order), rest
    if owned:
        return SET_TYPE | MOVE_BLOCKS, pfn >> pageblock_order, 1, rest
    whole = found_order >= pageblock_order // 2 or thief != MOVABLE
    if whole and not by_pageblock:
        return MOVE_BLOCKS, pfn >> pageblock_order, 1, rest
    return NO_CLAIM, 0, 0, rest

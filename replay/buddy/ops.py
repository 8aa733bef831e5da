"""The one table that says what each recorded op means for the buddy."""

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from tracer import Guest, Op

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDERS = 64


class Meaning(IntEnum):
    """What an event does to its 2^order frames."""

    NOTHING = 0
    ENTER = 1  # they are in the buddy now
    EXIT = 2  # they have left it
    FALLBACK = 3  # an exit, unless a zone_locked in the same lock hold tells of the same block
    BAD_ORDER = 4  # larger than any free list
    UNKNOWN = 5  # an op of a newer format


def meaning_table(guest: Guest) -> "NDArray[np.uint8]":
    """`Meaning` by op and order, shape (256, 64).

    Sources: zone_locked and pcpu_drain fire under the zone lock, at the taking and after the merge
    (mm/page_alloc.c, __rmqueue_smallest and free_pcppages_bulk). mm_page_free enters the buddy only
    at orders that no pcp list takes (pcp_allowed_order); for the others the drain tells when. From
    6.10 on a fallback that steals a block fires extfrag alone; before, and when it claims half a
    pageblock, a zone_locked of the same block comes next to it. Isolation by compaction shows
    ranges, not blocks; isolation by the guest's own reporting does not count (that memory stays
    free); page_alloc and page_free of pcp orders tell of owners, not of the buddy.
    """
    table = np.full((256, ORDERS), Meaning.UNKNOWN, np.uint8)
    table[[int(op) for op in Op]] = Meaning.NOTHING
    table[Op.PCPU_DRAIN] = Meaning.ENTER
    table[Op.ZONE_LOCKED] = Meaning.EXIT
    table[Op.EXTFRAG] = Meaning.FALLBACK
    table[Op.PAGE_FREE] = Meaning.ENTER
    table[Op.PAGE_FREE, guest.pcp_orders] = Meaning.NOTHING
    moves = (table == Meaning.ENTER) | (table == Meaning.EXIT) | (table == Meaning.FALLBACK)
    moves[:, : guest.max_order + 1] = False
    table[moves] = Meaning.BAD_ORDER
    return table

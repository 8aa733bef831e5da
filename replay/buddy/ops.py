"""The one table that says what each recorded op means for the buddy."""

from collections.abc import Collection
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.rules import rules_of
from tracer import Guest, Op, Trace

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
    PUT_BACK = 6  # as ENTER, of a block that was isolated: to the tail, and nobody is notified
    ISOLATE = 7  # as EXIT, and the pageblocks of a large block turn movable
    CLAIM = 8  # of a fallback whose exit is told by another event: what it does to types
    RESHUFFLE = 9  # none of them moves, but compaction searched their zone's lists, and may reorder them


def meaning_of(trace: Trace, *, own_reporting: bool = False) -> "NDArray[np.uint8]":
    """The table for a trace, by what its probes could see."""
    recorded = {probe.op for probe in trace.manifest.probes}
    given = {"owners_only": trace.owners_only, "own_reporting": own_reporting}
    return meaning_table(trace.manifest.guest, recorded, **given)


def meaning_table(
    guest: Guest,
    recorded: Collection[int] = (),
    *,
    owners_only: bool = False,
    own_reporting: bool = False,
) -> "NDArray[np.uint8]":
    """`Meaning` by op and order, shape (256, 64). `recorded`: the ops that the trace has probes for.

    Sources: zone_locked and pcpu_drain fire under the zone lock, at the taking and after the merge
    (mm/page_alloc.c, __rmqueue_smallest and free_pcppages_bulk). mm_page_free enters the buddy only
    at orders that no pcp list takes (pcp_allowed_order); for the others the drain tells when. From
    6.10 on a fallback that steals a block fires extfrag alone; when it claims half a pageblock, a
    zone_locked of the same block comes next to it. Before, __rmqueue_fallback only moved blocks to
    the list asked for and told of the largest, and __rmqueue_smallest then took one of them, not
    always that one, with a zone_locked: there an extfrag is no exit.

    Where __free_one_page is recorded, each entry passes it or __putback_isolated_page: drains and
    frees are the same entries told twice. __isolate_free_page takes a block out of the buddy;
    compaction's tracepoints show ranges, not blocks, with it or without it: they only say that it
    searched the zone's lists (fast_isolate_freepages reorders what it searches).

    Isolation and put-back by the guest's own reporting mean nothing: that memory stays free, else
    one guest recorded on two rungs would give two answers. With `own_reporting` they mean what they
    say: for a comparison with what that kernel had on its lists.

    page_alloc, and page_free at pcp orders, tell of owners, not of the buddy: beside the buddy's own
    events they mean nothing. With `owners_only` there is nothing else, and they stand for exits and
    entries, at every order.
    """
    table = np.full((256, ORDERS), Meaning.UNKNOWN, np.uint8)
    table[[int(op) for op in Op]] = Meaning.NOTHING
    table[[Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE]] = Meaning.RESHUFFLE
    if owners_only:
        table[Op.PAGE_ALLOC] = Meaning.EXIT
        table[Op.PAGE_FREE] = Meaning.ENTER
    else:
        _tell_of_the_buddy(table, guest, recorded)
    if own_reporting:
        table[Op.REPORTING_ISOLATE] = Meaning.ISOLATE
        table[Op.REPORTING_PUT_BACK] = Meaning.PUT_BACK
    moves = ~np.isin(table, (Meaning.NOTHING, Meaning.UNKNOWN, Meaning.RESHUFFLE))
    moves[:, : guest.max_order + 1] = False
    table[moves] = Meaning.BAD_ORDER
    return table


def _tell_of_the_buddy(table: "NDArray[np.uint8]", guest: Guest, recorded: Collection[int]) -> None:
    table[Op.ZONE_LOCKED] = Meaning.EXIT
    table[Op.EXTFRAG] = Meaning.FALLBACK if rules_of(guest).by_pageblock else Meaning.CLAIM
    table[Op.ISOLATE] = Meaning.ISOLATE
    table[Op.PUT_BACK] = Meaning.PUT_BACK
    table[Op.BUDDY_FREE] = Meaning.ENTER
    if Op.BUDDY_FREE not in recorded:
        table[Op.PCPU_DRAIN] = Meaning.ENTER
        table[Op.PAGE_FREE] = Meaning.ENTER
        table[Op.PAGE_FREE, guest.pcp_orders] = Meaning.NOTHING

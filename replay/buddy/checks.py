"""What must hold of free lists at any instant: the checker beside `lists`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.area import BASE, HELD, MAX_ORDER, NOBODY, PAGEBLOCK_ORDER, REPORTED, Area

if TYPE_CHECKING:
    from numpy.typing import NDArray


def list_of(a: Area, zone: int, order: int, migratetype: int) -> list[int]:
    """First slots of the blocks on one list, from head to tail."""
    slot, found = int(a.lists[zone, order, migratetype]["head"]), []
    while slot != NOBODY:
        found.append(slot)
        slot = int(a.blocks[slot]["next"])
    return found


def covered(a: Area) -> "NDArray[np.int64]":
    """How many listed or held blocks each slot is in."""
    marks = np.zeros(len(a.blocks) + 1, np.int64)
    first = np.flatnonzero(a.blocks["order"] >= 0)
    size = 1 << (a.blocks["order"][first].astype(np.int64) - a.shape[BASE])
    np.add.at(marks, first, 1)
    np.add.at(marks, np.minimum(first + size, len(a.blocks)), -1)
    return np.cumsum(marks)[:-1]


def violations(a: Area) -> Iterator[str]:
    """Each broken invariant of the lists, in words."""
    if (covered(a) > 1).any():
        yield "two blocks of the lists overlap"
    if ((a.blocks["order"] < 0) & (a.blocks["flags"] != 0)).any():
        yield "a flag is set where no block begins"
    counted = np.zeros_like(a.nr_free)
    for (zone, order, migratetype), ends in np.ndenumerate(a.lists):
        problem, blocks = _walk(a, zone, order, migratetype, int(ends["tail"]))
        counted[zone, order] += blocks
        if problem:
            yield f"list {zone}/{order}/{migratetype}: {problem}"
            return
    if not np.array_equal(counted, a.nr_free):
        yield "the number of blocks on the lists is wrong"
    if int(counted.sum()) != int(((a.blocks["order"] >= 0) & (a.blocks["flags"] & HELD == 0)).sum()):
        yield "a block is neither held nor on a list"
    yield from _flagged(a)
    yield from _unmerged(a)


def _walk(a: Area, zone: int, order: int, migratetype: int, tail: int) -> tuple[str, int]:
    """Is a list linked both ways, and all of one kind? What is wrong, and its length."""
    before, count = NOBODY, 0
    for slot in list_of(a, zone, order, migratetype):
        block = a.blocks[slot]
        kind = (int(block["zone"]), int(block["order"]), int(block["migratetype"]))
        if kind != (zone, order, migratetype) or block["prev"] != before or block["flags"] & HELD:
            return f"block {slot} is not of it", count
        if slot & ((1 << (order - int(a.shape[BASE]))) - 1):
            return f"block {slot} is not aligned to its order", count
        before, count = slot, count + 1
    return ("" if tail == before else "its tail is another block"), count


def _flagged(a: Area) -> Iterator[str]:
    """The counts of reported blocks agree with their flags, and behind a mark all are reported."""
    counted = np.zeros_like(a.nr_reported)
    for (zone, order, migratetype), ends in np.ndenumerate(a.lists):
        slots, mark = list_of(a, zone, order, migratetype), int(ends["mark"])
        flags = [bool(a.blocks[slot]["flags"] & REPORTED) for slot in slots]
        counted[zone, order] += sum(flags)
        if mark != NOBODY and (mark not in slots or not all(flags[slots.index(mark) :])):
            yield f"list {zone}/{order}/{migratetype}: its mark is not before reported blocks only"
    if not np.array_equal(counted, a.nr_reported):
        yield "the number of reported blocks is wrong"


def _unmerged(a: Area) -> Iterator[str]:
    """Below the pageblock order two free buddies always merge."""
    for order in range(int(a.shape[BASE]), int(min(a.shape[MAX_ORDER], a.shape[PAGEBLOCK_ORDER]))):
        listed = np.flatnonzero((a.blocks["order"] == order) & (a.blocks["flags"] & HELD == 0))
        buddy = listed ^ (1 << (order - int(a.shape[BASE])))
        inside = buddy < len(a.blocks)
        mine, other = a.blocks[listed[inside]], a.blocks[buddy[inside]]
        free = (other["order"] == order) & (other["flags"] & HELD == 0)
        if (free & (mine["zone"] == other["zone"])).any():
            yield f"two free buddies of order {order} are not merged"
            return

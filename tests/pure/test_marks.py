"""Marks on free lists: random moves of blocks leave lists, marks and counts as the plain oracle has them."""

import os
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.buddy.area import NOBODY, REPORTED, Area, new_area
from replay.buddy.checks import list_of, violations
from replay.buddy.lists import block_of, flag_reported, insert, put_back, set_type, take, turn
from replay.buddy.rules import Rules
from replay.geometry import Geometry
from tests.oracle import model
from tests.oracle.pageblocks import PageblockTypes
from tests.pure.small_guests import guest, zone

EXAMPLES = 5_000 if os.environ.get("PAGETIDE_SOAK") else 60
FRAMES, MAX_ORDER, PAGEBLOCK_ORDER = 64, 4, 3


@dataclass
class Pair:
    """The fast lists and the plain ones."""

    area: Area
    plain: model.FreeLists

    @classmethod
    def new(cls, *, by_pageblock: bool) -> "Pair":
        made = guest(MAX_ORDER, PAGEBLOCK_ORDER, None, None)
        geometry = Geometry.of(made, [zone("A", 0, FRAMES)], 0)
        zones = (model.Zone("A", 0, FRAMES, 0, 0, 0),)
        plain = model.Guest(zones, MAX_ORDER, PAGEBLOCK_ORDER, None, by_pageblock=by_pageblock)
        return cls(
            new_area(geometry, 0, Rules(by_pageblock=by_pageblock)),
            model.FreeLists(plain, 0, PageblockTypes(PAGEBLOCK_ORDER)),
        )

    def is_clear(self, pfn: int, order: int) -> bool:
        """Is nothing of a block listed?"""
        return all(block_of(self.area, frame) == NOBODY for frame in range(pfn, pfn + (1 << order)))

    # -- the same to both ---------------------------------------------------------------------

    def free(self, pfn: int, order: int, kind: int) -> None:
        if self.is_clear(pfn, order):
            insert(self.area, pfn, order, False)
            self.plain.free(0, pfn, order)

    def put_back(self, pfn: int, order: int, kind: int) -> None:
        if self.is_clear(pfn, order):
            merged = put_back(self.area, pfn, order, True)
            assert merged == self.plain.insert(0, pfn, order, self.plain.types.get(pfn), to_tail=True)
            if merged == (pfn, order):
                self._flag(pfn)

    def flag(self, pfn: int, order: int, kind: int) -> None:
        if pfn in self.plain.blocks and not self.plain.blocks[pfn].reported:
            self._flag(pfn)

    def _flag(self, pfn: int) -> None:
        flag_reported(self.area, pfn)
        self.plain.blocks[pfn].reported = True

    def take(self, pfn: int, order: int, kind: int) -> None:
        head = self.plain.containing(pfn, order)
        if head is not None:
            take(self.area, head, pfn, order, kind)
            self.plain.take(pfn, order, kind)

    def retype(self, pfn: int, order: int, kind: int) -> None:
        start = pfn >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER
        if self.plain.types.get(start) != kind:
            set_type(self.area, pfn >> PAGEBLOCK_ORDER, kind, True)
            self.plain.types.set_touched(start, 0, kind)
            self.plain.move_blocks(start, kind)

    def turn(self, pfn: int, order: int, kind: int) -> None:
        if order < PAGEBLOCK_ORDER - 1:
            return
        turn(self.area, pfn, order, kind, 0)
        starts = [p for p in self.plain.types.touched(pfn, order) if self.plain.types.get(p) != kind]
        self.plain.types.turn(pfn, order, kind)
        for start in starts:
            if self.plain.types.get(start) == kind and self.plain.guest.by_pageblock:
                self.plain.move_blocks(start, kind)

    def walk(self, pfn: int, order: int, kind: int) -> None:
        """The mark goes up over what is reported at the tail."""
        heads = self.plain.heads((0, order, kind))
        passed = list(takewhile(lambda head: self.plain.blocks[head].reported, reversed(heads)))
        if passed:
            self.plain.marks[0, order, kind] = passed[-1]
            self.area.lists["mark"][0, order, kind] = passed[-1]

    def forget(self, pfn: int, order: int, kind: int) -> None:
        self.plain.marks.pop((0, order, kind), None)
        self.area.lists["mark"][0, order, kind] = NOBODY

    # -- and both are the same ----------------------------------------------------------------

    def check(self) -> None:
        for order in range(MAX_ORDER + 1):
            for kind in range(self.area.lists.shape[2]):
                key = (0, order, kind)
                assert list_of(self.area, *key) == self.plain.heads(key)
                assert int(self.area.lists["mark"][key]) == self.plain.marks.get(key, NOBODY)
            assert int(self.area.nr_reported[0, order]) == self.plain.reported(0, order)
            assert int(self.area.nr_free[0, order]) == self.plain.nr_free(0, order)
        assert int(self.area.redirected[0]) == self.plain.tail_redirects
        flagged = np.flatnonzero(self.area.blocks["flags"] & REPORTED).tolist()
        assert flagged == sorted(pfn for pfn, block in self.plain.blocks.items() if block.reported)
        assert list(violations(self.area)) == []


def step(pair: Pair, random: Any) -> None:
    """One random move, mostly of a block or list that there is."""
    order, kind = random.choice((0, 0, 1, 2, 3, 4)), random.choice((1, 1, 1, 0, 2, 3))
    blocks = list(pair.plain.blocks)
    any_block = random.choice(blocks) if blocks else 0
    anywhere = random.randrange(FRAMES) >> order << order
    chance = random.random()
    if chance < 0.35:
        move = random.choice((pair.free, pair.put_back, pair.put_back))
        move(anywhere, order, kind)
    elif chance < 0.5:
        pair.flag(any_block, order, kind)
    elif chance < 0.65:
        size = 1 << pair.plain.blocks[any_block].order if blocks else 1
        within = any_block + random.randrange(size)
        pair.take(within, 0, random.choice((-1, kind)))
    elif chance < 0.75:
        random.choice((pair.retype, pair.turn))(anywhere, order, kind)
    elif chance < 0.98 and blocks:
        pair.walk(any_block, pair.plain.blocks[any_block].order, pair.plain.blocks[any_block].migratetype)
    else:
        pair.forget(anywhere, order, kind)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 120), st.booleans(), st.randoms(use_true_random=False))
def test_lists_marks_and_counts_are_the_same_after_every_move(
    steps: int, by_pageblock: bool, random: Any
) -> None:
    pair = Pair.new(by_pageblock=by_pageblock)
    for _ in range(steps):
        step(pair, random)
        pair.check()


def two_zones() -> Area:
    """Blocks 0, 2, 4, … of order 0, freed one by one: each to the head, 0 is the tail."""
    made = guest(MAX_ORDER, PAGEBLOCK_ORDER, None, None)
    area = new_area(Geometry.of(made, [zone("A", 0, 32), zone("B", 32, 64)], 0), 0, Rules())
    for first in (0, 32):
        for frame in range(first, first + 8, 2):
            insert(area, frame, 0, False)
    return area


def test_a_tail_insertion_goes_before_the_mark_of_its_own_list_only() -> None:
    area = two_zones()
    flag_reported(area, 0)
    area.lists["mark"][0, 0, 1] = 0
    put_back(area, 16, 0, True)
    put_back(area, 48, 0, True)
    assert list_of(area, 0, 0, 1) == [6, 4, 2, 16, 0]
    assert list_of(area, 1, 0, 1) == [38, 36, 34, 32, 48]
    assert int(area.redirected[0]) == 1


def test_an_insertion_before_a_mark_at_the_head_makes_a_new_head() -> None:
    area = two_zones()
    for frame in (0, 2, 4, 6):
        flag_reported(area, frame)
    area.lists["mark"][0, 0, 1] = 6
    put_back(area, 16, 0, True)
    assert list_of(area, 0, 0, 1) == [16, 6, 4, 2, 0]
    assert int(area.lists["mark"][0, 0, 1]) == 6
    assert list(violations(area)) == []


@pytest.mark.parametrize(("mark", "after"), [(0, NOBODY), (2, 0), (4, 2)])
def test_a_mark_whose_block_leaves_goes_on_to_the_next_one_towards_the_tail(mark: int, after: int) -> None:
    area = two_zones()
    for frame in range(0, mark + 1, 2):
        flag_reported(area, frame)
    area.lists["mark"][0, 0, 1] = mark
    take(area, mark, mark, 0, -1)
    assert int(area.lists["mark"][0, 0, 1]) == after
    assert list(violations(area)) == []

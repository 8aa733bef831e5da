"""What compaction takes, told by its searches: against a plain walk as isolate_freepages_block goes."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.buddy.ops import meaning_table
from replay.buddy.searches import Taken, TakenFinder, are_searches, can_be_found, numbered
from replay.geometry import Geometry
from tests.pure.one_policy import GUEST, zone
from tracer import FrameState, Op

FRAMES, PAGEBLOCK, MAX_ORDER = 2048, 512, 9
GEOMETRY = Geometry.of(GUEST, [zone(FRAMES)])
MEANING = meaning_table(GUEST)
Row = tuple[int, int, int, int]  # op, pfn, order, aux
Block = tuple[int, int]  # pfn, order


def columns(rows: list[Row]) -> dict[str, Any]:
    op, pfn, order, aux = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "ts_ns": np.arange(len(rows)), "op": np.array(op, np.uint8), "pfn": np.array(pfn, np.uint64),
        "order": np.array(order, np.uint8), "migratetype": np.full(len(rows), 1, np.int8),
        "aux": np.array(aux, np.uint64),
    }  # fmt: skip


def search(first: int, end: int, scanned: int, taken: int) -> Row:
    return int(Op.COMPACTION_ISOLATE), first, 0, (end - first) | scanned << 16 | taken << 32


def found(free: set[int], *batches: list[Row]) -> Taken:
    finder = TakenFinder(GEOMETRY, MEANING)
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[list(free)] = FrameState.BUDDY
    finder.begin(state)
    for batch in numbered(map(columns, batches)):
        finder.feed(batch)
    return finder.taken()


def blocks_of(free: set[int]) -> Iterator[Block]:
    """The maximal aligned blocks, plainly."""
    frame = 0
    while frame < FRAMES:
        order = 0
        if frame not in free:
            frame += 1
            continue
        while order < MAX_ORDER and not frame & (1 << order):
            if not set(range(frame, frame + (2 << order))) <= free:
                break
            order += 1
        yield frame, order
        frame += 1 << order


def walk(free: set[int], first: int, end: int, stride: int, enough: int) -> tuple[list[Block], Row]:
    """isolate_freepages_block, plainly: what it takes, and what it then says."""
    heads, taken, scanned, frame = dict(blocks_of(free)), [], 0, first
    while frame < end:
        scanned += 1
        if frame in heads:
            order = heads[frame]
            taken.append((frame, order))
            scanned += (1 << order) - 1
            if sum(1 << order for _, order in taken) >= enough:
                frame += 1 << order
                break
            frame += (1 << order) - 1
        frame += stride
    frames = sum(1 << order for _, order in taken)
    return taken, search(first, min(frame, end), scanned, frames)


def some_free(dice: random.Random) -> set[int]:
    """Free blocks of many sizes, inside one pageblock and around it."""
    free: set[int] = set()
    for _ in range(dice.randint(0, 40)):
        order = dice.choice([0, 0, 0, 1, 2, 3, 5, 7])
        first = dice.randrange(FRAMES >> order) << order
        free |= set(range(first, first + (1 << order)))
    # A pageblock that is wholly free is no place to migrate to: none is searched.
    return free - {frame for frame in free if frame % PAGEBLOCK == 0}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 8, 16, 32]), st.integers(1, 600), st.integers(0, 200))
def test_what_a_walk_takes_is_what_is_found(seed: int, stride: int, enough: int, begin: int) -> None:
    dice = random.Random(seed)
    free = some_free(dice)
    first = PAGEBLOCK * dice.randrange(FRAMES // PAGEBLOCK) + begin
    taken, row = walk(free, first, (first // PAGEBLOCK + 1) * PAGEBLOCK, stride, enough)
    told = found(free, [row])
    answer = [tuple(block) for block in told.blocks.tolist()]
    assert told.unclear == 0
    if answer != taken:  # another stride would have looked at as many and taken as many
        assert stride > 1
        others = [walk(free, first, first + (row[3] & 0xFFFF), other, 10**9) for other in (2, 4, 8, 16, 32)]
        assert (answer, row) in others
    assert set(told.rows.tolist()) <= {0}


def test_pages_that_were_freed_before_the_search_said_what_it_took_are_not_taken() -> None:
    free = {8, 9, 10, 11, 40}
    late = (int(Op.PCPU_DRAIN), 50, 0, 0)
    before = (int(Op.PCPU_DRAIN), 12, 0, 0)
    elsewhere = (int(Op.PCPU_DRAIN), 1000, 0, 0)
    told = found(free, [before, late, elsewhere, search(0, 512, 512, 6)])
    assert told.blocks.tolist() == [[8, 2], [12, 0], [40, 0]]
    assert told.rows.tolist() == [1, 1, 1]  # before the late one
    assert told.unclear == 0
    # The late one is still there for the next search.
    again = found(free, [before, late, search(0, 512, 512, 6), search(0, 512, 512, 1)])
    assert again.blocks.tolist()[3:] == [[50, 0]]


def test_pages_that_were_allocated_after_they_were_looked_for_are_not_taken_twice() -> None:
    gone = (int(Op.ZONE_LOCKED), 40, 0, 0)
    told = found({8, 40}, [gone, search(0, 512, 512, 2)])
    assert (told.blocks.tolist(), told.rows.tolist()) == ([[8, 0], [40, 0]], [0, 0])


@pytest.mark.parametrize(("taken", "blocks"), [(3, [[8, 1]]), (1, [])])
def test_a_number_that_never_was_is_unclear(taken: int, blocks: list[Any]) -> None:
    """Fewer are free than were taken: all of them; more: nobody knows which."""
    told = found({8, 9}, [search(0, 512, 512, taken)])
    assert (told.blocks.tolist(), told.unclear) == (blocks, 1)


@pytest.mark.parametrize(
    "row",
    [
        search(0, 512, 512, 0),
        search(FRAMES - 8, FRAMES + 60_000, 512, 1),
        search(1 << 62, (1 << 62) + 8, 8, 1),
    ],
)
def test_a_search_that_took_nothing_or_is_not_of_this_guest_tells_nothing(row: Row) -> None:
    told = found({8, FRAMES - 1}, [row])
    assert (len(told.rows), told.unclear) == (0, 0)


def test_a_moment_ago_may_be_in_the_batch_before() -> None:
    rows = [(int(Op.PCPU_DRAIN), 50, 0, 0), search(0, 512, 512, 2)]
    whole, pieces = found({8, 40}, rows), found({8, 40}, *([row] for row in rows))
    assert whole.blocks.tolist() == pieces.blocks.tolist() == [[8, 0], [40, 0]]
    assert whole.rows.tolist() == pieces.rows.tolist() == [0, 0]


def test_nothing_depends_on_where_batches_end() -> None:
    dice = random.Random(7)
    free, rows = some_free(dice), []
    left = set(free)
    for turn in range(30):
        first = PAGEBLOCK * (turn % 4)
        taken, row = walk(left, first, first + PAGEBLOCK, dice.choice([1, 4]), dice.randint(1, 30))
        left -= {f for block, order in taken for f in range(block, block + (1 << order))}
        back = dice.randrange(FRAMES)
        rows += [row] + ([(int(Op.PCPU_DRAIN), back, 0, 0)] if back not in left else [])
        left.add(back)
    whole, pieces = found(free, rows), found(free, *([row] for row in rows))
    assert whole.blocks.tolist() == pieces.blocks.tolist()
    assert whole.rows.tolist() == pieces.rows.tolist()


def test_found_blocks_are_told_where_they_were_taken() -> None:
    told = Taken(np.array([1, 1, 4]), np.array([[8, 2], [40, 0], [9, 0]]))
    rows = [(int(Op.PCPU_DRAIN), pfn, 0, 7) for pfn in range(5)]
    batches = [
        columns(rows[:3]) | {"cpu": np.array([5, 6, 7])},
        columns(rows[3:]) | {"cpu": np.array([8, 9])},
    ]
    out = list(told.tell(batches))
    assert np.concatenate([batch["pfn"] for batch in out]).tolist() == [0, 8, 40, 1, 2, 3, 9, 4]
    assert np.concatenate([batch["cpu"] for batch in out]).tolist() == [5, 6, 6, 6, 7, 8, 9, 9]
    assert np.concatenate([batch["order"] for batch in out]).tolist() == [0, 2, 0, 0, 0, 0, 0, 0]
    isolated = np.concatenate([batch["op"] == Op.ISOLATE for batch in out]).tolist()
    assert isolated == [False, True, True, False, False, False, True, False]
    assert np.concatenate([batch["aux"] for batch in out])[1] == 1
    assert {batch[name].dtype == batches[0][name].dtype for batch in out for name in batch} == {True}


def test_only_where_isolations_were_not_recorded_is_there_anything_to_find() -> None:
    assert can_be_found(MEANING, [Op.COMPACTION_ISOLATE])
    assert not can_be_found(MEANING, [Op.COMPACTION_ISOLATE, Op.ISOLATE])
    assert not can_be_found(meaning_table(GUEST, owners_only=True), [Op.COMPACTION_ISOLATE])
    assert are_searches(columns([search(0, 8, 8, 1)]))
    assert not are_searches(columns([search(0, 8, 8, 0), (int(Op.ZONE_LOCKED), 0, 0, 1 << 40)]))

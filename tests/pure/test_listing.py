"""The model's lists beside those that were read: what is counted, and what is left out."""

import numpy as np
import pyarrow as pa
import pytest

from replay.buddy.full import FullModel
from replay.buddy.ops import meaning_table
from replay.buddy.rules import rules_of
from replay.geometry import Geometry
from replay.listing import Listing, Walk, compare, walks_of
from replay.stretches import pieces
from tests.pure.small_traces import FRAMES, GUEST, ZONES
from tracer import FrameState, Op
from tracer.format import LIST_COLUMNS


def test_blocks_on_the_same_lists_in_the_same_order_are_right() -> None:
    lists = {1: [512, 0, 1024], 2: [2048]}
    found = compare(Walk(0, 9, 10, 20, lists), lists, lists)
    assert (found.compared, found.elsewhere, found.out_of_order) == (4, 0, 0)


def test_a_block_that_only_one_of_both_has_on_a_list_is_elsewhere() -> None:
    model = {1: [0, 512], 2: [1024, 4096]}
    found = compare(Walk(0, 9, 10, 20, {1: [0, 1024, 2048], 2: [4096]}), model, model)
    # 512 was not read, 1024 was on the other list, 2048 is not in the model.
    assert (found.compared, found.elsewhere, found.out_of_order) == (5, 3, 0)


def test_out_of_order_are_the_fewest_that_would_have_to_move() -> None:
    read = {1: [0, 512, 1024, 1536, 2048], 2: [4096, 4608]}
    model = {1: [2048, 0, 512, 1024, 1536], 2: [4608, 4096]}
    found = compare(Walk(0, 9, 10, 20, read), model, model)
    assert (found.compared, found.elsewhere, found.out_of_order) == (7, 0, 2)


def test_a_reversed_list_is_all_but_one_out_of_order() -> None:
    found = compare(Walk(0, 9, 10, 20, {1: [0, 1, 2, 3]}), {1: [3, 2, 1, 0]}, {1: [3, 2, 1, 0]})
    assert found.out_of_order == 3


def test_a_block_that_moved_while_the_lists_were_read_is_left_out() -> None:
    begin, end = {1: [0, 512, 1024], 2: []}, {1: [1024, 2048], 2: [512]}
    found = compare(Walk(0, 9, 10, 20, {1: [0, 512, 1024]}), begin, end)
    assert (found.compared, found.elsewhere, found.out_of_order) == (1, 0, 0)


def test_walks_are_rebuilt_from_head_to_tail_whatever_the_order_of_the_rows() -> None:
    rows = [  # zone, order, migratetype, position, pfn, read_begin_ns, read_ts_ns
        (0, 10, 1, 1, 1024, 30, 40),
        (0, 10, 1, 0, 4096, 30, 40),
        (0, 9, 2, 0, 512, 10, 20),
        (0, 10, 0, 0, 2048, 30, 40),
    ]
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in LIST_COLUMNS.items()])
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
    assert walks_of(table) == [
        Walk(0, 9, 10, 20, {2: [512]}),
        Walk(0, 10, 30, 40, {0: [2048], 1: [4096, 1024]}),
    ]


def columns(*events: tuple[int, Op, int, int]) -> dict[str, np.ndarray]:
    """Events (ts_ns, op, pfn, order) of movable memory."""
    ts_ns, op, pfn, order = (list(column) for column in zip(*events, strict=True))
    count = len(events)
    return {
        "ts_ns": np.array(ts_ns, np.int64), "op": np.array(op, np.uint8), "pfn": np.array(pfn, np.uint64),
        "order": np.array(order, np.uint8), "migratetype": np.ones(count, np.int8),
        "aux": np.zeros(count, np.uint64),
    }  # fmt: skip


@pytest.mark.parametrize("later", [True, False])
def test_the_model_is_looked_at_when_each_walk_began_and_when_it_was_over(later: bool) -> None:
    geometry = Geometry.of(GUEST, ZONES)
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[:2048] = FrameState.BUDDY
    model = FullModel(meaning_table(GUEST), geometry, rules_of(GUEST), state)
    model.list_blocks(np.array([0, 1024]), np.array([1, 1]), 10)
    walks = [Walk(0, 10, 20, 30, {1: [0, 1024]}), Walk(0, 10, 50, 60, {1: [1024]})]
    listing = Listing(model, walks)
    # 0 leaves while the first walk goes on: it is left out there, and is right in the second.
    events = [(25, Op.ZONE_LOCKED, 0, 10)] + [(70, Op.ZONE_LOCKED, 1024, 10)] * later
    for until_ns, part in pieces([columns(*events)], listing.instants):
        listing.before(until_ns)
        model.play(part)
    found = listing.finish()
    assert [each.walk for each in found] == walks
    assert [(each.compared, each.elsewhere, each.out_of_order) for each in found] == [(1, 0, 0)] * 2

"""The model's lists beside those that were read: what is counted, and what is left out."""

import pyarrow as pa

from replay.listing import Walk, compare, walks_of
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

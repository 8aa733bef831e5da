"""What counts as the same report, pass and batch."""

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from replay.truth.matching import (
    NEAR_NS,
    frames_of,
    in_passes,
    nearest,
    passes_of,
    same_batches,
    same_ranges,
)

S = 1_000_000_000


def ranges(*rows: tuple[int, int, int, int]) -> pl.DataFrame:
    """(ts_ns, pfn, pages, batch)."""
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("ts_ns", "pfn", "pages", "batch"), pl.Int64), orient="row"
    )


def pairs(truth: pl.DataFrame, predicted: pl.DataFrame) -> list[Any]:
    return same_ranges(truth, predicted).rows()


def test_a_report_is_the_same_with_the_same_pfn_and_size_within_a_second() -> None:
    truth = ranges((10 * S, 512, 512, 0))
    assert pairs(truth, ranges((10 * S + 7, 512, 512, 5))) == [(0, 0, 7)]
    assert pairs(truth, ranges((11 * S, 512, 512, 5))) == [(0, 0, S)]
    assert pairs(truth, ranges((11 * S + 1, 512, 512, 5))) == []
    assert pairs(truth, ranges((10 * S, 512, 1024, 5))) == []
    assert pairs(truth, ranges((10 * S, 1024, 512, 5))) == []


def test_a_report_that_was_made_twice_must_be_predicted_twice() -> None:
    truth = ranges((10 * S, 512, 512, 0), (10 * S + 100, 512, 512, 1))
    assert pairs(truth, ranges((10 * S + 90, 512, 512, 0))) == [(1, 0, -10)]
    both = ranges((10 * S + 1, 512, 512, 0), (10 * S + 99, 512, 512, 0))
    assert pairs(truth, both) == [(0, 0, 1), (1, 1, -1)]


NAMES = st.tuples(st.integers(0, 4 * S), st.integers(0, 2), st.just(1), st.just(0))


@given(st.lists(NAMES, max_size=12), st.lists(NAMES, max_size=12))
def test_each_report_is_in_one_pair_at_most_and_pairs_are_the_same(one: list[Any], other: list[Any]) -> None:
    truth, predicted = ranges(*sorted(one)), ranges(*sorted(other))
    found = pairs(truth, predicted)
    for side in (0, 1):
        assert len({pair[side] for pair in found}) == len(found)
    for left, right, error_ns in found:
        assert truth["pfn"][left] == predicted["pfn"][right]
        assert error_ns == predicted["ts_ns"][right] - truth["ts_ns"][left]
        assert abs(error_ns) <= NEAR_NS
    for pfn in range(3):  # where anything is near, something is found
        near = any(a[1] == b[1] == pfn and abs(a[0] - b[0]) <= NEAR_NS for a in one for b in other)
        assert near == any(truth["pfn"][left] == pfn for left, _, _ in found)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(1, 30)), max_size=8))
def test_frames_of_ranges_are_counted_once(spans: list[tuple[int, int]]) -> None:
    table = ranges(*[(0, first, pages, 0) for first, pages in spans])
    expected = {frame for first, pages in spans for frame in range(first, first + pages)}
    assert set(np.flatnonzero(frames_of(table, 100)).tolist()) == expected


def test_a_pass_ends_where_nothing_was_reported_for_more_than_a_second() -> None:
    told = in_passes(ranges((0, 0, 1, 0), (S, 1, 1, 1), (2 * S + 1, 2, 1, 2), (2 * S + 5, 3, 1, 2)))
    assert told["pass"].to_list() == [0, 0, 1, 1]
    assert passes_of(told).rows() == [(0, 0, S), (1, 2 * S + 1, 2 * S + 5)]


def test_instants_are_paired_in_order_and_once() -> None:
    assert nearest(np.array([0, 2 * S, 9 * S]), np.array([5, 3 * S, 3 * S + 1])) == [(0, 0), (1, 1)]
    assert nearest(np.array([0, 1]), np.array([0])) == [(0, 0)]
    assert nearest(np.array([], np.int64), np.array([1])) == []


def test_a_batch_is_the_same_with_the_same_members_in_the_same_order() -> None:
    truth = ranges((0, 1, 1, 7), (0, 2, 1, 7), (5, 3, 1, 8), (5 * S, 1, 1, 9), (9 * S, 4, 1, 10))
    predicted = ranges(
        (9, 2, 1, 0), (9, 1, 1, 0), (9, 3, 1, 1), (7 * S, 1, 1, 2), (9 * S, 4, 1, 3), (9 * S, 5, 1, 3)
    )
    # The first in another order, the second right, the third too late, the fourth with one too many.
    assert same_batches(truth, predicted) == (4, 2, 1)

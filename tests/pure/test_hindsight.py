"""Frees that went straight into the buddy, found by what happened to their pages later."""

import numpy as np
import pytest

from replay.buddy.hindsight import DirectFrees, FreeAtEnd, FreeFinder, can_be_told
from replay.buddy.ops import meaning_table
from replay.buddy.steps import Columns
from tests.pure.small_traces import GUEST
from tracer import Op

FRAMES = 4096
TRACEPOINTS = {Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.EXTFRAG, Op.PAGE_FREE, Op.PAGE_ALLOC}
MEANING = meaning_table(GUEST, TRACEPOINTS)
FREE, DRAIN, EXIT, ALLOC = Op.PAGE_FREE, Op.PCPU_DRAIN, Op.ZONE_LOCKED, Op.PAGE_ALLOC
FAR_NS = 1_000_000

Event = tuple[int, Op, int, int, int]  # ts_ns, op, pfn, order, cpu


def columns(events: list[Event]) -> Columns:
    ts_ns, op, pfn, order, cpu = (list(column) for column in zip(*events, strict=True))
    return {
        "ts_ns": np.array(ts_ns, np.int64),
        "op": np.array(op, np.uint8),
        "pfn": np.array(pfn, np.uint64),
        "order": np.array(order, np.uint8),
        "cpu": np.array(cpu, np.uint16),
    }


def apart(*steps: tuple[Op, int] | tuple[Op, int, int]) -> list[Event]:
    """Events (op, pfn[, order]) on CPU 0, one after the other."""
    return [
        (i * FAR_NS, step[0], step[1], step[2] if len(step) > 2 else 0, 0) for i, step in enumerate(steps)
    ]


def found(
    events: list[Event], rows: int = 1 << 20, meaning: np.ndarray = MEANING, end: FreeAtEnd | None = None
) -> DirectFrees:
    whole, finder = columns(events), FreeFinder(len(events), FRAMES, meaning, end)
    for first in range(0, len(events), rows):
        finder.feed({name: values[first : first + rows] for name, values in whole.items()})
    return finder.direct()


def test_a_freed_page_that_leaves_the_buddy_undrained_entered_it_at_its_free() -> None:
    frees = found(apart((FREE, 7), (EXIT, 7)))
    assert frees.rows.tolist() == [0]
    assert not len(frees.at_end)


@pytest.mark.parametrize("between", [(DRAIN, 7), (ALLOC, 7), (DRAIN, 6, 1)])
def test_a_page_that_was_drained_or_allocated_again_did_not(between: tuple[Op, int]) -> None:
    assert not len(found(apart((FREE, 7), between, (EXIT, 7))))


def test_only_the_last_free_before_the_exit_counts() -> None:
    events = apart((FREE, 7), (DRAIN, 7), (EXIT, 7), (FREE, 7), (ALLOC, 7), (FREE, 7), (EXIT, 7))
    assert found(events).rows.tolist() == [5]


def test_a_page_merged_into_a_larger_block_is_found_when_that_leaves() -> None:
    assert found(apart((FREE, 9), (FREE, 2000), (EXIT, 8, 3))).rows.tolist() == [0]


def test_a_larger_free_is_found_once_by_any_of_its_frames() -> None:
    guest_meaning = MEANING.copy()
    guest_meaning[Op.PAGE_FREE, 2] = guest_meaning[Op.PAGE_FREE, 0]
    events = apart((FREE, 8, 2), (EXIT, 9), (EXIT, 8), (EXIT, 10, 1))
    assert found(events, meaning=guest_meaning).rows.tolist() == [0]


def test_a_fallback_is_an_exit_too() -> None:
    assert found(apart((FREE, 7), (Op.EXTFRAG, 7))).rows.tolist() == [0]


def test_what_is_isolated_was_in_the_buddy() -> None:
    functions = TRACEPOINTS | {Op.ISOLATE, Op.PUT_BACK}
    events = apart((FREE, 9), (Op.ISOLATE, 8, 3), (Op.PUT_BACK, 8, 3))
    frees = found(events, meaning=meaning_table(GUEST, functions), end=free_at(FAR_NS * 100, *range(8, 16)))
    assert (frees.rows.tolist(), frees.at_end.tolist()) == ([0], [])


def free_at(begin_ns: int, *pfns: int) -> FreeAtEnd:
    frames = np.zeros(FRAMES, np.bool_)
    frames[list(pfns)] = True
    return FreeAtEnd(frames, begin_ns)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_a_page_that_is_in_the_buddy_at_the_end_is_known_by_that(rows: int) -> None:
    events = apart((FREE, 7), (FREE, 8), (FREE, 9), (ALLOC, 9), (FREE, 10), (DRAIN, 10))
    frees = found(events, rows, end=free_at(100 * FAR_NS, 7, 9, 10, 11))
    assert (frees.rows.tolist(), frees.at_end.tolist()) == ([0], [7])


def test_a_page_freed_while_the_end_was_read_is_not_known_by_it() -> None:
    assert found(apart((FREE, 8), (FREE, 7)), end=free_at(FAR_NS, 7, 8)).rows.tolist() == [0]


def test_they_are_told_as_entries_whatever_the_batches() -> None:
    events = apart((FREE, 7), (FREE, 8), (EXIT, 7))
    frees = found(events)
    for cut in range(1, len(events)):
        batches = [columns(events[:cut]), columns(events[cut:])]
        told = np.concatenate([batch["op"] for batch in frees.tell(batches)])
        assert told.tolist() == [Op.BUDDY_FREE, FREE, EXIT]
        assert batches[0]["op"][0] == FREE  # the trace's own columns stay as they are


@pytest.mark.parametrize(
    "meaning",
    [
        meaning_table(GUEST, TRACEPOINTS | {Op.BUDDY_FREE}),
        meaning_table(GUEST, TRACEPOINTS, owners_only=True),
    ],
    ids=["every entry recorded", "owners only"],
)
def test_nothing_is_looked_for_where_entries_are_told_otherwise(meaning: np.ndarray) -> None:
    assert not can_be_told(meaning)
    assert can_be_told(MEANING)


def test_events_of_no_block_are_passed_over() -> None:
    outside = apart(
        (FREE, FRAMES), (EXIT, FRAMES), (FREE, 1 << 39), (EXIT, 7, 1), (FREE, 3, 40), (EXIT, 1, 63)
    )
    assert not len(found(outside))


def test_found_frees_do_not_depend_on_how_many_one_call_can_hold() -> None:
    many = [(FAR_NS * k, FREE, k % FRAMES, 0, 0) for k in range(FRAMES)]
    exits = [(FAR_NS * (FRAMES + k), EXIT, 1024 * k, 10, 0) for k in range(FRAMES // 1024)]
    again = [*many, *exits] * 20
    assert found(again).rows.tolist() == [k for k in range(len(again)) if again[k][1] == FREE]

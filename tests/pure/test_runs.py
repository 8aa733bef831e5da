"""Runs of single frames (`replay.buddy.runs`): the same as step by step, however long they are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.buddy.neighbours import alike_until
from replay.buddy.occupancy import Occupancy
from replay.buddy.ops import meaning_table
from replay.buddy.reduced import RETYPE
from replay.buddy.rules import Rules
from replay.buddy.runs import in_time_until
from replay.exact import frame_ns
from replay.geometry import Geometry
from tests.pure.small_guests import T0_NS, guest, zone
from tracer import FrameState, Op

FRAMES = 1024
BINS = np.array([T0_NS + 70_000, T0_NS + 900_000, T0_NS + 5_000_000], np.int64)
STATES = [FrameState.USED, FrameState.BUDDY, FrameState.BUDDY, FrameState.ABSENT, FrameState.UNKNOWN]
Columns = dict[str, Any]


@st.composite
def frames_in_rows(draw: st.DrawFn) -> list[tuple[Op, int, int]]:
    """(op, pfn, migratetype) of single frames: rows of neighbours that move the same way, some of which
    cannot.
    """
    moves: list[tuple[Op, int, int]] = []
    rows = st.tuples(
        st.sampled_from([Op.PCPU_DRAIN, Op.ZONE_LOCKED]),
        st.integers(0, FRAMES - 1),
        st.sampled_from([1, 2, 7, 64, 200, 600]),
        st.sampled_from([1, 1, -1, 3]),
        st.sampled_from([1, 1, 1, 0, -1]),
    )
    for op, first, count, step, migratetype in draw(st.lists(rows, max_size=12)):
        moves += [(op, (first + step * k) % FRAMES, migratetype) for k in range(count)]
    return moves


def columns(moves: list[tuple[Op, int, int]], ts_ns: list[int]) -> Columns:
    op, pfn, migratetype = zip(*moves, strict=True) if moves else ((), (), ())
    return {
        "ts_ns": np.array(ts_ns, np.int64),
        "op": np.array(op, np.uint8),
        "pfn": np.array(pfn, np.uint64),
        "order": np.zeros(len(moves), np.uint8),
        "migratetype": np.array(migratetype, np.int8),
        "aux": np.zeros(len(moves), np.uint64),
        "cpu": (np.array(pfn, np.uint64) % np.uint64(3)).astype(np.uint16),
    }


def step_1(order: int, pageblock_order: int, by_pageblock: bool, seed: int) -> Occupancy:
    random = np.random.default_rng(seed)
    state = np.repeat(random.choice(STATES, FRAMES // 8), 8).astype(np.uint8)
    made = guest(9, pageblock_order, None, None)
    geometry = Geometry.of(made, [zone("A", 3, 700), zone("B", 700, FRAMES)], order)
    return Occupancy(meaning_table(made), geometry, Rules(True, by_pageblock), state, T0_NS, BINS)


def told(step: Occupancy, batch: Columns, cuts: list[int]) -> Any:
    """Reduced events, but types: those may be told more often than they are news."""
    parts = [np.empty(0, np.void)]
    for first, end in zip([0, *cuts], [*cuts, len(batch["op"])], strict=True):
        for part in step.reduce({name: values[first:end] for name, values in batch.items()}):
            parts.append(part.events[part.events["kind"] != RETYPE].copy())
    return [row for part in parts[1:] for row in part.tolist()]


def books(step: Occupancy) -> Any:
    step.finish(T0_NS + 10_000_000)
    memory, totals = step._memory, step.totals[0]
    names = ("steps", "exit_of_used", "entry_of_free", "free", "reportable", "managed", "bin")
    frames = [memory.free, memory.exited, memory.last_exit, memory.epoch, memory.zone_free, step.series]
    return (
        [int(totals[name]) for name in names],
        [frame_ns(step.integrals, row) for row in range(3)],
        [array.tolist() for array in frames],
    )


shapes = st.tuples(st.integers(0, 9), st.integers(1, 9), st.booleans(), st.integers(0, 999))


@settings(max_examples=60, deadline=None)
@given(frames_in_rows(), shapes)
def test_a_run_tells_and_leaves_what_its_steps_do_one_by_one(moves: Any, shape: Any) -> None:
    # An event that is told as earlier than the replay's begin is taken for one of then: in no run.
    runs, steps = step_1(*shape), step_1(*shape)
    late, early = columns(moves, [T0_NS] * len(moves)), columns(moves, [T0_NS - 1] * len(moves))
    assert told(runs, late, []) == told(steps, early, [])
    assert books(runs) == books(steps)


@settings(max_examples=60, deadline=None)
@given(frames_in_rows(), shapes, st.sampled_from([0, 17, 900, 60_000]), st.data())
def test_a_run_may_be_cut_anywhere(moves: Any, shape: Any, wait_ns: int, data: Any) -> None:
    random = np.random.default_rng(len(moves))
    times = T0_NS + 1 + np.cumsum(random.integers(0, wait_ns + 1, len(moves)))
    times -= random.choice([0] * 300 + [5_000], len(moves))
    batch = columns(moves, times.tolist())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(moves)), max_size=9)))
    whole, cut = step_1(*shape), step_1(*shape)
    assert told(whole, batch, []) == told(cut, batch, cuts)
    assert books(whole) == books(cut)


ends = st.lists(st.sampled_from([0] * 300 + [1]), min_size=1, max_size=500)


@given(ends, ends, ends, st.integers(0, 499))
def test_events_are_alike_until_one_of_their_columns_differs(op: Any, order: Any, kind: Any, at: int) -> None:
    events = min(len(op), len(order), len(kind))
    at %= events
    rows = list(zip(op, order, kind, strict=False))
    want = next((k for k in range(at, events) if rows[k] != rows[at]), events)
    arrays = np.array(op, np.uint8), np.array(order, np.uint8), np.array(kind, np.int8) - np.int8(1)
    for array in arrays:
        array.flags.writeable = False
    assert alike_until(*arrays, at, events) == want


@given(st.lists(st.sampled_from([0] * 100 + [3, -1]), min_size=1, max_size=400), st.integers(1, 20))
def test_events_are_in_time_until_one_goes_back_or_is_too_late(steps: Any, until: int) -> None:
    times = np.cumsum(steps) + 5
    times.flags.writeable = False
    later = (k for k in range(1, len(times)) if times[k] < times[k - 1] or times[k] >= until)
    assert in_time_until(times, 0, len(times), until) == next(later, len(times))


def retyped(order: int, moves: list[tuple[Op, int, int]]) -> list[int]:
    """Of how many types each step tells, on a guest of two free pageblocks of 8 frames."""
    made = guest(4, 3, None, None)
    geometry = Geometry.of(made, [zone("A", 0, 16)], order)
    free = np.full(16, FrameState.BUDDY, np.uint8)
    step = Occupancy(meaning_table(made), geometry, Rules(), free, T0_NS, BINS)
    found = []
    for k, move in enumerate(moves):
        parts = step.reduce(columns([move], [T0_NS + 1 + k]))
        found.append(sum(int((part.events["kind"] == RETYPE).sum()) for part in parts))
    return found


OUT, IN = Op.ZONE_LOCKED, Op.PCPU_DRAIN


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_type_is_no_news_while_no_policy_can_change_it(order: int) -> None:
    moves = [(OUT, 0, 1), (OUT, 1, 1), (IN, 1, 1), (OUT, 7, 1), (IN, 7, 1)]
    assert retyped(order, moves) == [1, 1, 0, 0, 0]  # before the first one the pageblock is wholly free


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_type_is_news_again_once_all_of_its_pageblock_was_free(order: int) -> None:
    assert retyped(order, [(OUT, 0, 1), (OUT, 1, 1), (IN, 1, 1), (IN, 0, 1), (OUT, 0, 1)])[-1] == 1


@pytest.mark.parametrize(("order", "again"), [(0, 1), (1, 1), (2, 1), (3, 0)])
def test_a_type_but_movable_is_news_while_half_of_its_pageblock_is_a_unit_or_more(
    order: int, again: int
) -> None:
    # An isolated half turns movable; where a unit is a pageblock, no half can be isolated.
    halves = [(OUT, 0, 0), (OUT, 1, 0), (OUT, 2, 0)]
    assert retyped(order, halves) == [1, 1, again]
    assert retyped(order, [*halves, (OUT, 4, 0), (OUT, 5, 0), (OUT, 6, 0)])[-1] == 0


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_claimed_pageblock_that_is_still_wholly_free_has_no_known_type(order: int) -> None:
    # The thief (type 0) takes frame 0 of a block of 16, and claims both of its pageblocks.
    made = guest(4, 3, None, None)
    geometry = Geometry.of(made, [zone("A", 0, 16)], order)
    free = np.full(16, FrameState.BUDDY, np.uint8)
    step = Occupancy(meaning_table(made), geometry, Rules(), free, T0_NS, BINS)
    batch = columns([(Op.EXTFRAG, 0, 0)], [T0_NS + 1])
    batch["aux"][:] = 4 | 0 << 8 | 1 << 16 | 1 << 24
    list(step.reduce(batch))
    events = [part.events.copy() for part in step.reduce(columns([(OUT, 8, 0)], [T0_NS + 2]))]
    news = np.concatenate(events)
    assert news["pfn"][news["kind"] == RETYPE].tolist() == [8]

"""The full model: its lists of orders >= R are those of step 2 at R after every event, and they hold
together; free blocks by order are those of a plain count of frames.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.buddy.checks import list_of, violations
from replay.buddy.full import FullModel
from replay.buddy.ops import meaning_table
from replay.buddy.rules import rules_of
from replay.buddy.steps import ENTRY_OF_FREE, EXIT_OF_USED, STEPS
from replay.engine import Group, Options
from replay.geometry import Geometry
from replay.policies import policy_named
from replay.start import Start
from tests.oracle import model
from tests.pure.small_guests import T0_NS, Case, cases, frames_of, guest, oracle_guest, zone
from tracer import Guest, Op

EXAMPLES = 20_000 if os.environ.get("PAGETIDE_SOAK") else 200
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class History:
    """A guest and recorded events: (ts_ns, op, pfn, order, migratetype, aux)."""

    case: Case
    events: list[tuple[int, int, int, int, int, int]]
    types: Any


EXITS = (Op.ZONE_LOCKED, Op.ZONE_LOCKED, Op.ZONE_LOCKED, Op.EXTFRAG, Op.ISOLATE)
ENTRIES = (Op.PCPU_DRAIN, Op.PCPU_DRAIN, Op.PAGE_FREE, Op.PUT_BACK)


@st.composite
def histories(draw: st.DrawFn, kinds: tuple[int, ...] = (0, 1, 2, 3)) -> History:
    """The events of small guests as kernels tell them: with types, claims, isolations, put-backs."""
    case = draw(cases())
    events: list[tuple[int, int, int, int, int, int]] = []
    for ts_ns, kind, pfn, order, _ in case.events:
        migratetype = draw(st.sampled_from(kinds))
        if kind == "enter":
            op = draw(st.sampled_from(ENTRIES))
            events.append((ts_ns, op, pfn, order, -1 if op == Op.PAGE_FREE else migratetype, 0))
            continue
        op = draw(st.sampled_from(EXITS))
        if op == Op.EXTFRAG:
            events += draw(_fallback(ts_ns, pfn, order, case.guest))
        else:
            events.append((ts_ns, op, pfn, order, -1 if op == Op.ISOLATE else migratetype, 0))
    pageblocks = Geometry.of(case.guest, case.zones).pageblocks
    types = np.array(
        draw(st.lists(st.sampled_from(kinds), min_size=pageblocks, max_size=pageblocks)), np.int8
    )
    return History(case, events, types)


@st.composite
def _fallback(draw: st.DrawFn, ts_ns: int, pfn: int, order: int, guest: Guest) -> Any:
    """An extfrag: alone, before the exit of the same block, or after it; before 6.10 always with an
    exit after it, not always of the same block.
    """
    found = draw(st.integers(order, guest.max_order))
    thief, victim = draw(st.sampled_from([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]))
    aux = found | thief << 8 | victim << 16 | draw(st.integers(0, 1)) << 24
    told = (ts_ns, int(Op.EXTFRAG), pfn, order, thief, aux)
    taken = (ts_ns, int(Op.ZONE_LOCKED), pfn, order, thief, 0)
    if not rules_of(guest).by_pageblock:
        other = (*told[:2], pfn ^ draw(st.sampled_from([0, 1])) << order, *told[3:])
        return [other, taken]
    return draw(st.sampled_from([[told], [told, taken], [taken, told]]))


def columns(events: list[Any]) -> dict[str, Any]:
    names = {"ts_ns": np.int64, "op": np.uint8, "pfn": np.uint64, "order": np.uint8, "migratetype": np.int8}
    kinds = [*names.items(), ("aux", np.uint64)]
    return {name: np.array([event[i] for event in events], kind) for i, (name, kind) in enumerate(kinds)}


def start_of(history: History) -> Start:
    return Start(T0_NS, frames_of(history.case.state), np.empty(0, np.int64), types=history.types)


def full_model(history: History) -> FullModel:
    guest = history.case.guest
    geometry = Geometry.of(guest, history.case.zones)
    return FullModel.at(start_of(history), meaning_table(guest), geometry, rules_of(guest))


def units_model(history: History, order: int) -> Group:
    guest = history.case.guest
    setting = policy_named("never").settle(guest, {"order": order})
    geometry = Geometry.of(guest, history.case.zones, order)
    return Group(
        guest, meaning_table(guest), geometry, start_of(history), history.case.end_ns, [setting], Options()
    )


def lists_from(area: Any, order: int) -> dict[tuple[int, int, int], list[int]]:
    """Blocks of orders >= `order`, by (zone, order, migratetype), as pfns from head to tail."""
    base, found = int(area.shape[0]), {}
    for (where, at, kind), _ in np.ndenumerate(area.lists):
        blocks = list_of(area, where, at, kind) if at >= order else []
        if blocks:
            found[(where, at, kind)] = [block << base for block in blocks]
    return found


@thorough
@given(histories(), st.integers(0, 5))
def test_its_lists_are_those_of_units_after_every_event(history: History, order: int) -> None:
    guest = history.case.guest
    if order > guest.max_order:
        return
    if order > guest.pageblock_order:
        return  # units of several pageblocks cannot tell that two of them do not merge
    full, units = full_model(history), units_model(history, order)
    area = units.schedules[0].state.area
    assert lists_from(full.full.area, order) == lists_from(area, order)
    for event in history.events:
        full.play(columns([event]))
        units.feed(columns([event]))
        assert lists_from(full.full.area, order) == lists_from(area, order), event
    assert list(violations(full.full.area)) == []
    t, c = units.occupancy.totals[0], full.full.counters
    assert int(t["steps"]) == c[STEPS]
    assert (int(t["exit_of_used"]), int(t["entry_of_free"])) == (c[EXIT_OF_USED], c[ENTRY_OF_FREE])


@thorough
@given(histories(kinds=(0, 1, 2)))
def test_blocks_by_order_are_those_that_follow_from_the_frames(history: History) -> None:
    full = full_model(history)
    state = {frame: what for frame, what in history.case.state.items() if what != "absent"}
    plain = model.FrameModel(oracle_guest(history.case), state)
    for ts_ns, op, pfn, order, migratetype, aux in history.events:
        full.play(columns([(ts_ns, op, pfn, order, migratetype, aux)]))
    for _, kind, pfn, order, _ in history.case.events:
        (plain.enter if kind == "enter" else plain.exit)(pfn, order)
    want = {key: len(heads) for key, heads in plain.free_blocks().items()}
    found = {key: int(count) for key, count in np.ndenumerate(full.nr_free) if count}
    assert found == want
    assert list(violations(full.full.area)) == []


@thorough
@given(histories(), st.lists(st.integers(1, 20), max_size=10))
def test_nothing_depends_on_where_batches_end(history: History, sizes: list[int]) -> None:
    whole, parts = full_model(history), full_model(history)
    whole.play(columns(history.events))
    left = history.events
    for size in [*sizes, len(left)]:
        parts.play(columns(left[:size]))
        left = left[size:]
    assert lists_from(whole.full.area, 0) == lists_from(parts.full.area, 0)


@st.composite
def stretches(draw: st.DrawFn) -> History:
    """Memory that is taken and freed frame by frame, upwards and downwards, here and there twice."""
    history = draw(histories())
    last = history.case.zones[-1].end_pfn
    events = []
    for _ in range(draw(st.integers(1, 12))):
        first, count = draw(st.integers(0, last - 1)), draw(st.integers(1, 64))
        frames = range(first, min(first + count, last))
        kind = draw(st.sampled_from([-1, 0, 1, 2, 3]))
        op = draw(st.sampled_from([Op.ZONE_LOCKED, Op.PCPU_DRAIN]))
        if draw(st.booleans()):
            events += draw(_fallback(T0_NS + 1, first, 0, history.case.guest))
        for pfn in frames if draw(st.booleans()) else reversed(frames):
            events.append((T0_NS + 1, int(op), pfn, 0, kind, 0))
    return History(history.case, events, history.types)


@thorough
@given(stretches())
def test_frames_that_move_in_a_row_leave_what_they_leave_one_by_one(history: History) -> None:
    whole, single = full_model(history), full_model(history)
    whole.play(columns(history.events))
    for event in history.events:
        single.play(columns([event]))
    assert lists_from(whole.full.area, 0) == lists_from(single.full.area, 0)
    assert list(violations(whole.full.area)) == []
    for name in ("types", "nr_free"):
        assert np.array_equal(getattr(whole.full.area, name), getattr(single.full.area, name)), name
    for name in ("free", "strange", "unknown", "last", "counters", "zone_steps"):
        assert np.array_equal(getattr(whole.full, name), getattr(single.full, name)), name


def test_the_state_of_a_tebibyte_of_small_pages_takes_less_than_four_gibibytes() -> None:
    x86, parts = guest(10, 9, None, None), 64
    geometry = Geometry.of(x86, [zone("DMA32", 1, 1 << 20), zone("Normal", 1 << 20, (1 << 28) // parts)])
    full = FullModel(meaning_table(x86), geometry, rules_of(x86), np.zeros(geometry.frames, np.uint8))
    assert parts * sum(part.nbytes for part in full.full) < 3.3 * (1 << 30)


def test_before_6_10_a_fallback_that_tells_of_another_block_than_was_taken_is_no_exit_of_it() -> None:
    # The pageblock 8..15: two free blocks, order 0 at 8 and order 2 at 12; its type is movable.
    state = {frame: "free" if frame in (8, 12, 13, 14, 15) else "used" for frame in range(100)}
    shape = guest(4, 3, 250, None, "6.1.0")
    case = Case(shape, [zone("A", 0, 100, 0)], state, [], T0_NS + 9)
    full = full_model(History(case, [], np.full(Geometry.of(shape, case.zones).pageblocks, 1, np.int8)))
    aux = 2 | 0 << 8 | 1 << 16  # an order-2 block was found, unmovable wants it, of a movable pageblock
    full.play(columns([(T0_NS + 1, Op.EXTFRAG, 12, 0, 0, aux), (T0_NS + 1, Op.ZONE_LOCKED, 8, 0, 0, 0)]))
    assert lists_from(full.full.area, 0) == {(0, 2, 0): [12]}
    assert full.full.counters[STEPS] == 1
    assert not full.full.counters[[EXIT_OF_USED, ENTRY_OF_FREE]].any()

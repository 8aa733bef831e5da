"""Hand-computed scenarios and invariants for the reporting oracle.

Most scenarios use a toy guest: 4 frames make a host page and a pageblock (page size 512 KiB,
pageblock order 2), max order 3, reporting order 2.  Times are in milliseconds where possible,
because the free count a policy sees is that of the last completed millisecond.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.model import (
    BACKED,
    FRESH,
    MOVABLE,
    NS_PER_S,
    RECLAIMED,
    Event,
    FrameModel,
    FreeLists,
    Guest,
    Host,
    Outcome,
    PageblockTypes,
    Replay,
    UpstreamReplay,
    Zone,
    simulate,
    split_toward,
    wheel_timer,
)

MS = 1_000_000
PAGE = 524_288


def toy_guest(*ranges: tuple[int, int], **over: Any) -> Guest:
    """Zones with ``wm`` = (min, low, boost); by default min never refuses an isolation."""
    wm = over.pop("wm", (-1000, 0, 0))
    zones = tuple(Zone(f"z{i}", a, b, *wm) for i, (a, b) in enumerate(ranges))
    fields: dict[str, Any] = {"max_order": 3, "pageblock_order": 2, "hz": None, "page_size": PAGE}
    return Guest(zones=zones, **{**fields, **over})


def state_of(guest: Guest, *free: tuple[int, int]) -> dict[int, str]:
    """All frames used, except the free [start, end) ranges."""
    state = {p: "used" for z in guest.zones for p in range(z.start_pfn, z.end_pfn)}
    for start, end in free:
        state.update(dict.fromkeys(range(start, end), "free"))
    return state


def enter(ts: int, pfn: int, order: int, mt: int = -1) -> Event:
    return (ts, "enter", pfn, order, mt)


def exit_(ts: int, pfn: int, order: int) -> Event:
    return (ts, "exit", pfn, order, -1)


def run(
    guest: Guest, events: list[Event], policy: str = "upstream", end: int = 100 * MS, **over: Any
) -> Outcome:
    """Replay [0, end] from all used, steady, 4k, delay 1 ms, call 1 ms, no gate."""
    params = {"order": 2, **over.pop("params", {})}
    if policy == "upstream":
        params = {"delay_ns": MS, "gate": False, **params}
    return simulate(
        guest,
        over.pop("state", state_of(guest)),
        over.pop("heads", set()),
        0,
        end,
        events,
        policy,
        params,
        over.pop("start", "steady"),
        over.pop("backing", "4k"),
        over.pop("call_ns", MS),
        **over,
    )


def rows(outcome: Outcome) -> list[tuple[int, int, int]]:
    """(pfn, order, new pages) of every report row."""
    return [(r[4], r[5], r[6] // PAGE) for r in outcome.reports]


# -- occupancy ----------------------------------------------------------------------------------


def test_frame_model_counts_anomalies_once_per_event() -> None:
    model = FrameModel(toy_guest((0, 16)), state_of(toy_guest((0, 16)), (0, 2)))
    assert model.enter(0, 2)  # frames 0 and 1 are free already: one event
    assert (model.entry_of_free, model.exit_of_used) == (1, 0)
    assert model.exit(0, 3)  # frames 4..7 are used: one event
    assert (model.entry_of_free, model.exit_of_used) == (1, 1)
    assert model.free_count() == 0


def test_frame_model_ignores_what_lies_outside() -> None:
    guest = toy_guest((2, 10), (10, 20))
    model = FrameModel(guest, {})
    assert not model.enter(0, 2)  # starts before the zone
    assert not model.enter(8, 2)  # straddles two zones
    assert not model.enter(3, 1)  # misaligned
    assert not model.enter(0, 4)  # order above max_order
    assert not model.exit(16, 3)  # ends after the last zone
    assert model.outside == 5 and not model.managed


def test_frame_model_absent_frames_become_managed() -> None:
    model = FrameModel(toy_guest((0, 8)), {0: "absent", 1: "used"})
    assert model.state_of(0) == "absent" and model.state_of(5) == "absent"
    model.enter(0, 0)
    model.exit(4, 0)
    assert (model.state_of(0), model.state_of(4)) == ("free", "used")
    assert model.managed == [0, 1, 4] and model.exit_of_used == 1


def test_frame_model_units_and_blocks_respect_zone_borders() -> None:
    guest = toy_guest((2, 14), (14, 24))
    model = FrameModel(guest, state_of(guest, (2, 24)))
    assert model.free_units(2) == [4, 8, 16, 20]  # 12..15 straddles
    assert model.free_units(1) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]
    assert model.free_blocks() == {
        (0, 1): [2, 12],
        (0, 2): [4, 8],
        (1, 1): [14],
        (1, 3): [16],
    }
    model.exit(9, 0)
    assert model.free_blocks()[(0, 0)] == [8] and model.free_blocks()[(0, 1)] == [2, 10, 12]


def test_frame_model_rejects_a_frame_without_a_zone() -> None:
    with pytest.raises(ValueError, match="no zone"):
        FrameModel(toy_guest((0, 8)), {9: "used"})


# -- free lists ---------------------------------------------------------------------------------


def test_split_toward_gives_the_halves_largest_first() -> None:
    assert split_toward(0, 3, 5, 0) == [(0, 2), (6, 1), (4, 0)]
    assert split_toward(0, 3, 0, 2) == [(4, 2)]
    assert split_toward(4, 2, 0, 3) == []


def test_ordinary_insert_head_unless_merge_likely() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 8, 2), enter(1, 0, 1), enter(2, 4, 1), enter(3, 12, 1)]
    lists = run(guest, events, "never", params={"order": 0}).lists_end
    # 12: combined 12, higher buddy 8 is a listed order-2 block: tail; the others: head
    assert lists == {(0, 2, 1): [8], (0, 1, 1): [4, 0, 12]}
    # 14: combined 12 as well, so the same higher buddy
    lists = run(guest, [*events[:3], enter(3, 14, 1)], "never", params={"order": 0}).lists_end
    assert lists == {(0, 2, 1): [8], (0, 1, 1): [4, 0, 14]}


def test_the_two_top_orders_go_to_the_head() -> None:
    guest = toy_guest((0, 32))
    # order 2 = max_order - 1: the next-higher buddy 8 (order 3) is free, but the test is not made
    events = [enter(0, 8, 3), enter(1, 16, 2), enter(2, 0, 2)]
    assert run(guest, events, "never").lists_end == {(0, 3, 1): [8], (0, 2, 1): [0, 16]}


def test_merge_likely_needs_the_buddy_in_the_same_zone() -> None:
    guest = toy_guest((0, 12), (12, 16))
    events = [enter(0, 8, 2), enter(1, 14, 0), enter(2, 12, 0)]
    # 12 and 14 are in zone 1: the higher buddy of 12 (order 0) is 14 (order 1), not listed as such
    lists = run(guest, events, "never", params={"order": 0}).lists_end
    assert lists == {(0, 2, 1): [8], (1, 0, 1): [12, 14]}
    events = [enter(0, 8, 2), enter(1, 14, 1), enter(2, 12, 0), enter(3, 4, 0)]
    lists = run(guest, events, "never", params={"order": 0}).lists_end
    assert lists[(1, 0, 1)] == [12]


def test_insert_merges_up_to_the_maximum_order() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 2), enter(1, 8, 3), enter(2, 4, 2)]
    # 4 merges with 0 into order 3; the two order-3 buddies stay apart (max_order 3)
    assert run(guest, events, "never").lists_end == {(0, 3, 1): [0, 8]}


def test_no_merge_across_zones() -> None:
    guest = toy_guest((0, 4), (4, 8))
    lists = run(guest, [enter(0, 0, 2), enter(1, 4, 2)], "never").lists_end
    assert lists == {(0, 2, 1): [0], (1, 2, 1): [4]}


def test_no_merge_of_unmergeable_types_from_pageblock_order_on() -> None:
    guest = toy_guest((0, 16))
    lists = run(guest, [enter(0, 0, 2, 3), enter(1, 4, 2, 1)], "never").lists_end
    assert lists == {(0, 2, 3): [0], (0, 2, 1): [4]}
    lists = run(guest, [enter(0, 0, 2, 3), enter(1, 4, 2, 3)], "never").lists_end
    assert lists == {(0, 3, 3): [0]}
    lists = run(guest, [enter(0, 0, 2, 0), enter(1, 4, 2, 2)], "never").lists_end
    assert lists == {(0, 3, 2): [0]}  # two mergeable types: the incoming one wins
    # below pageblock_order types do not matter
    lists = run(guest, [enter(0, 0, 1, 3), enter(1, 2, 1, 1)], "never", params={"order": 1}).lists_end
    assert lists == {(0, 2, 1): [0]}


def test_take_of_a_range_of_smaller_blocks() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 2, 3), enter(1, 4, 2, 1), exit_(2, 0, 3)]
    outcome = run(guest, events, "never")
    assert outcome.lists_end == {} and outcome.exit_of_used == 0


def test_take_splits_and_puts_the_halves_at_the_head() -> None:
    guest = toy_guest((0, 16))
    state = state_of(guest, (0, 8), (12, 13))
    lists = run(guest, [exit_(0, 5, 0)], "never", state=state, params={"order": 0}).lists_end
    assert lists == {(0, 2, 1): [0], (0, 1, 1): [6], (0, 0, 1): [4, 12]}


def test_take_keeps_the_type_of_the_list_the_block_was_on() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 3, 0), exit_(1, 0, 2)]
    assert run(guest, events, "never").lists_end == {(0, 2, 0): [4]}


def test_an_event_that_frees_some_units_inserts_them_singly_ascending() -> None:
    guest = toy_guest((0, 16))
    state = state_of(guest, (0, 2))
    # order 3 at 0 with R = 1: unit 0 was free already; 2, 4 and 6 are inserted one by one
    outcome = run(guest, [enter(0, 0, 3)], "never", state=state, params={"order": 1})
    assert outcome.entry_of_free == 1
    assert outcome.lists_end == {(0, 3, 1): [0]}


def test_start_lists_are_the_maximal_blocks_in_ascending_order() -> None:
    guest = toy_guest((2, 30))
    state = state_of(guest, (2, 30))
    outcome = run(guest, [], "never", state=state)
    assert outcome.lists_end == {(0, 2, 1): [4, 24], (0, 3, 1): [8, 16]}


def test_an_insert_without_a_type_uses_the_pageblocks() -> None:
    guest = toy_guest((0, 16))
    # frame 0 enters as UNMOVABLE: pageblock 0 becomes so, though no unit completes
    events = [enter(0, 0, 0, 0), enter(1, 1, 0), enter(2, 2, 1)]
    assert run(guest, events, "never").lists_end == {(0, 2, 0): [0]}


def test_pageblocks_touched_and_made_movable() -> None:
    types = PageblockTypes(2)
    types.set_touched(4, 3, 0)
    assert [types.get(p) for p in (3, 4, 11, 12)] == [1, 0, 0, 1]
    types.set_touched(8, 0, 3)
    types.turn(4, 3, MOVABLE)
    assert [types.get(p) for p in (4, 7, 8, 11)] == [1, 1, 3, 3]


def test_rotate_reports_whether_it_moved() -> None:
    lists = FreeLists(toy_guest((0, 32)), 2, PageblockTypes(2))
    for pfn in (0, 8, 16):
        lists.add(0, pfn, 2, MOVABLE, tail=True)
    assert lists.rotate_to_front((0, 2, 1), 8)
    assert lists.heads((0, 2, 1)) == [8, 16, 0]
    assert not lists.rotate_to_front((0, 2, 1), 8)


# -- the host -----------------------------------------------------------------------------------


def make_host(backing: str, states: str) -> Host:
    """One letter per frame from 0: b, r, f, or - for a frame that is not managed."""
    host = Host(backing, PAGE)
    for frame, letter in enumerate(states):
        if letter != "-":
            host.set(frame, {"b": BACKED, "r": RECLAIMED, "f": FRESH}[letter])
    return host


def letters(host: Host, n: int) -> str:
    return "".join(host.state.get(f, "-")[0] for f in range(n))


@pytest.mark.parametrize(
    ("backing", "before", "touched", "after", "refaults"),
    [
        ("4k", "rrfb", [0, 2, 3], "brbb", 1),
        ("2m", "rrff", [0], "bbbb", 2),
        ("2m", "bbrr", [0], "bbrr", 0),
        ("2m", "rrf-", [2], "bbb-", 2),
        ("thp", "rrff", [0], "bbbb", 2),
        ("thp", "rrfb", [0], "brfb", 1),
        ("thp", "rrr-", [0], "brr-", 1),
        ("4k", "rrrrrrrr", [3, 4], "rrrbbrrr", 2),
        ("2m", "rrrrrrrr", [3, 4], "bbbbbbbb", 8),
        ("thp", "rrrrbrrr", [3, 5], "bbbbbbrr", 5),
    ],
)
def test_touch(backing: str, before: str, touched: list[int], after: str, refaults: int) -> None:
    host = make_host(backing, before)
    host.touch(touched)
    assert (letters(host, len(before)), host.refault_frames) == (after, refaults)


@pytest.mark.parametrize(
    ("backing", "pfn", "order", "after", "counts"),
    [
        ("4k", 0, 3, "rrfrrrrr", (6, 2, 0)),
        ("thp", 0, 1, "rrfbbrbb", (2, 0, 0)),
        ("2m", 0, 3, "rrfrrrrr", (6, 2, 0)),
        ("2m", 4, 2, "bbfbrrrr", (3, 1, 0)),
        ("2m", 0, 1, "bbfbbrbb", (0, 0, 2)),
    ],
)
def test_discard(backing: str, pfn: int, order: int, after: str, counts: tuple[int, int, int]) -> None:
    host = make_host(backing, "bbfbbrbb")
    result = host.discard(pfn, order)
    assert letters(host, 8) == after
    assert (len(result.new), result.redundant, result.acknowledged_only) == counts


# -- the timer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "delay", "hz", "phase", "fires"),
    [
        (0, 2 * NS_PER_S, 250, (1000, 0), 2_016 * MS),  # 1500 -> 1504
        (0, 2 * NS_PER_S, 250, None, 2_016 * MS),
        (0, 2 * NS_PER_S, 250, (1004, 0), 2_032 * MS),  # 1504 -> 1512
        (4 * MS - 1, 2 * NS_PER_S, 250, (1003, 0), 2_004 * MS),  # still jiffy 1003: 1503 -> 1504
        (0, 2 * NS_PER_S, 1000, (1000, 0), 2_008 * MS),  # 3000 -> 3008
        (0, 2 * NS_PER_S, 1000, None, 2_032 * MS),
        (0, 100 * MS, 250, (1000, 0), 104 * MS),  # 25 jiffies: step 1
        (10 * NS_PER_S, 5 * NS_PER_S, 1000, (0, 10 * NS_PER_S), 15_120 * MS),  # 5000 -> 5120
        (0, 100 * MS, 300, (0, 0), 103_333_334),  # 30 -> 31 jiffies, rounded up to a whole ns
    ],
)
def test_wheel_timer(now: int, delay: int, hz: int, phase: tuple[int, int] | None, fires: int) -> None:
    assert wheel_timer(now, delay, hz, phase) == fires


def test_the_policy_uses_the_wheel_only_with_a_known_hz() -> None:
    params = {"rounding": "wheel", "delay_ns": 2 * NS_PER_S}
    with_hz = run(toy_guest((0, 16), hz=250), [enter(0, 0, 2)], end=3 * NS_PER_S, params=params)
    without = run(toy_guest((0, 16)), [enter(0, 0, 2)], end=3 * NS_PER_S, params=params)
    assert with_hz.reports[0][0] == 2_016 * MS
    assert without.reports[0][0] == 2_000 * MS
    params |= {"jiffies0": 1004, "mono0_ns": 0}
    phased = run(toy_guest((0, 16), hz=250), [enter(0, 0, 2)], end=3 * NS_PER_S, params=params)
    assert phased.reports[0][0] == 2_032 * MS


# -- upstream: the schedule ---------------------------------------------------------------------


def test_one_free_is_reported_after_the_delay() -> None:
    outcome = run(toy_guest((0, 16)), [enter(5 * MS, 0, 2)], end=20 * MS)
    assert outcome.reports == [(6 * MS, 7 * MS, 1, 1, 0, 2, 4 * PAGE)]
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0)]
    assert (outcome.passes, outcome.calls, outcome.blocks, outcome.bytes) == (1, 1, 1, 4 * PAGE)
    assert outcome.reclaimed_end_bytes == outcome.peak_bytes == 4 * PAGE
    assert outcome.reclaimed_byte_ns == 4 * PAGE * 13 * MS
    assert outcome.managed_byte_ns == 16 * PAGE * 20 * MS
    assert outcome.free_byte_ns == outcome.reportable_byte_ns == 4 * PAGE * 15 * MS
    assert outcome.held_frame_ns == 4 * MS
    assert outcome.unreported_end_bytes == 0 and outcome.entries_walked == 1


def test_service_time_per_byte() -> None:
    outcome = run(toy_guest((0, 16)), [enter(0, 0, 3)], byte_ns=0.5)
    assert outcome.reports == [(MS, 2 * MS + 4 * PAGE, 1, 1, 0, 3, 8 * PAGE)]


def test_one_gib_freed_at_once_takes_four_passes() -> None:
    guest = Guest((Zone("Normal", 0, 1 << 18, 1000, 2000, 0),), 10, 9, 250)
    events = [enter(0, pfn, 10) for pfn in range(0, 1 << 18, 1024)]
    state = state_of(guest)
    outcome = simulate(guest, state, set(), 0, 20 * NS_PER_S, events, "upstream", {}, "steady", "4k")
    call = 600_000
    assert (outcome.passes, outcome.calls, outcome.blocks) == (4, 8, 256)
    submits = sorted({row[0] for row in outcome.reports})
    begin = [2 * n * NS_PER_S + 2 * (n - 1) * call for n in (1, 2, 3, 4)]
    assert submits == sorted(begin + [t + call for t in begin])
    per_pass = [sum(1 for row in outcome.reports if row[3] == n) for n in (1, 2, 3, 4)]
    assert per_pass == [64, 64, 64, 64]
    # the last freed is at the head and isolated first; the scatter-gather list is in reverse
    first_call = [row[4] for row in outcome.reports if row[2] == 1]
    assert first_call == [1024 * n for n in range(224, 256)]
    # passes 1-3: 32 + 1, 32 + 1, 1; pass 4: 32 + 1, 32, then 224 reported ones
    assert outcome.entries_walked == 3 * 67 + 33 + 32 + 224
    assert outcome.rotations == 0 and outcome.redundant_bytes == 0
    assert len(outcome.latency) == 512
    assert outcome.reclaimed_end_bytes == 1 << 30
    assert outcome.held_frame_ns == (1 << 18) * call
    # put back in reverse order of isolation, at the tail
    assert outcome.lists_end[(0, 10, 1)][:32] == first_call


def test_budget_of_more_than_512_blocks() -> None:
    guest = toy_guest((0, 4 * 513), max_order=2)
    events = [enter(0, pfn, 2) for pfn in range(0, 4 * 513, 4)]
    outcome = run(guest, events)
    # nr_free 513: budget 2, so three calls of 32 in each pass
    per_pass = [sum(1 for row in outcome.reports if row[3] == n) for n in range(1, 7)]
    assert per_pass == [96, 96, 96, 96, 96, 33]
    assert (outcome.passes, outcome.calls) == (6, 17)


def test_a_partial_batch_is_carried_to_the_next_order() -> None:
    events = [enter(0, p, 2) for p in (0, 8, 16)] + [enter(0, p, 3) for p in (24, 32, 40)]
    outcome = run(toy_guest((0, 64)), events, params={"capacity": 4})
    # lists: order 2 is 16 8 0, order 3 is 40 32 24; the first batch is 16 8 0 40
    assert rows(outcome) == [(40, 3, 8), (0, 2, 4), (8, 2, 4), (16, 2, 4), (24, 3, 8), (32, 3, 8)]
    assert [r[:3] for r in outcome.reports] == [(MS, 2 * MS, 1)] * 4 + [(2 * MS, 3 * MS, 2)] * 2
    assert outcome.entries_walked == 3 + 2 + 3
    assert outcome.lists_end == {(0, 2, 1): [0, 8, 16], (0, 3, 1): [40, 24, 32]}
    assert outcome.held_frame_ns == (3 * 4 + 8) * MS + 16 * MS


def test_a_batch_is_not_carried_to_the_next_zone() -> None:
    events = [enter(0, 0, 2), enter(0, 16, 2)]
    outcome = run(toy_guest((0, 16), (16, 32)), events)
    assert [r[:5] for r in outcome.reports] == [(MS, 2 * MS, 1, 1, 0), (2 * MS, 3 * MS, 2, 1, 16)]


def test_every_list_has_its_own_budget() -> None:
    guest = toy_guest((0, 64), max_order=2)
    # 8 blocks in UNMOVABLE, 8 in RECLAIMABLE; capacity 1, budget 16: budget 1, two calls a list
    events = [enter(0, 4 * n, 2, 0 if n < 8 else 2) for n in range(16)]
    outcome = run(guest, events, params={"capacity": 1}, end=2 * MS + 10 * MS)
    # capacity 1: the first block is isolated, the second finds the batch full (call 1), is
    # isolated, the third finds it full (call 2), then budget -1 stops the list.  The blocks put
    # back go to MOVABLE, whose list is walked in between.
    first_pass = [(row[4], row[2]) for row in outcome.reports if row[3] == 1]
    assert first_pass == [(28, 1), (24, 2), (60, 3), (56, 4)]


def test_the_budget_counts_the_blocks_of_all_types() -> None:
    guest = toy_guest((0, 128), max_order=2)
    # 9 UNMOVABLE and 9 RECLAIMABLE: nr_free 18, capacity 1 * budget 16: budget 2, three calls each
    events = [enter(0, 4 * n, 2, 0 if n < 9 else 2) for n in range(18)]
    outcome = run(guest, events, params={"capacity": 1})
    first_pass = [row[4] for row in outcome.reports if row[3] == 1]
    assert first_pass == [32, 28, 24, 68, 64, 60]


def test_budget_is_spent_then_the_walk_resumes_at_the_remembered_block() -> None:
    guest = toy_guest((0, 16 * 4), max_order=2)
    events = [enter(0, 4 * n, 2) for n in range(5)]
    outcome = run(guest, events, params={"capacity": 1})
    # pass 1 at 1 ms: 16 and 12; REQUESTED, pass 2 at 4 ms: 8 and 4; pass 3 at 7 ms: 0
    assert [(r[3], r[0] // MS, r[4]) for r in outcome.reports] == [
        (1, 1, 16),
        (1, 2, 12),
        (2, 4, 8),
        (2, 5, 4),
        (3, 7, 0),
    ]
    # pass 1: 16, 12 full, 12, 8 full, 8 stop; pass 2 the same; pass 3: 0 and four reported ones
    assert outcome.entries_walked == 5 + 5 + 5
    assert outcome.rotations == 0
    assert outcome.lists_end == {(0, 2, 1): [16, 12, 8, 4, 0]}


def test_reported_blocks_count_for_the_budget() -> None:
    guest = toy_guest((0, 4 * 64), max_order=2)
    state = state_of(guest, (0, 4 * 17))
    events = [enter(0, 4 * n, 2) for n in range(17, 21)]
    # 17 reported and 4 not: nr_free 21, capacity 1 * budget 16: budget 2, three calls in pass 1
    outcome = run(guest, events, state=state, params={"capacity": 1})
    assert [row[3] for row in outcome.reports] == [1, 1, 1, 2]
    outcome = run(guest, events, params={"capacity": 1})
    assert [row[3] for row in outcome.reports] == [1, 1, 2, 2]


def test_full_batch_behind_reported_blocks_rotates_the_list() -> None:
    guest = toy_guest((0, 32), max_order=2)
    state = state_of(guest, (0, 16))
    outcome = run(guest, [], state=state, start="recorded", heads={0}, params={"capacity": 1}, end=50 * MS)
    # list 0* 4 8 12: 0 skipped, 4 taken, 8 full -> rotated: 8 12 0*; +4* -> 8 12 0* 4*
    # 8 taken, 12 full (first already), +8*; 12 unreported, budget -1: stop; pass 2: 12
    assert [(r[3], r[4]) for r in outcome.reports] == [(1, 4), (1, 8), (2, 12)]
    assert outcome.rotations == 1
    assert outcome.entries_walked == 3 + 2 + 1 + 4
    assert outcome.lists_end == {(0, 2, 1): [0, 4, 8, 12]}
    assert outcome.start_bytes == 4 * PAGE


def test_a_free_during_a_pass_waits_for_the_next() -> None:
    guest = toy_guest((0, 32), max_order=2)
    outcome = run(guest, [enter(0, 0, 2), enter(1_500_000, 8, 2)])
    # the pass runs 1..2 ms; REQUESTED is found at its end: next at 3 ms
    assert [(r[0], r[4]) for r in outcome.reports] == [(MS, 0), (3 * MS, 8)]
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0), (2_500_000, 4 * PAGE, 8)]
    assert outcome.passes == 2


def test_a_free_while_requested_does_not_rearm_the_timer() -> None:
    guest = toy_guest((0, 32), max_order=2)
    outcome = run(guest, [enter(0, 0, 2), enter(900_000, 8, 2)])
    assert [(r[0], r[4]) for r in outcome.reports] == [(MS, 0), (MS, 8)]
    assert outcome.passes == 1


def test_a_free_below_the_reporting_order_does_not_notify() -> None:
    guest = toy_guest((0, 32))
    outcome = run(guest, [enter(0, 0, 1), enter(0, 4, 0)])
    assert outcome.passes == 0
    outcome = run(guest, [enter(0, 0, 1), enter(5 * MS, 2, 1)])
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0)]


def test_an_event_at_the_time_of_the_pass_comes_first() -> None:
    guest = toy_guest((0, 32), max_order=2)
    outcome = run(guest, [enter(0, 0, 2), exit_(MS, 0, 2), enter(MS, 8, 2)])
    assert [r[4] for r in outcome.reports] == [8]
    assert outcome.missed == [(MS, 4 * PAGE, 0)]
    assert outcome.refault_frames == 0


# -- upstream: gate and watermarks --------------------------------------------------------------


def test_the_gate_needs_more_than_low_boost_and_a_batch() -> None:
    guest = toy_guest((0, 64), wm=(0, 3, 1))
    params = {"capacity": 4, "gate": True}  # 3 + 1 + (4 << 2) = 20
    shut = run(guest, [enter(0, 0, 2), enter(0, 16, 3), enter(0, 32, 3)], params=params)
    assert (shut.passes, shut.calls) == (1, 0)
    assert shut.unreported_end_bytes == 20 * PAGE
    events = [enter(0, 0, 2), enter(0, 16, 3), enter(0, 32, 3), enter(0, 60, 0)]
    assert run(guest, events, params=params).calls == 1
    # once shut the policy is idle until the next free
    events = [enter(0, 0, 2), enter(0, 16, 3), enter(0, 32, 3), enter(9 * MS, 40, 3)]
    later = run(guest, events, params=params)
    assert (later.passes, later.reports[0][0]) == (2, 10 * MS)


def test_the_free_count_is_that_of_the_last_completed_millisecond() -> None:
    guest = toy_guest((0, 64))
    params = {"capacity": 1, "gate": True, "delay_ns": 500_000}
    same = run(guest, [enter(0, 0, 3)], params=params)
    assert (same.passes, same.calls) == (1, 0)  # at 0.5 ms the 8 free frames are not known yet
    next_ms = run(guest, [enter(600_000, 0, 3)], params=params)
    assert (next_ms.passes, next_ms.calls) == (1, 1)


def test_isolation_is_refused_at_the_min_watermark() -> None:
    guest = toy_guest((0, 64), max_order=2, wm=(16, 0, 0))
    events = [enter(0, 8 * n, 2) for n in range(6)]
    outcome = run(guest, events)
    # 24 free: 24 > 16 + 4 but not 20; the pass leaves no request behind
    assert [r[4] for r in outcome.reports] == [40]
    assert (outcome.passes, outcome.entries_walked, outcome.rotations) == (1, 2, 0)
    assert outcome.lists_end == {(0, 2, 1): [32, 24, 16, 8, 0, 40]}


def test_a_refused_block_is_rotated_to_the_front() -> None:
    guest = toy_guest((0, 64), max_order=2, wm=(60, 0, 0))
    outcome = run(guest, [], state=state_of(guest, (0, 12)), start="recorded", heads={0})
    assert outcome.lists_end == {(0, 2, 1): [4, 8, 0]}
    assert (outcome.rotations, outcome.entries_walked, outcome.calls) == (1, 2, 0)


# -- upstream: flags and put-back ---------------------------------------------------------------


def test_the_flag_is_lost_when_a_block_splits() -> None:
    guest = toy_guest((0, 16))
    events = [exit_(0, 0, 2), enter(0, 8, 2)]
    outcome = run(guest, events, state=state_of(guest, (0, 8)))
    assert outcome.start_bytes == 8 * PAGE
    assert outcome.refault_frames == 4
    # half 4 is reported again although the host lacks it; list 8 4, sg order 4 8
    assert rows(outcome) == [(4, 2, 0), (8, 2, 4)]
    assert outcome.redundant_bytes == 4 * PAGE
    assert outcome.latency == [(2 * MS, 4 * PAGE, 8)]
    assert outcome.reclaimed_end_bytes == 8 * PAGE


def test_the_flag_is_lost_when_a_block_merges() -> None:
    guest = toy_guest((0, 16))
    events = [enter(5 * MS, 4, 2)]
    outcome = run(guest, events, state=state_of(guest, (0, 4)))
    assert rows(outcome) == [(0, 3, 4)]
    assert outcome.redundant_bytes == 4 * PAGE
    assert outcome.latency == [(2 * MS, 4 * PAGE, 4)]


def test_a_block_that_merges_while_put_back_is_not_flagged() -> None:
    guest = toy_guest((0, 16))
    outcome = run(guest, [enter(0, 0, 2), enter(1_500_000, 4, 2)])
    # 4 is freed while its buddy is isolated: no merge until 0 is put back at 2 ms; then the
    # order-3 block is reported from 3 ms to 4 ms
    assert rows(outcome) == [(0, 2, 4), (0, 3, 4)]
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0), (2_500_000, 4 * PAGE, 4)]
    assert outcome.redundant_bytes == 4 * PAGE
    assert outcome.passes == 2


def test_buddies_of_one_batch_merge_while_drained() -> None:
    guest = toy_guest((0, 16))
    # pageblock 0 is HIGHATOMIC when 0 is freed, so 0 and 4 do not merge; then pageblock 0
    # becomes MOVABLE through a free of a frame that is free already
    events = [enter(0, 0, 2, 3), enter(0, 4, 2, 1), enter(0, 0, 0, 1)]
    outcome = run(guest, events, end=20 * MS)
    # order 2: MOVABLE 4, then HIGHATOMIC 0; sg order 0 4; 0 is flagged, then merged away
    assert rows(outcome) == [(0, 2, 4), (4, 2, 4)]
    assert outcome.lists_end == {(0, 3, 1): [0]}
    assert outcome.entry_of_free == 1
    assert outcome.passes == 1  # a put-back does not notify


def test_isolation_turns_mergeable_pageblocks_movable() -> None:
    guest = toy_guest((0, 32), max_order=2)
    events = [enter(0, 0, 2, 0), enter(0, 4, 2, 2), enter(0, 8, 2, 3)]
    outcome = run(guest, events)
    # lists 0, 2, 3: isolated 0, 4, 8; put back 8, 4, 0
    assert outcome.lists_end == {(0, 2, 1): [4, 0], (0, 2, 3): [8]}


def test_isolation_below_half_a_pageblock_keeps_the_type() -> None:
    guest = toy_guest((0, 32))
    outcome = run(guest, [enter(0, 0, 0, 0)], params={"order": 0})
    assert outcome.lists_end == {(0, 0, 0): [0]}
    outcome = run(guest, [enter(0, 0, 1, 0)], params={"order": 0})
    assert outcome.lists_end == {(0, 1, 1): [0]}


def test_the_isolate_list_is_not_walked() -> None:
    guest = toy_guest((0, 32), max_order=2)
    outcome = run(guest, [enter(0, 0, 2, 4), enter(0, 8, 2, 1)])
    assert [r[4] for r in outcome.reports] == [8]
    assert outcome.entries_walked == 1


def test_put_back_before_5_10_goes_to_the_head() -> None:
    guest = toy_guest((0, 32), max_order=2)
    events = [enter(0, 0, 2), enter(0, 4, 2), enter(0, 8, 2)]
    outcome = run(guest, events, params={"capacity": 2, "putback": "head"})
    # list 8 4 0: report 8 4 (sg 4 8), put back at the head: 8 4 0; then 8* 4* skipped, 0 isolated
    assert rows(outcome) == [(4, 2, 4), (8, 2, 4), (0, 2, 4)]
    assert outcome.lists_end == {(0, 2, 1): [0, 8, 4]}
    assert outcome.passes == 1 and outcome.entries_walked == 3 + 3
    assert outcome.rotations == 0


# -- collisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("backing", "refaults"), [("4k", 1), ("2m", 4), ("thp", 4)])
def test_collision_in_flight(backing: str, refaults: int) -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 3), exit_(1_500_000, 1, 0)]
    outcome = run(guest, events, backing=backing, end=10 * MS)
    assert (outcome.collision_blocks, outcome.collision_bytes) == (1, 8 * PAGE)
    assert rows(outcome) == [(0, 3, 8)]
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0), (2 * MS, 4 * PAGE, 4)]
    assert outcome.missed == []
    assert outcome.refault_frames == refaults
    assert outcome.reclaimed_end_bytes == (8 - refaults) * PAGE
    assert outcome.held_frame_ns == 8 * 500_000
    assert outcome.lists_end == {(0, 2, 1): [4]}
    assert outcome.passes == 1  # the put-back did not notify
    assert outcome.unreported_end_bytes == 0  # unit 4 was told


def test_collision_remainder_is_not_flagged() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 3), exit_(1_500_000, 0, 2), enter(5 * MS, 8, 2)]
    outcome = run(guest, events, end=20 * MS)
    # unit 4 is reported again, redundantly, when a free starts the next pass
    assert rows(outcome) == [(0, 3, 8), (4, 2, 0), (8, 2, 4)]
    assert outcome.redundant_bytes == 4 * PAGE


def test_collision_pieces_are_put_back_largest_first_at_the_tail() -> None:
    guest = toy_guest((0, 32))
    events = [enter(0, 0, 3), exit_(1_500_000, 5, 0)]
    outcome = run(guest, events, params={"order": 0})
    assert outcome.lists_end == {(0, 2, 1): [0], (0, 1, 1): [6], (0, 0, 1): [4]}
    # one taken unit of order 0: the seven others stay told
    assert outcome.refault_frames == 1 and len(outcome.latency) == 8
    assert outcome.unreported_end_bytes == 0


def test_two_exits_in_one_block_are_one_collision() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 3), exit_(1_400_000, 0, 2), exit_(1_600_000, 6, 0)]
    outcome = run(guest, events, end=10 * MS)
    assert (outcome.collision_blocks, outcome.held_frame_ns) == (1, 8 * 400_000)
    assert outcome.lists_end == {}
    assert outcome.missed == []  # unit 4 was still in flight when it broke
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0), (2 * MS, 4 * PAGE, 4)]
    assert outcome.refault_frames == 5
    assert outcome.reclaimed_end_bytes == 3 * PAGE


def test_an_exit_over_isolated_and_listed_blocks() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 2), enter(1_500_000, 4, 2), exit_(1_600_000, 0, 3)]
    outcome = run(guest, events, end=10 * MS)
    # 0 is in flight (a collision), 4 is listed: missed after 0.1 ms
    assert outcome.collision_blocks == 1
    assert outcome.missed == [(100_000, 4 * PAGE, 4)]
    assert rows(outcome) == [(0, 2, 4)]
    assert outcome.refault_frames == 4 and outcome.reclaimed_end_bytes == 0
    assert outcome.peak_bytes == 0  # reclaimed and refaulted within one completion
    assert outcome.passes == 2  # the free of 4 came during the pass


def test_a_unit_that_comes_back_in_flight_is_a_new_wait() -> None:
    guest = toy_guest((0, 16), max_order=2)
    events = [enter(0, 0, 2), exit_(1_200_000, 0, 2), enter(1_600_000, 0, 2)]
    outcome = run(guest, events, end=10 * MS)
    # call 1 ends at 2 ms: reclaimed (the clock restarted at 1.6 ms), refaulted at once; the new wait
    # is reported by the pass of 3 ms
    assert rows(outcome) == [(0, 2, 4), (0, 2, 4)]
    assert outcome.latency == [(400_000, 4 * PAGE, 0), (2_400_000, 4 * PAGE, 0)]
    assert outcome.refault_frames == 4
    assert outcome.reclaimed_end_bytes == 4 * PAGE


def test_a_new_wait_is_not_told_by_the_old_report() -> None:
    guest = toy_guest((0, 16), max_order=2)
    events = [enter(0, 0, 2), exit_(1_200_000, 0, 2), enter(1_600_000, 0, 2)]
    after = run(guest, [*events, exit_(2_500_000, 3, 0)], end=10 * MS)
    assert after.latency == [(400_000, 4 * PAGE, 0)]
    assert after.missed == [(900_000, 4 * PAGE, 0)]
    # broken again before the old report completes: the new wait is not the one in flight
    before = run(guest, [*events, exit_(1_800_000, 3, 0)], end=10 * MS)
    assert before.latency == [(400_000, 4 * PAGE, 0)]
    assert before.missed == [(200_000, 4 * PAGE, 0)]
    assert before.collision_blocks == 1 and before.refault_frames == 4


def test_an_exit_at_the_time_of_completion_collides() -> None:
    guest = toy_guest((0, 16), max_order=2)
    outcome = run(guest, [enter(0, 0, 2), exit_(2 * MS, 0, 2)], end=10 * MS)
    assert outcome.collision_blocks == 1 and outcome.reclaimed_end_bytes == 0
    outcome = run(guest, [enter(0, 0, 2), exit_(2 * MS + 1, 0, 2)], end=10 * MS)
    assert outcome.collision_blocks == 0 and outcome.refault_frames == 4
    assert outcome.reclaimed_byte_ns == 4 * PAGE


# -- the end ------------------------------------------------------------------------------------


def test_a_report_that_ends_too_late_does_not_happen() -> None:
    guest = toy_guest((0, 32), max_order=2)
    events = [enter(0, 0, 2), enter(1_500_000, 8, 2), exit_(1_900_000, 16, 0)]
    late = run(guest, events, end=2 * MS - 1)
    assert late.reports == [] and late.latency == [] and late.calls == 0 and late.passes == 1
    assert late.unreported_end_bytes == 8 * PAGE
    assert late.lists_end == {(0, 2, 1): [8]}  # 0 stays held
    assert late.held_frame_ns == 4 * (MS - 1)
    assert late.exit_of_used == 1  # events up to the end apply
    in_time = run(guest, events, end=2 * MS)
    assert in_time.calls == 1 and in_time.reclaimed_byte_ns == 0
    assert in_time.reclaimed_end_bytes == 4 * PAGE


def test_events_after_the_end_do_not_happen() -> None:
    guest = toy_guest((0, 32))
    outcome = run(guest, [enter(5 * MS, 0, 2), enter(5 * MS + 1, 8, 2)], "never", end=5 * MS)
    assert outcome.free_units(2) == [0]
    assert outcome.free_blocks() == {(0, 2): [0]}


# -- starts -------------------------------------------------------------------------------------


def test_steady_start() -> None:
    guest = toy_guest((0, 32))
    outcome = run(guest, [exit_(3 * MS, 0, 0)], state=state_of(guest, (0, 12)), end=10 * MS)
    assert (outcome.start_bytes, outcome.passes) == (12 * PAGE, 0)
    assert outcome.latency == [] and outcome.missed == []
    assert outcome.refault_frames == 1 and outcome.peak_bytes == 12 * PAGE
    assert outcome.reclaimed_byte_ns == (12 * 3 + 11 * 7) * PAGE * MS
    assert outcome.reportable_byte_ns == (12 * 3 + 8 * 7) * PAGE * MS


def test_cold_start() -> None:
    guest = toy_guest((0, 32))
    events = [exit_(500_000, 8, 0)]
    outcome = run(guest, events, state=state_of(guest, (0, 12)), start="cold", end=10 * MS)
    assert outcome.start_bytes == 0
    assert outcome.missed == [(500_000, 4 * PAGE, 8)]
    assert outcome.latency == [(2 * MS, 4 * PAGE, 0), (2 * MS, 4 * PAGE, 4)]
    empty = run(guest, [], start="cold", end=10 * MS)
    assert (empty.passes, empty.calls) == (1, 0)  # the registration is a request


def test_recorded_start() -> None:
    guest = toy_guest((0, 32), max_order=2)
    state = state_of(guest, (0, 12))
    outcome = run(guest, [exit_(500_000, 8, 1)], state=state, start="recorded", heads={0}, end=10 * MS)
    assert outcome.start_bytes == 4 * PAGE
    assert outcome.missed == [(None, 4 * PAGE, 8)]  # when it was freed is unknown
    assert rows(outcome) == [(4, 2, 4)]
    assert outcome.latency == []
    assert outcome.left_censored_bytes == 8 * PAGE
    idle = run(guest, [], state=state, start="recorded", heads={0, 4, 8}, end=10 * MS)
    assert idle.passes == 0


def test_recorded_clock_starts_anew_with_the_next_free() -> None:
    guest = toy_guest((0, 32), max_order=2)
    events = [exit_(100_000, 0, 0), enter(200_000, 0, 0)]
    outcome = run(guest, events, state=state_of(guest, (0, 4)), start="recorded", end=10 * MS)
    assert outcome.missed == [(None, 4 * PAGE, 0)]
    assert outcome.latency == [(1_800_000, 4 * PAGE, 0)]


# -- missed, fresh, never, oracle ---------------------------------------------------------------


def test_missed_counts_the_frames_still_backed() -> None:
    guest = toy_guest((0, 16), max_order=2)
    # unit 0 is reclaimed at the start; frame 0 refaults and returns; the unit breaks again
    events = [exit_(0, 0, 0), enter(100_000, 0, 0), exit_(400_000, 3, 0)]
    outcome = run(guest, events, state=state_of(guest, (0, 4)), end=10 * MS)
    assert outcome.missed == [(300_000, PAGE, 0)]
    assert outcome.refault_frames == 2


def test_told_units_are_not_missed() -> None:
    guest = toy_guest((0, 16), max_order=2)
    outcome = run(guest, [enter(0, 0, 2), exit_(9 * MS, 0, 2)], end=10 * MS)
    assert outcome.missed == [] and outcome.refault_frames == 4


def test_fresh_frames_are_neither_reclaimed_nor_refaulted() -> None:
    guest = toy_guest((0, 16))
    state = dict.fromkeys(range(8), "used")
    events = [enter(2 * MS, 8, 3), exit_(8 * MS, 8, 2), exit_(8 * MS, 0, 0), enter(9 * MS, 8, 2)]
    outcome = run(guest, events, state=state, end=20 * MS)
    # reported at 3 ms, all redundant; used, then free again: now it gives a sample
    assert rows(outcome) == [(8, 3, 0), (8, 3, 4)]
    assert outcome.redundant_bytes == (8 + 4) * PAGE
    assert outcome.latency == [(2 * MS, 4 * PAGE, 8)]
    assert outcome.refault_frames == 0 and outcome.missed == []
    assert outcome.managed_byte_ns == (8 * 2 + 16 * 18) * PAGE * MS


def test_a_fresh_unit_that_breaks_is_not_missed() -> None:
    guest = toy_guest((0, 16))
    outcome = run(guest, [enter(0, 8, 3), exit_(100_000, 8, 3)], state={})
    assert outcome.missed == [] and outcome.unreported_end_bytes == 0
    half = run(guest, [enter(0, 8, 1), exit_(1, 10, 1), enter(2, 10, 1), exit_(3, 8, 0)], state={})
    assert half.missed == [(1, 2 * PAGE, 8)]


def test_an_absent_frame_that_exits_is_managed_and_backed() -> None:
    guest = toy_guest((0, 16))
    outcome = run(guest, [exit_(MS, 0, 2), enter(2 * MS, 0, 2)], "oracle", state={}, end=4 * MS)
    assert outcome.exit_of_used == 1
    assert outcome.latency == [(0, 4 * PAGE, 0)]
    assert outcome.managed_byte_ns == 4 * PAGE * 3 * MS


def test_never() -> None:
    guest = toy_guest((0, 16))
    events = [enter(MS, 8, 2), exit_(4 * MS, 8, 0), enter(5 * MS, 8, 0)]
    outcome = run(guest, events, "never", state=state_of(guest, (0, 8)), end=10 * MS)
    assert outcome.missed == [(3 * MS, 4 * PAGE, 8)]
    assert outcome.unreported_end_bytes == 12 * PAGE
    assert outcome.start_bytes == outcome.peak_bytes == outcome.reclaimed_byte_ns == 0


def test_oracle_latency_is_zero() -> None:
    guest = toy_guest((0, 16))
    events = [enter(MS, 0, 3), exit_(3 * MS, 5, 0), enter(6 * MS, 5, 0)]
    outcome = run(guest, events, "oracle", end=10 * MS)
    assert outcome.reports == [
        (MS, MS, 1, 0, 0, 2, 4 * PAGE),
        (MS, MS, 2, 0, 4, 2, 4 * PAGE),
        (6 * MS, 6 * MS, 3, 0, 4, 2, PAGE),
    ]
    assert outcome.latency == [(0, 4 * PAGE, 0), (0, 4 * PAGE, 4), (0, PAGE, 4)]
    assert (outcome.calls, outcome.blocks, outcome.passes) == (3, 3, 0)
    assert outcome.redundant_bytes == 3 * PAGE  # of the unit of which one frame had come back
    assert outcome.missed == []
    assert outcome.reclaimed_byte_ns == (8 * 9 - 3) * PAGE * MS
    assert outcome.held_frame_ns == 0


def test_oracle_skips_what_the_host_lacks() -> None:
    guest = toy_guest((0, 16))
    outcome = run(guest, [enter(MS, 8, 3)], "oracle", state=dict.fromkeys(range(8), "used"))
    assert outcome.reports == []


def test_oracle_cold_reports_everything_at_t0() -> None:
    guest = toy_guest((0, 16))
    outcome = run(guest, [], "oracle", state=state_of(guest, (0, 12)), start="cold", end=MS)
    assert [r[4] for r in outcome.reports] == [0, 4, 8]
    assert [s[0] for s in outcome.latency] == [0, 0, 0]
    assert outcome.reclaimed_byte_ns == 12 * PAGE * MS


def test_oracle_with_whole_host_pages() -> None:
    guest = toy_guest((0, 16))
    events = [enter(MS, 0, 3), exit_(2 * MS, 5, 0), enter(3 * MS, 5, 0)]
    outcome = run(guest, events, "oracle", backing="2m")
    assert [r[4:] for r in outcome.reports] == [
        (0, 2, 4 * PAGE),
        (4, 2, 4 * PAGE),
        (4, 2, 4 * PAGE),
    ]
    assert outcome.refault_frames == 4
    with pytest.raises(NotImplementedError):
        run(guest, events, "oracle", backing="2m", params={"order": 1})


@pytest.mark.parametrize(("backing", "refaults"), [("4k", 2), ("2m", 4), ("thp", 4)])
def test_refaults_by_backing(backing: str, refaults: int) -> None:
    guest = toy_guest((0, 16))
    events = [exit_(MS, 0, 0), exit_(2 * MS, 1, 0)]
    outcome = run(guest, events, state=state_of(guest, (0, 8)), backing=backing)
    assert outcome.refault_frames == refaults
    assert outcome.reclaimed_end_bytes == (8 - refaults) * PAGE


def test_thp_brings_back_a_page_only_when_wholly_absent() -> None:
    guest = toy_guest((0, 16))
    events = [exit_(MS, 0, 0), enter(2 * MS, 0, 0), exit_(3 * MS, 0, 0)]
    params = {"order": 0}
    outcome = run(guest, events, "oracle", state=state_of(guest, (0, 4)), backing="thp", params=params)
    # 4 come back; frame 0 is reported again alone; then only frame 0 comes back
    assert rows(outcome) == [(0, 0, 1)]
    assert outcome.refault_frames == 5


def test_small_blocks_are_acknowledged_only_with_2m() -> None:
    guest = toy_guest((0, 16))
    events = [enter(0, 0, 1), exit_(5 * MS, 0, 0)]
    outcome = run(guest, events, backing="2m", params={"order": 1}, end=10 * MS)
    assert rows(outcome) == [(0, 1, 0)]
    assert outcome.acknowledged_only_bytes == outcome.bytes == 2 * PAGE
    assert outcome.latency == [] and outcome.missed == []  # told, though nothing came of it
    assert outcome.refault_frames == 0


def test_wrong_arguments() -> None:
    guest = toy_guest((0, 16))
    for events in ([enter(2, 0, 0), enter(1, 1, 0)], [enter(-1, 0, 0)], [enter(0, 0, 0, 5)]):
        with pytest.raises(ValueError):
            run(guest, events)
    with pytest.raises(ValueError):
        run(guest, [], params={"delay": 1})
    with pytest.raises(ValueError):
        run(guest, [], start="warm")


# -- invariants ---------------------------------------------------------------------------------


class Watch:
    """An observer that checks every state and recomputes the integrals in its own way."""

    def __init__(self) -> None:
        self.last_ns: int | None = None
        self.last_reclaimed = 0
        self.changed_at_start = False  # the instant t0 does not end with what it began with
        self.reclaimed_frame_ns = 0
        self.last_units: set[int] = set()
        self.period_frames = 0
        self.mergeable_only = True

    def __call__(self, replay: Replay) -> None:
        self._integrate(replay)
        self._count_periods(replay)
        check_lists(replay)
        check_host(replay)
        check_told(replay)
        if self.mergeable_only:
            check_maximal(replay)

    def _integrate(self, replay: Replay) -> None:
        if self.last_ns is not None:
            self.changed_at_start |= replay.now == replay.setup.t0_ns
            self.reclaimed_frame_ns += self.last_reclaimed * (replay.now - self.last_ns)
        self.last_ns = replay.now
        self.last_reclaimed = sum(1 for s in replay.host.state.values() if s == RECLAIMED)

    def _count_periods(self, replay: Replay) -> None:
        """Backed frames at the beginning of every wholly-free period."""
        units = set(replay.frames.free_units(replay.reporting_order))
        for unit in units - self.last_units:
            if unit not in replay.told:
                self.period_frames += replay.host.backed_in(range(unit, unit + (1 << replay.reporting_order)))
        self.last_units = units


def held_blocks(replay: Replay) -> list[tuple[int, int]]:
    return [(b.pfn, b.order) for b in replay.batch if not b.collided]


def check_lists(replay: Replay) -> None:
    """Lists and blocks agree; listed and held frames are exactly the wholly free units."""
    from_lists = {head: key for key, heads in replay.lists.lists.items() for head in heads if heads}
    assert sum(len(heads) for heads in replay.lists.lists.values()) == len(from_lists)
    assert from_lists == {p: (b.zone, b.order, b.migratetype) for p, b in replay.lists.blocks.items()}
    frames: list[int] = []
    for pfn, block in replay.lists.blocks.items():
        assert pfn % (1 << block.order) == 0
        assert replay.guest.zone_of_range(pfn, 1 << block.order) == block.zone
        frames += range(pfn, pfn + (1 << block.order))
    for pfn, order in held_blocks(replay):
        frames += range(pfn, pfn + (1 << order))
    order = replay.reporting_order
    units = replay.frames.free_units(order)
    expected = [f for u in units for f in range(u, u + (1 << order))]
    assert sorted(frames) == expected
    assert sorted(replay.since) == units


def check_maximal(replay: Replay) -> None:
    """With mergeable types only, the lists are the maximal blocks of what is not held."""
    order = replay.reporting_order
    units = {f for u in replay.since for f in range(u, u + (1 << order))}
    held = {f for p, o in held_blocks(replay) for f in range(p, p + (1 << o))}
    model = FrameModel(replay.guest, dict.fromkeys(units - held, "free"))
    listed: dict[tuple[int, int], list[int]] = {}
    for pfn, block in sorted(replay.lists.blocks.items()):
        listed.setdefault((block.zone, block.order), []).append(pfn)
    assert listed == model.free_blocks()


def check_host(replay: Replay) -> None:
    host = replay.host
    assert sorted(host.state) == replay.frames.managed
    for frame, what in host.state.items():
        if what != BACKED:
            assert replay.frames.state_of(frame) == "free"
        if what == RECLAIMED and host.backing == "2m":
            page = frame // host.host_page * host.host_page
            assert all(host.state[f] != BACKED for f in range(page, page + host.host_page))
    assert host.reclaimed == {f for f, what in host.state.items() if what == RECLAIMED}


def check_told(replay: Replay) -> None:
    order = replay.reporting_order
    assert replay.told <= set(replay.since)
    for pfn, block in replay.lists.blocks.items():
        if block.reported:
            assert set(replay.units_of(pfn, block.order)) <= replay.told
    if replay.host.backing == "4k":
        for unit in replay.told:
            assert replay.host.backed_in(range(unit, unit + (1 << order))) == 0
    if isinstance(replay, UpstreamReplay) and replay.status == "IDLE":
        assert replay.deadline is None and not replay.batch


ZONES = ((3, 27), (27, 61))


@st.composite
def event_lists(draw: st.DrawFn, types: st.SearchStrategy[int]) -> list[Event]:
    """Random events, most of them well formed, close enough in time to collide."""
    ts = 0
    events = []
    for _ in range(draw(st.integers(0, 40))):
        ts += draw(st.sampled_from([0, 1, 100_000, 400_000, MS, 5 * MS]))
        order = draw(st.sampled_from([0, 0, 1, 2, 2, 3, 3, 4]))
        pfn = draw(st.integers(0, 63 >> order)) << order
        pfn += draw(st.sampled_from([0] * 19 + [1]))
        kind = draw(st.sampled_from(["enter", "enter", "exit"]))
        events.append((ts, kind, pfn, order, draw(types)))
    return events


states = st.lists(st.sampled_from(["used", "free", "free", "absent"]), min_size=58, max_size=58)
params_of_upstream = st.fixed_dictionaries(
    {
        "order": st.integers(0, 3),
        "delay_ns": st.sampled_from([0, 300_000, 2 * MS]),
        "capacity": st.integers(1, 4),
        "budget": st.integers(1, 3),
        "gate": st.booleans(),
        "putback": st.sampled_from(["tail", "head"]),
    }
)


def check_outcome(outcome: Outcome, watch: Watch, end: int) -> None:
    new = sum(row[6] for row in outcome.reports)
    assert outcome.calls == len({row[2] for row in outcome.reports})
    assert outcome.blocks == len(outcome.reports)
    refaulted = outcome.refault_frames * PAGE
    assert outcome.reclaimed_end_bytes == outcome.start_bytes + new - refaulted
    assert outcome.peak_bytes >= outcome.reclaimed_end_bytes
    if not watch.changed_at_start:
        assert outcome.peak_bytes >= outcome.start_bytes
    sampled = sum(s[1] for s in outcome.latency)
    missed_unknown = sum(m[1] for m in outcome.missed if m[0] is None)
    assert sampled + outcome.left_censored_bytes - missed_unknown == new
    assert all(row[1] > 0 for row in outcome.latency + outcome.missed)
    assert watch.last_ns is not None
    tail = watch.last_reclaimed * (end - watch.last_ns)
    assert outcome.reclaimed_byte_ns == (watch.reclaimed_frame_ns + tail) * PAGE
    assert outcome.reclaimed_byte_ns <= outcome.free_byte_ns <= outcome.managed_byte_ns
    assert outcome.reportable_byte_ns <= outcome.free_byte_ns


@settings(max_examples=400, deadline=None)
@given(
    event_lists(st.sampled_from([-1, 0, 1, 2])) | event_lists(st.integers(-1, 4)),
    states,
    params_of_upstream,
    st.sampled_from(["steady", "cold", "recorded"]),
    st.sampled_from(["4k", "2m", "thp"]),
    st.sampled_from([0, 200_000, 3 * MS]),
    st.sets(st.integers(0, 60)),
    st.sampled_from([0, 3 * MS, 60 * MS, 400 * MS]),
)
def test_upstream_invariants(
    events: list[Event],
    state: list[str],
    params: dict[str, Any],
    start: str,
    backing: str,
    call_ns: int,
    heads: set[int],
    end: int,
) -> None:
    guest = toy_guest(*ZONES, wm=(2, 5, 1))
    watch = Watch()
    watch.mergeable_only = all(event[4] <= 2 for event in events)
    frames = dict(enumerate(state, 3))
    outcome = simulate(
        guest, frames, heads, 0, end, events, "upstream", params, start, backing, call_ns, 0, watch
    )
    check_outcome(outcome, watch, end)
    new = sum(row[6] for row in outcome.reports)
    assert outcome.bytes == new + outcome.redundant_bytes + outcome.acknowledged_only_bytes
    for submit, done, *_ in outcome.reports:
        assert done == submit + call_ns <= end
    if backing == "4k" and outcome.collision_blocks == 0:
        # every byte that became reportable was reported, missed, or still waits
        missed = sum(m[1] for m in outcome.missed)
        sampled = sum(s[1] for s in outcome.latency)
        unknown = outcome.left_censored_bytes - sum(m[1] for m in outcome.missed if m[0] is None)
        accounted = sampled + unknown + missed + outcome.unreported_end_bytes
        assert accounted == watch.period_frames * PAGE


@settings(max_examples=200, deadline=None)
@given(
    event_lists(st.integers(-1, 2)),
    states,
    st.sampled_from(["never", "oracle"]),
    st.integers(0, 3),
    st.sampled_from(["steady", "cold", "recorded"]),
    st.sampled_from(["4k", "2m", "thp"]),
)
def test_bounds_invariants(
    events: list[Event], state: list[str], policy: str, order: int, start: str, backing: str
) -> None:
    if policy == "oracle" and backing == "2m":
        order = max(order, 2)
    guest = toy_guest(*ZONES)
    watch = Watch()
    frames = dict(enumerate(state, 3))
    end = 60 * MS
    params = {"order": order}
    outcome = simulate(guest, frames, set(), 0, end, events, policy, params, start, backing, observer=watch)
    check_outcome(outcome, watch, end)
    assert all(sample[0] == 0 for sample in outcome.latency)
    if policy == "never":
        assert outcome.reclaimed_byte_ns == 0
    else:
        # What joins the guest is not told, as the host lacks it; a neighbour's huge page may back it later.
        joined = {pfn >> order for pfn, what in frames.items() if what == "absent" and backing != "4k"}
        assert {unit for _, _, unit in outcome.missed} <= joined


@settings(max_examples=60, deadline=None)
@given(event_lists(st.just(-1)), states, params_of_upstream)
def test_upstream_never_beats_the_oracle(
    events: list[Event], state: list[str], params: dict[str, Any]
) -> None:
    """On 4k every frame upstream has reclaimed, the oracle has too (without collisions)."""
    guest = toy_guest(*ZONES)
    frames = dict(enumerate(state, 3))
    end = 60 * MS
    order = {"order": params["order"]}
    args = (guest, frames, set[int](), 0, end, events)
    upstream = simulate(*args, "upstream", params, "steady", "4k")
    oracle = simulate(*args, "oracle", order, "steady", "4k")
    if upstream.collision_blocks == 0:
        assert upstream.reclaimed_byte_ns <= oracle.reclaimed_byte_ns
    assert upstream.free_byte_ns == oracle.free_byte_ns
    assert upstream.reportable_byte_ns == oracle.reportable_byte_ns
    assert upstream.exit_of_used == oracle.exit_of_used

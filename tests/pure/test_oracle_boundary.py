"""Hand-computed scenarios of the oracle's ``boundary`` policy (Duyck v10)."""

from dataclasses import replace
from typing import Any

from tests.oracle.model import Event, Outcome, Replay
from tests.pure.oracle_toys import (
    MS,
    enter,
    guest_of,
    leave,
    pfns,
    play,
    reshuffle,
    rows,
    spaced,
    state_of,
)


def boundary(guest, events: list[Event], end_ms: float = 1000, **over: Any) -> Outcome:
    return play(guest, events, "boundary", end_ms, **over)


def small(guest, events: list[Event], end_ms: float = 1000, **over: Any) -> Outcome:
    """High water 1, delay 10 ms."""
    params = {"high_water": 1, "delay_ns": 10 * MS, **over.pop("params", {})}
    return boundary(guest, events, end_ms, params=params, **over)


def test_31_blocks_of_an_order_stay_unreported_for_ever_and_the_32nd_brings_all() -> None:
    guest = guest_of((0, 400))
    events = [enter(i, pfn) for i, pfn in enumerate(spaced(31))]
    short = boundary(guest, events, 100_000)
    assert (short.passes, short.calls, short.unreported_end_bytes) == (0, 0, 31 << 21)
    full = boundary(guest, [*events, enter(31, spaced(32)[-1])], 100_000)
    # 100 ms after the 32nd free: 16 from the tail, then 16, then nothing is left
    assert [(row[0], row[1]) for row in rows(full)] == [(132, 1)] * 16 + [(133, 2)] * 16
    assert pfns(full) == spaced(32)  # the first freed lies at the tail
    assert (full.passes, full.calls, full.unreported_end_bytes) == (1, 2, 0)


def test_the_high_water_is_of_each_order_by_itself() -> None:
    guest = guest_of((0, 800), by_pageblock=False)
    order_2 = [enter(i, pfn) for i, pfn in enumerate(spaced(31))]
    order_3 = [enter(i, pfn, 3) for i, pfn in enumerate(spaced(31, 400))]
    both = sorted([*order_2, *order_3])
    # 31 of 2 MiB and 31 of 4 MiB: 186 MiB of a zone are never reported
    outcome = boundary(guest, both, 100_000)
    assert (outcome.calls, outcome.unreported_end_bytes) == (0, 186 << 20)


def test_a_full_last_batch_needs_one_more_fill_to_find_that_nothing_is_left() -> None:
    full = small(guest_of((0, 400)), [enter(0, pfn) for pfn in spaced(32)])
    assert (full.calls, full.work.lock_takes) == (2, 3)
    # first fill 16; the second passes the lowest reported one... the mark stays at the last one taken
    assert full.work.entries_walked == 16 + (16 + 16) + 16
    short = small(guest_of((0, 400)), [enter(0, pfn) for pfn in spaced(20)])
    assert [row[1] for row in rows(short)] == [1] * 16 + [2] * 4
    # the short batch cancels the zone: it is reported, and that is all
    assert (short.calls, short.work.lock_takes) == (2, 3)
    assert short.work.entries_walked == 16 + (16 + 4)
    assert short.work.max_entries_per_lock == 20


def test_it_runs_to_completion_in_batches_of_16_without_a_budget() -> None:
    outcome = boundary(guest_of((0, 2000)), [enter(0, pfn) for pfn in spaced(250)])
    assert (outcome.passes, outcome.calls, outcome.blocks) == (1, 16, 250)
    assert rows(outcome)[-1][0] == 100 + 16
    assert outcome.unreported_end_bytes == 0


def test_orders_and_migratetypes_go_downwards_and_the_tail_goes_first() -> None:
    guest = guest_of((0, 200), by_pageblock=False)
    events = [
        enter(0, 0, 2, 0), enter(1, 8, 2, 0), enter(2, 16, 3, 0),
        enter(3, 32, 2, 2), enter(4, 48, 3, 2), enter(5, 64, 2, 1),
    ]  # fmt: skip
    outcome = small(guest, events)
    assert pfns(outcome) == [48, 16, 32, 64, 0, 8]


def test_what_was_reported_lies_at_the_tail_in_the_order_in_which_it_was_taken() -> None:
    outcome = small(guest_of((0, 200)), [enter(0, pfn) for pfn in spaced(4)], params={"capacity": 2})
    # the list was 24 16 8 0; two from the tail went back before nobody, the next two before 8's mark
    assert outcome.lists_end == {(0, 2, 1): [16, 24, 0, 8]}
    assert outcome.work.tail_redirects == 2


def test_marks_follow_the_walk() -> None:
    seen: list[dict[Any, int]] = []

    def watch(replay: Replay) -> None:
        seen.append(dict(replay.lists.marks))

    small(guest_of((0, 200)), [enter(0, pfn) for pfn in spaced(5)], params={"capacity": 2}, observer=watch)
    key = (0, 2, 1)
    # start, 5 events; after the first drain no mark yet; after the second the mark is the topmost
    # reported block that the walk has passed; the third batch was short: no marks any more
    assert seen == [{}] * 6 + [{}, {key: 0}, {}]


def test_an_event_to_the_tail_while_the_zone_is_active_goes_before_the_mark() -> None:
    # memory that is new to the guest goes to the tail
    guest = guest_of((0, 200))
    state = {p: what for p, what in state_of(guest).items() if p >= 8}
    events = [*(enter(0, pfn) for pfn in spaced(4, 64)), enter(11.5, 0)]
    outcome = small(guest, events, state=state, params={"capacity": 2})
    # 64 and 72 were reported at 11 ms; during the second call (mark 64) block 0 comes to the tail
    # before it, and is taken by the fill after that
    assert rows(outcome) == [(11, 1, 64, 2), (11, 1, 72, 2), (12, 2, 80, 2), (12, 2, 88, 2), (13, 3, 0, 2)]
    assert outcome.passes == 1


def test_the_mark_moves_to_the_next_when_its_block_leaves() -> None:
    marks: list[int | None] = []

    def watch(replay: Replay) -> None:
        marks.append(replay.lists.marks.get((0, 2, 1)))

    events = [*(enter(0, pfn) for pfn in spaced(6)), leave(11.5, 8), leave(11.6, 0)]
    small(guest_of((0, 200)), events, params={"capacity": 2}, observer=watch)
    # after the first call the tail is 0 8 (reported, in the order taken); the walk of the second fill
    # marks 0; when 8 leaves, the mark stays; when 0 leaves, there is nothing behind it
    assert marks[7:10] == [None, 0, None]
    marks.clear()
    events = [*(enter(0, pfn) for pfn in spaced(8)), leave(11.5, 0)]
    small(guest_of((0, 200)), events, params={"capacity": 3}, observer=watch)
    # three behind, 0 8 16: when 0 leaves, the next one is the mark
    assert marks[9:11] == [None, 8]


def test_a_reshuffle_loses_the_marks_of_the_movable_lists_of_the_active_zone() -> None:
    guest = guest_of((0, 200), (200, 400))
    frees = [enter(0, pfn) for pfn in spaced(6)]
    calm = small(guest, frees, params={"capacity": 2})
    outcome = small(guest, [*frees, reshuffle(11.5, 3)], params={"capacity": 2})
    assert (outcome.work.boundary_resets, outcome.blocks) == (1, 6)
    # the third fill begins at the tail again: it walks the two blocks behind the mark once more
    assert outcome.work.entries_walked == calm.work.entries_walked + 2
    other = small(guest, [*frees, reshuffle(11.5, 300)], params={"capacity": 2})
    assert other.work == calm.work
    early = small(guest, [*frees, reshuffle(5, 3)], params={"capacity": 2})
    assert early.work == calm.work  # the zone is not active


def test_zones_are_visited_in_turn_and_only_requested_ones() -> None:
    guest = guest_of((0, 40), (40, 80), (80, 120))
    events = [enter(0, 80), enter(1, 0)]
    outcome = small(guest, events)
    assert rows(outcome) == [(11, 1, 0, 2), (12, 2, 80, 2)]
    assert (outcome.passes, outcome.work.lock_takes) == (1, 4)


def test_a_zone_requested_during_its_last_batch_goes_on_and_the_timer_fires_in_vain() -> None:
    outcome = small(guest_of((0, 40)), [enter(0, 0), enter(10.5, 8)])
    assert rows(outcome) == [(11, 1, 0, 2), (12, 2, 8, 2)]
    assert outcome.passes == 2  # the second at 20.5 ms
    assert outcome.work.lock_takes == 3


def test_a_timer_that_expires_during_a_pass_fires_when_it_ends() -> None:
    params = {"delay_ns": MS}
    outcome = small(guest_of((0, 40)), [enter(0, 0), enter(2, 8)], params=params, call_ns=5 * MS)
    # the request of 2 ms has a timer for 3 ms; its block goes with the same pass, which ends at 11 ms
    assert rows(outcome) == [(6, 1, 0, 2), (11, 2, 8, 2)]
    assert outcome.passes == 2


def test_only_the_first_of_the_requested_zones_sets_the_timer() -> None:
    guest = guest_of((0, 40), (40, 80))
    outcome = small(guest, [enter(0, 0), enter(0, 40), enter(10.5, 8)])
    # zone 0 is requested anew while zone 1 still is: it goes on, and no timer is set
    assert rows(outcome) == [(11, 1, 0, 2), (12, 2, 8, 2), (13, 3, 40, 2)]
    assert outcome.passes == 1


def test_the_min_watermark_leaves_the_list_and_no_low_watermark_gates() -> None:
    guest = guest_of((0, 40), wm=(8, 1000, 0))
    outcome = small(guest, [enter(0, 0), enter(1, 8), enter(2, 16)])
    # 12 free frames: one block is taken with 12 > 8 + 4? no: 12 is not above 12
    assert (outcome.passes, outcome.calls, outcome.work.entries_walked) == (1, 0, 1)
    outcome = small(guest, [enter(0, 0), enter(1, 8), enter(2, 16), enter(3, 24)])
    assert pfns(outcome) == [0]  # 16 > 12; then 16 - 4 is not above 12


def test_a_merged_block_is_not_flagged_and_reported_again_at_the_larger_order() -> None:
    # 0 is isolated when its buddy 4 is freed; they merge when 0 comes back
    outcome = small(guest_of((0, 40)), [enter(0, 0), enter(10.5, 4)])
    assert rows(outcome) == [(11, 1, 0, 2), (12, 2, 0, 3)]
    assert outcome.redundant_bytes == 2 << 20


def test_registration_requests_every_populated_zone() -> None:
    guest = guest_of((0, 40), (40, 80))
    guest = replace(guest, zones=(guest.zones[0], replace(guest.zones[1], populated=False)))
    state = dict.fromkeys(range(16), "free")
    outcome = boundary(guest, [], start="cold", state=state)
    assert rows(outcome) == [(101, 1, 0, 3), (101, 1, 8, 3)][::-1]
    assert outcome.work.lock_takes == 2  # the zone without memory is not visited
    assert boundary(guest, [], start="steady", state=state).passes == 0


def test_a_failed_report_marks_nothing_and_cancels_the_zone() -> None:
    outcome = small(guest_of((0, 400)), [enter(0, pfn) for pfn in spaced(40)], fail_every=2)
    assert (outcome.calls, outcome.failed_calls, outcome.blocks) == (2, 1, 16)
    assert outcome.unreported_end_bytes == 24 << 21
    assert outcome.bytes == 16 << 21
    # the next free finds 25 unreported ones and requests anew
    again = small(guest_of((0, 400)), [*(enter(0, pfn) for pfn in spaced(40)), enter(50, 320)], fail_every=2)
    assert (again.calls, again.blocks) == (4, 32)


def test_unregistering_cancels_the_timer_and_the_requests() -> None:
    guest = guest_of((0, 400))
    events = [*(enter(0, pfn) for pfn in spaced(3)), enter(30, 80)]
    outcome = small(guest, events, switches=[5 * MS])
    assert (outcome.passes, outcome.unreported_end_bytes) == (0, 4 << 21)
    # registering requests the zone: 10 ms later all of it
    outcome = small(guest, events, switches=[5 * MS, 40 * MS])
    assert [row[0] for row in rows(outcome)] == [51] * 4


def test_unregistering_in_the_middle_of_a_pass_lets_it_finish() -> None:
    events = [*(enter(0, pfn) for pfn in spaced(6)), enter(12.2, 80), enter(14, 96)]
    outcome = small(guest_of((0, 400)), events, params={"capacity": 2}, switches=[round(11.5 * MS)])
    # 80 is found by the walk though nobody was told of it; 96 comes too late
    assert sorted(pfns(outcome)) == [*spaced(6), 80]
    assert outcome.passes == 1


def test_a_registration_during_the_old_device_s_pass_waits_for_its_end() -> None:
    events = [enter(0, pfn) for pfn in spaced(6)]
    switches = [round(11.5 * MS), round(11.7 * MS)]
    outcome = small(guest_of((0, 400)), events, params={"capacity": 2}, switches=switches)
    assert outcome.passes == 2  # the second finds nothing: 10 ms after the end of the first, at 13 ms
    assert outcome.work.lock_takes == 4 + 1

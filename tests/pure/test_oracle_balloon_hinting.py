"""Hand-computed scenarios of the oracle's ``balloon-hinting`` policy (virtio free page hinting)."""

from typing import Any

from tests.oracle.model import Event, Guest, Outcome
from tests.pure.oracle_toys import MS, PAGE, enter, guest_of, leave, pfns, play, rows, state_of


def hinting(guest: Guest, events: list[Event], end_ms: float = 49, **over: Any) -> Outcome:
    """Order 3; the first run at 10 ms, then every 20 ms; a call takes 1 ms."""
    params = {"order": 3, "first_ns": 10 * MS, "every_ns": 20 * MS, **over.pop("params", {})}
    return play(guest, events, "balloon-hinting", end_ms, params=params, start="cold", **over)


def test_the_highest_zone_goes_first_and_movable_ones_not_at_all() -> None:
    guest = guest_of((0, 16), (16, 32), (32, 48), names=["DMA", "Normal", "Movable"])
    state = state_of(guest, (0, 8), (16, 32), (32, 48))
    outcome = hinting(guest, [], 20, state=state)
    # one call a block, three calls in one report
    assert rows(outcome) == [(13, 1, 16, 3), (13, 2, 24, 3), (13, 3, 0, 3)]
    assert outcome.unreported_end_bytes == 16 * PAGE
    assert (outcome.work.entries_walked, outcome.work.lock_takes) == (3, 6)
    assert outcome.work.max_entries_per_lock == 1


def test_only_the_maximum_order_by_default() -> None:
    guest = guest_of((0, 64))
    state = state_of(guest, (0, 8), (16, 20))
    by_default = play(guest, [], "balloon-hinting", 1100, state=state, start="cold", params={"order": 3})
    assert rows(by_default) == [(1001, 1, 0, 3)]
    smaller = hinting(guest, [], 20, state=state, params={"order": 2})
    # the smallest sufficient order goes first
    assert pfns(smaller) == [16, 0]


def test_unmovable_first_then_reclaimable_then_movable_from_the_head() -> None:
    guest = guest_of((0, 64), by_pageblock=False)
    events = [
        enter(0, 0, 3, 1),
        enter(1, 16, 3, 2),
        enter(2, 32, 3, 0),
        enter(3, 48, 3, 0),
        enter(4, 56, 3, 3),
    ]
    outcome = hinting(guest, events, 20)
    assert pfns(outcome) == [48, 32, 16, 0]  # not the high-atomic one


def test_taken_pageblocks_turn_unmovable_and_the_last_one_taken_goes_back_first() -> None:
    guest = guest_of((0, 32))
    outcome = hinting(guest, [], 20, state=state_of(guest, (0, 32)))
    assert pfns(outcome) == [0, 8, 16, 24]
    # to the head, one after the other: 24 16 8 0
    assert outcome.lists_end == {(0, 3, 0): [0, 8, 16, 24]}


def test_the_next_run_tells_the_same_again() -> None:
    guest = guest_of((0, 16))
    outcome = hinting(guest, [], state=state_of(guest, (0, 16)))
    assert [row[0] for row in rows(outcome)] == [12, 12, 32, 32]
    assert (outcome.passes, outcome.redundant_bytes) == (2, 16 * PAGE)
    once = hinting(guest, [], state=state_of(guest, (0, 16)), params={"every_ns": 0})
    assert once.passes == 1


def test_a_run_that_takes_longer_than_the_period_is_followed_by_the_next_at_once() -> None:
    guest = guest_of((0, 16))
    outcome = hinting(guest, [], 50, state=state_of(guest, (0, 16)), call_ns=12 * MS)
    assert [row[0] for row in rows(outcome)] == [34, 34]  # the second run would end at 58 ms
    assert outcome.passes == 2


def test_blocks_of_one_call_and_time_for_bytes() -> None:
    guest = guest_of((0, 64))
    state = state_of(guest, (0, 40))
    outcome = hinting(guest, [], 40, state=state, params={"capacity": 2, "every_ns": 0}, byte_ns=0.01)
    done = 10 + 3 + 0.01 * 40 * PAGE / MS
    assert [row[1] for row in rows(outcome)] == [1, 1, 2, 2, 3]
    assert rows(outcome)[0][0] == int(done * MS) / MS
    assert outcome.calls == 3


def test_frames_are_held_while_the_host_works_and_for_the_time_after() -> None:
    guest = guest_of((0, 16))
    params = {"hold_ns": 5 * MS, "every_ns": 0}
    outcome = hinting(guest, [], 50, state=state_of(guest, (0, 16)), params=params)
    assert outcome.held_frame_ns == 16 * (2 + 5) * MS
    # the trace ends in the middle of the hold: reported, but not back yet
    cut = hinting(guest, [], 14, state=state_of(guest, (0, 16)), params=params)
    assert (cut.blocks, cut.lists_end, cut.held_frame_ns) == (2, {}, 16 * 4 * MS)


def test_an_exit_during_the_hold_collides_and_refaults() -> None:
    guest = guest_of((0, 16))
    params = {"hold_ns": 5 * MS, "every_ns": 0}
    outcome = hinting(guest, [leave(14, 0, 2)], 50, state=state_of(guest, (0, 16)), params=params)
    assert (outcome.collision_blocks, outcome.refault_frames, outcome.missed) == (1, 4, [])
    assert outcome.work.lock_takes == 2 + 1


def test_the_min_watermark_ends_the_zone() -> None:
    guest = guest_of((0, 32), wm=(10, 0, 0))
    outcome = hinting(guest, [], 20, state=state_of(guest, (0, 32)))
    # 32 > 18, 24 > 18, 16 is not
    assert (pfns(outcome), outcome.work.lock_takes) == ([0, 8], 4)


def test_nothing_to_take_is_a_run_without_a_call() -> None:
    outcome = hinting(guest_of((0, 16)), [])
    assert (outcome.passes, outcome.calls) == (2, 0)


def test_a_failed_report_discards_nothing_and_all_come_back_at_once() -> None:
    guest = guest_of((0, 16))
    params = {"hold_ns": 5 * MS}
    outcome = hinting(guest, [], state=state_of(guest, (0, 16)), fail_every=2, params=params)
    # calls 1 and 2, then 3 and 4: one of each run fails, and with it the run
    assert (outcome.calls, outcome.failed_calls, outcome.blocks) == (4, 2, 0)
    assert outcome.held_frame_ns == 2 * 16 * 2 * MS
    assert outcome.lists_end == {(0, 3, 0): [0, 8]}
    fine = hinting(guest, [], state=state_of(guest, (0, 16)), fail_every=5, params=params)
    assert (fine.blocks, fine.failed_calls) == (4, 0)


def test_the_device_s_coming_starts_the_clock_and_its_going_stops_it() -> None:
    guest = guest_of((0, 16))
    state = state_of(guest, (0, 16))
    assert hinting(guest, [], 100, state=state, switches=[5 * MS]).passes == 0
    outcome = hinting(guest, [], 60, state=state, switches=[5 * MS, 15 * MS])
    assert [row[0] for row in rows(outcome)] == [27, 27, 47, 47]
    # during a run: it finishes, and the new device's clock starts when it has
    outcome = hinting(guest, [], 30, state=state, switches=[round(10.5 * MS), 11 * MS])
    assert [row[0] for row in rows(outcome)] == [12, 12, 24, 24]
    assert hinting(guest, [], 100, state=state, switches=[round(10.5 * MS)]).passes == 1

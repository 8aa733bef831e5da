"""Hand-computed scenarios of the oracle's ``bitmap`` policy (Lal v12)."""

from typing import Any

from tests.oracle.model import Event, Outcome
from tests.pure.oracle_toys import MS, PAGE, enter, guest_of, leave, pfns, play, rows, spaced, state_of


def bitmap(guest, events: list[Event], end_ms: float = 1000, **over: Any) -> Outcome:
    return play(guest, events, "bitmap", end_ms, **over)


def small(guest, events: list[Event], threshold: int = 2, capacity: int = 2, **over: Any) -> Outcome:
    return bitmap(guest, events, params={"threshold": threshold, "capacity": capacity}, **over)


def test_15_hints_report_nothing_and_the_16th_all_of_them_at_once() -> None:
    guest = guest_of((0, 400))
    events = [enter(i, pfn) for i, pfn in enumerate(reversed(spaced(16)))]
    few = bitmap(guest, events[:15], 100_000)
    assert (few.passes, few.calls, few.unreported_end_bytes) == (0, 0, 15 << 21)
    assert (few.work.hints_captured, few.work.bits_scanned) == (15, 0)
    full = bitmap(guest, events, 100_000)
    # the 16th free comes at 15 ms, the only call takes 1 ms; ascending although freed descending
    assert [(row[0], row[1]) for row in rows(full)] == [(16, 1)] * 16
    assert pfns(full) == spaced(16)
    assert (full.passes, full.work.bits_scanned, full.work.hints_captured) == (1, 100, 16)
    assert full.work.lock_takes == 16 + 1  # a hold for each bit, one to return the batch
    assert (full.work.entries_walked, full.work.max_entries_per_lock) == (0, 0)


def test_the_threshold_is_of_each_zone_by_itself() -> None:
    guest = guest_of((0, 200), (200, 400))
    outcome = small(guest, [enter(0, 0), enter(1, 200), enter(2, 216), enter(50, 8)])
    assert rows(outcome) == [(3, 1, 200, 2), (3, 1, 216, 2), (51, 2, 0, 2), (51, 2, 8, 2)]
    assert outcome.work.bits_scanned == 50 + 50


def test_a_full_batch_is_reported_before_the_next_bit_and_the_rest_at_the_end() -> None:
    outcome = small(guest_of((0, 100)), [enter(0, pfn) for pfn in spaced(5)], threshold=5)
    assert [(row[0], row[2]) for row in rows(outcome)] == [(1, 0), (1, 8), (2, 16), (2, 24), (3, 32)]
    # returned by the ordinary rule, in the order of isolation: to the head
    assert outcome.lists_end == {(0, 2, 1): [32, 24, 16, 8, 0]}


def test_bits_set_ahead_of_the_scan_are_seen_and_those_behind_wait_for_another_hint() -> None:
    events = [enter(0, pfn) for pfn in spaced(4, 16)]
    meanwhile = [enter(0.5, 0), enter(0.5, 8), enter(0.5, 80)]
    outcome = small(guest_of((0, 200)), [*events, *meanwhile], threshold=4)
    assert pfns(outcome) == [16, 24, 32, 40, 80]
    assert (outcome.passes, outcome.unreported_end_bytes) == (1, 2 << 21)
    # a hint for a bit that is set already can queue as well
    outcome = small(guest_of((0, 200)), [*events, *meanwhile, leave(9, 0), enter(9, 0)], threshold=2)
    assert pfns(outcome)[-2:] == [0, 8] and outcome.passes == 2
    assert outcome.work.hints_captured == 7  # but it is no new hint


def test_work_is_queued_again_only_by_a_hint_even_if_enough_are_left() -> None:
    guest = guest_of((0, 200))
    events = [*(enter(0, pfn) for pfn in spaced(2, 64)), *(enter(0.5, pfn) for pfn in spaced(3))]
    outcome = small(guest, events)
    assert (outcome.passes, pfns(outcome)) == (1, [64, 72])
    outcome = small(guest, [*events, enter(500, 24)])
    assert outcome.passes == 2 and sorted(pfns(outcome)) == [0, 8, 16, 24, 64, 72]


def test_a_bit_is_cleared_before_the_report_and_can_be_set_again_during_it() -> None:
    events = [enter(0, 0), enter(0, 16), leave(0.5, 16), enter(0.6, 16), enter(50, 32)]
    outcome = small(guest_of((0, 200)), events)
    assert outcome.work.hints_captured == 4
    assert pfns(outcome) == [0, 16, 16, 32]


def test_a_block_split_or_taken_before_the_scan_is_a_failed_recheck() -> None:
    # 0 of order 3 is hinted, then its first half goes: 4 is free, but its bit is not set
    guest = guest_of((0, 200), by_pageblock=False)
    outcome = small(guest, [enter(0, 0, 3), leave(1, 0), enter(2, 16)])
    assert (outcome.work.rechecks_failed, pfns(outcome)) == (1, [16])
    assert outcome.unreported_end_bytes == 4 * PAGE


def test_the_block_that_merges_under_an_isolated_buddy_is_lost() -> None:
    guest = guest_of((0, 200))
    events = [enter(0, 0), enter(0, 16), enter(0.5, 4)]
    outcome = small(guest, events)
    # 4 was hinted while 0 was away; when 0 comes back they merge to 0, whose bit is clear
    assert outcome.work.hints_captured == 3
    assert (pfns(outcome), outcome.unreported_end_bytes) == ([0, 16], 4 * PAGE)
    assert outcome.lists_end == {(0, 2, 1): [16], (0, 3, 1): [0]}
    # the next scan finds a tail where the bit is
    outcome = small(guest, [*events, enter(50, 32)])
    assert (pfns(outcome)[2:], outcome.work.rechecks_failed) == ([32], 1)
    assert outcome.unreported_end_bytes == 4 * PAGE


def test_nothing_remembers_what_was_reported() -> None:
    # 0 is told; then its buddy is freed: the whole merged block is reported, half of it redundant
    guest = guest_of((0, 200))
    outcome = small(guest, [enter(0, 0), enter(0, 16), enter(50, 4), enter(51, 32)])
    assert rows(outcome)[2:] == [(52, 2, 0, 3), (52, 2, 32, 2)]
    assert outcome.redundant_bytes == 4 * PAGE


def test_pageblock_types_stay_as_they_are() -> None:
    outcome = small(guest_of((0, 200)), [enter(0, 0, 2, 0), enter(0, 16, 2, 2)])
    assert outcome.calls == 1
    assert outcome.lists_end == {(0, 2, 0): [0], (0, 2, 2): [16]}


def test_a_hint_refused_by_the_min_watermark_is_dropped() -> None:
    guest = guest_of((0, 200), wm=(4, 0, 0))
    outcome = small(guest, [enter(0, 0), enter(1, 16), enter(2, 32)], threshold=3)
    # 8 frames are known to be free at 2 ms (the third is of this very millisecond): 8 is not above 8
    assert (outcome.calls, outcome.work.hints_dropped) == (0, 3)
    assert outcome.work.rechecks_failed == 0


def test_what_was_free_before_is_never_hinted() -> None:
    guest = guest_of((0, 200))
    outcome = bitmap(guest, [], start="cold", state=state_of(guest, (0, 200)))
    assert (outcome.calls, outcome.unreported_end_bytes) == (0, 200 * PAGE)


def test_bits_of_a_sparse_zone_cover_holes() -> None:
    guest = guest_of((2, 41), (41, 64))
    state = {p: what for p, what in state_of(guest).items() if p < 8 or p >= 44}
    outcome = bitmap(guest, [], state=state)
    # [0, 44) are 11 bits, of which [0, 8) are two with memory; [40, 64) are 6, the first without
    assert (outcome.bits, outcome.bits_of_holes) == (17, 9 + 1)


def test_a_failed_report_drops_its_hints_and_the_scan_goes_on() -> None:
    outcome = small(guest_of((0, 200)), [enter(0, pfn) for pfn in spaced(6)], threshold=6, fail_every=2)
    assert pfns(outcome) == [0, 8, 32, 40]
    assert (outcome.calls, outcome.failed_calls, outcome.work.hints_dropped) == (3, 1, 2)
    assert (outcome.blocks, outcome.unreported_end_bytes) == (4, 2 << 21)
    assert [row[1] for row in rows(outcome)] == [1, 1, 3, 3]


def test_unregistering_clears_the_maps_and_a_scan_under_way_finishes() -> None:
    guest = guest_of((0, 200))
    outcome = small(guest, [enter(0, 0), enter(20, 16), enter(30, 32)], switches=[5 * MS, 10 * MS])
    assert pfns(outcome) == [16, 32]  # the hint of 0 is forgotten
    events = [*(enter(0, pfn) for pfn in spaced(4)), enter(0.7, 64), enter(50, 80), enter(51, 96)]
    outcome = small(guest, events, threshold=4, switches=[MS // 2, 40 * MS])
    # 64 was freed while nobody listened; the scan of the four went on
    assert (pfns(outcome), outcome.work.hints_captured) == (spaced(4), 6)


def test_an_exit_under_a_report_collides_and_comes_back_from_the_host() -> None:
    outcome = small(guest_of((0, 200)), [enter(0, 0), enter(0, 16), leave(0.5, 0, 1)])
    assert (outcome.collision_blocks, outcome.refault_frames) == (1, 2)
    assert outcome.missed == [] and outcome.blocks == 2

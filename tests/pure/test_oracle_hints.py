"""Hand-computed scenarios of the oracle's ``hints`` policy and its containers."""

from typing import Any

from tests.oracle.model import Event, Outcome
from tests.pure.oracle_toys import MS, PAGE, enter, guest_of, leave, pfns, play, rows, spaced


def hints(events: list[Event], container: str, **over: Any) -> Outcome:
    """Delay 10 ms, two blocks a call; the default guest has one zone of 800 frames."""
    params = {"container": container, "delay_ns": 10 * MS, "capacity": 2, **over.pop("params", {})}
    return play(over.pop("guest", guest_of((0, 800))), events, "hints", params=params, **over)


def test_by_default_a_set_is_gone_over_after_two_seconds_in_batches_of_32() -> None:
    events = [enter(i, pfn) for i, pfn in enumerate(reversed(spaced(40)))]
    outcome = play(guest_of((0, 400)), events, "hints", 10_000)
    assert [row[0] for row in rows(outcome)] == [2001] * 32 + [2002] * 8
    assert pfns(outcome) == spaced(40)
    assert outcome.work.lock_takes == 40 + 2
    assert (outcome.work.bits_scanned, outcome.work.hints_captured) == (40, 40)


def test_a_set_holds_a_hint_once_and_a_ring_as_often_as_it_comes() -> None:
    events = [enter(0, 0), leave(1, 0), enter(2, 0), enter(3, 16)]
    outcome = hints(events, "set")
    assert (outcome.work.hints_captured, pfns(outcome)) == (2, [0, 16])
    outcome = hints(events, "ring")
    # 0 is isolated at its first hint; the second finds it gone
    assert (outcome.work.hints_captured, outcome.work.rechecks_failed) == (3, 1)
    assert (pfns(outcome), outcome.work.bits_scanned) == ([0, 16], 0)


def test_a_set_is_seen_ahead_of_the_cursor_and_what_comes_behind_waits_for_the_next_pass() -> None:
    events = [*(enter(0, pfn) for pfn in spaced(2, 64)), enter(10.5, 0), enter(10.5, 128)]
    outcome = hints(events, "set")
    # 10 ms: 64 72 | 11 ms: 128 alone | pass over at 12 ms, 0 is gone over 10 ms later
    assert rows(outcome) == [(11, 1, 64, 2), (11, 1, 72, 2), (12, 2, 128, 2), (23, 3, 0, 2)]
    assert outcome.passes == 2


def test_a_hint_of_the_last_report_s_time_waits_even_ahead_of_the_cursor() -> None:
    outcome = hints([enter(0, 0), enter(10.5, 16)], "set")
    assert rows(outcome) == [(11, 1, 0, 2), (22, 2, 16, 2)]


def test_a_ring_goes_from_the_oldest_on_and_what_comes_meanwhile_waits() -> None:
    events = [enter(i, pfn) for i, pfn in enumerate([32, 0, 16])] + [enter(10.5, 48)]
    outcome = hints(events, "ring")
    assert rows(outcome) == [(11, 1, 32, 2), (11, 1, 0, 2), (12, 2, 16, 2), (23, 3, 48, 2)]


def test_a_full_ring_loses_its_oldest_hints() -> None:
    events = [enter(i, pfn) for i, pfn in enumerate(spaced(5))]
    outcome = hints(events, "ring", params={"size": 3})
    assert (pfns(outcome), outcome.work.hints_dropped) == ([16, 24, 32], 2)
    assert (outcome.work.hints_captured, outcome.unreported_end_bytes) == (5, 8 * PAGE)


def test_hints_of_a_pass_that_are_overwritten_before_their_turn_are_lost() -> None:
    # 4 places: 0 8 | 16 24; while the first two are with the device 32 40 fill the ring, 48 takes 16's
    events = [*(enter(0, pfn) for pfn in spaced(4)), *(enter(10.5, pfn) for pfn in (32, 40, 48))]
    outcome = hints(events, "ring", params={"size": 4})
    assert [(row[0], row[2]) for row in rows(outcome)] == [
        (11, 0), (11, 8), (12, 24), (23, 32), (23, 40), (24, 48),
    ]  # fmt: skip
    assert outcome.work.hints_dropped == 1


def test_an_array_is_gone_over_at_once_when_it_is_full_of_free_blocks() -> None:
    events = [enter(i, pfn) for i, pfn in enumerate(spaced(4))]
    outcome = hints(events, "array", params={"size": 3})
    assert rows(outcome) == [(3, 1, 0, 2), (3, 1, 8, 2), (4, 2, 16, 2)]
    # the fourth came while the array was gone over
    assert (outcome.work.hints_captured, outcome.work.hints_dropped) == (3, 1)
    assert (outcome.passes, outcome.unreported_end_bytes) == (1, 4 * PAGE)


def test_a_full_array_is_tidied_first() -> None:
    events = [enter(0, 0), enter(1, 8), leave(2, 0), enter(3, 16), enter(4, 24)]
    outcome = hints(events, "array", params={"size": 3})
    # at 3 ms 0 is thrown out; at 4 ms the array is full again, of free blocks
    assert outcome.work.rechecks_failed == 1
    assert rows(outcome) == [(5, 1, 8, 2), (5, 1, 16, 2), (6, 2, 24, 2)]
    assert outcome.work.lock_takes == 3 + 2


def test_arrays_are_of_each_cpu_and_the_lowest_cpu_goes_first() -> None:
    pfn = spaced(7)
    events = [enter(0, pfn[0]), enter(0, pfn[1]), enter(0.1, pfn[2]), enter(0.1, pfn[3]),
              enter(0.2, pfn[4]), enter(0.2, pfn[5]), enter(0.3, pfn[6])]  # fmt: skip
    outcome = hints(events, "array", params={"size": 2}, cpus=[2, 2, 1, 1, 0, 0, 1])
    assert rows(outcome) == [
        (1, 1, 0, 2), (1, 1, 8, 2), (2, 2, 32, 2), (2, 2, 40, 2), (3, 3, 16, 2), (3, 3, 24, 2),
    ]  # fmt: skip
    assert (outcome.passes, outcome.work.hints_dropped) == (3, 1)


def test_cpus_with_half_full_arrays_report_nothing() -> None:
    events = [enter(0, pfn) for pfn in spaced(4)]
    outcome = hints(events, "array", params={"size": 2}, cpus=[0, 1, 2, 3], end_ms=100_000)
    assert (outcome.calls, outcome.work.hints_captured) == (0, 4)


def test_what_was_allocated_meanwhile_fails_its_recheck_and_types_are_kept() -> None:
    events = [enter(0, 0, 2, 0), enter(1, 16, 2, 2), leave(5, 0)]
    outcome = hints(events, "set")
    assert (pfns(outcome), outcome.work.rechecks_failed) == ([16], 1)
    assert outcome.lists_end == {(0, 2, 2): [16]}


def test_a_refused_or_failed_hint_is_dropped() -> None:
    events = [enter(0, 0), enter(1, 16), enter(2, 32)]
    outcome = hints(events, "set", guest=guest_of((0, 800), wm=(5, 0, 0)))
    # 12 frames are free: one block may go, then 12 - 4 is not above 5 + 4
    assert (pfns(outcome), outcome.work.hints_dropped) == ([0], 2)
    outcome = hints(events, "ring", fail_every=1)
    assert (outcome.calls, outcome.failed_calls, outcome.blocks) == (2, 2, 0)
    assert (outcome.work.hints_dropped, outcome.unreported_end_bytes) == (3, 12 * PAGE)


def test_what_a_watermark_refused_is_gated_until_the_next_pass() -> None:
    guest = guest_of((0, 800), wm=(0, 0, 0))
    events = [enter(0, 0), *(enter(20, pfn) for pfn in (16, 32, 48))]
    outcome = hints(events, "ring", guest=guest, bins_ns=[5 * MS, 15 * MS, 50 * MS])
    # 4 frames are not above 0 + 4; later 16, 12 and 8 are
    assert pfns(outcome) == [16, 32, 48]
    seen = [(parts["waiting"], parts["gated"]) for parts in outcome.compositions]
    assert seen == [(4, 0), (0, 4), (4, 0)]


def test_unregistering_forgets_the_hints() -> None:
    events = [enter(0, 0), enter(20, 16)]
    for container in ("set", "ring"):
        outcome = hints(events, container, switches=[5 * MS, 8 * MS])
        assert rows(outcome) == [(31, 1, 16, 2)]
        assert hints(events, container, switches=[5 * MS]).calls == 0


def test_unregistering_during_a_pass_lets_it_finish_but_no_other_follows() -> None:
    # 30 is hinted during the pass, before the device goes
    events = [*(enter(0, pfn) for pfn in spaced(3, 64)), enter(10.2, 0)]
    outcome = hints(events, "set", switches=[round(10.5 * MS)])
    assert rows(outcome) == [(11, 1, 64, 2), (11, 1, 72, 2), (12, 2, 80, 2)]
    assert hints(events, "set").passes == 2

"""Hand-computed scenarios of the oracle's ``clairvoyant`` bound."""

from typing import Any

import pytest

from tests.oracle.model import Event, Guest, Outcome
from tests.pure.oracle_toys import MS, PAGE, enter, guest_of, leave, pfns, play, rows, state_of

GUEST = guest_of((0, 32))


def clairvoyant(events: list[Event], guest: Guest = GUEST, end_ms: float = 100, **over: Any) -> Outcome:
    """Horizon 10 ms."""
    params = {"horizon_ns": 10 * MS, **over.pop("params", {})}
    return play(guest, events, "clairvoyant", end_ms, params=params, **over)


def test_a_unit_is_booked_from_the_moment_it_was_freed() -> None:
    outcome = clairvoyant([enter(5, 0)])
    assert rows(outcome) == [(15, 1, 0, 2)]
    assert outcome.latency == [(0, 4 * PAGE, 0)]
    assert outcome.reclaimed_byte_ns == 4 * PAGE * 95 * MS
    assert (outcome.held_frame_ns, outcome.missed) == (0, [])


def test_a_unit_broken_exactly_at_the_horizon_is_missed() -> None:
    outcome = clairvoyant([enter(5, 0), leave(15, 0)])
    assert (outcome.calls, outcome.reclaimed_byte_ns, outcome.refault_frames) == (0, 0, 0)
    assert outcome.missed == [(10 * MS, 4 * PAGE, 0)]
    late = clairvoyant([enter(5, 0), leave(15.000_001, 0)])
    assert (late.calls, late.missed, late.refault_frames) == (1, [], 4)
    assert late.reclaimed_byte_ns == 4 * PAGE * (10 * MS + 1)


def test_a_unit_freed_again_begins_again() -> None:
    outcome = clairvoyant([enter(5, 0), leave(8, 0, 0), enter(9, 0, 0)])
    assert rows(outcome) == [(19, 1, 0, 2)]
    assert outcome.reclaimed_byte_ns == 4 * PAGE * 91 * MS
    assert outcome.missed == [(3 * MS, 4 * PAGE, 0)]


def test_every_unit_of_a_block_is_by_itself_in_ascending_order() -> None:
    outcome = clairvoyant([enter(1, 8, 3), enter(1, 0), leave(6, 12, 0)])
    assert (pfns(outcome), outcome.calls) == ([0, 8], 2)
    assert [m[2] for m in outcome.missed] == [12]


def test_what_has_not_stayed_free_long_enough_at_the_end_still_waits() -> None:
    outcome = clairvoyant([enter(90.000_001, 0)])
    assert (outcome.calls, outcome.unreported_end_bytes) == (0, 4 * PAGE)
    assert clairvoyant([enter(90, 0)]).calls == 1


def test_the_timeline_is_told_in_hindsight() -> None:
    bins = [4 * MS, 5 * MS, 9 * MS, 10 * MS, 15 * MS, 60 * MS, 100 * MS]
    events = [enter(5, 0), enter(7, 8), leave(16, 8), leave(50, 0)]
    outcome = clairvoyant(events, bins_ns=bins)
    assert [parts["reclaimed"] for parts in outcome.compositions] == [0, 4, 4, 4, 4, 0, 0]
    assert [parts["waiting"] for parts in outcome.compositions] == [0, 0, 4, 4, 4, 0, 0]
    assert outcome.part_frame_ns["reclaimed"] == 4 * 45 * MS
    assert outcome.part_frame_ns["reclaimed"] * PAGE == outcome.reclaimed_byte_ns
    assert outcome.part_frame_ns["waiting"] == 4 * 9 * MS
    assert outcome.peak_bytes == 4 * PAGE
    # what rose and fell between two bins is not told
    assert clairvoyant(events, bins_ns=[4 * MS, 100 * MS]).peak_bytes == 0


def test_at_a_cold_start_everything_free_begins_and_at_a_steady_one_it_is_told() -> None:
    state = state_of(GUEST, (0, 8))
    cold = clairvoyant([], state=state, start="cold")
    assert rows(cold) == [(10, 1, 0, 2), (10, 2, 4, 2)]
    assert cold.latency == [(0, 4 * PAGE, 0), (0, 4 * PAGE, 4)]
    assert cold.reclaimed_byte_ns == 8 * PAGE * 100 * MS
    assert clairvoyant([], state=state).calls == 0
    recorded = clairvoyant([], state=state, start="recorded")
    assert (recorded.calls, recorded.latency, recorded.left_censored_bytes) == (2, [], 8 * PAGE)


def test_what_the_host_lacks_is_not_told_again() -> None:
    # frames 0..3 were never backed: they come to be with the event
    state = {p: what for p, what in state_of(GUEST).items() if p >= 4}
    outcome = clairvoyant([enter(1, 0), enter(2, 4)], state=state)
    assert pfns(outcome) == [4]


def test_the_device_s_failures_do_not_touch_a_bound_but_its_absence_does() -> None:
    assert clairvoyant([enter(5, 0)], fail_every=1).failed_calls == 0
    events = [enter(5, 0), enter(20, 8)]
    gone = clairvoyant(events, switches=[6 * MS])
    assert (gone.calls, gone.unreported_end_bytes) == (0, 8 * PAGE)
    back = clairvoyant(events, switches=[6 * MS, 30 * MS])
    assert rows(back) == [(40, 1, 0, 2), (40, 2, 8, 2)]
    assert back.reclaimed_byte_ns == 8 * PAGE * 70 * MS


def test_units_smaller_than_a_host_page_are_for_4k_only() -> None:
    with pytest.raises(NotImplementedError):
        clairvoyant([], backing="thp", params={"order": 1})

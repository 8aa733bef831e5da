"""The oracle's device: calls that fail, a device that comes and goes, and the meters of work."""

from typing import Any

import pytest

from tests.oracle.model import Event, Outcome
from tests.pure.oracle_toys import MS, PAGE, enter, guest_of, pfns, play, reshuffle, rows, spaced, state_of

GUEST = guest_of((0, 400))


def upstream(events: list[Event], **over: Any) -> Outcome:
    """Delay 10 ms, two blocks a call, no gate."""
    params = {"delay_ns": 10 * MS, "capacity": 2, "gate": False, **over.pop("params", {})}
    return play(over.pop("guest", GUEST), events, "upstream", params=params, **over)


def test_upstream_holds_the_lock_once_a_walk_and_once_a_drain() -> None:
    outcome = upstream([enter(0, pfn) for pfn in spaced(5)])
    # two and the one that finds the batch full, twice; then the budget is spent at the fifth block,
    # which the next pass takes before it passes the four reported ones
    assert (outcome.passes, outcome.calls, outcome.entries_walked) == (2, 3, (3 + 3 + 1) + 5)
    # the first walk, two drains with the walk that follows; the second walk, its drain
    assert (outcome.work.lock_takes, outcome.work.max_entries_per_lock) == (3 + 2, 5)
    assert outcome.work.list_rotations == outcome.rotations == 0


def test_a_failed_report_ends_upstream_s_pass_and_marks_nothing() -> None:
    guest = guest_of((0, 40), (40, 80))
    events = [*(enter(0, pfn) for pfn in spaced(3)), enter(0, 40)]
    outcome = upstream(events, guest=guest, fail_every=1)
    assert (outcome.passes, outcome.calls, outcome.failed_calls) == (1, 1, 1)
    assert (outcome.blocks, outcome.bytes, outcome.unreported_end_bytes) == (0, 0, 16 * PAGE)
    assert outcome.reclaimed_byte_ns == 0
    # the second call has the last block of the first zone: the second zone is not visited
    outcome = upstream(events, guest=guest, fail_every=2)
    assert (outcome.passes, outcome.calls, outcome.blocks) == (1, 2, 2)
    # a free during the pass has the work queued again: the third call succeeds, the fourth fails
    again = upstream([*events, enter(10.5, 64)], guest=guest, fail_every=2)
    assert (again.passes, again.calls, again.failed_calls, again.blocks) == (2, 4, 2, 3)


def test_unregistering_cancels_upstream_s_timer() -> None:
    outcome = upstream([enter(0, 0), enter(20, 16)], switches=[5 * MS])
    assert (outcome.passes, outcome.unreported_end_bytes) == (0, 8 * PAGE)
    outcome = upstream([enter(0, 0), enter(20, 16)], switches=[5 * MS, 30 * MS])
    assert [row[0] for row in rows(outcome)] == [41, 41]


def test_unregistering_during_upstream_s_pass_lets_it_finish_but_queues_nothing() -> None:
    events = [*(enter(0, pfn) for pfn in spaced(4)), enter(10.2, 64)]
    assert upstream(events).passes == 2
    outcome = upstream(events, switches=[round(10.5 * MS)])
    # 64 is met by the walk; the budget ends at 0, for which no pass comes
    assert (outcome.passes, pfns(outcome)) == (1, [16, 24, 8, 64])
    # a device that registers meanwhile waits for the end of the pass, at 12 ms
    outcome = upstream([*events, enter(20, 80)], switches=[round(10.5 * MS), round(10.7 * MS)])
    assert (outcome.passes, rows(outcome)[-2:]) == (2, [(23, 3, 0, 2), (23, 3, 80, 2)])
    # and one that goes again before that never was there
    flicker = [round(t * MS) for t in (10.5, 10.7, 10.9)]
    assert upstream([*events, enter(20, 80)], switches=flicker).passes == 1


def test_the_kernel_says_where_put_backs_go() -> None:
    events = [enter(0, 0), enter(1, 8), enter(11, 16)]
    new = upstream(events, params={"kernel": "5.10"}, end_ms=15)
    old = upstream(events, params={"kernel": "5.7"}, end_ms=15)
    assert new.lists_end == {(0, 2, 1): [16, 0, 8]}
    assert old.lists_end == {(0, 2, 1): [8, 0, 16]}


def test_the_oracle_reports_only_to_a_device() -> None:
    events = [enter(1, 0), enter(10, 16), enter(30, 32)]
    outcome = play(GUEST, events, "oracle", switches=[5 * MS, 20 * MS], fail_every=1)
    assert [(row[0], row[2]) for row in rows(outcome)] == [(1, 0), (20, 16), (30, 32)]
    assert outcome.failed_calls == 0
    assert play(GUEST, events, "oracle", switches=[0]).calls == 0


def test_at_one_instant_events_come_before_the_switch() -> None:
    outcome = play(GUEST, [enter(5, 0)], "oracle", switches=[5 * MS])
    assert pfns(outcome) == [0]
    outcome = play(GUEST, [enter(5, 0)], "oracle", switches=[0, 5 * MS])
    assert [row[0] for row in rows(outcome)] == [5]


def test_reshuffles_move_nothing_and_those_of_no_zone_are_ignored() -> None:
    events = [enter(0, 0), enter(1, 16)]
    plain = upstream(events)
    outcome = upstream([*events, reshuffle(2, 3), reshuffle(3, 5000)])
    assert (outcome.reports, outcome.lists_end, outcome.work) == (plain.reports, plain.lists_end, plain.work)
    assert outcome.outside == 0


@pytest.mark.parametrize(
    "policy", ["upstream", "boundary", "bitmap", "hints", "balloon-hinting", "clairvoyant"]
)
def test_bad_parameters_are_refused(policy: str) -> None:
    for params in ({"order": 2, "nonsense": 1}, {"order": 2, "capacity": 0}):
        if policy != "clairvoyant" or "nonsense" in params:
            with pytest.raises(ValueError):
                play(GUEST, [], policy, params=params)


def test_bad_arguments_are_refused() -> None:
    for bad in ({"switches": [5, 3]}, {"fail_every": -1}, {"cpus": [1]}):
        with pytest.raises(ValueError):
            play(GUEST, [], "never", **bad)
    assert state_of(guest_of((0, 2)), (0, 1)) == {0: "free", 1: "used"}

"""When another snapshot is taken."""

import pytest

from tracer.recording.healing import Healing

S = 1_000_000_000
T0 = 500 * S


def began(interval_s=None) -> Healing:
    healing = Healing(None if interval_s is None else interval_s * S)
    healing.began(T0)
    return healing


def test_without_a_loss_or_an_interval_none_is_due():
    assert not began().is_due(T0 + 10_000 * S, None)


def test_with_an_interval_one_is_due_each_time():
    healing = began(60)
    assert not healing.is_due(T0 + 60 * S - 1, None)
    assert healing.is_due(T0 + 60 * S, None)
    healing.began(T0 + 60 * S)
    assert not healing.is_due(T0 + 119 * S, None)


@pytest.mark.parametrize(("quiet_ns", "due"), [(0, False), (S - 1, False), (S, True), (20 * S, True)])
def test_after_a_loss_one_is_due_when_none_came_for_a_second(quiet_ns, due):
    loss_ns = T0 + 3 * S
    assert began().is_due(loss_ns + quiet_ns, loss_ns) is due


@pytest.mark.parametrize(("since_s", "due"), [(29, False), (30, True)])
def test_where_losses_do_not_end_it_tries_all_the_same(since_s, due):
    now_ns = T0 + since_s * S
    assert began().is_due(now_ns, now_ns - 1) is due


def test_a_loss_before_the_last_snapshot_is_healed():
    assert not began().is_due(T0 + 100 * S, T0 - 1)


def test_a_loss_while_the_snapshot_was_read_is_not_healed_by_it():
    assert began().is_due(T0 + 2 * S, T0 + 1)


def test_a_resync_begun_heals_until_the_next_loss():
    healing = began()
    assert healing.is_due(T0 + 5 * S, T0 + 3 * S)
    healing.began(T0 + 5 * S)
    assert not healing.is_due(T0 + 90 * S, T0 + 3 * S)
    assert healing.is_due(T0 + 90 * S, T0 + 80 * S)

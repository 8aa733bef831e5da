"""A policy that would never let a replay end is refused, and a long service time is no negative one."""

import numpy as np
import pytest

from replay import effort
from replay.device import MOST_SERVICE_NS, Device
from tests.pure.one_policy import freed, replayed
from tracer import Fault


def test_a_run_each_nanosecond_is_refused_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "MOST_STEPS", 1 << 20)
    with pytest.raises(Fault) as fault:
        replayed("balloon-hinting", freed(1, 4), device=Device(call_ns=0), first="0s", every="1ns")
    assert fault.value.what.startswith("policy balloon-hinting:order=10,first=0s,every=1ns,")
    assert "into the replay it was woken 1,0" in fault.value.how
    assert len(str(fault.value).splitlines()) == 3


@pytest.mark.parametrize("looks", ["acts", "isolations", "entries_walked", "bits_scanned"])
def test_each_kind_of_step_counts(looks: str) -> None:
    state = replayed("never", []).run.schedule.state
    cursors = np.array([0, 0, effort.MOST_STEPS, 0])
    assert not effort.is_worn_out(state, cursors, 0)
    state.meters[looks] = 2 * effort.BITS_A_STEP * effort.MOST_STEPS
    assert effort.is_worn_out(state, cursors, 0)


def test_steps_are_allowed_for_each_event_and_as_time_goes_on() -> None:
    assert effort.most_steps(1_000, 70_000) == effort.MOST_STEPS + 1_000 * effort.STEPS_AN_EVENT - 700


def test_calls_that_take_longer_than_int64_tells_are_not_over_when_the_replay_is() -> None:
    """Sixteen calls of 2^60 ns, as millions of an hour would be."""
    told = replayed("balloon-hinting", freed(0.5, 16), device=Device(call_ns=MOST_SERVICE_NS))
    assert int(told.run.schedule.state.device["service_ns"][0]) == MOST_SERVICE_NS
    assert told.summary["reports"]["calls"] == 0

"""Parameters of policies, and the timer wheel."""

from typing import Any

from tests.oracle.guest import NS_PER_S, ceil_div
from tests.oracle.setup import Setup


def check_params(params: dict[str, Any], known: set[str]) -> None:
    """Refuse a parameter the policy does not have."""
    unknown = set(params) - known
    if unknown:
        raise ValueError(f"unknown parameters {sorted(unknown)}")


def timer_of(setup: Setup, now: int, delay_ns: int) -> int:
    """When work queued now with the delay runs, by the parameters rounding, jiffies0 and mono0_ns."""
    rounding, hz = setup.params.get("rounding", "none"), setup.guest.hz
    if rounding == "none" or hz is None:
        return now + delay_ns
    jiffies0, mono0 = setup.params.get("jiffies0"), setup.params.get("mono0_ns")
    phase = None if jiffies0 is None or mono0 is None else (jiffies0, mono0)
    return wheel_timer(now, delay_ns, hz, phase)


def wheel_timer(now: int, delay_ns: int, hz: int, phase: tuple[int, int] | None) -> int:
    """When the timer wheel fires a delay armed at ``now`` (kernel/time/timer.c calc_index()).

    ``phase`` is (jiffies0, mono0_ns), one instant in both clocks; without it half a step is the
    expected rounding.
    """
    delta = ceil_div(delay_ns * hz, NS_PER_S)
    step = wheel_step(delta)
    if phase is None:
        return now + delay_ns + step * NS_PER_S // (2 * hz)
    jiffies0, mono0 = phase
    expires = jiffies0 + (now - mono0) * hz // NS_PER_S + delta
    fire = (expires // step + 1) * step
    return mono0 + ceil_div((fire - jiffies0) * NS_PER_S, hz)


def wheel_step(delta: int) -> int:
    """Granularity in jiffies of the wheel level for a timer ``delta`` jiffies away."""
    if delta < 63:
        return 1
    if delta < 504:
        return 8
    if delta < 4032:
        return 64
    return 512

"""Parameters of policies, and the timer wheel."""

from typing import Any

from tests.oracle.guest import NS_PER_S, ceil_div


def check_params(params: dict[str, Any], known: set[str]) -> None:
    """Refuse a parameter the policy does not have."""
    unknown = set(params) - known
    if unknown:
        raise ValueError(f"unknown parameters {sorted(unknown)}")


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

"""The line between two clocks, fitted to pings of which most are slow and lopsided."""

import random

import pytest

from tests.guest.clocks import ClockJumped, Ping, fit

S = 1_000_000_000
MS = 1_000_000
START_NS, AHEAD_NS = 59_225 * S, -59_000 * S


def guest_of(host_ns: int, rate: float) -> int:
    return START_NS + AHEAD_NS + round((host_ns - START_NS) * rate)


def pings(rate: float, count: int = 600, seed: int = 1) -> list[Ping]:
    """One each 0.1 s: each way takes 0.1 ms, and mostly some ms more."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        sent = START_NS + number * S // 10
        there, back = (100_000 + round(dice.expovariate(1 / MS)) * (dice.random() < 0.7) for _ in "io")
        made.append(Ping(sent, sent + there + back, guest_of(sent + there, rate)))
    return made


@pytest.mark.parametrize("rate", [1.0, 1 + 4e-6, 1 - 1e-4])
def test_the_line_is_found_though_most_pings_are_slow(rate):
    clock = fit(pings(rate))
    for seconds in (0, 17, 59):
        host_ns = START_NS + seconds * S
        assert clock.of_host(host_ns) == pytest.approx(guest_of(host_ns, rate), abs=20_000)
    assert clock.rate == pytest.approx(rate, abs=1e-6)
    assert 90_000 < clock.error_ns < 110_000  # half of what the fastest takes


def test_a_clock_that_jumps_is_refused():
    bent = [Ping(p.sent_ns, p.received_ns, p.guest_ns + 5 * MS * (n > 300)) for n, p in enumerate(pings(1.0))]
    with pytest.raises(ClockJumped, match="contradict each other"):
        fit(bent)


def test_pings_of_one_moment_are_no_line():
    with pytest.raises(ValueError, match="two windows"):
        fit(pings(1.0, count=3))

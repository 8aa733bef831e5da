"""The model of many guest-days: its page is what it says, and its parts add up."""

from dataclasses import replace

import pytest

from benchmarks.guest_days import (
    DAY_S,
    GB,
    NAME,
    PAGE,
    Guest,
    Inputs,
    measured,
    mixed,
    outcome,
    page,
    shipped,
)
from benchmarks.pages import quoted


def test_the_page_is_what_the_model_says() -> None:
    assert quoted(PAGE, NAME) == page(measured()), "make it anew: python -m benchmarks.guest_days --write"


def test_a_day_of_a_round_guest() -> None:
    guest = Guest("round", 1000, 2.0, 0.5, 10.0, 5e6)
    given = Inputs(guest_days=100, event_ns=30, all_policies_ns=20, start_s=1.68, results_bytes=0)
    told = outcome(guest, given)
    assert told["events"] == 100 * 86.4e6
    day_bytes = 86.4e6 * 2 + 864_000 + 5e6
    assert told["stored_gb"] == pytest.approx(100 * day_bytes / GB)
    assert told["read_gb"] == pytest.approx(100 * (86.4e6 + 864_000 + 5e6) / GB)
    assert told["cpu_h"] == pytest.approx(100 * (86.4e6 * 50e-9 + 1.68) / 3600)
    assert told["puts"] == 100 * 25  # a file an hour, and the results
    assert told["gets"] == 100 * 24 * 4
    assert told["month_price"] == pytest.approx(told["stored_gb"] * 0.023)
    busy = outcome(replace(guest, events_per_s=1e6), given)
    assert busy["puts"] == pytest.approx(100 * (1e6 * DAY_S * 2 / (64 << 20) + 1))


def test_mixed_guests_have_the_bytes_of_all_of_them() -> None:
    guests = shipped()
    assert [guest.events_per_s for guest in guests] == sorted(guest.events_per_s for guest in guests)
    assert all(0 < guest.needed_share <= 1 < guest.fixed_bytes for guest in guests)
    given = measured()
    assert 10 < given.event_ns < 1000
    assert given.all_policies_ns > 0
    one = outcome(mixed(guests), given)
    each = [outcome(guest, given) for guest in guests]
    for name in ("events", "stored_gb", "read_gb", "cpu_h", "month_price"):
        assert one[name] == pytest.approx(sum(told[name] for told in each) / len(guests))

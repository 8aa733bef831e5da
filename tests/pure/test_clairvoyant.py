"""`clairvoyant` by hand: what stays free for the horizon, reclaimed from the moment it became free."""

from typing import Any

import numpy as np
import pytest

from replay.device import Device
from replay.results import Result
from replay.state import NEVER
from tests.pure.one_policy import GIB_FRAMES, S, frame_seconds, freed, replayed

HUGE = 2 << 20
HORIZON = 2 * S


def replay(events: list[Any], horizon: int = HORIZON, **over: Any) -> Result:
    return replayed("clairvoyant", events, **{"horizon": horizon, **over})


def test_a_gibibyte_that_stays_free_is_reclaimed_from_the_moment_it_was_freed() -> None:
    summary = replay(freed(1, 256)).summary
    assert summary["latency_s"] == {
        "p50": 0, "p90": 0, "p99": 0, "max": 0, "mean": 0, "samples": 512,
    }  # fmt: skip
    assert summary["reclaimed"]["byte_seconds"] == 59 << 30
    assert summary["reclaimed"]["end_bytes"] == summary["reclaimed"]["peak_bytes"] == 1 << 30
    assert summary["unreclaimed"]["waiting"] == 0
    assert (summary["reports"]["calls"], summary["reports"]["bytes"]) == (512, 1 << 30)
    assert summary["held_frame_seconds"] == 0
    assert summary["cost_s"]["device"] == 0


def test_the_timeline_between_the_free_and_its_booking_is_told_anew() -> None:
    result = replay(freed(1, 1, 9), end_s=5, bins_s=[0.5, 0.999, 1, 1.5, 2.999, 3, 3.5])
    assert result.timeline["reclaimed_bytes"].to_list() == [0, 0, *[HUGE] * 6]
    assert result.composition["waiting_bytes"].to_list() == [0] * 8


def test_what_breaks_at_the_very_end_of_its_horizon_is_missed_and_was_never_booked() -> None:
    summary = replay([*freed(1, 1, 9), (3, "exit", 0, 0)]).summary
    assert summary["missed"] == {"units": 1, "bytes": HUGE}
    assert (summary["reports"]["calls"], summary["refaults"]["frames"]) == (0, 0)
    assert summary["reclaimed"]["byte_seconds"] == 0
    assert summary["unreclaimed"]["waiting"] == 2 * HUGE


def test_what_breaks_a_nanosecond_later_was_reclaimed_for_the_horizon() -> None:
    result = replay([*freed(1, 1, 9), (3.000000001, "exit", 0, 0)])
    summary = result.summary
    assert summary["missed"]["units"] == 0
    assert summary["refaults"]["frames"] == 1
    # The rest of the unit stays away, as nobody used it.
    assert summary["reclaimed"]["byte_seconds"] == pytest.approx(59 * (HUGE - 4096) + 2.000000001 * 4096)


def test_a_unit_freed_again_within_the_horizon_waits_anew_and_behind_the_others() -> None:
    events = [*freed(1, 2, 9), (2, "exit", 0, 3), (2.5, "enter", 0, 3)]
    result = replay(events)
    assert result.reports["pfn"].to_list() == [512, 0]
    assert result.reports["done_s"].to_list() == [1, 2.5]
    summary = result.summary
    assert summary["missed"] == {"units": 1, "bytes": HUGE}  # its first time
    assert summary["reclaimed"]["byte_seconds"] == (59 + 57.5) * HUGE
    assert summary["unreclaimed"]["waiting"] == HUGE


def test_a_horizon_that_the_trace_does_not_see_the_end_of_leaves_all_waiting() -> None:
    summary = replay(freed(1, 4, 9), horizon=60 * S).summary
    assert summary["reports"]["calls"] == 0
    assert summary["unreported_end_bytes"] == 4 * HUGE
    assert summary["incidence"]["waiting"][-1] == 1


def test_a_horizon_that_ends_with_the_trace_is_over() -> None:
    assert replay(freed(1, 4, 9), horizon=59 * S).summary["reclaimed"]["end_bytes"] == 4 * HUGE


def test_a_cold_start_begins_all_horizons() -> None:
    result = replay([(1.5, "exit", 0, 9)], free=2048, start="cold", end_s=10)
    assert result.summary["missed"]["units"] == 1
    assert result.summary["reclaimed"]["byte_seconds"] == 3 * HUGE * 10


def test_at_a_steady_start_all_is_reclaimed_already_and_nothing_is_told() -> None:
    summary = replay([(1, "exit", 0, 9), (2, "enter", 0, 9)], free=2048, end_s=10).summary
    assert summary["reclaimed"]["start_bytes"] == 4 * HUGE
    assert summary["reports"]["calls"] == 1
    assert summary["reclaimed"]["byte_seconds"] == (3 * 10 + 1 + 8) * HUGE
    assert summary["reclaimed"]["peak_bytes"] == 4 * HUGE


def test_what_the_host_lacks_of_a_unit_is_redundant_and_what_it_lacks_wholly_is_not_told() -> None:
    events = [(1, "exit", 0, 0), (2, "enter", 0, 0)]
    reports = replay(events, free=1024).summary["reports"]
    assert (reports["calls"], reports["bytes"], reports["redundant_bytes"]) == (1, HUGE, HUGE - 4096)


def test_a_device_that_goes_forgets_and_one_that_comes_begins_at_its_coming() -> None:
    device = Device(registered_ns=((0, 2 * S), (10 * S, NEVER)))
    result = replay([*freed(1, 1, 9), *freed(5, 1, 9, 512)], device=device, bins_s=[9, 10, 11, 13])
    assert result.reports["done_s"].to_list() == [10, 10]
    assert result.summary["reclaimed"]["byte_seconds"] == 2 * 50 * HUGE
    assert result.summary["unreclaimed"]["waiting"] == (9 + 5) * HUGE
    assert result.timeline["reclaimed_bytes"].to_list() == [0, *[2 * HUGE] * 4]
    assert result.summary["latency_s"]["max"] == 9  # there was nobody to tell


def test_a_whole_host_page_has_to_be_free_where_the_host_takes_no_less() -> None:
    late = [*freed(1, 1, 8), *freed(2, 1, 8, 256)]
    result = replay(late, order=8, backing="2m", end_s=10)
    assert result.summary["reclaimed"]["byte_seconds"] == 8 * HUGE
    assert result.reports["done_s"].to_list() == [2, 2]
    half = replay(freed(1, 1, 8), order=8, backing="2m", end_s=10)
    assert half.summary["reports"]["calls"] == 0


def test_memory_that_is_only_acknowledged_is_kept_from_the_moment_it_was_freed() -> None:
    result = replay(freed(1, 2, 9), inhibit=True, end_s=11)
    assert result.summary["reports"]["acknowledged_only_bytes"] == 2 * HUGE
    assert frame_seconds(result, "kept") == 10 * 1024
    assert frame_seconds(result, "waiting") == 0


def test_what_more_than_fills_the_log_is_told_all_the_same() -> None:
    result = replay([], order=0, free=GIB_FRAMES, start="cold", end_s=3)
    assert result.summary["reports"]["calls"] == len(result.reports) == GIB_FRAMES
    assert result.summary["reclaimed"]["byte_seconds"] == 3 << 30


def churn(seed: int) -> list[Any]:
    """An hour in which half a gibibyte comes and goes, block by block, no two events at one instant."""
    random = np.random.default_rng(seed)
    at_s = np.sort(random.choice(3_600_000, 3000, replace=False)) / 1000
    free, events = np.zeros(256, bool), []
    for at, block in zip(at_s.tolist(), random.integers(0, 256, 3000).tolist(), strict=True):
        events.append((at, "exit" if free[block] else "enter", block * 512, 9))
        free[block] = not free[block]
    return events


@pytest.mark.parametrize("seed", [1, 2])
def test_without_a_horizon_it_is_the_oracle(seed: int) -> None:
    bound = replay(churn(seed), horizon=0, end_s=3700).summary
    ceiling = replayed("oracle", churn(seed), end_s=3700).summary
    for told in ("reclaimed", "refaults", "reports", "missed", "latency_s", "unreclaimed"):
        assert bound[told] == ceiling[told]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_longer_the_horizon_the_less_comes_back_and_the_less_is_paid(seed: int) -> None:
    horizons = [0, 20 * S, 100 * S, 500 * S]
    found = [replay(churn(seed), horizon=horizon, end_s=3700).summary for horizon in horizons]
    reclaimed = [summary["reclaimed"]["byte_seconds"] for summary in found]
    refaults = [summary["refaults"]["frames"] for summary in found]
    assert reclaimed == sorted(reclaimed, reverse=True) and len(set(reclaimed)) == 4
    assert refaults == sorted(refaults, reverse=True) and len(set(refaults)) == 4

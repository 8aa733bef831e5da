"""`hints` by hand: each container, what it keeps, what it loses, and when it is gone over."""

from typing import Any

import numpy as np
import pytest

from replay.device import Device
from replay.geometry import MOVABLE
from replay.policies import policy_named
from replay.state import NEVER
from tests.pure.hinted import (
    CALL_S,
    FIRST,
    GIB,
    MIB,
    UNIT,
    S,
    alone,
    calls,
    freed,
    listed,
    replayed,
    taken,
    told,
    zone,
)
from tracer import Fault

A, B, C, D, E, F = alone(6)


def test_a_set_is_gone_over_upwards_after_the_delay_of_the_first_hint() -> None:
    result = replayed("hints", freed(1, C) + freed(2.5, A, B))
    assert (calls(result), told(result)) == ([(3, 3)], [A, B, C])
    assert listed(result) == [C, B, A]


def test_a_set_has_one_hint_a_block() -> None:
    result = replayed("hints", freed(1, A) + taken(1.5, A) + freed(2, A))
    assert told(result) == [A]
    work = result.summary["work"]
    assert (work["hints_captured"], work["bits_scanned"], work["lock_takes"]) == (1, 1, 2)


def test_what_a_set_gets_ahead_of_the_pass_is_seen_and_what_comes_behind_waits_for_the_next() -> None:
    result = replayed("hints", freed(1, B, C) + freed(3 + CALL_S / 2, A, D), capacity=1)
    assert told(result) == [B, C, D, A]
    assert calls(result)[-1] == (5 + 3 * CALL_S, 1)
    assert result.summary["reports"]["passes"] == 2


def test_what_comes_during_the_last_report_of_a_pass_waits() -> None:
    result = replayed("hints", freed(1, A) + freed(3 + CALL_S / 2, B))
    assert calls(result) == [(3, 1), (5 + CALL_S, 1)]


def test_batches_of_32_and_the_rest() -> None:
    result = replayed("hints", freed(1, *alone(70)))
    assert [blocks for _, blocks in calls(result)] == [32, 32, 6]
    assert result.summary["work"]["lock_takes"] == 70 + 3


def test_a_ring_is_gone_over_oldest_first() -> None:
    assert told(replayed("hints", freed(1, C, A, B), container="ring")) == [C, A, B]


def test_a_full_ring_overwrites_the_oldest() -> None:
    result = replayed("hints", freed(1, F, E, D, C, B, A), container="ring", size=4)
    assert told(result) == [D, C, B, A]
    assert result.summary["work"]["hints_dropped"] == 2
    assert result.summary["work"]["hints_captured"] == 6
    assert result.summary["unreported_end_bytes"] == 2 * 2 * MIB


def test_a_ring_may_name_a_block_twice() -> None:
    result = replayed("hints", freed(1, A) + taken(1.5, A) + freed(2, A), container="ring")
    assert (told(result), result.summary["work"]["rechecks_failed"]) == ([A], 1)


def test_what_a_ring_gets_during_a_pass_waits_for_the_next() -> None:
    result = replayed("hints", freed(1, A, B) + freed(3 + CALL_S / 2, F), container="ring", capacity=1)
    assert calls(result) == [(3, 1), (3 + CALL_S, 1), (5 + 2 * CALL_S, 1)]
    assert result.summary["reports"]["passes"] == 2


def test_a_ring_that_overflows_during_a_pass_loses_what_the_pass_had_before_it() -> None:
    # A is being reported; B and C wait in a ring of three, which D, E and F fill.
    moves = freed(1, A, B, C) + freed(3 + CALL_S / 2, D, E, F)
    result = replayed("hints", moves, container="ring", size=3, capacity=1)
    assert told(result) == [A, D, E, F]
    assert result.summary["work"]["hints_dropped"] == 2


def test_a_full_array_is_gone_over_at_once_and_in_its_order() -> None:
    result = replayed("hints", freed(1, C) + freed(5, A) + freed(9, B), container="array", size=3)
    assert (calls(result), told(result)) == ([(9, 3)], [C, A, B])
    few = replayed("hints", freed(1, C, A), container="array", size=3)
    assert few.summary["unreported_end_bytes"] == 2 * 2 * MIB


def test_each_cpu_has_an_array() -> None:
    moves = freed(1, A, cpu=0) + freed(1, B, C, cpu=1) + freed(1, D, cpu=0)
    result = replayed("hints", moves, container="array", size=2)
    assert told(result) == [A, D, B, C]  # both are full by the end of that instant: the lowest CPU first
    assert calls(result) == [(1, 2), (1 + CALL_S, 2)]
    assert result.summary["reports"]["passes"] == 2


def test_a_full_array_throws_out_what_is_not_free_any_more_and_goes_on_gathering() -> None:
    moves = freed(1, A, B) + taken(2, A) + freed(3, C) + freed(4, D)
    result = replayed("hints", moves, container="array", size=3)
    assert (calls(result), told(result)) == ([(4, 3)], [B, C, D])
    assert result.summary["work"]["rechecks_failed"] == 1
    assert result.summary["work"]["lock_takes"] == 3 + 1


def test_a_cpu_whose_array_is_full_leaves_no_hints_until_it_is_gone_over() -> None:
    moves = freed(1, A, B) + freed(1 + CALL_S / 2, C) + freed(1 + 2 * CALL_S, D, E)
    result = replayed("hints", moves, container="array", size=2)
    assert told(result) == [A, B, D, E]
    assert result.summary["work"]["hints_dropped"] == 1
    assert result.summary["unreported_end_bytes"] == 2 * MIB


def test_cpus_beyond_the_guest_s_number_of_them_share_the_arrays() -> None:
    result = replayed("hints", freed(1, A, cpu=0) + freed(2, B, cpu=6), container="array", size=2)
    assert told(result) == [A, B]


@pytest.mark.parametrize("container", ["set", "ring"])
def test_the_delay_is_as_given_and_no_later_hint_restarts_it(container: str) -> None:
    result = replayed("hints", freed(1, A) + freed(1.4, B), container=container, delay=S // 2)
    assert calls(result) == [(1.5, 2)]


CONTAINERS = pytest.mark.parametrize("kind", [
    {"container": "set"}, {"container": "ring"}, {"container": "array", "size": 4},
])  # fmt: skip


@CONTAINERS
def test_a_block_split_below_the_order_is_a_failed_recheck(kind: dict[str, Any]) -> None:
    moves = freed(1, A, B, C) + taken(1.2, B, order=0) + freed(1.5, D, E)
    result = replayed("hints", moves, **kind)
    assert told(result) == [A, C, D, E]
    assert result.summary["work"]["rechecks_failed"] == 1


@CONTAINERS
def test_a_movable_zone_keeps_only_movable_memory(kind: dict[str, Any]) -> None:
    result = replayed("hints", freed(1, A, B, C, D), **kind)
    assert told(result) == [A, B, C, D]
    assert np.all(result.run.schedule.state.area.types == MOVABLE)
    kept = replayed("hints", freed(1, A, B, C, D, migratetype=0), **kind)
    assert kept.run.schedule.state.area.types[[FIRST + block for block in (A, B, C, D)]].tolist() == [0] * 4


@CONTAINERS
def test_a_refusal_of_the_min_watermark_drops_the_hint(kind: dict[str, Any]) -> None:
    # Of the fourth nothing is known yet; two can go: free - 512 k > min + 512.
    tight = zone(watermark=GIB)
    moves = freed(1, A, B, C) + freed(2 if kind["container"] == "array" else 3, D)
    result = replayed("hints", moves, [tight], **kind)
    assert told(result) == [A, B]
    assert result.summary["work"]["hints_dropped"] == 2


@CONTAINERS
def test_a_failing_device_reclaims_nothing_and_costs_the_hints(kind: dict[str, Any]) -> None:
    result = replayed("hints", freed(1, A, B, C, D), device=Device(fail_every=1), **kind)
    assert result.summary["work"]["hints_dropped"] == 4
    assert result.summary["reclaimed"]["end_bytes"] == 1 << 30
    assert result.summary["unreported_end_bytes"] == 4 * 2 * MIB
    assert listed(result) == [D, C, B, A]


@CONTAINERS
def test_unregistering_empties_the_container(kind: dict[str, Any]) -> None:
    away = Device(registered_ns=((0, 2 * S), (3 * S, NEVER)))
    moves = freed(1, A, B, C) + freed(4, D)
    assert replayed("hints", moves, device=away, **kind).summary["work"]["lock_takes"] in (0, 2)
    back = replayed("hints", moves + freed(5, E, F, *alone(1, first=6)), device=away, **kind)
    assert told(back) == [D, E, F, *alone(1, first=6)]


@CONTAINERS
def test_a_pass_under_way_is_waited_for_when_the_device_unregisters(kind: dict[str, Any]) -> None:
    at_s = 1 if kind["container"] == "array" else 3
    gone = Device(registered_ns=((0, int((at_s + CALL_S / 2) * S)),))
    result = replayed("hints", freed(1, A, B, C, D), device=gone, capacity=2, **kind)
    assert told(result) == [A, B, C, D]
    assert calls(result) == [(at_s, 2), (at_s + CALL_S, 2)]


def test_what_each_container_takes_is_told() -> None:
    assert replayed("hints", []).imposes == {"entries": 4 * GIB // UNIT}
    assert replayed("hints", [], container="ring", size=50).imposes == {"entries": 50}
    assert replayed("hints", [], container="array", size=50, cpus=8).imposes == {"entries": 400}


def test_arrays_larger_than_any_machine_are_refused() -> None:
    with pytest.raises(Fault, match="choose a smaller size"):
        replayed("hints", [], cpus=1 << 20, container="array", size=1 << 20)


def test_a_trace_must_tell_cpus() -> None:
    assert policy_named("hints").requires == {"cpu"}

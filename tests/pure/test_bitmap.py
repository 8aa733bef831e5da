"""`bitmap` by hand: what a bit per block, 16 of them a scan, comes to on a guest of x86's shape."""

import pytest

from replay.device import Device
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

# Blocks that only fill up the threshold, above all others used here.
OTHERS = alone(16, first=100)


def test_fifteen_hints_report_nothing_and_the_sixteenth_reports_at_once() -> None:
    few = replayed("bitmap", freed(1, *alone(15)))
    assert few.summary["reports"]["calls"] == 0
    assert few.summary["unreported_end_bytes"] == 15 * 2 * MIB
    last = replayed("bitmap", freed(1, *alone(15)) + freed(2, alone(16)[-1]))
    assert (calls(last), last.summary["unreported_end_bytes"]) == ([(2, 16)], 0)
    together = replayed("bitmap", freed(1, *alone(16)))
    assert together.summary["latency_s"]["max"] == pytest.approx(CALL_S)  # no delay: service only


def test_each_zone_has_a_threshold_of_its_own() -> None:
    zones = [zone(0, 2 * GIB), zone(2 * GIB, 4 * GIB)]
    hints = freed(1, *alone(15)) + freed(1, *alone(15, first=GIB // UNIT))
    assert replayed("bitmap", hints, zones).summary["reports"]["calls"] == 0
    one_more = replayed("bitmap", hints + freed(2, 301), zones)
    assert sorted(told(one_more)) == sorted([*alone(15), 301])


def test_a_scan_goes_up_in_address_order_whatever_came_first() -> None:
    result = replayed("bitmap", freed(1, *reversed(alone(16))))
    assert told(result) == alone(16)
    assert result.summary["work"]["bits_scanned"] == 4 * GIB // UNIT  # the whole map of the zone


def test_batches_of_sixteen_and_the_rest() -> None:
    result = replayed("bitmap", freed(1, *alone(37)))
    assert calls(result) == [(1, 16), (1 + CALL_S, 16), (1 + 2 * CALL_S, 5)]
    work = result.summary["work"]
    assert work["lock_takes"] == 37 + 3  # for each bit, and to return each batch
    assert (work["entries_walked"], work["max_entries_per_lock"]) == (0, 0)


def test_blocks_return_in_the_order_of_isolation_as_any_free_does_and_leave_no_hint() -> None:
    result = replayed("bitmap", freed(1, *alone(16)))
    assert listed(result) == list(reversed(alone(16)))  # each to the head
    assert result.summary["work"]["hints_captured"] == 16
    assert result.summary["reports"]["passes"] == 1


def test_the_type_of_a_block_is_restored() -> None:
    result = replayed("bitmap", freed(1, *alone(16), migratetype=0))
    assert told(result) == alone(16)
    assert listed(result, migratetype=0) == list(reversed(alone(16)))


def test_only_the_first_pageblocks_type_is_restored() -> None:
    result = replayed("bitmap", freed(1, *range(0, 32, 2), order=10, migratetype=0))
    assert listed(result, order=10, migratetype=0) == list(range(30, -2, -2))
    types = result.run.schedule.state.area.types[FIRST : FIRST + 32]
    assert types.tolist() == [0, 1] * 16


def test_a_hint_whose_block_was_split_is_a_failed_recheck() -> None:
    result = replayed("bitmap", freed(1, *alone(15)) + taken(2, 5, order=0) + freed(3, 31))
    assert told(result) == [block for block in alone(16) if block != 5]
    assert result.summary["work"]["rechecks_failed"] == 1
    assert result.summary["missed"] == {"units": 1, "bytes": 2 * MIB}


def test_the_block_that_merges_under_an_isolated_buddy_is_lost() -> None:
    # Block 41 is freed while its buddy 40 is away: on the way back they merge, and 41's bit is of a tail.
    scan = freed(1, 40, *OTHERS[:15]) + freed(1 + CALL_S / 2, 41)
    result = replayed("bitmap", scan)
    assert listed(result, order=10) == [40]
    assert result.summary["unreported_end_bytes"] == 2 * MIB
    # Nor does the next scan find it.
    later = [move for block in OTHERS[:15] for move in taken(2, block)] + freed(3, *OTHERS[:15])
    again = replayed("bitmap", scan + later)
    assert again.summary["reports"]["passes"] == 2
    assert again.summary["work"]["rechecks_failed"] == 1
    assert again.summary["unreported_end_bytes"] == 2 * MIB


def test_a_block_that_merges_with_a_reported_one_is_reported_with_it_all_over() -> None:
    first = freed(1, 40, *OTHERS[:15])
    then = [move for block in OTHERS[:15] for move in taken(2, block)] + freed(3, 41, *OTHERS[:15])
    result = replayed("bitmap", first + then)
    again = result.reports.filter(result.reports["submit_s"] > 2)
    assert again["order"].to_list() == [10] + [9] * 15
    assert result.summary["reports"]["redundant_bytes"] == 2 * MIB


def test_a_free_larger_than_a_pageblock_leaves_one_hint_and_is_taken_whole() -> None:
    result = replayed("bitmap", freed(1, 40, order=10) + freed(1, *OTHERS[:15]))
    assert result.summary["work"]["hints_captured"] == 16
    assert result.reports["order"].to_list() == [10] + [9] * 15


def test_hints_ahead_of_the_scan_are_seen_and_those_behind_it_wait() -> None:
    meanwhile = freed(1 + CALL_S / 2, 1, 901)
    result = replayed("bitmap", freed(1, *OTHERS) + freed(1, 801) + meanwhile)
    assert told(result) == [*OTHERS, 801, 901]
    assert result.summary["unreported_end_bytes"] == 2 * MIB


def test_memory_free_at_the_start_left_no_hints() -> None:
    result = replayed("bitmap", freed(1, *alone(15)), start="cold")
    assert result.summary["reports"]["calls"] == 0
    assert result.summary["unreported_end_bytes"] == (1 << 30) + 15 * 2 * MIB


def test_a_refusal_of_the_min_watermark_drops_the_hint() -> None:
    # Of the 16th nothing is known yet; four can go: free - 512 k > min + 512.
    known = GIB + 15 * UNIT
    tight = zone(watermark=known - 5 * UNIT)
    result = replayed("bitmap", freed(1, *alone(15)) + freed(2, 31), [tight])
    assert told(result) == alone(4)
    assert result.summary["work"]["hints_dropped"] == 12
    assert result.summary["work"]["rechecks_failed"] == 0


def test_a_failing_device_reclaims_nothing_and_costs_the_hints() -> None:
    result = replayed("bitmap", freed(1, *alone(16)), device=Device(fail_every=1))
    assert result.summary["reports"]["blocks"] == 0
    assert result.summary["work"]["hints_dropped"] == 16
    assert result.summary["reclaimed"]["end_bytes"] == 1 << 30
    assert listed(result) == list(reversed(alone(16)))
    assert result.summary["unreported_end_bytes"] == 16 * 2 * MIB


def test_unregistering_empties_the_maps() -> None:
    away = Device(registered_ns=((0, 3 * S), (4 * S, NEVER)))
    hints = freed(1, *alone(15))
    assert replayed("bitmap", hints + freed(5, 31), device=away).summary["reports"]["calls"] == 0
    # What is freed while no device is there leaves no hint either.
    some = replayed("bitmap", hints + freed(3.5, 31, *OTHERS[1:]) + freed(5, OTHERS[0]), device=away)
    assert some.summary["work"]["hints_captured"] == 16
    assert some.summary["reports"]["calls"] == 0
    all_ = replayed("bitmap", hints + freed(5, *OTHERS), device=away)
    assert told(all_) == OTHERS


def test_a_scan_under_way_is_waited_for_when_the_device_unregisters() -> None:
    instants = (S, S + int(CALL_S / 2 * S))
    away = Device(registered_ns=((0, instants[1]), (instants[1], NEVER)))
    moves = freed(1, *OTHERS, 801) + freed(1 + CALL_S * 1.6, 1, *alone(13, first=5))
    result = replayed("bitmap", moves + freed(3, 3), device=away)
    assert told(result) == [*OTHERS, 801]  # to its end; what was freed meanwhile is forgotten
    assert result.summary["work"]["hints_captured"] == 17 + 1


def test_a_sparse_zone_wastes_its_bits() -> None:
    assert replayed("bitmap", [], [zone(present=GIB)]).imposes == {"bits": 2048, "bits_of_holes": 1536}
    # The bits of a zone's ends are of units that it shares.
    ragged = replayed("bitmap", [], [zone(100, 3 * UNIT + 1), zone(4 * UNIT, 4 * GIB)])
    assert ragged.imposes == {"bits": 4 + 2044, "bits_of_holes": 0}

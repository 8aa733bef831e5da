"""`balloon-hinting` by hand: all there is at the maximum order, taken, told, held and given back."""

from itertools import pairwise
from typing import Any

import pytest

from replay.device import Device
from replay.geometry import MOVABLE, UNMOVABLE
from replay.results import Result
from replay.state import NEVER
from tests.pure.one_policy import GIB_FRAMES, S, frame_seconds, freed, replayed, zone

BLOCK = 4 << 20
MS = 1_000_000
ONE_MS = Device(call_ns=MS)


def blocks(count: int) -> int:
    """Frames of so many blocks, and one that the min watermark, of nothing, keeps back."""
    return count * 1024 + 1


def replay(events: list[Any], **over: Any) -> Result:
    """From memory that was never told: what the first run tells is new."""
    return replayed("balloon-hinting", events, **{"start": "cold", "device": ONE_MS, "end_s": 5, **over})


def listed(result: Result, migratetype: int, order: int = 10, of_zone: int = 0) -> list[int]:
    """First frames of the blocks of a list, from its head on."""
    area, found = result.run.schedule.state.area, []
    unit = int(area.lists["head"][of_zone, order, migratetype])
    while unit >= 0:
        found.append(unit << result.run.setting.order)
        unit = int(area.blocks[unit]["next"])
    return found


def test_everything_at_the_maximum_order_is_told_in_calls_of_a_block_and_held_until_the_last() -> None:
    result = replay([], free=blocks(8))
    reports = result.summary["reports"]
    assert (reports["passes"], reports["calls"], reports["blocks"]) == (1, 8, 8)
    assert result.reports["call"].to_list() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert result.reports["submit_s"].to_list() == [1] * 8
    assert result.reports["done_s"].to_list() == [1.008] * 8
    assert result.summary["held_frame_seconds"] == pytest.approx(8 * 1024 * 0.008)
    assert result.summary["cost_s"]["device"] == pytest.approx(0.008)
    assert result.summary["reclaimed"]["end_bytes"] == 8 * BLOCK
    assert result.summary["latency_s"]["max"] == pytest.approx(1.008)


def test_a_call_of_more_blocks_holds_them_for_a_shorter_time() -> None:
    result = replay([], free=blocks(8), capacity=3)
    assert result.reports["call"].to_list() == [1, 1, 1, 2, 2, 2, 3, 3]
    assert result.summary["held_frame_seconds"] == pytest.approx(8 * 1024 * 0.003)


def test_all_of_it_is_held_for_longer_where_the_host_wants_it_so() -> None:
    result = replay([], free=blocks(4), hold=2 * S, inhibit=True, bins_s=[1.001, 3.003, 3.005])
    assert result.summary["held_frame_seconds"] == pytest.approx(4 * 1024 * 2.004)
    assert frame_seconds(result, "held") == pytest.approx(4 * 1024 * 2.004)
    held = [4 * BLOCK, 4 * BLOCK, 0, 0]
    assert result.composition["held_bytes"].to_list() == held


def test_what_is_held_at_the_end_was_held_to_the_end() -> None:
    result = replay([], free=blocks(4), hold=10 * S)
    assert result.summary["held_frame_seconds"] == pytest.approx(4 * 1024 * 4)
    assert result.summary["reclaimed"]["end_bytes"] == 4 * BLOCK
    assert listed(result, UNMOVABLE) == []


def test_blocks_come_back_last_first_so_that_the_list_is_as_it_was() -> None:
    result = replay([], free=blocks(4))
    assert result.reports["pfn"].to_list() == listed(result, UNMOVABLE) == [0, 1024, 2048, 3072]
    assert listed(result, MOVABLE) == []


def test_all_that_was_taken_turns_unmovable() -> None:
    result = replay([], free=blocks(4))
    types = result.run.schedule.state.area.types
    assert types[:9].tolist() == [UNMOVABLE] * 8 + [MOVABLE]


def test_the_min_watermark_alone_leaves_something_in_the_zone() -> None:
    # min = 1500: a block may be taken while more than 1500 + 1024 frames are free.
    def told(free: int) -> int:
        result = replay([], zones=[zone(GIB_FRAMES, low=3000)], free=free, every=0)
        blocks: int = result.summary["reports"]["blocks"]
        return blocks

    assert [told(4 * 1024), told(2 * 1024 + 476), told(2 * 1024 + 477)] == [2, 0, 1]


def test_each_run_tells_everything_again_and_that_is_redundant() -> None:
    result = replay([(12, "exit", 0, 10)], free=blocks(4), end_s=40)
    starts = result.reports["submit_s"].unique(maintain_order=True).to_list()
    assert starts == [1, 11, 21, 31]
    reports = result.summary["reports"]
    assert reports["blocks"] == 4 + 4 + 3 + 3
    assert reports["redundant_bytes"] == (4 + 3 + 3) * BLOCK


def test_without_a_period_there_is_one_run() -> None:
    assert replay([], free=blocks(4), end_s=60, every=0).summary["reports"]["passes"] == 1


def test_a_run_that_takes_longer_than_the_period_is_followed_by_the_next_at_once() -> None:
    result = replay([], free=blocks(100), every=50 * MS, end_s=1.35)
    starts = result.reports["submit_s"].unique(maintain_order=True).to_list()
    assert starts == pytest.approx([1, 1.1, 1.2])
    assert [later - sooner for sooner, later in pairwise(starts)] == pytest.approx([0.1, 0.1])


def test_a_run_that_finds_nothing_is_a_run_and_the_next_one_comes_in_time() -> None:
    result = replay(freed(5, 1, first=1024), free=1, end_s=12)
    assert result.reports["submit_s"].to_list() == [11]
    assert result.summary["reports"]["passes"] == 2


def test_the_movable_zone_is_left_alone_and_the_highest_other_one_goes_first() -> None:
    zones = [
        zone(3072, name="DMA32"),
        zone(3072, name="Normal", start=3072),
        zone(3072, name="Movable", start=6144),
    ]
    result = replay([], zones=zones, free=9216)
    # Of three blocks the last one is not above the min watermark.
    assert result.reports["pfn"].to_list() == [3072, 4096, 0, 1024]
    assert listed(result, MOVABLE, of_zone=2) == [6144, 7168, 8192]
    assert result.summary["unreported_end_bytes"] == 5 * BLOCK


def test_an_exit_of_a_held_block_wins_and_the_rest_of_it_comes_back() -> None:
    result = replay([(1.001, "exit", 1024, 0)], free=blocks(4), order=9)
    summary = result.summary
    assert summary["collisions"] == {"blocks": 1, "bytes": BLOCK}
    assert summary["refaults"]["frames"] == 1
    assert summary["held_frame_seconds"] == pytest.approx(1024 * (3 * 0.004 + 0.001))
    assert listed(result, UNMOVABLE) == [0, 2048, 3072]
    assert listed(result, UNMOVABLE, order=9) == [1536]
    assert summary["work"]["lock_takes"] == 4 + 3


def test_an_exit_while_the_host_is_done_but_not_the_hold_faults_at_once() -> None:
    summary = replay([(2, "exit", 0, 10)], free=blocks(2), hold=3 * S, end_s=3).summary
    assert summary["collisions"]["blocks"] == 1
    assert summary["refaults"]["frames"] == 1024
    assert summary["held_frame_seconds"] == pytest.approx(1024 * (1 + 2))


def test_work_is_a_lock_for_each_block_both_ways() -> None:
    work = replay([], free=blocks(8), every=0).summary["work"]
    found = (work["entries_walked"], work["lock_takes"], work["max_entries_per_lock"])
    assert found == (8, 16, 1)


def test_a_run_that_fails_gives_all_back_at_once_and_the_host_has_nothing() -> None:
    failing = Device(call_ns=MS, fail_every=1)
    result = replay([], free=blocks(8), device=failing, hold=2 * S, every=2 * S, end_s=4)
    reports = result.summary["reports"]
    assert (reports["passes"], reports["calls"], reports["failed"]) == (2, 16, 16)
    assert (reports["blocks"], result.summary["reclaimed"]["end_bytes"]) == (0, 0)
    assert result.summary["held_frame_seconds"] == pytest.approx(2 * 8 * 1024 * 0.008)
    assert result.summary["unreported_end_bytes"] == 8 * BLOCK


def test_every_second_report_fails_whatever_its_calls_are() -> None:
    failing = Device(call_ns=MS, fail_every=2)
    reports = replay([], free=blocks(3), device=failing, every=S, end_s=4.5).summary["reports"]
    assert (reports["passes"], reports["calls"], reports["failed"], reports["blocks"]) == (4, 12, 6, 6)


def test_a_device_that_goes_in_a_run_lets_it_end_and_one_that_comes_begins_after_it() -> None:
    def starts(*registered: tuple[float, float]) -> list[float]:
        spans = tuple((round(a * S), NEVER if b == NEVER else round(b * S)) for a, b in registered)
        result = replay([], free=blocks(4), device=Device(MS, registered_ns=spans), hold=S, end_s=20)
        found: list[float] = result.reports["submit_s"].unique(maintain_order=True).to_list()
        assert result.summary["held_frame_seconds"] == pytest.approx(len(found) * 4 * 1024 * 1.004)
        return found

    assert starts((0, 1.5)) == [1]
    assert starts((0, 0.5)) == []
    assert starts((0, 1.5), (1.7, NEVER)) == pytest.approx([1, 3.004, 13.004])
    assert starts((0, 1.5), (1.7, 1.9)) == [1]
    assert starts((0, 3), (4, NEVER)) == pytest.approx([1, 5, 15])


def test_a_smaller_order_takes_the_smallest_lists_first_and_leaves_their_types_alone() -> None:
    result = replay([*freed(0.5, 1, 8, 8192), *freed(0.5, 1, 9, 9216)], free=blocks(2), order=8)
    assert result.reports["pfn"].to_list() == [8192, 9216, 0, 1024]
    assert listed(result, MOVABLE, order=8) == [8192]
    assert listed(result, UNMOVABLE, order=9) == [9216]


def test_the_default_order_is_the_guests_maximum() -> None:
    assert replay([]).params == {
        "order": 10, "first": "1s", "every": "10s", "capacity": 1, "hold": "0s",
    }  # fmt: skip

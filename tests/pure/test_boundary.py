"""`boundary` by hand: what Duyck's v10 comes to on a guest of x86's shape."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from replay.buddy.area import NOBODY
from replay.buddy.checks import list_of, violations
from replay.buddy.ops import meaning_table
from replay.device import Device
from replay.engine import Group, Options, Run
from replay.geometry import MOVABLE, Geometry
from replay.policies import policy_named
from replay.policies.fitness import notes
from replay.results import Result
from replay.start import Start
from replay.state import NEVER
from tests.pure.small_guests import columns
from tracer import FrameState, Guest, Op, Zone

S = 1_000_000_000
T0 = 100 * S
DELAY_S = 0.1
CALL_S = 0.0006
BLOCK = 1024  # frames of order 10
GIB_FRAMES = 1 << 18
BUSY = GIB_FRAMES  # where memory begins that is in use at the start
UNMOVABLE, RECLAIMABLE, HIGHATOMIC, ISOLATE = 0, 2, 3, 4


def guest() -> Guest:
    types = ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"]
    return Guest("6.12.0", "x86_64", 2, 4096, 10, 9, types, [0, 1, 2, 3, 9], None, None, None, 0)


def zone(start: int, end: int, min_: int = 0, name: str = "Normal") -> Zone:
    size = end - start
    return Zone(0, name, start, size, size, size, 0, min_, min_, min_, 0)


ZONES = [zone(0, 4 * GIB_FRAMES)]
TWO_ZONES = [zone(0, 2 * GIB_FRAMES, name="DMA32"), zone(2 * GIB_FRAMES, 4 * GIB_FRAMES)]


def replayed(
    events: list[Any], zones: list[Zone] = ZONES, free: int = GIB_FRAMES, absent: range = range(0),
    start: str = "steady", end_s: float = 60, device: Device | None = None, of: Guest | None = None,
    **params: Any,
) -> Result:  # fmt: skip
    """Frames [0, free) are free when it begins; events are (seconds, kind, pfn, order, migratetype)."""
    of = of or guest()
    setting = policy_named("boundary").settle(of, {"rounding": "none", **params})
    geometry = Geometry.of(of, zones, setting.order)
    state = np.full(zones[-1].end_pfn, FrameState.USED, np.uint8)
    state[:free] = FrameState.BUDDY
    state[absent.start : absent.stop] = FrameState.ABSENT
    options = Options(start=start, logging=True, device=device or Device())
    begin = Start(T0, state, np.array([], np.int64))
    end_ns = T0 + round(end_s * S)
    group = Group(of, meaning_table(of), geometry, begin, end_ns, [setting], options)
    rows = [(T0 + round(at_s * S), *what) for at_s, *what in events]
    group.feed(columns(sorted(rows)))
    group.finish()
    assert list(violations(group.schedules[0].state.area)) == []
    return Result(Run(setting, group.schedules[0], group))


def freed(
    at_s: float, blocks: int, order: int = 10, first: int = BUSY, apart: int = 1, kind: int = MOVABLE
) -> list[Any]:
    """Blocks freed one after the other at an instant; `apart`: every so many aligned ones."""
    return [(at_s, "enter", first + (k * apart << order), order, kind) for k in range(blocks)]


def work(result: Result) -> dict[str, int]:
    made: dict[str, int] = result.summary["work"]
    return made


def mark(result: Result, order: int = 10, kind: int = MOVABLE) -> int:
    """The frame that a list's boundary is at, or NOBODY."""
    unit = int(result.run.schedule.state.area.lists["mark"][0, order, kind])
    return unit if unit == NOBODY else unit << result.run.group.geometry.order


def pfns(result: Result, order: int = 10, kind: int = MOVABLE) -> list[int]:
    """A list's blocks, from head to tail."""
    return [unit << 9 for unit in list_of(result.run.schedule.state.area, 0, order, kind)]


def blocks_at(*numbers: int) -> list[int]:
    return [BUSY + number * BLOCK for number in numbers]


# -- the high-water mark ------------------------------------------------------------------------------


def test_up_to_31_unreported_blocks_of_each_order_stay_for_ever() -> None:
    result = replayed([*freed(1, 31), *freed(2, 31, order=9, first=2 * GIB_FRAMES, apart=2)], end_s=1000)
    assert result.summary["reports"]["calls"] == result.summary["reports"]["passes"] == 0
    assert result.run.schedule.waiting_frames * 4096 == 186 << 20


def test_the_32nd_starts_a_pass_a_tenth_of_a_second_later() -> None:
    result = replayed([*freed(1, 31), *freed(2, 1, first=2 * GIB_FRAMES)])
    assert result.reports["submit_s"].unique().to_list() == pytest.approx([2.1, 2.1 + CALL_S])
    assert len(result.reports) == 32


def test_31_blocks_of_one_order_go_with_the_32_of_another() -> None:
    result = replayed([*freed(1, 31, order=9, first=2 * GIB_FRAMES, apart=2), *freed(2, 32)])
    assert len(result.reports) == 63


def test_reported_blocks_do_not_count() -> None:
    events = [*freed(1, 32), *freed(3, 31, first=2 * GIB_FRAMES)]
    assert len(replayed(events).reports) == 32
    more = replayed([*events, *freed(5, 1, first=3 * GIB_FRAMES)])
    assert more.reports["submit_s"].max() == pytest.approx(5.1 + CALL_S)


def test_the_timer_wheel_rounds_the_delay_up() -> None:
    of = replace(guest(), hz=100, jiffies=5000, jiffies_monotonic_ns=T0)
    result = replayed(freed(1.001, 32), of=of, rounding="wheel")
    # Ten jiffies are 100 ms; they count from the next whole jiffy on.
    assert result.reports["submit_s"].min() == pytest.approx(1.11)


# -- a pass -------------------------------------------------------------------------------------------


def test_one_gib_freed_at_once_is_reported_in_one_run_of_16_batches_of_16() -> None:
    result = replayed(freed(1, 256))
    calls = result.reports.group_by("call", maintain_order=True).agg("submit_s", "pfn")
    assert [len(each) for each in calls["pfn"]] == [16] * 16
    assert [each[0] for each in calls["submit_s"]] == pytest.approx([1.1 + CALL_S * k for k in range(16)])
    assert result.summary["reports"]["passes"] == 1
    assert result.summary["latency_s"]["max"] == pytest.approx(DELAY_S + 16 * CALL_S)
    # Once over the 256 that were reported before, then each block once to take it and once to pass it.
    assert work(result)["entries_walked"] == 256 + 2 * 256
    assert work(result)["max_entries_per_lock"] == 256 + 16
    assert work(result)["lock_takes"] == 1 + 16
    assert work(result)["tail_redirects"] == 256


def test_the_last_batch_is_reported_however_short() -> None:
    result = replayed(freed(1, 33))
    assert result.reports.group_by("call", maintain_order=True).len()["len"].to_list() == [16, 16, 1]


def test_a_list_is_walked_from_the_tail_to_the_head_and_reported_in_that_order() -> None:
    result = replayed(freed(1, 40))
    # Frees of order 10 go to the list's head, so the first one freed is nearest to the tail.
    assert result.reports["pfn"].to_list() == blocks_at(*range(40))
    # Put back in the same order, each right before the boundary, but the last batch at the tail.
    assert pfns(result)[:32] == blocks_at(*range(16, 32), *range(16))
    assert pfns(result)[-8:] == blocks_at(*range(32, 40))


def test_orders_and_migratetypes_go_from_high_to_low() -> None:
    steps = [
        (10, HIGHATOMIC), (10, RECLAIMABLE), (10, MOVABLE), (10, UNMOVABLE),
        (9, HIGHATOMIC), (9, RECLAIMABLE), (9, MOVABLE), (9, UNMOVABLE),
    ]  # fmt: skip
    first = {step: BUSY + 64 * BLOCK * k for k, step in enumerate(steps)}
    events = [
        event
        for (order, kind), pfn in reversed(first.items())
        for event in freed(1, 4, order=order, first=pfn, apart=11 - order, kind=kind)
    ]
    result = replayed(events, high_water=4, capacity=100)
    assert result.reports["call"].unique().to_list() == [1]
    assert [pfn // (64 * BLOCK) * 64 * BLOCK for pfn in result.reports["pfn"][::4]] == list(first.values())


def test_isolated_pageblocks_are_never_looked_at() -> None:
    result = replayed(freed(1, 40, kind=ISOLATE), free=0)
    assert result.summary["reports"]["passes"] == 1
    assert (len(result.reports), work(result)["entries_walked"]) == (0, 0)


def test_a_block_that_merges_on_its_way_back_is_reported_again_whole() -> None:
    lower, upper = BUSY + 512 * BLOCK, BUSY + 512 * BLOCK + 512
    events = [(1, "enter", lower, 9, MOVABLE), (1 + DELAY_S + CALL_S / 2, "enter", upper, 9, MOVABLE)]
    result = replayed(events, high_water=1, capacity=1)
    assert list(result.reports.select("pfn", "order").iter_rows()) == [(lower, 9), (lower, 10)]
    assert result.summary["reports"]["redundant_bytes"] == 2 << 20


# -- boundaries ---------------------------------------------------------------------------------------

# One block a call: the k-th (from 0) is in flight from 1.1 s + k calls on.
IN_FLIGHT = [1 + DELAY_S + CALL_S * (k + 0.5) for k in range(10)]


def test_what_goes_to_the_tail_during_a_pass_goes_before_the_boundary_and_is_not_missed() -> None:
    new = BUSY + 100 * BLOCK  # memory that is new to the guest goes to the tail
    events = [*freed(1, 4), (IN_FLIGHT[1], "enter", new, 10, MOVABLE)]
    result = replayed(events, free=0, absent=range(new, new + BLOCK), high_water=4, capacity=1)
    assert result.reports["pfn"].to_list() == [*blocks_at(0, 1), new, *blocks_at(2, 3)]
    # Block 0 was put back while there was no boundary; it is the first one. Before it went the new
    # block and the four others, and each block was walked over once to take and once to pass it.
    assert work(result)["tail_redirects"] == 5
    assert work(result)["entries_walked"] == 2 * 5
    assert pfns(result) == [*blocks_at(3, 2), new, *blocks_at(1, 0)]


def test_between_passes_there_is_no_boundary() -> None:
    new = BUSY + 100 * BLOCK
    other = (1, "enter", 3 * GIB_FRAMES, 0, MOVABLE)  # the last block free is never taken
    events = [*freed(1, 4), other, (5, "enter", new, 10, MOVABLE)]
    result = replayed(events, free=0, absent=range(new, new + BLOCK), high_water=4, capacity=4)
    assert (mark(result), work(result)["tail_redirects"]) == (NOBODY, 0)
    assert pfns(result) == [*blocks_at(0, 1, 2, 3), new]


def test_the_boundary_stays_where_the_walk_came_to() -> None:
    at_s = [IN_FLIGHT[k] for k in range(4)]
    found = [mark(replayed(freed(1, 4), free=0, high_water=4, capacity=1, end_s=end_s)) for end_s in at_s]
    assert found == [NOBODY, *blocks_at(0, 1, 2)]


def test_when_its_block_leaves_the_boundary_moves_towards_the_tail() -> None:
    def marks(*leaving: int) -> int:
        exits = [(IN_FLIGHT[3], "exit", pfn, 10, MOVABLE) for pfn in blocks_at(*leaving)]
        events = [*freed(1, 6), *exits]
        return mark(replayed(events, free=0, high_water=6, capacity=1, end_s=IN_FLIGHT[3] + 1e-6))

    assert [marks(), marks(0), marks(2), marks(2, 1)] == blocks_at(2, 2, 1, 0)
    assert marks(2, 1, 0) == NOBODY


def test_a_part_of_the_boundarys_block_is_enough() -> None:
    events = [*freed(1, 6), (IN_FLIGHT[3], "exit", BUSY + 2 * BLOCK + 512, 0, MOVABLE)]
    result = replayed(events, free=0, high_water=6, capacity=1, end_s=IN_FLIGHT[3] + 1e-6)
    assert [mark(result)] == blocks_at(1)
    assert pfns(result, order=9) == blocks_at(2)  # its other half, no longer reported


@pytest.mark.parametrize("searched", [True, False])
def test_a_search_of_compaction_makes_the_walk_begin_at_the_tail_again(searched: bool) -> None:
    search = [(IN_FLIGHT[2], "reshuffle", 0, 0, -1)] if searched else []
    result = replayed([*freed(1, 4), *search], free=64 * BLOCK, high_water=4, capacity=1)
    # Four blocks before 64 that are reported: once over those, each of the four twice; but block 0,
    # 1 and the 64 once more when the boundary is lost between the third report and the fourth.
    assert work(result)["entries_walked"] == 64 + 2 * 4 + (64 + 2 if searched else 0)
    assert work(result)["boundary_resets"] == searched
    assert result.reports["pfn"].to_list() == blocks_at(0, 1, 2, 3)


def test_a_search_between_passes_or_in_another_zone_resets_nothing() -> None:
    elsewhere = [(IN_FLIGHT[2], "reshuffle", 3 * GIB_FRAMES, 0, -1)]
    idle = [(0.5, "reshuffle", 0, 0, -1), (30, "reshuffle", 0, 0, -1)]
    result = replayed([*freed(1, 4), *elsewhere, *idle], TWO_ZONES, high_water=4, capacity=1)
    assert work(result)["boundary_resets"] == 0


def test_a_search_resets_the_movable_lists_of_all_orders_and_no_other() -> None:
    # Order 10 and the order-9 lists of both types have been passed when the last block is in flight.
    events = [
        *freed(1, 2), *freed(1, 1, order=9, first=2 * GIB_FRAMES),
        *freed(1, 3, order=9, first=3 * GIB_FRAMES, apart=2, kind=HIGHATOMIC),
    ]  # fmt: skip
    in_flight = [*events, (IN_FLIGHT[4], "reshuffle", 0, 0, -1)]
    result = replayed(in_flight, free=0, high_water=2, capacity=1, end_s=IN_FLIGHT[4] + 1e-6)
    assert work(result)["boundary_resets"] == 1
    assert mark(result) == mark(result, order=9) == NOBODY
    assert mark(result, order=9, kind=HIGHATOMIC) == 3 * GIB_FRAMES + 1024


def test_after_the_last_batch_all_boundaries_are_gone_though_it_is_still_in_flight() -> None:
    events = freed(1, 5)
    full = replayed(events, free=0, high_water=5, capacity=2, end_s=IN_FLIGHT[1])
    short = replayed(events, free=0, high_water=5, capacity=2, end_s=IN_FLIGHT[2])
    assert [mark(full)] == blocks_at(0)  # before it there were 0 and 1, put back in this order
    assert mark(short) == NOBODY


def test_blocks_that_move_to_another_type_stay_reported_and_go_before_its_boundary() -> None:
    # Order 9 is reported in both lists; then block 1's pageblock turns unmovable, as an entry tells.
    low, high = BUSY, 2 * GIB_FRAMES
    events = [
        *freed(1, 3, order=8, first=low, apart=4), *freed(1, 3, order=8, first=high, apart=4, kind=UNMOVABLE),
        (1 + DELAY_S + CALL_S * 5.5, "enter", low + 1024 + 256, 0, UNMOVABLE),
    ]  # fmt: skip
    result = replayed(events, free=0, order=8, high_water=6, capacity=1, end_s=1 + DELAY_S + CALL_S * 5.6)
    # Blocks of half a pageblock turn movable when they are taken: five of six are back on that list.
    assert result.summary["reports"]["blocks"] == 5
    state = result.run.schedule.state.area
    unmovable = [unit << 8 for unit in list_of(state, 0, 8, UNMOVABLE)]
    assert unmovable == [low + 1024]
    assert int(state.nr_reported[0, 8]) == 5


# -- watermark, device, zones -------------------------------------------------------------------------


def test_the_min_watermark_ends_a_pass() -> None:
    # 32 blocks are free; a fourth one taken would leave no more than 28 and itself.
    result = replayed(freed(1, 32), [zone(0, 4 * GIB_FRAMES, min_=28 * BLOCK)], free=0)
    assert result.reports.group_by("call").len()["len"].to_list() == [3]
    assert work(result)["entries_walked"] == 3 + 1
    assert (result.summary["reports"]["passes"], mark(result)) == (1, NOBODY)


def test_a_failed_report_marks_nothing_and_ends_the_zones_turn() -> None:
    result = replayed(freed(1, 40), device=Device(fail_every=2), end_s=30)
    assert result.summary["reports"]["calls"] == 2
    assert len(result.reports) == 16
    assert int(result.run.schedule.state.area.nr_reported.sum()) == 256 + 16
    again = replayed([*freed(1, 40), *freed(5, 8, first=2 * GIB_FRAMES)], device=Device(fail_every=2))
    # 24 were left: the eighth more makes 32, and a second pass succeeds once and fails once.
    assert again.reports.group_by("pass", maintain_order=True).len()["len"].to_list() == [16, 16]
    assert again.summary["reports"]["passes"] == 2


def test_blocks_of_a_failed_report_come_back_before_the_boundary() -> None:
    result = replayed(freed(1, 4), free=0, high_water=4, capacity=2, device=Device(fail_every=2))
    assert pfns(result) == blocks_at(2, 3, 0, 1)
    assert (mark(result), work(result)["tail_redirects"]) == (NOBODY, 2)


def gone(at_s: float, back_s: float | None = None) -> Device:
    spans = [(0, round(at_s * S))]
    return Device(registered_ns=tuple(spans if back_s is None else [*spans, (round(back_s * S), NEVER)]))


def test_a_device_that_unregisters_before_the_pass_gets_nothing() -> None:
    result = replayed([*freed(1, 40), *freed(3, 40, first=2 * GIB_FRAMES)], device=gone(1.05))
    assert result.summary["reports"]["passes"] == 0


def test_a_pass_under_way_runs_to_its_end_when_the_device_unregisters() -> None:
    result = replayed([*freed(1, 256), *freed(3, 40, first=2 * GIB_FRAMES)], device=gone(1.1 + CALL_S * 2.5))
    assert len(result.reports) == 256
    assert result.summary["reports"]["passes"] == 1


def test_a_device_that_registers_during_the_old_ones_pass_waits_for_its_end() -> None:
    device = gone(1.1 + CALL_S * 0.5, back_s=1.1 + CALL_S * 1.5)
    result = replayed(freed(1, 64), device=device)
    assert len(result.reports) == 64
    # The zone is asked for again when the pass is over, at 1.1024 s; all there is has been reported.
    assert result.summary["reports"]["passes"] == 2
    later = replayed([*freed(1, 64), *freed(1.15, 1, first=2 * GIB_FRAMES)], device=device)
    assert later.reports["submit_s"].max() == pytest.approx(1.1 + 4 * CALL_S + DELAY_S)


def test_zones_are_gone_over_in_turn_until_none_asks() -> None:
    late = [(1.1 + 5.5 * CALL_S, *event[1:]) for event in freed(1, 32, first=BUSY + 64 * BLOCK)]
    result = replayed([*freed(1, 64), *freed(1, 64, first=2 * GIB_FRAMES), *late], TWO_ZONES, end_s=1.5)
    # Four calls for the first zone, four for the second; meanwhile the first one asks again.
    assert result.reports["zone"].to_list() == [0] * 64 + [1] * 64 + [0] * 32
    assert result.summary["reports"]["passes"] == 1
    assert result.reports["submit_s"].max() == pytest.approx(1.1 + 9 * CALL_S)


def test_one_zones_boundaries_are_no_other_zones() -> None:
    new = 3 * GIB_FRAMES
    arrival = [(IN_FLIGHT[1], "enter", new, 10, MOVABLE)]  # to the second zone, while the first is reported
    result = replayed(
        [*freed(1, 3), *arrival], TWO_ZONES, absent=range(new, new + BLOCK), high_water=3, capacity=1,
        free=0, end_s=IN_FLIGHT[2],
    )  # fmt: skip
    assert work(result)["tail_redirects"] == 1  # block 1, on its way back


def test_a_registration_asks_for_all_zones_that_have_memory() -> None:
    zones = [
        zone(0, GIB_FRAMES, name="DMA32"),
        Zone(0, "Normal", GIB_FRAMES, GIB_FRAMES, 0, 0, 0, 0, 0, 0, 0),
        zone(2 * GIB_FRAMES, 4 * GIB_FRAMES, name="Movable"),
    ]
    # A free page more in each, for the watermarks are never reached.
    events = [(0.05, "enter", 3 * GIB_FRAMES + at, order, MOVABLE) for at, order in ((0, 9), (1024, 0))]
    result = replayed(events, zones, free=BLOCK + 1, start="cold")
    assert result.reports["pfn"].to_list() == [0, 3 * GIB_FRAMES]
    assert result.reports["submit_s"].to_list() == pytest.approx([DELAY_S, DELAY_S + CALL_S])
    # A turn and a way back for each of the two zones, none for the empty one.
    assert work(result)["lock_takes"] == 4


def test_what_is_asked_for_during_the_last_report_is_done_at_once_and_the_timer_finds_nothing() -> None:
    late = [(1 + DELAY_S + CALL_S / 2, *event[1:]) for event in freed(1, 2, first=2 * GIB_FRAMES)]
    result = replayed([*freed(1, 2), *late], high_water=2, capacity=4)
    assert result.reports["submit_s"].to_list() == pytest.approx([1.1] * 2 + [1.1 + CALL_S] * 2)
    assert result.summary["reports"]["passes"] == 2


def trace_with(*ops: Op) -> Any:
    probes = [SimpleNamespace(op=op) for op in ops]
    return SimpleNamespace(manifest=SimpleNamespace(probes=probes), owners_only=False, zones=[])


def test_a_trace_without_compaction_events_says_what_it_cannot_show() -> None:
    setting = policy_named("boundary").settle(guest(), {})
    (said,) = notes(trace_with(Op.ZONE_LOCKED), setting)
    assert "never reset" in said
    assert list(notes(trace_with(Op.ZONE_LOCKED, Op.COMPACTION_ISOLATE), setting)) == []


def test_it_needs_a_pointer_for_each_list_of_one_zone_and_a_counter_for_each_order_of_all() -> None:
    program = replayed([], TWO_ZONES).run.schedule.program
    assert program.imposes == {"boundaries": 2 * 5, "counters": 2 * 2}

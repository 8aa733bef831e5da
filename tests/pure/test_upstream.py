"""`upstream` by hand: what the rules of mm/page_reporting.c come to on a guest of x86's shape."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from replay.buddy.ops import meaning_table
from replay.device import Device
from replay.engine import Group, Options, Run
from replay.geometry import Geometry
from replay.policies import policy_named
from replay.results import Result
from replay.start import Start
from tests.pure.small_guests import columns
from tracer import FrameState, Guest, Zone

S = 1_000_000_000
T0 = 100 * S
CALL_S = 0.0006
GIB_FRAMES = 1 << 18


def guest(hz: int | None = None, jiffies: int | None = None) -> Guest:
    types = ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"]
    return Guest("test", "x86_64", 2, 4096, 10, 9, types, [0, 1, 2, 3, 9], None, hz, jiffies, 0)


def zone(frames: int, low: int = 0) -> Zone:
    return Zone(0, "Normal", 0, frames, frames, frames, 0, low // 2, low, low, 0)


def replayed(
    events: list[Any], frames: int = 4 * GIB_FRAMES, free: int = GIB_FRAMES, start: str = "steady",
    end_s: float = 60, low: int = 0, of: Guest | None = None, device: Device | None = None,
    inhibit: bool = False, **params: Any,
) -> Result:  # fmt: skip
    """Frames [0, free) are free when it begins; events are (seconds, kind, pfn, order)."""
    of = of or guest()
    setting = policy_named("upstream").settle(of, {"rounding": "none", **params})
    geometry = Geometry.of(of, [zone(frames, low)], setting.order)
    state = np.full(frames, FrameState.USED, np.uint8)
    state[:free] = FrameState.BUDDY
    options = Options(start=start, inhibit=inhibit, device=device or Device(), logging=True)
    begin = Start(T0, state, np.array([], np.int64))
    group = Group(of, meaning_table(of), geometry, begin, T0 + int(end_s * S), [setting], options)
    group.feed(columns([(T0 + int(at * S), kind, pfn, order, 1) for at, kind, pfn, order in events]))
    group.finish()
    return Result(Run(setting, group.schedules[0], group))


def blocks_freed(at_s: float, blocks: int, order: int = 10, first: int = GIB_FRAMES) -> list[Any]:
    return [(at_s, "enter", first + (k << order), order) for k in range(blocks)]


def per_pass(result: Result) -> list[int]:
    return result.reports.group_by("pass", maintain_order=True).len()["len"].to_list()


def test_one_gib_freed_at_once_comes_back_in_four_passes_of_64_blocks() -> None:
    result = replayed(blocks_freed(1, 256))
    assert per_pass(result) == [64, 64, 64, 64]
    calls = result.reports.group_by("call", maintain_order=True).first()
    assert calls["submit_s"].to_list() == pytest.approx(
        [1 + 2 * n + 0.0012 * (n - 1) + CALL_S * k for n in (1, 2, 3, 4) for k in (0, 1)]
    )
    assert result.summary["latency_s"]["max"] == pytest.approx(8 + 4 * 0.0012)
    assert result.summary["reclaimed"]["end_bytes"] == 2 << 30  # the gibibyte it began with, and this one


@pytest.mark.parametrize(("blocks", "first_pass"), [(512, 64), (513, 96), (1024, 96), (1025, 128)])
def test_a_pass_takes_a_sixteenth_of_the_list_and_one_batch_more(blocks: int, first_pass: int) -> None:
    result = replayed(blocks_freed(1, blocks), frames=8 * GIB_FRAMES, end_s=3.5, gate=False, free=0)
    assert per_pass(result)[0] == first_pass


def test_an_idle_32_gib_zone_settles_in_sixteen_passes() -> None:
    result = replayed([], frames=33 * GIB_FRAMES, free=32 * GIB_FRAMES, start="cold", end_s=120)
    passes = per_pass(result)
    assert sum(passes) == 8192
    # nr_free/16 + 32 = 544 blocks a pass; 8192 blocks in the 16th.
    assert passes[:-1] == [544] * 15
    assert result.reports["submit_s"].max() == pytest.approx(32, abs=0.2)


def test_an_unfinished_batch_is_carried_from_order_9_to_order_10() -> None:
    events = [(1.0, "enter", GIB_FRAMES + 512 * 2 * k, 9) for k in range(10)]
    events += blocks_freed(1, 30, first=2 * GIB_FRAMES)
    reports = replayed(events).reports
    first_call = reports.filter(pl.col("call") == 1)
    assert first_call["order"].to_list().count(9) == 10
    assert first_call["order"].to_list().count(10) == 22


def test_the_host_sees_a_batch_in_the_reverse_of_isolation_order() -> None:
    pfns = replayed(blocks_freed(1, 8), gate=False).reports["pfn"].to_list()
    # Frees of order 10 go to the list's head, so the last one freed is isolated first, reported last.
    assert pfns == sorted(pfns)


def test_a_split_reported_block_is_told_again_and_that_is_redundant() -> None:
    result = replayed([(1.0, "exit", 0, 0), (2.0, "enter", GIB_FRAMES, 9)])
    assert result.summary["reports"]["redundant_bytes"] == 2 << 20  # the untouched half of the block
    assert result.reports["pfn"].to_list() == [512, GIB_FRAMES]


def test_a_free_during_the_delay_does_not_restart_it() -> None:
    reports = replayed([*blocks_freed(1, 1), *blocks_freed(2.9, 1, first=2 * GIB_FRAMES)]).reports
    assert reports["submit_s"].to_list() == pytest.approx([3, 3])


def test_the_watermark_gate_keeps_a_small_zone_unreported() -> None:
    margin = 32 << 9
    shut = replayed(blocks_freed(1, 1), free=margin - 1024 + 100, low=100)
    open_ = replayed(blocks_freed(1, 1), free=margin - 1024 + 101, low=100)
    assert (shut.summary["reports"]["calls"], open_.summary["reports"]["calls"]) == (0, 1)


def test_a_gate_shut_pass_does_nothing_until_the_next_big_free() -> None:
    result = replayed([*blocks_freed(1, 1), (20.0, "enter", 3 * GIB_FRAMES, 9)], free=2048, low=50_000)
    assert result.summary["reports"]["passes"] == 2


@pytest.mark.parametrize(("hz", "step_s"), [(250, 0.032), (1000, 0.064), (100, 0.080)])
def test_the_timer_wheel_rounds_two_seconds_up_by_at_most_one_step(hz: int, step_s: float) -> None:
    # 2 s are 500, 2000 and 200 jiffies: levels of 8, 64 and 8 jiffies.
    result = replayed(blocks_freed(1, 1), of=guest(hz, jiffies=12345), rounding="wheel")
    delay_s = float(result.reports["submit_s"][0]) - 1
    assert 2 < delay_s <= 2 + step_s + 1 / hz


def test_reported_blocks_return_to_the_tail_and_before_5_10_to_the_head() -> None:
    def head_after(putback: str) -> int:
        result = replayed(blocks_freed(1, 2), free=0, gate=False, end_s=1 + 2 + 0.1, putback=putback)
        return int(result.run.schedule.state.area.lists["head"][0, 10, 1]) << 9

    assert head_after("tail") == GIB_FRAMES
    assert head_after("head") == GIB_FRAMES + 1024


def test_the_kernel_only_sets_defaults() -> None:
    def putback(**given: Any) -> Any:
        return policy_named("upstream").settle(guest(), given).params["putback"]

    assert (putback(), putback(kernel="5.10"), putback(kernel="5.7")) == ("tail", "tail", "head")
    assert putback(kernel="5.7", putback="tail") == "tail"


def test_order_0_reports_what_order_9_leaves_stranded() -> None:
    freed = [(1.0, "enter", GIB_FRAMES + 2 * k, 0) for k in range(100)]
    nine, zero = (replayed(freed, frames=GIB_FRAMES + 2048, free=4096, order=order) for order in (9, 0))
    assert nine.summary["reports"]["blocks"] == 0
    assert zero.summary["reports"]["bytes"] == 100 * 4096


def test_an_exit_of_a_block_in_flight_collides_and_refaults_when_the_report_is_done() -> None:
    result = replayed([*blocks_freed(1, 1), (3.0003, "exit", GIB_FRAMES, 0)])
    summary = result.summary
    assert summary["collisions"] == {"blocks": 1, "bytes": 4 << 20}
    assert summary["refaults"]["frames"] == 1
    # The untouched half came back unflagged and is told again with the broken unit's other blocks.
    assert result.reports["pfn"].to_list()[0] == GIB_FRAMES

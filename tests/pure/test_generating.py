"""A synthetic trace has what its recipe asks for: rates, sizes, lifetimes, waves, memory, fragmentation."""

import math
import os
import statistics
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import replay
from replay import main
from replay.generating.draws import FIXED, LOG_NORMAL, spread
from replay.generating.kind import Kind
from replay.generating.presets import PRESETS, preset
from replay.generating.recipe import Recipe
from replay.generating.writing import generate
from replay.geometry import MOVABLE, UNMOVABLE
from tests.pure.synthetic import SECOND_NS, TAKING, lives, made, rows, states
from tracer import FrameState, Op, open_trace

SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
PAGE = Kind("page", rate=500, size_bytes=4096, lifetime_ns=SECOND_NS)
QUIET = Recipe((PAGE,), memory_bytes=256 << 20, duration_ns=20 * SECOND_NS, used=0.0)


def with_kind(**changes: object) -> Recipe:
    return replace(QUIET, kinds=(replace(PAGE, **changes),))  # type: ignore[arg-type] # fields of Kind


# The same seed


def test_the_same_recipe_makes_the_same_bytes(tmp_path):
    recipe = preset("steady", memory_bytes=1 << 30, duration_ns=2 * SECOND_NS, warmup_ns=SECOND_NS)
    first, second = (made(tmp_path, recipe, name).path for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 8
    assert [(first / each).read_bytes() for each in files] == [(second / each).read_bytes() for each in files]


def test_another_seed_makes_another_trace(tmp_path):
    assert rows(made(tmp_path, QUIET, "a")) != rows(made(tmp_path, replace(QUIET, seed=2), "b"))


def test_events_do_not_depend_on_how_much_is_handed_over_at_once(tmp_path, monkeypatch):
    recipe = preset("burst", memory_bytes=1 << 30, duration_ns=3 * SECOND_NS)
    whole = made(tmp_path, recipe, "a")
    monkeypatch.setattr("replay.generating.machine.ROOM_EVENTS", 1009)
    monkeypatch.setattr("replay.generating.machine.HEAP", 2)
    monkeypatch.setattr("replay.generating.writing.SEGMENT_ROWS", 5000)
    pieces = made(tmp_path, recipe, "b")
    assert len(pieces.segments) > 2 > len(whole.segments)
    assert rows(pieces) == rows(whole)
    assert pieces.samples.equals(whole.samples)


def test_the_command_line_in_the_manifest_makes_the_trace_again(tmp_path):
    recipe = preset(
        "waves", ["slab:rate=7.25", "own:size=3KiB,lifetime=forever,type=reclaimable"],
        memory_bytes=768 << 20, nodes=2, zones=(("DMA", 8 << 20),), holes=0.25, hole_bytes=1 << 20,
        duration_ns=1_500_000_000, warmup_ns=0, pinned=0.125, seed=77,
    )  # fmt: skip
    trace = made(tmp_path, recipe)
    words = trace.manifest.command_line
    assert words[:2] == ["pagetide", "generate"]
    again = tmp_path / "again.trace"
    assert main.run([*words[1:], str(again)]) == 0
    assert (again / "manifest.json").read_bytes() == (trace.path / "manifest.json").read_bytes()
    assert rows(open_trace(again)) == rows(trace)


# What was asked for


def test_objects_come_at_their_rate_and_at_random(tmp_path):
    times = [row[0] for row in rows(made(tmp_path, QUIET)) if row[1] in TAKING]
    assert abs(len(times) - 10_000) < 4 * math.sqrt(10_000)
    gaps = np.diff(times)
    assert 0.95 < gaps.std() / gaps.mean() < 1.05  # as of a Poisson process


@pytest.mark.parametrize(
    ("ages", "deviation"), [("fixed", 0.0), ("exponential", 1.0), ("log-normal", math.sqrt(math.e - 1))]
)
def test_lifetimes_have_the_mean_and_the_spread_asked_for(tmp_path, ages, deviation):
    recipe = replace(with_kind(ages=ages, rate=1000, lifetime_ns=SECOND_NS // 4), duration_ns=30 * SECOND_NS)
    # What came long before the end, so that none of it is cut off.
    ages_s = [(until - since) / 1e9 for since, until in lives(made(tmp_path, recipe)) if since < 2.5e10]
    assert len(ages_s) > 20_000
    assert statistics.fmean(ages_s) == pytest.approx(0.25, rel=0.05)
    assert statistics.pstdev(ages_s) / 0.25 == pytest.approx(deviation, abs=0.2 if deviation > 1 else 0.05)


def test_sizes_have_the_mean_asked_for(tmp_path):
    kind = replace(PAGE, rate=200, size_bytes=64 << 12, size_sigma=1.0, lifetime_ns=10**7)
    done = generate(tmp_path / "a.trace", replace(QUIET, kinds=(kind,))).made[0]
    assert abs(done.objects - 4000) < 4 * math.sqrt(4000)
    assert done.blocks / done.objects == pytest.approx(64, rel=0.08)


def test_draws_of_sizes_are_log_normal():
    seeds = np.array([5], np.uint64)
    logs = np.log([spread(seeds, 0, 100.0, LOG_NORMAL, 0.75) for _ in range(20_000)])
    assert logs.std() == pytest.approx(0.75, rel=0.02)
    assert logs.mean() == pytest.approx(math.log(100) - 0.75**2 / 2, abs=0.02)
    assert abs(((logs - logs.mean()) ** 3).mean() / logs.std() ** 3) < 0.06
    assert spread(seeds, 0, 3.0, FIXED, 9.0) == 3.0


def by_quarter(tmp_path, wave: str) -> list[int]:
    """Takings in each quarter of a period of 4 s, over five periods."""
    trace = made(tmp_path, with_kind(wave=wave, period_ns=4 * SECOND_NS, duty=0.25, rate=1000))
    since_ns = trace.span_ns[0]
    found = Counter((row[0] - since_ns) // SECOND_NS % 4 for row in rows(trace) if row[1] in TAKING)
    return [found[quarter] for quarter in range(4)]


def test_a_square_wave_is_on_for_its_duty_only(tmp_path):
    on, *off = by_quarter(tmp_path, "square")
    assert off == [0, 0, 0]
    assert abs(on - 5000) < 300


def test_a_sine_wave_goes_from_nothing_up_to_the_rate_and_back(tmp_path):
    share = 0.5 - 1 / math.pi  # of the rate, in the first quarter of a period, on average
    for found, wanted in zip(by_quarter(tmp_path, "sine"), [share, 1 - share, 1 - share, share], strict=True):
        assert abs(found - 5000 * wanted) < 300


def test_an_object_that_grows_takes_its_blocks_over_that_time(tmp_path):
    kind = replace(PAGE, rate=1, size_bytes=640 << 12, growth_ns=SECOND_NS, lifetime_ns=0)
    trace = made(tmp_path, replace(QUIET, kinds=(kind,), duration_ns=40 * SECOND_NS, seed=3))
    times = np.array([row[0] for row in rows(trace)])
    starts = times[np.flatnonzero(np.diff(times, prepend=0) > 10_000)]
    assert len(starts) == pytest.approx(len(times) / 64, abs=10)  # in batches of 64 pages
    assert np.median(np.diff(starts)) < 2 * SECOND_NS // 10


def test_kinds_have_their_orders_types_and_cpus(tmp_path):
    kinds = (
        replace(PAGE, name="slab", type="unmovable", order=3, rate=50),
        replace(PAGE, name="large", order=4, rate=50, lifetime_ns=SECOND_NS // 10),
    )
    events = rows(made(tmp_path, replace(QUIET, kinds=kinds, cpus=3)))
    taken = {(op, order, kind, aux) for _, op, _, order, kind, _, aux in events if op == Op.ZONE_LOCKED}
    assert taken == {(Op.ZONE_LOCKED, 3, UNMOVABLE, 1), (Op.ZONE_LOCKED, 4, MOVABLE, 0)}
    freed = {(op, order, kind) for _, op, _, order, kind, _, _ in events if op not in TAKING}
    assert freed == {(Op.PCPU_DRAIN, 3, UNMOVABLE), (Op.PAGE_FREE, 4, -1)}
    assert {row[5] for row in events} == {0, 1, 2}
    # The first unmovable page of a guest whose memory is movable falls back.
    fallback = next(row for row in events if row[1] == Op.EXTFRAG)
    assert fallback[6] == 10 | UNMOVABLE << 8 | MOVABLE << 16 | 1 << 24


# Memory


def test_fragmentation_and_another_kind_change_nothing_of_what_comes_and_goes(tmp_path):
    kind = replace(PAGE, size_bytes=64 << 12, size_sigma=1.0, growth_ns=SECOND_NS // 2, rate=20)
    other = replace(PAGE, name="other", type="unmovable", order=2, rate=30)
    traces = {
        "alone": replace(QUIET, kinds=(kind,)),
        "pinned": replace(QUIET, kinds=(kind,), pinned=1.0, used=0.3, holes=0.2, hole_bytes=1 << 20),
        "other": replace(QUIET, kinds=(other, kind)),
    }
    told = {}
    for name, recipe in traces.items():
        events = rows(made(tmp_path, recipe, name))
        # Two kinds share a clock: what they do may be 100 ns later for it.
        told[name] = [(row[0] // 10**6, row[1]) for row in events if row[3] == 0 and row[1] != Op.EXTFRAG]
    assert len(told["alone"]) > 10_000
    assert told["pinned"] == told["alone"]
    same = sum(a == b for a, b in zip(told["other"], told["alone"], strict=True))
    assert same > 0.98 * len(told["alone"])


def test_pinned_pageblocks_are_the_share_asked_for_and_stay_so(tmp_path):
    recipe = replace(QUIET, used=0.25, pinned=0.4)
    trace = made(tmp_path, recipe)
    pinned = round(0.4 * 96)
    start, end = (
        np.array([what == FrameState.BUDDY for what in states(trace, name).values()]).reshape(-1, 512)
        for name in ("start", "end")
    )
    assert not start[:32].any()  # used from the zone's start
    assert Counter(start[32:].sum(1).tolist()) == {511: pinned, 512: 96 - pinned}
    assert not end[:32].any()
    assert not end[~start].any()


@pytest.mark.parametrize("pinned", [0.0, 0.5, 1.0])
def test_pinned_pageblocks_can_never_be_reported(tmp_path, pinned):
    trace = made(tmp_path, replace(QUIET, pinned=pinned, duration_ns=2 * SECOND_NS))
    reclaimed = replay.run(trace, "oracle", order=9).summary["reclaimed"]["start_bytes"]
    assert reclaimed == (1 - pinned) * (256 << 20)


def test_a_sparse_zone_has_the_holes_asked_for(tmp_path):
    recipe = replace(QUIET, holes=0.5, hole_bytes=4 << 20, zones=(("DMA32", 64 << 20),))
    trace = made(tmp_path, recipe)
    assert [(zone.name, zone.managed, zone.spanned) for zone in trace.zones] == [
        ("DMA32", 16384, 32768),
        ("Normal", 49152, 98304),
    ]
    what = np.array(list(states(trace, "start").values())).reshape(-1, 1024)
    absent = (what == FrameState.ABSENT).all(1)
    assert absent.sum() == 64
    assert not (what[~absent] == FrameState.ABSENT).any()
    assert 10 < (np.diff(absent.astype(int)) == 1).sum() < 50  # scattered


def test_nodes_share_memory_and_take_from_others_when_theirs_is_full(tmp_path):
    kind = replace(PAGE, rate=3000, size_bytes=16 << 12, lifetime_ns=0)
    recipe = replace(QUIET, kinds=(kind,), nodes=2, cpus=1)
    pfns = [row[2] for row in rows(made(tmp_path, recipe)) if row[1] in TAKING]
    own = np.flatnonzero(np.array(pfns) < 32768)
    assert own[:30_000].tolist() == list(range(30_000))
    assert (np.diff(own) > 1).sum() == 1  # once both are down to their low watermarks
    assert np.diff(own).max() > 30_000


def test_watermarks_are_those_of_the_kernel(tmp_path):
    # A guest of 16 GiB: min_free_kbytes is 16384, see calculate_min_free_kbytes().
    zones = made(tmp_path, preset("steady", memory_bytes=16 << 30, duration_ns=10**8, warmup_ns=0)).zones
    assert [(zone.min, zone.low, zone.high) for zone in zones] == [(4096, 8290, 12484)]


def test_when_memory_runs_out_objects_are_given_up_and_it_is_told(tmp_path):
    kind = replace(PAGE, rate=100, size_bytes=8 << 20, lifetime_ns=0)
    done = generate(tmp_path / "a.trace", replace(QUIET, kinds=(kind,), duration_ns=2 * SECOND_NS))
    lost = done.made[0].given_up
    assert 50 < lost < 250
    came = lost + done.made[0].objects
    assert done.notes == [f"memory ran out: {lost} of {came} page were given up half made"]
    assert done.notes[0] in done.trace.manifest.notes
    zone = done.trace.manifest.snapshots[-1].zones[0]
    assert zone.min <= zone.free < zone.min + 2048


def test_a_load_of_more_than_a_block_in_100_ns_comes_late_and_it_is_told(tmp_path):
    kind = replace(PAGE, rate=1000, size_bytes=512 << 20, lifetime_ns=10**6)
    recipe = replace(QUIET, memory_bytes=1 << 30, kinds=(kind,), duration_ns=SECOND_NS // 5)
    done = generate(tmp_path / "a.trace", recipe)
    assert done.late_ns > 10**8
    assert "later than drawn" in done.notes[-1]
    times = done.trace.events.collect()["ts_ns"].to_numpy()
    assert np.diff(times).min() >= 0
    assert np.diff(np.unique(times)).min() == 100


# Whole guests


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_keeps_a_small_and_a_large_page_guest_busy(tmp_path, name):
    for page_bytes in (4096, 65536):
        recipe = preset(name, memory_bytes=2 << 30, page_bytes=page_bytes, duration_ns=3 * SECOND_NS,
                        warmup_ns=SECOND_NS)  # fmt: skip
        done = generate(tmp_path / f"{page_bytes}.trace", recipe)
        assert done.given_up == 0
        assert done.trace.rows > 100
        assert done.trace.rows < 4 * recipe.events_expected


@pytest.mark.parametrize("page_bytes", [65536, *([4096] if SOAK else [])])
def test_a_guest_of_a_tebibyte_is_made_and_replayed(tmp_path, page_bytes):
    recipe = preset("none", ["vm:rate=20,size=256MiB,size-sigma=1,order=5,lifetime=1s"], memory_bytes=1 << 40,
                    page_bytes=page_bytes, duration_ns=3 * SECOND_NS, pinned=0.5)  # fmt: skip
    trace = made(tmp_path, recipe)
    assert sum(zone.managed for zone in trace.zones) * page_bytes == 1 << 40
    assert trace.rows > 1000
    result = replay.run(trace, "upstream", order=recipe.block_order)
    reclaimed = result.summary["reclaimed"]["start_bytes"] / (1 << 40)
    assert reclaimed == pytest.approx(0.4, abs=0.001)  # four fifths are not used, half of that is pinned

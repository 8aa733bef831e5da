"""Synthetic traces are right: for the model, for the kernel's counts in them, and for the plain oracle."""

import os
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from replay.device import Device
from replay.engine import Options, run_all
from replay.generating.presets import preset
from replay.generating.recipe import Recipe
from replay.policies import policy_named
from replay.validation import validate
from tests.oracle import model
from tests.oracle.recorded import Recording, read
from tests.pure.same_answer import assert_same
from tests.pure.synthetic import made, recipes
from tracer import Fault, Op, Trace

SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
thorough = settings(deadline=None, suppress_health_check=list(HealthCheck))


def trace_of(folder: str, recipe: Recipe) -> Trace:
    try:
        return made(Path(folder), recipe)
    except Fault as fault:
        assume("without any event" not in fault.what and "--holes" not in fault.what)
        raise


@settings(thorough, max_examples=2000 if SOAK else 60)
@given(recipes().filter(lambda recipe: recipe.kinds))
def test_a_generated_trace_is_whole_and_the_model_agrees_with_all_that_it_says(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_right(trace_of(folder, recipe), recipe)


def assert_right(trace: Trace, recipe: Recipe) -> None:
    """Nothing is wrong with it, whatever the model is asked."""
    trace.verify()
    assert trace.warnings == []
    verdict = validate(trace)
    wrong = {"exit_of_used", "entry_of_free", "outside", "unknown_ops", "frames_wrong", "orders_wrong"}
    assert {name: verdict.fidelity[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert verdict.fidelity["orders_checked"] == len(trace.zones) * (recipe.top_order + 1)
    readings = [each for drift in verdict.drifts for each in drift.samples]
    assert len(readings) == len(trace.zones) * -(-recipe.duration_ns // 10**9)
    assert [each for each in readings if each.wrong] == []
    assert [each for each in verdict.listed if each.elsewhere or each.out_of_order] == []


def plain(recording: Recording, trace: Trace, order: int, start: str) -> model.Outcome:
    guest, r = trace.manifest.guest, recording
    params: dict[str, Any] = {"order": order, "rounding": "wheel"}
    params |= {"jiffies0": guest.jiffies, "mono0_ns": guest.jiffies_monotonic_ns}
    return model.simulate(
        r.guest, r.state, r.reported_heads, r.t0_ns, r.end_ns, r.events, "upstream", params, start, "4k",
        call_ns=Device().call_ns, cpus=r.cpus, types=r.types, listed=r.listed,
    )  # fmt: skip


@settings(thorough, max_examples=600 if SOAK else 60)
@given(recipes().filter(lambda recipe: recipe.kinds), st.sampled_from(["steady", "cold"]), st.integers(0, 3))
def test_the_plain_oracle_makes_the_same_of_it(recipe: Recipe, start: str, below: int) -> None:
    order = max(recipe.block_order - below, 0)
    with tempfile.TemporaryDirectory() as folder:
        trace = trace_of(folder, recipe)
        recording = read(trace)
        setting = policy_named("upstream").settle(trace.manifest.guest, {"order": order})
        run = run_all(trace, [setting], Options(start, logging=True))[0]
    assert_same(run, plain(recording, trace, order, start))


@pytest.mark.parametrize(
    ("text", "page_bytes"),
    [("order=0,size=64MiB,rate=6", 65536), ("order=13,size=512MiB,rate=3", 65536)],
    ids=["pages-of-64KiB", "huge-pages-of-512MiB"],
)
def test_whole_units_of_64_kib_pages_are_reported_as_the_oracle_does(tmp_path, text, page_bytes):
    recipe = preset(
        "none", [f"vm:{text},lifetime=300ms"], memory_bytes=40 << 30, page_bytes=page_bytes, used=0.3,
        duration_ns=4 * 10**9, holes=0.2, hole_bytes=1 << 30, pinned=0.2, warmup_ns=10**9,
    )  # fmt: skip
    trace = made(tmp_path, recipe)
    # The kernel's margin above the low watermark alone is 16 GiB there: leave it out.
    setting = policy_named("upstream").settle(trace.manifest.guest, {"gate": False})
    run = run_all(trace, [setting], Options("cold", logging=True))[0]
    r, guest = read(trace), trace.manifest.guest
    params = {"order": 13, "rounding": "wheel", "gate": False}
    params |= {"jiffies0": guest.jiffies, "mono0_ns": guest.jiffies_monotonic_ns}
    want = model.simulate(
        r.guest, r.state, r.reported_heads, r.t0_ns, r.end_ns, r.events, "upstream", params, "cold", "4k",
        call_ns=Device().call_ns, cpus=r.cpus, types=r.types, listed=r.listed,
    )  # fmt: skip
    assert_same(run, want)
    assert want.blocks > 10


CROWD = [
    f"{kind}:type={kind},rate={rate},size=16KiB,size-sigma=1,lifetime=400ms,ages=log-normal,order={order}"
    for kind, rate, order in (("movable", 2400, 0), ("unmovable", 800, 1), ("reclaimable", 800, 0))
]


def test_the_model_follows_each_way_in_which_types_take_from_each_other(tmp_path):
    recipe = preset("none", CROWD, memory_bytes=24 << 20, used=0.0, pinned=0.4, duration_ns=3 * 10**9)
    trace = made(tmp_path, recipe)
    ways: Counter[str] = Counter()
    rows = trace.events.select("ts_ns", "op", "pfn", "order", "aux").collect().rows()
    for before, (ts_ns, op, pfn, _, aux) in pairwise(rows):
        if op == Op.EXTFRAG:
            half = before[:3] == (ts_ns, Op.ZONE_LOCKED, pfn)
            found, owned = aux & 255, bool(aux >> 24 & 1)
            ways["half" if half else "block" if owned and found >= 9 else "steal" if not owned else "?"] += 1
    assert ways.keys() == {"half", "block", "steal"}
    assert_right(trace, recipe)
    setting = policy_named("upstream").settle(trace.manifest.guest, {"order": 4})
    run = run_all(trace, [setting], Options("steady", logging=True))[0]
    assert_same(run, plain(read(trace), trace, 4, "steady"))

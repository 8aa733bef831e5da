"""Traces with several snapshots: what they correct, and how right the model is at each."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.api import replay
from replay.engine import Options, run_all
from replay.invariants import violations
from replay.policies import policy_named
from replay.validation import validate
from tests.pure.worlds import FRAMES, World, plain, worlds, write
from tracer import Fault, Trace, open_trace
from tracer.format import Loss

EXAMPLES = 2000 if os.environ.get("PAGETIDE_SOAK") else 40
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def outcome(trace: Trace) -> tuple[list[int], list[int]]:
    """(free frames at the end; steps, impossible ones, corrections) of the engine."""
    setting = policy_named("upstream").settle(trace.manifest.guest, {})
    run = run_all(trace, [setting], Options())[0]
    assert violations(run) == []
    totals = run.group.occupancy.totals[0]
    words = run.group.occupancy._memory.free
    free = np.unpackbits(words.view(np.uint8), bitorder="little")[:FRAMES]
    numbers = [int(totals[name]) for name in ("steps", "exit_of_used", "entry_of_free", "corrected")]
    return np.flatnonzero(free).tolist(), numbers


@thorough
@given(worlds(), st.integers(1, 50))
def test_a_replay_is_what_a_plain_reading_of_the_format_gives(world: World, rows: int) -> None:
    if not world.events and not world.shots:
        return
    with tempfile.TemporaryDirectory() as folder:
        trace = open_trace(write(Path(folder) / "a.trace", world))
        told = plain(world)
        assert outcome(trace) == (told.free, told.numbers.tolist())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trace.batches, "__defaults__", (rows,))
            assert outcome(trace) == (told.free, told.numbers.tolist())


@thorough
@given(worlds(unknown=False, absent=False, lossy=False))
def test_a_whole_trace_is_right_at_every_snapshot_and_needs_no_correction(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = open_trace(write(Path(folder) / "a.trace", world))
        verdict = validate(trace)
        assert [each.snapshot.name for each in verdict.comparisons] == [s.name for s in world.shots[1:]]
        assert [each.counts["frames_wrong"] for each in verdict.comparisons] == [0] * (len(world.shots) - 1)
        assert verdict.fidelity["frames_corrected"] == 0
        assert replay(trace, ["never"]).fidelity["frames_corrected"] == 0


def rich(world: World) -> bool:
    """Events before the first resync, and after it."""
    shots = world.shots
    return len(shots) > 2 and any(shots[0].end_ns < e[0] < shots[1].begin_ns for e in world.events)


@thorough
@given(worlds(unknown=False, absent=False, lossy=False).filter(rich), st.integers(1, 9))
def test_events_lost_in_one_interval_make_only_that_one_wrong(world: World, rows: int) -> None:
    begin_ns, end_ns = world.shots[0].end_ns, world.shots[1].begin_ns
    kept = [event for event in world.events if not begin_ns < event[0] < end_ns]
    holey = World(kept, world.shots, [*world.batches, 1000])
    with tempfile.TemporaryDirectory() as folder:
        trace = open_trace(write(Path(folder) / "a.trace", holey))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trace.batches, "__defaults__", (rows,))
            verdict = validate(trace)
        wrong = [each.counts["frames_wrong"] for each in verdict.comparisons]
        assert wrong[1:] == [0] * len(wrong[1:])
        assert verdict.fidelity["frames_corrected"] == wrong[0]
        assert verdict.to_json()["snapshots"][0]["frames_wrong"] == wrong[0]


WORLD = worlds(unknown=False, absent=False, lossy=False).filter(rich)


@pytest.fixture(scope="module")
def some(tmp_path_factory: Any) -> Any:
    """A trace with a resync, and the world it tells of."""
    found: list[World] = []

    @settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(WORLD)
    def look(world: World) -> None:
        found.append(world)

    look()
    world = max(found, key=lambda each: len(each.events))
    return write(tmp_path_factory.mktemp("traces") / "a.trace", world), world


def test_losses_are_told_with_the_interval_they_lie_in(some: Any, monkeypatch: Any) -> None:
    path, world = some
    inside = Loss(world.shots[1].end_ns + 1, world.shots[1].end_ns + 2, 17)
    monkeypatch.setattr(Trace, "losses", [inside])
    warnings = validate(open_trace(path)).warnings
    told = [line for line in warnings if "lost between" in line]
    assert told == [f"up to 17 events were lost between resync-1 and {world.shots[2].name}"]


def test_a_trace_whose_oldest_resync_is_its_start_replays_from_there(some: Any, tmp_path: Path) -> None:
    _, world = some
    later = World([e for e in world.events if e[0] > 1000], world.shots[1:], world.batches)
    trace = open_trace(write(tmp_path / "b.trace", later))
    start = replay(trace, ["never"]).start
    assert start.now_ns == world.shots[1].end_ns
    assert [each.counts["frames_wrong"] for each in validate(trace).comparisons] == [0] * (
        len(world.shots) - 2
    )


def test_snapshots_that_overlap_are_damage(some: Any, tmp_path: Path) -> None:
    _, world = some
    early = World(world.events, [world.shots[1], world.shots[0]], world.batches)
    path = write(tmp_path / "b.trace", early)
    with pytest.raises(Fault, match="is damaged") as caught:
        replay(open_trace(path), ["never"])
    assert "start begins before resync-1 ends" in caught.value.how

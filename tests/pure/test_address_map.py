"""The address map: the same memory as the timelines and the meters, by place; and looking changes nothing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.address_map import MAX_COLUMNS, MAX_ROWS
from replay.api import Replay, replay
from replay.buddy.frames import Frames
from replay.engine import Options
from tests.pure.small_guests import Case, How, cases, run_engine, true_state
from tracer import FrameState, open_trace

TRACE = Path(__file__).parents[2] / "data/stock.trace"
SETTINGS = ["upstream", "upstream:order=0", "clairvoyant", "never"]


@pytest.fixture(scope="module")
def done() -> Replay:
    return replay(TRACE, SETTINGS, Options(logging=True, address_map=True))


@pytest.fixture(scope="module", params=range(len(SETTINGS)), ids=SETTINGS)
def index(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def map_of(done: Replay, index: int) -> pl.DataFrame:
    found = done.results[index].address_map
    assert found is not None
    return found


def test_it_is_no_larger_than_a_picture(done: Replay, index: int) -> None:
    found = map_of(done, index)
    assert 100 < found["time_s"].n_unique() <= MAX_COLUMNS
    assert 100 < found["pfn"].n_unique() <= MAX_ROWS
    assert (found["pfn"] % found["frames"] == 0).all()


def test_free_and_managed_memory_are_those_of_the_timeline(done: Replay, index: int) -> None:
    page = done.results[index].summary["page_size"]
    columns = map_of(done, index).group_by("time_s").agg(pl.col("free_frames", "managed_frames").sum() * page)
    both = columns.join(done.results[index].timeline, on="time_s")
    assert len(both) == len(columns)
    assert (both["free_frames"] == both["free_bytes"]).all()
    assert (both["managed_frames"] == both["managed_bytes"]).all()


def test_a_frame_is_managed_if_free_and_free_if_reclaimed(done: Replay, index: int) -> None:
    found = map_of(done, index)
    assert (found["reclaimed_frames"] <= found["free_frames"]).all()
    assert (found["free_frames"] <= found["managed_frames"]).all()
    assert (found["managed_frames"] <= found["frames"]).all()


def test_it_ends_with_what_the_host_lacks(done: Replay, index: int) -> None:
    found, summary = map_of(done, index), done.results[index].summary
    last = found.filter(pl.col("time_s") == pl.col("time_s").max())
    assert last["reclaimed_frames"].sum() * summary["page_size"] == summary["reclaimed"]["end_bytes"]


def test_refaults_are_all_there(done: Replay, index: int) -> None:
    assert map_of(done, index)["refaulted_frames"].sum() == done.results[index].summary["refaults"]["frames"]


def test_free_memory_is_where_the_kernel_had_it_at_the_end(done: Replay) -> None:
    trace, found = open_trace(TRACE), map_of(done, 0)
    geometry = done.results[0].run.group.geometry
    state = Frames.of(trace.frames("end"), geometry.frames).state
    last = found.filter(pl.col("time_s") == pl.col("time_s").max())
    size = last["frames"][0]
    free = np.add.reduceat(state == FrameState.BUDDY, np.arange(0, len(state), size), dtype=np.int64)
    off = np.abs(last["free_frames"].to_numpy() - free[last["pfn"].to_numpy() // size])
    assert off.sum() < 0.03 * free.sum()  # the guest goes on after it was read


@given(cases(), st.integers(1, 40))
def test_each_instant_is_told_of_with_the_events_up_to_it(case: Case, batch: int) -> None:
    how = How("upstream", min(2, case.guest.max_order), "cold", "4k", {})
    told = run_engine(case, how, batch, [], address_map=True).address_map
    assert told is not None
    for column, at_ns in enumerate(told.instants_ns.tolist()):
        state = true_state(case, at_ns)
        assert told.free[column].sum() == sum(what == "free" for what in state.values())
        assert told.managed[column].sum() == len(state)


def test_looking_changes_nothing(done: Replay) -> None:
    plain = replay(TRACE, SETTINGS, Options(logging=True))
    for seen, unseen in zip(done.results, plain.results, strict=True):
        assert seen.summary == unseen.summary
        assert seen.timeline.equals(unseen.timeline)
        assert unseen.address_map is None

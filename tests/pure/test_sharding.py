"""One trace by address on many workers: the answer is the one without shards, in every bit."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.api import Replay, replay
from replay.batching.processes import Processes
from replay.batching.task import Admit
from replay.engine import Options
from replay.generating.recipe import Recipe
from replay.invariants import violations
from replay.sharding import files, replay_sharded
from replay.sharding.files import TOLD
from replay.sharding.here import Here
from replay.sharding.reducing import reduce_shard
from replay.sharding.task import ShardDone, ShardTask
from tests.golden.regenerate import TRACE
from tests.pure.synthetic import made, recipes
from tests.pure.test_partial import flip
from tests.pure.worlds import World, worlds, write
from tracer import Fault, open_trace
from tracer.faults import ExitCode

EXAMPLES = 200 if os.environ.get("PAGETIDE_SOAK") else 5
few = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
IDLE = Path(__file__).parents[2] / "data" / "idle.trace"
LOGGING = Options(logging=True)


def told(of: Replay, options: Options) -> list[Any]:
    """All that a replay answers, as text and as rows of frames."""
    frames = [frame for r in of.results for frame in (r.latency, r.timeline, r.reports, r.composition)]
    answer = json.dumps(of.answer(options) | {"limits": of.limits, "partial": of.trace.partial is not None})
    return [answer, *(frame.rows() for frame in frames)]


def assert_same(path: Path, policies: list[str], shards: Iterable[int], options: Options = LOGGING) -> None:
    want = told(replay(path, policies, options), options)
    for count in shards:
        got = replay_sharded(path, policies, options, shards=count)
        assert told(got, options) == want
        assert [line for result in got.results for line in violations(result.run)] == []


@few
@given(recipes(), st.sampled_from(["steady", "cold", "recorded"]))
def test_a_generated_guest_in_any_number_of_shards(recipe: Recipe, start: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            trace = made(Path(folder), recipe)
        except Fault:  # nothing came or went
            return
        policies = ["upstream", "boundary", "hints:order=0", "oracle"]
        assert_same(trace.path, policies, (1, 2, 3, 7), replace(LOGGING, start=start))


@few
@given(worlds(), st.integers(1, 50))
def test_a_lossy_trace_with_snapshots_in_between(world: World, rows: int) -> None:
    if not world.events and not world.shots:
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BATCH_ROWS", rows)  # so that merging begins and ends everywhere
        path = write(Path(folder) / "a.trace", world)
        assert_same(path, ["upstream", "bitmap:order=2", "oracle"], (1, 2, 3, 7))


def test_a_recorded_guest_under_all_policies() -> None:
    assert_same(IDLE, [], (3,))


def test_a_trace_that_cannot_be_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "damaged.trace"
    shutil.copytree(TRACE, path)
    segments = open_trace(path).segments
    flip(path / segments[len(segments) // 2].file)
    assert replay(path, ["upstream"]).trace.partial
    assert_same(path, ["upstream"], (1, 3))


def test_two_processes(tmp_path: Path) -> None:
    heard: list[int] = []
    got = replay_sharded(
        IDLE, ["upstream"], LOGGING, shards=3, executor=Processes(2), scratch=tmp_path, tell=heard.append
    )
    assert told(got, LOGGING) == told(replay(IDLE, ["upstream"], LOGGING), LOGGING)
    assert sum(heard) == 2 * open_trace(IDLE).rows  # the survey, and the shards
    assert list(tmp_path.iterdir()) == []


def dies_once(task: ShardTask, admit: Admit) -> ShardDone:
    """A worker that is killed when its shard is nearly done, the first time."""
    mark = Path(task.folder).parent / f"{task.index}.mark"
    if task.index == 1 and not mark.exists():
        mark.touch()
        signal.raise_signal(signal.SIGKILL) if reduce_shard(_elsewhere(task), admit) else None
    return reduce_shard(task, admit)


def _elsewhere(task: ShardTask) -> ShardTask:
    """So that what was done is there, but not in its place."""
    Path(task.folder, ".shard-1-killed").mkdir()
    return task


class Instead:
    """An executor that does something else, and then what it was asked for, or not."""

    def __init__(self, do: Callable[[ShardTask, Admit], ShardDone], within: Any = None) -> None:
        self.do, self.within = do, within or Here()

    def run(self, do: Any, tasks: Iterable[Any], lost: Any) -> Iterator[Any]:
        assert do is reduce_shard
        return self.within.run(self.do, tasks, lost)


def test_a_worker_that_is_killed_does_nothing_twice(tmp_path: Path) -> None:
    executor = Instead(dies_once, Processes(2))
    got = replay_sharded(IDLE, ["upstream"], LOGGING, shards=2, executor=executor, scratch=tmp_path)
    assert told(got, LOGGING) == told(replay(IDLE, ["upstream"], LOGGING), LOGGING)
    assert [path.name for path in tmp_path.iterdir()] == ["1.mark"]


def change(name: str, how: Callable[[Path], object]) -> Callable[[ShardTask, Admit], ShardDone]:
    """Do a shard, then something to a file of it."""

    def do(task: ShardTask, admit: Admit) -> ShardDone:
        done = reduce_shard(task, admit)
        if task.index == 1:
            how(Path(task.folder, "shard-1", name))
        return done

    return do


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_trace(task: ShardTask, admit: Admit) -> ShardDone:
    """A worker that sees one event more at another time."""
    done, path = reduce_shard(task, admit), Path(task.folder, f"shard-{task.index}", TOLD)
    content = json.loads(path.read_text())
    content["seen"]["clock_back"] += task.index
    path.write_text(json.dumps(content))
    return replace(done, digest=files.digest_of(path))


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (change("events-9.arrow", Path.unlink), "scratch file"),
        (change("events-9.arrow", flip_byte), "scratch file"),
        (change("counts.arrow", lambda path: path.write_bytes(path.read_bytes()[:-7])), "scratch file"),
        (change(TOLD, Path.unlink), "scratch file"),
        (change(TOLD, lambda path: path.write_text("[]")), "scratch file"),
        (change(TOLD, lambda path: path.write_text('{"files": {}}')), "scratch file"),
        (other_trace, "have not read the same trace"),
        (lambda task, _: ShardDone(task.index, reason=("it failed", "so", "do", 2)), "it failed"),
    ],
)
def test_a_shard_that_is_not_as_it_was_written_is_a_fault(do: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=said):
        replay_sharded(IDLE, ["upstream"], shards=2, executor=Instead(do), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Loses:
    """An executor whose workers always die."""

    def run(self, do: Any, tasks: Iterable[Any], lost: Any) -> Iterator[Any]:
        assert do
        return (lost(task, "its worker was killed by signal 9, twice") for task in tasks)


def test_a_shard_that_is_lost_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"shard 0 of .* could not be done") as caught:
        replay_sharded(IDLE, ["upstream"], shards=2, executor=Loses(), scratch=tmp_path)
    assert caught.value.code == ExitCode.ENVIRONMENT
    assert list(tmp_path.iterdir()) == []


def test_what_shards_cannot_answer_is_refused() -> None:
    for name in ("address_map", "fragmentation"):
        with pytest.raises(Fault, match=f"{name} is not possible with shards"):
            replay_sharded(IDLE, ["upstream"], replace(LOGGING, **{name: True}), shards=2)  # type: ignore[arg-type] # flags
    with pytest.raises(Fault, match="shards"):
        replay_sharded(IDLE, ["upstream"], shards=0)


def test_a_scratch_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="cannot be written"):
        replay_sharded(IDLE, ["upstream"], shards=2, scratch=tmp_path / "nowhere")

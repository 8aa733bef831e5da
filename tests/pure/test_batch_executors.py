"""Whole batches, done by processes and by clusters: the same dataset, also when workers or schedulers die."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import replay
from replay.batching import doing
from replay.batching.batch import Batch
from replay.batching.task import Outcome
from tests.pure.small_fleets import guests_in, rows
from tests.pure.test_cluster import inside, scheduler, two, worker  # noqa: F401 - fixtures
from tracer import Fault, Place
from tracer.faults import ExitCode

SHIPPED = Path(__file__).parents[2] / "data" / "idle.trace"
POLICIES = ["upstream", "hints:order=5", "never"]
OF_TIME = ("when", "took_s", "need_bytes")  # and of how much memory there was


@pytest.fixture
def guests(tmp_path) -> Path:
    """Some traces; the replay of one takes its time, and one is damaged."""
    folder = guests_in(tmp_path / "guests", "a", "b", "c")
    shutil.copytree(SHIPPED, folder / "idle.trace")
    (folder / "wrong.trace").mkdir()
    (folder / "wrong.trace/manifest.json").write_text("{")
    return folder


def told(out: Path) -> list[dict[str, Any]]:
    """The manifest, but for what is another time another one."""
    lines = Batch(str(out), {}).manifest.drop(OF_TIME, strict=False)
    return lines.sort("trace").to_dicts()


def of_workers() -> list[int]:
    """The worker processes of this one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, children) if b"batching.serving" in _words(pid)]


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def once(deed: Callable[[], None]) -> Callable[[Outcome], None]:
    """What a batch tells: after the first trace that is over, something happens."""
    left = [deed]

    def tell(_outcome: Outcome) -> None:
        if left:
            left.pop()()

    return tell


def assert_whole(out: Path) -> None:
    """Nothing is there twice, and nothing of what was written aside."""
    found = rows(out)
    assert found.height == found.select("trace", "engine", "options", "key").n_unique() == 4 * len(POLICIES)
    assert [line["status"] for line in told(out)] == ["done"] * 4 + ["failed"]
    hidden = [path for path in out.rglob("*") if path.name.startswith(".")]
    assert not hidden


def test_the_dataset_is_the_same_wherever_tasks_are_done(guests, tmp_path, inside, two):  # noqa: F811
    ways: dict[str, dict[str, Any]] = {
        "one": {"workers": 1},
        "two": {"workers": 2},
        "inside": {"cluster": inside.address},
        "outside": {"cluster": two.address},
    }
    for name, way in ways.items():
        replay.batch(guests, tmp_path / name, POLICIES, **way)
        assert_whole(tmp_path / name)
        assert rows(tmp_path / name).equals(rows(tmp_path / "one"))
        assert told(tmp_path / name) == told(tmp_path / "one")


def test_shards_on_processes_and_on_a_cluster_come_to_the_same(guests, tmp_path, two):  # noqa: F811
    replay.batch(guests, tmp_path / "whole", POLICIES, workers=1)
    ways: dict[str, dict[str, Any]] = {"processes": {"workers": 2}, "cluster": {"cluster": two.address}}
    for name, where in ways.items():
        replay.batch(guests, tmp_path / name, POLICIES, shards=2, **where)
        assert_whole(tmp_path / name)
        assert rows(tmp_path / name).equals(rows(tmp_path / "whole"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_in_the_middle_change_nothing(guests, tmp_path, workers):
    killed = list[int]()

    def kill() -> None:
        killed.extend(of_workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    replay.batch(guests, tmp_path / "calm", POLICIES, workers=1)
    done = replay.batch(guests, tmp_path / "out", POLICIES, workers=workers, tell=once(kill))
    assert killed and not set(killed) & set(of_workers())
    assert dict(done.tasks) == {"done": 4, "unchanged": 0, "failed": 1, "lossy": 0}
    assert_whole(tmp_path / "out")
    assert rows(tmp_path / "out").equals(rows(tmp_path / "calm"))


def test_a_lost_scheduler_ends_the_batch_and_the_next_one_does_the_rest(guests, tmp_path, monkeypatch):
    monkeypatch.setattr("replay.batching.cluster.LOOK_S", 0.5)
    out = tmp_path / "out"
    with scheduler(tmp_path) as (process, address), worker(address, tmp_path / "w"):
        with pytest.raises(Fault) as caught:
            replay.batch(guests, out, POLICIES, cluster=address, tell=once(process.kill))
        assert caught.value.code is ExitCode.ENVIRONMENT
        assert address in caught.value.what and "only what is missing" in caught.value.fix
    ways = [line["status"] for line in told(out)]
    assert "waiting" in ways and set(ways) <= {"waiting", "done", "failed"}
    (tmp_path / "scheduler.json").unlink()
    with scheduler(tmp_path) as (_, address), worker(address, tmp_path / "w"):
        done = replay.batch(guests, out, POLICIES, cluster=address)
    # A result may have been put in its place just before the scheduler could tell of it.
    assert done.tasks["unchanged"] >= ways.count("done") and done.tasks["failed"] == 1
    assert done.tasks["done"] + done.tasks["unchanged"] == 4
    assert rows(out).height == 4 * len(POLICIES)


def test_user_and_password_of_a_cluster_are_told_nobody(guests, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("replay.batching.cluster.CONNECT_S", 0.5)
    out = tmp_path / "out"
    with pytest.raises(Fault) as caught:
        replay.batch(guests, out, POLICIES, cluster="tcp://somebody:sesame@127.0.0.1:1")
    said = "".join([str(caught.value), *capfd.readouterr()])
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert "127.0.0.1:1" in said and "sesame" not in said and b"sesame" not in written


def test_workers_do_not_get_more_threads_than_they_have_cpus():
    options = replay.Options(threads=4)
    assert doing.by_trace(2, None, options).options.threads == 2
    assert doing.by_trace(8, None, options).options.threads == 1
    assert doing.by_trace(None, "tcp://127.0.0.1:1", options).options.threads == 1
    assert doing.by_shard(2, None, options, 3, None, Place.of("out")).options.threads == 4

"""Tasks on a Dask cluster: as on processes of this machine, and what becomes of them when it is gone."""

import contextlib
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from replay.batching import cluster as module
from replay.batching.cluster import Cluster, plain_address
from replay.batching.executor import Executor, NoWorkers
from replay.batching.processes import Processes
from tests.pure import toy_tasks as toys
from tests.pure.toy_tasks import Lost
from tracer import Fault

REPO = Path(__file__).parent.parent.parent
TIB = 1 << 40
HERE: dict[str, Any] = {
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "silence_logs": logging.CRITICAL,
}


local_cluster: Any = distributed.LocalCluster  # which has no types
client_of: Any = distributed.Client


@pytest.fixture(scope="module")
def inside() -> Iterator[Cluster]:
    """A cluster of threads in this process."""
    with local_cluster(n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", **HERE) as cluster:
        yield Cluster(cluster.scheduler_address)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """A cluster of two processes."""
    with local_cluster(n_workers=2, threads_per_worker=1, **HERE) as cluster:
        yield Cluster(cluster.scheduler_address)


def all_of(executor: Executor, do: Callable[[Any, toys.Admit], Any], tasks: Iterable[Any]) -> list[Any]:
    """What tasks come to."""
    return list(executor.run(do, tasks, Lost))


def test_all_executors_come_to_the_same(inside, two, capfd):
    locally = sorted(all_of(Processes(2), toys.text_of, range(50)))
    assert (
        locally
        == sorted(all_of(inside, toys.text_of, range(50)))
        == sorted(all_of(two, toys.text_of, range(50)))
    )
    assert capfd.readouterr() == ("", "")


def test_a_killed_worker_s_task_is_done_again_and_one_that_kills_all_is_lost(two, tmp_path):
    for folder in ("once", "always"):
        (tmp_path / folder).mkdir()
    once = [(str(tmp_path / "once"), number) for number in range(8)]
    assert sorted(all_of(two, toys.dies_once, once)) == list(range(8))
    always = [(str(tmp_path / "always"), number) for number in range(2, 4)]
    came = all_of(two, toys.dies, always)
    assert sorted(came, key=str) == [2, Lost(always[1], "its worker died, 4 times")]


def test_what_a_task_raises_is_told_in_a_line(two, capfd):
    came = all_of(two, toys.fails, [1, 0, 2])
    (lost,) = [each for each in came if isinstance(each, Lost)]
    assert lost.why.startswith("ValueError: no such number (toy_tasks.py, line ")
    assert sorted(each for each in came if isinstance(each, int)) == [1, 2]
    (unsent,) = all_of(two, toys.unsendable, [0])
    assert "pickle" in unsent.why.lower()
    assert capfd.readouterr() == ("", "")


def test_a_task_that_takes_more_than_its_worker_may_is_refused(two):
    came = all_of(two, toys.takes, [1 << 20, TIB])
    (lost,) = [each for each in came if isinstance(each, Lost)]
    assert "this takes 1 TiB" in lost.why and "the memory limit of this Dask worker" in lost.why
    assert len(came) == 2


def test_tasks_are_taken_as_there_is_room_for_them(inside):
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    window = 2 * module.AHEAD
    for done, _ in enumerate(inside.run(toys.twice, tasks(), Lost), 1):
        assert len(taken) <= done + window


def test_no_scheduler_is_a_fault(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    for address in ("tcp://user:secret@127.0.0.1:1", "nothing://there", "127.0.0.1:1"):
        with pytest.raises(Fault) as caught:
            all_of(Cluster(address), toys.twice, range(3))
        assert caught.value.what.startswith("no Dask scheduler answers at ")
        assert "secret" not in str(caught.value)


def test_user_and_password_are_not_shown():
    assert plain_address("tls://me:pass@host:8786") == "tls://host:8786"
    assert plain_address("host:8786") == "host:8786"


START = "import sys; from distributed.cli.dask_{what} import main; main(sys.argv[1:])"


@contextlib.contextmanager
def started(what: str, *arguments: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dask scheduler` or `dask worker`, in a process group of its own, that imports from a folder."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START.format(what=what), *arguments],
        env={**os.environ, "PYTHONPATH": str(path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def scheduler(folder: Path, path: Path = REPO) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler in a process of its own, and its address."""
    told = folder / "scheduler.json"
    arguments = ("--host", "tcp://127.0.0.1:0", "--no-dashboard", "--scheduler-file", str(told))
    with started("scheduler", *arguments, path=path) as process:
        toys.until(lambda: told.exists() and told.read_text().strip().endswith("}"))
        yield process, json.loads(told.read_text())["address"]


@contextlib.contextmanager
def worker(address: str, folder: Path, path: Path = REPO) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own, that the scheduler knows."""
    arguments = (address, "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
    with started("worker", *arguments, path=path) as process:
        with client_of(address, set_as_default=False) as client:
            client.wait_for_workers(1, toys.WAIT_S)
        yield process


def test_a_scheduler_without_workers_is_a_fault(tmp_path):
    with scheduler(tmp_path) as (_, address), pytest.raises(Fault) as caught:
        all_of(Cluster(address, patience_s=0.3), toys.twice, range(3))
    assert caught.value.what == f"the Dask scheduler {address} has no workers"


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_is_lost_in_the_middle_is_a_fault_and_no_hang(
    tmp_path, capfd, monkeypatch, signalled
):
    monkeypatch.setattr(module, "LOOK_S", 0.5)
    with scheduler(tmp_path) as (process, address), worker(address, tmp_path):
        results = Cluster(address, patience_s=2).run(toys.naps, iter(range(1000)), Lost)
        next(results)
        process.send_signal(signalled)
        with pytest.raises(Fault) as caught:
            list(results)
    assert address in caught.value.what
    assert "it does only what is missing" in caught.value.fix
    assert capfd.readouterr() == ("", "")


def test_workers_that_all_leave_in_the_middle_are_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.3)
    with scheduler(tmp_path) as (_, address), worker(address, tmp_path) as only:
        results = Cluster(address, patience_s=1).run(toys.naps, iter(range(1000)), Lost)
        next(results)
        only.kill()
        with pytest.raises(Fault, match="has no workers"):
            list(results)


def test_workers_without_pagetide_are_a_fault(tmp_path):
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'replay'\")")
    with (
        scheduler(tmp_path, tmp_path) as (_, address),
        worker(address, tmp_path, tmp_path),
        pytest.raises(Fault) as caught,
    ):
        all_of(Cluster(address), toys.twice, range(3))
    assert caught.value.what == "the cluster cannot do a batch's tasks"
    assert caught.value.how.startswith("ModuleNotFoundError: No module named 'replay'")
    assert "install the same pagetide[cluster]" in caught.value.fix


def test_a_scheduler_needs_no_pagetide_and_the_coordinator_s_memory_does_not_grow(tmp_path):
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'replay'\")")
    with scheduler(tmp_path, tmp_path) as (_, address), worker(address, tmp_path):
        tracemalloc.start()
        try:
            sizes = []
            for done, _ in enumerate(Cluster(address).run(toys.text_of, range(160), Lost)):
                if done in (60, 159):
                    gc.collect()
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert sizes[1] - sizes[0] < 200_000  # what came of 100 tasks is 1,000,000


def test_another_pagetide_on_the_cluster_is_a_fault(inside, monkeypatch):
    monkeypatch.setattr(module, "engine", lambda: "0.0.1-abc")
    with pytest.raises(Fault) as caught:
        all_of(inside, toys.twice, range(3))
    assert caught.value.how.endswith("there, and 0.0.1-abc here")


@pytest.mark.parametrize(
    "address", ["", "garbage", "127.0.0.1:x", "foo://127.0.0.1:1", "tcp://u:pw@127.0.0.1:9"]
)
def test_what_is_no_address_is_a_fault(address, capfd):
    with pytest.raises(NoWorkers, match="no Dask scheduler answers at"):
        all_of(Cluster(address), toys.twice, range(3))
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_who_accepts_and_says_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(NoWorkers) as caught:
            all_of(Cluster(address), toys.twice, range(3))
    assert address in caught.value.what

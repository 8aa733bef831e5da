"""Tasks on processes of this machine: complete, once each, within memory, and nothing left behind."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.available import Available
from replay.batching import process
from replay.batching.processes import Processes, environment_of
from tests.pure import toy_tasks as toys
from tests.pure.toy_tasks import Lost
from tracer import Fault

REPO = Path(__file__).parent.parent.parent
TIB = 1 << 40  # beside which what workers really hold is nothing


def with_memory(size_bytes: int, workers: int = 2) -> Processes:
    """On a machine of which a task gets so much."""
    return Processes(workers, lambda: Available(int(size_bytes / 0.9) + 1, "a test says so"))


def all_of(executor: Processes, do: Callable[[Any, toys.Admit], Any], tasks: Iterable[Any]) -> list[Any]:
    """What tasks come to."""
    return list(executor.run(do, tasks, Lost))


@pytest.mark.parametrize("workers", [1, 3])
def test_all_that_is_to_be_done_is_done_once(workers):
    assert sorted(all_of(Processes(workers), toys.twice, range(50))) == [2 * each for each in range(50)]


def test_workers_live_for_all_of_it_and_only_as_many_start_as_there_are_tasks():
    assert len(set(all_of(Processes(2), toys.who, range(20)))) == 2
    assert len(set(all_of(Processes(5), toys.who, range(1)))) == 1
    assert all_of(Processes(2), toys.who, ()) == []


def test_tasks_are_taken_as_there_is_room_for_them():
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    for done, _ in enumerate(Processes(2).run(toys.twice, tasks(), Lost), 1):
        assert len(taken) <= done + 2


def test_memory_of_the_coordinator_does_not_grow_with_the_tasks():
    tracemalloc.start()
    try:
        sizes = []
        for done, _ in enumerate(Processes(2).run(toys.text_of, range(3000), Lost)):
            if done in (500, 2999):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000  # what came of 2,500 tasks is 25,000,000


def test_a_killed_worker_s_task_is_done_again_and_no_other(tmp_path):
    tasks = [(str(tmp_path), number) for number in range(8)]
    assert sorted(all_of(Processes(2), toys.dies_once, tasks)) == list(range(8))
    assert len(toys.pids(tmp_path, 9)) == 9


def test_a_task_that_kills_two_workers_is_lost_and_the_others_go_on(tmp_path):
    tasks = [(str(tmp_path), number) for number in range(8)]
    came = all_of(Processes(2), toys.dies, tasks)
    why = "its worker was killed by signal 9 (cannot go on), twice"
    assert [each for each in came if isinstance(each, Lost)] == [Lost((str(tmp_path), 3), why)]
    assert sorted(each for each in came if isinstance(each, int)) == [0, 1, 2, 4, 5, 6, 7]
    assert len(toys.pids(tmp_path, 9)) == 9


def test_what_a_task_raises_is_told_in_a_line_and_its_worker_goes_on(capfd):
    came = all_of(Processes(1), toys.fails, [1, 0, 2])
    assert came[0] == 1 and came[2] == 2
    assert isinstance(came[1], Lost)
    assert came[1].why.startswith("ValueError: no such number (toy_tasks.py, line ")
    assert capfd.readouterr() == ("", "")


def test_a_task_that_leaves_or_comes_to_something_that_cannot_be_sent_is_lost():
    (left,) = Processes(1).run(toys.leaves, [0], Lost)
    (unsent,) = Processes(1).run(toys.unsendable, [0], Lost)
    assert isinstance(left, Lost) and left.why.startswith("SystemExit: 3")
    assert isinstance(unsent, Lost) and "pickle" in unsent.why.lower()


def test_what_tasks_print_is_not_among_what_the_coordinator_prints(capfd):
    assert all_of(Processes(1), toys.prints, [1]) == [1]
    assert capfd.readouterr() == ("", "")


def test_libraries_of_workers_share_the_cpus(monkeypatch):
    cpus = len(os.sched_getaffinity(0))
    assert environment_of(1)["POLARS_MAX_THREADS"] == str(cpus)
    assert environment_of(cpus + 1)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # by the user
    names = ["POLARS_MAX_THREADS", "OMP_NUM_THREADS"]
    assert all_of(Processes(1), toys.variable, names) == [str(cpus), "7"]


def test_what_workers_cannot_import_is_a_fault(monkeypatch):
    module = types.ModuleType("nowhere_else")
    exec("def do(task, admit): return task", module.__dict__)
    monkeypatch.setitem(sys.modules, "nowhere_else", module)
    with pytest.raises(Fault) as caught:
        all_of(Processes(2), module.do, range(10))
    assert "No module named 'nowhere_else'" in caught.value.how


def test_workers_that_die_before_they_are_ready_are_a_fault_not_a_loop(monkeypatch):
    monkeypatch.setattr(process, "_START", "import os; os.write(2, b'no room\\n'); os._exit(7)")
    with pytest.raises(Fault) as caught:
        all_of(Processes(2), toys.twice, range(10))
    assert caught.value.how == "it ended with exit code 7 (no room)"


def test_memory_that_was_granted_is_never_more_than_there_is():
    sizes = [3 * TIB, TIB, 2 * TIB, TIB, 3 * TIB, 2 * TIB, TIB, TIB]
    spans = all_of(with_memory(4 * TIB, workers=4), toys.takes, sizes)
    assert sorted(span.size_bytes for span in spans) == sorted(sizes)
    for span in spans:
        at_once = [each for each in spans if each.begin_ns <= span.begin_ns < each.end_ns]
        assert sum(each.size_bytes for each in at_once) <= 4 * TIB


def test_a_large_one_is_not_overtaken_for_ever(tmp_path):
    sizes = [TIB, 4 * TIB, *[TIB] * 30]
    tasks = [(str(tmp_path), size, 0.1 + 0.03 * (number % 4)) for number, size in enumerate(sizes)]
    # Three have some when it asks; a fourth may, should its wish be long under way.
    assert all_of(with_memory(4 * TIB, workers=4), toys.takes_beside, tasks).index(4 * TIB) <= 4


def test_what_never_fits_is_refused_with_both_numbers_and_the_rest_goes_on():
    came = all_of(with_memory(4 * TIB), toys.takes, [TIB, 5 * TIB, TIB])
    (refused,) = [each for each in came if isinstance(each, Lost)]
    assert "this takes 5 TiB" in refused.why and "4 TiB are for a task that runs alone" in refused.why
    assert len(came) == 3


def test_who_asks_again_has_given_back_what_it_had():
    tasks = [(3 * TIB, 4 * TIB, TIB)] * 3
    assert all_of(with_memory(4 * TIB), toys.takes_again, tasks) == [3, 3, 3]


def test_closing_the_iterator_ends_what_is_under_way(tmp_path):
    tasks = iter([(str(tmp_path / "quick"), 0), (str(tmp_path), 1)])
    (tmp_path / "quick").mkdir()
    results = Processes(2).run(toys.waits_unless_quick, tasks, Lost)
    assert next(results) == 0
    (pid,) = toys.pids(tmp_path, 1)
    results.close()  # type: ignore[attr-defined] # it is a generator
    assert not toys.is_there(pid)
    assert (tmp_path / "1.cleaned").exists()


CHILD = """
import sys
sys.path.insert(0, {repo!r})
from replay.batching.processes import Processes
from tests.pure import toy_tasks as toys
tasks = ((sys.argv[1], number) for number in range(100))
try:
    list(Processes(2).run(toys.waits, tasks, toys.Lost))
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextlib.contextmanager
def child(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a batch whose tasks take long, in a process group of its own."""
    code = CHILD.format(repo=str(REPO))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_ends_workers_and_nobody_shows_a_traceback(tmp_path):
    with child(tmp_path) as coordinator:
        workers = toys.pids(tmp_path, 2)
        os.killpg(coordinator.pid, signal.SIGINT)  # as a terminal does
        said, _ = coordinator.communicate()
        assert (coordinator.returncode, said) == (130, b"")
    assert not any(map(toys.is_there, workers))
    assert len(list(tmp_path.glob("*.cleaned"))) == 2


def test_workers_end_when_their_coordinator_is_killed(tmp_path):
    with child(tmp_path) as coordinator:
        workers = toys.pids(tmp_path, 2)
        coordinator.kill()
        toys.until(lambda: not any(map(toys.is_there, workers)))
    assert len(list(tmp_path.glob("*.cleaned"))) == 2

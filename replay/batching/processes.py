"""Tasks on this machine: worker processes that live as long as a batch, and share its memory."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, TypeVar

from replay.available import Available, available
from replay.batching.executor import NoWorkers
from replay.batching.process import Assigned, Process
from replay.batching.room import Room
from replay.batching.serving import Answer, Broken, Need, Over, Ready, Said, Unable

if TYPE_CHECKING:
    from replay.batching.task import Admit

T = TypeVar("T")
R = TypeVar("R")

DEATHS = 2  # of workers, of the same task, before it is given up
STARTS = 3  # of workers that die before they are ready, one after the other, before all is given up
_AGAIN_S = 1.0  # memory that other programs give back is seen so much later


@dataclass(frozen=True)
class Processes:
    """Worker processes of this machine.

    A task that asks for memory is held back until it fits beside what the others were granted, in the
    order in which they ask.

    Attributes:
        workers: at most so many at a time; fewer are started where there are fewer tasks.
        measure: how much memory is available at a moment.
    """

    workers: int
    measure: Callable[[], Available] = available

    def run(
        self, do: "Callable[[T, Admit], R]", tasks: Iterable[T], lost: Callable[[T, str], R]
    ) -> Iterator[R]:
        """What `do` makes of each task, in the order in which they are over: see `Executor`.

        A task whose worker dies is given to a fresh one, once. What a task raises is told in one line,
        and is what it is lost to.

        Raises:
            NoWorkers: when workers cannot be started.
        """
        crew: _Crew[T, R] = _Crew(self, do, tasks, lost)
        try:
            yield from crew.results()
        finally:
            crew.end()


def environment_of(workers: int) -> dict[str, str]:
    """Variables that let so many workers share the CPUs: each library else takes all of them in each."""
    share = str(max(len(os.sched_getaffinity(0)) // workers, 1))
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, share)


class _Crew(Generic[T, R]):
    """The workers of one run, and what each does."""

    def __init__(
        self, asked: Processes, do: Callable[..., R], tasks: Iterable[T], lost: Callable[[T, str], R]
    ) -> None:
        self._most, self._do, self._lost = asked.workers, pickle.dumps(do), lost
        self._tasks, self._again = iter(tasks), deque[Assigned[T]]()
        self._environment = environment_of(asked.workers)
        self._processes: list[Process[T]] = []
        self._room: Room[Process[T]] = Room(lambda process: process.held_bytes, asked.measure)
        self._starts = 0

    def results(self) -> Iterator[R]:
        """Of all tasks."""
        self._assign()
        while busy := {each.pipe: each for each in self._processes if each.assigned}:
            # Who is idle is heard of when it is given something.
            for pipe in wait(list(busy), _AGAIN_S if self._room.waiting else None):
                yield from self._hear(busy[pipe])  # type: ignore[index] # one of those asked for
            self._grant()

    def end(self) -> None:
        """End all workers, and wait until they have."""
        for process in self._processes:
            process.end()
        for process in self._processes:
            process.gone()

    def _assign(self) -> None:
        """Give each idle worker a task, and start workers, while there are tasks."""
        while True:
            idle = next((each for each in self._processes if not each.assigned), None)
            if idle is None and len(self._processes) >= self._most:
                return
            if (assigned := self._next()) is None:
                return
            if idle is None:
                idle = Process(self._do, self._most, self._environment)
                self._processes.append(idle)
            idle.give(assigned)

    def _next(self) -> Assigned[T] | None:
        if self._again:
            return self._again.popleft()
        for task in self._tasks:
            return Assigned(task, [])
        return None

    def _hear(self, process: Process[T]) -> list[R]:
        """Act upon what a worker says; the result, when a task is over."""
        said, assigned = process.hear(), process.assigned
        match said:
            case None:
                return self._bury(process)
            case Ready():
                self._starts, process.ready, process.base_bytes = 0, True, said.anonymous_bytes
            case Unable():
                raise NoWorkers("a worker cannot start", said.why, _MEND)
            case Need():
                self._room.ask(process, said.size_bytes)
            case _:
                if assigned is not None:
                    return self._over(process, assigned.task, said)
        return []

    def _over(self, process: Process[T], task: T, said: Said) -> list[R]:
        process.assigned = None
        self._room.leave(process)
        self._assign()  # before the result is looked at: nobody idles meanwhile
        match said:
            case Over():
                return [said.result]
            case Broken():
                return [self._lost(task, said.why)]
        return []

    def _bury(self, process: Process[T]) -> list[R]:
        """A worker is gone; its task is done again, or given up."""
        self._processes.remove(process)
        self._room.leave(process)
        how, assigned = process.gone(), process.assigned
        given_up = []
        if not process.ready:
            self._count_start(how)
        elif assigned:
            assigned.deaths.append(how)
        if assigned and len(assigned.deaths) >= DEATHS:
            given_up.append(self._lost(assigned.task, _why(assigned.deaths)))
        elif assigned:
            self._again.append(assigned)
        self._assign()
        return given_up

    def _count_start(self, how: str) -> None:
        self._starts += 1
        if self._starts >= STARTS:
            what = f"a worker ends before it is ready, {STARTS} times one after the other"
            raise NoWorkers(what, f"it {how}", _MEND)

    def _grant(self) -> None:
        for decision in self._room.decide(self._processes):
            decision.who.answer(Answer(decision.refused))


_MEND = "see that `pagetide replay` works here; --workers 1 takes the least memory"


def _why(deaths: list[str]) -> str:
    """How a task's workers died, in words."""
    if len(set(deaths)) == 1:
        return f"its worker {deaths[0]}, twice"
    return "its worker " + ", the next one ".join(deaths)

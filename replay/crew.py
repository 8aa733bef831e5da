"""Threads that let the schedules of a pass live at the same time: compiled code needs no interpreter.

Schedules share nothing that they write to, so nothing depends on which thread takes which, or when.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from replay.parameters import Parameter
from replay.schedule import Schedule

THREADS = Parameter("threads", "int", None, "threads that policies share", minimum=1, maximum=1 << 10)


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


class Crew:
    """Some schedules, and the threads that they live in, the caller's among them."""

    def __init__(self, schedules: Sequence[Schedule], threads: int) -> None:
        self.schedules = schedules
        self._others = min(threads, sum(not schedule.in_python for schedule in schedules)) - 1
        self._pool = ThreadPoolExecutor(self._others) if self._others > 0 else None

    def each(self, do: Callable[[Schedule], None]) -> None:
        """Do something with each schedule; those in plain Python stay in the caller's thread.

        Raises:
            Exception: what the first one that failed raised, after all are done.
        """
        failures: dict[int, BaseException] = {}
        own = deque((place, each) for place, each in enumerate(self.schedules) if each.in_python)
        shared = deque((place, each) for place, each in enumerate(self.schedules) if not each.in_python)

        def work(left: deque[tuple[int, Schedule]]) -> None:
            while left:
                try:
                    place, schedule = left.popleft()
                except IndexError:  # another thread was faster
                    return
                try:
                    do(schedule)
                except BaseException as failure:  # Ctrl-C too
                    failures[place] = failure

        helpers = [self._pool.submit(work, shared) for _ in range(self._others)] if self._pool else []
        try:
            work(own)
            work(shared)
        finally:
            wait(helpers)
        if failures:
            raise failures[min(failures)]

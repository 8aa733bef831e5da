"""Where tasks are done: the one seam between a batch and processes or a cluster."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from replay.batching.task import Admit
from tracer import Fault
from tracer.faults import ExitCode

T = TypeVar("T")
R = TypeVar("R")


class NoWorkers(Fault):
    """There is nobody to do a task, or nobody any more: no other one could be done either."""

    def __init__(self, what: str, how: str, fix: str) -> None:
        super().__init__(what, how, fix, ExitCode.ENVIRONMENT)


class Executor(Protocol):
    """Does tasks somewhere else."""

    def run(
        self, do: Callable[[T, Admit], R], tasks: Iterable[T], lost: Callable[[T, str], R]
    ) -> Iterator[R]:
        """What `do` makes of each task, in the order in which they are over.

        Tasks are taken one by one, as there is room for them, so neither they nor what they come to has to
        fit into memory. Closing the iterator ends what is under way.

        Args:
            do: a function of a module, that raises for nothing foreseeable; it and each task are pickled.
            tasks: what is to be done.
            lost: what a task comes to that took its worker with it more than once, and why.

        Raises:
            NoWorkers: when there are none, or none any more.
        """
        ...

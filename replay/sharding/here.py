"""The simplest executor: one task after another, in the caller's own thread."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from replay.available import available
from replay.batching.task import Admit

T = TypeVar("T")
R = TypeVar("R")


class Unasked:
    """Memory for who is the only one here. See `replay.batching.task.Admit`."""

    @property
    def fair_bytes(self) -> int:
        """All that there is."""
        return available().size_bytes

    def __call__(self, need_bytes: int) -> None:
        """Nobody is asked."""


class Here:
    """Does tasks where it is called. See `replay.batching.executor.Executor`."""

    def run(
        self,
        do: Callable[[T, Admit], R],
        tasks: Iterable[T],
        lost: Callable[[T, str], R],
    ) -> Iterator[R]:
        """What `do` makes of each task, in their order; memory is not asked for."""
        for task in tasks:
            yield do(task, Unasked())

"""A recorder that is killed at its n-th system call: nothing it does from then on reaches the disk."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tests.pure import small_traces
from tracer.writer import TraceWriter

CALLS = ("open", "rename", "unlink", "fsync", "write", "ftruncate")


class Killed(BaseException):
    """Not to be caught by anybody."""


class Life:
    """`calls`: how many were made. `died`: the last one was one too many."""

    def __init__(self, good_calls: int) -> None:
        self.good_calls, self.calls = good_calls, 0

    @property
    def died(self) -> bool:
        return self.calls > self.good_calls


@contextlib.contextmanager
def after(good_calls: int) -> Iterator[Life]:
    """Let so many calls be made, then die."""
    life = Life(good_calls)

    def counted(really: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            life.calls += 1
            if life.died:
                raise Killed
            return really(*args, **more)

        return call

    with contextlib.ExitStack() as undo:
        for name in CALLS:
            undo.enter_context(mock.patch.object(os, name, counted(getattr(os, name))))
        with contextlib.suppress(Killed):
            yield life


def bury(writer: TraceWriter) -> Any:
    """The kernel closes its files; the path of what is left."""
    with contextlib.suppress(OSError):  # it may have died between closing and opening its index
        small_traces.kill(writer)
    return writer.path

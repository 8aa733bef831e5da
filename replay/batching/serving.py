"""What a worker process does: one task after the other, until nobody is at the other end of its pipe."""

import contextlib
import ctypes
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from replay.available import Available, available
from replay.batching.room import anonymous_bytes, too_much
from replay.batching.task import Admit

ENDING_S = 2.0  # for what a task does on its way out
OOM_SCORE = 500  # when memory runs out, a worker goes, and not what has all the others' results


@dataclass(frozen=True)
class Ready:
    """It can take a task, and holds so much memory without one."""

    anonymous_bytes: int


@dataclass(frozen=True)
class Unable:
    """It cannot even import what is to be done."""

    why: str


@dataclass(frozen=True)
class Need:
    """The task asks for memory, and waits."""

    size_bytes: int


@dataclass(frozen=True)
class Answer:
    """To a `Need`: refused when only so much is there."""

    refused: Available | None


@dataclass(frozen=True)
class Over:
    """What a task came to."""

    result: Any


@dataclass(frozen=True)
class Broken:
    """A task raised what nobody foresaw."""

    why: str


Said = Ready | Unable | Need | Over | Broken
Pipe = Connection


class Ended(BaseException):
    """The worker is told to end: whatever is under way cleans up behind itself."""


def serve(fd: int, workers: int) -> None:
    """Do what comes through a pipe, until it is closed.

    First comes what is to be done with each task, pickled; then the tasks. `workers`: how many of them share
    this machine.
    """
    os.set_inheritable(fd, False)
    pipe: Pipe = Connection(fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    threading.Thread(target=_end_with, args=(fd,), daemon=True).start()
    try:
        with contextlib.suppress(EOFError, ConnectionError):
            _all(pipe, workers)
    except Ended:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)  # so that whoever waits for this process sees why it ended


def _end(_number: int, _frame: FrameType | None) -> None:
    raise Ended


def _end_with(fd: int) -> None:
    """When nobody is at the other end any more, killed or done with us, end: first kindly."""
    poll = select.poll()
    poll.register(fd, 0)  # hang-ups only
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING_S)
    os._exit(1)


def _all(pipe: Pipe, workers: int) -> None:
    try:
        do = pickle.loads(pipe.recv_bytes())  # noqa: S301 - of the process that started this one
    except EOFError:
        raise
    except Exception as error:
        pipe.send(Unable(brief(error)))
        return
    pipe.send(Ready(anonymous_bytes(os.getpid())))
    admit = _Asking(pipe, workers)
    while True:
        _say(pipe, _done(do, pipe, admit))


@dataclass(frozen=True)
class _Asking:
    """Memory, from the coordinator. See `replay.batching.task.Admit`."""

    pipe: Pipe
    workers: int

    @property
    def fair_bytes(self) -> int:
        """An equal part of what there is now."""
        return available().size_bytes // self.workers

    def __call__(self, need_bytes: int) -> None:
        """Wait for the coordinator's answer."""
        _give_back()
        self.pipe.send(Need(need_bytes))
        answer: Answer = self.pipe.recv()
        if answer.refused:
            raise too_much(need_bytes, answer.refused)


def _done(do: Callable[[Any, Admit], Any], pipe: Pipe, admit: Admit) -> Said:
    packed = pipe.recv_bytes()
    try:
        return Over(do(pickle.loads(packed), admit))  # noqa: S301 - of the process that started this one
    except (Ended, EOFError):
        raise
    except (
        BaseException
    ) as error:  # MemoryError, and SystemExit, too: the next task has nothing to do with it
        return Broken(brief(error))


def _say(pipe: Pipe, said: Said) -> None:
    try:
        pipe.send(said)
    except ConnectionError:
        raise
    except Exception as error:  # a result that cannot be pickled
        pipe.send(Broken(brief(error)))


def brief(error: BaseException) -> str:
    """One line of an error that nobody foresaw: its kind, what it says, and where it was raised."""
    said = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {said}{where}" if said else f"{type(error).__name__}{where}"


def _give_back() -> None:
    """Let allocators return to the machine what earlier tasks left with them."""
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)

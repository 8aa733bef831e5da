"""One worker process, as its coordinator sees it."""

import contextlib
import fcntl
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Generic, TypeVar

from replay.batching.room import anonymous_bytes
from replay.batching.serving import Answer, Said

T = TypeVar("T")

# `multiprocessing` would import the main module of whoever calls, which may be a script that begins a batch.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from replay.batching.serving import serve; serve(*map(int, sys.argv[2:]))"
)
_LAST_BYTES = 4096
_GONE_S = 5.0  # until a process whose pipe is closed has ended


@dataclass
class Assigned(Generic[T]):
    """A task on its way, and how workers died of it."""

    task: T
    deaths: list[str]


class Process(Generic[T]):
    """A worker process: it lives until its pipe is closed, and ends when its coordinator does.

    It is in a process group of its own, so Ctrl-C is the coordinator's alone. What it writes to stderr goes
    into memory: its last line may tell why it died.

    Attributes:
        pipe: to it.
        assigned: what it does now; None when it is idle.
        ready: it has imported what it needs.
        base_bytes: what it then held, without a task.
    """

    def __init__(self, do: bytes, workers: int, environment: Mapping[str, str]) -> None:
        self.pipe, theirs = Pipe()
        self.assigned: Assigned[T] | None = None
        self.ready = False
        self.base_bytes = 0
        self._said_fd = os.memfd_create("pagetide-worker")
        fcntl.fcntl(self._said_fd, fcntl.F_SETFL, os.O_APPEND)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    _START,
                    json.dumps(sys.path),
                    str(theirs.fileno()),
                    str(workers),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said_fd,
                pass_fds=(theirs.fileno(),),
                env={**environment, **os.environ},  # what the user has set wins
                process_group=0,
            )
        self._send(do)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def give(self, assigned: Assigned[T]) -> None:
        """Let it do a task, when it is idle. When it is gone, its pipe says so later."""
        os.ftruncate(self._said_fd, 0)
        self.assigned = assigned
        self._send(pickle.dumps(assigned.task))

    def answer(self, answer: Answer) -> None:
        """To its question for memory."""
        with contextlib.suppress(ConnectionError):
            self.pipe.send(answer)

    def _send(self, packed: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.pipe.send_bytes(packed)

    def hear(self) -> Said | None:
        """What it says next; None when it is gone."""
        try:
            said: Said = self.pipe.recv()
        except (EOFError, ConnectionError):
            return None
        return said

    @property
    def held_bytes(self) -> int:
        """Memory that it has taken since it was ready."""
        return max(anonymous_bytes(self.pid) - self.base_bytes, 0) if self.ready else 0

    def end(self) -> None:
        """Let it end: it notices that its pipe is closed."""
        self.pipe.close()

    def gone(self) -> str:
        """Wait until it has ended, for a while; how it ended, in words."""
        self.end()
        try:
            code = self._process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        last = self._last_words()
        os.close(self._said_fd)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how} ({last})" if last else how

    def _last_words(self) -> str:
        size = os.fstat(self._said_fd).st_size
        said = os.pread(self._said_fd, _LAST_BYTES, max(size - _LAST_BYTES, 0))
        lines = said.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

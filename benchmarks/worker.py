"""A process of its own for one task (a function that returns `Ready`), run whenever it is asked to.

So memory figures are of that task alone, thread pools are as large as wanted, and interleaved rounds do
not pay for starting, which `benchmarks.speed` measures apart.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from benchmarks.harness import POLL_S, REPO, Taken, anon_mib
from benchmarks.ready import THREADS, Ready, Span


def thread_limits(threads: int) -> dict[str, str]:
    """Environment that holds a process to so many decoding threads."""
    return {THREADS: str(threads), "POLARS_MAX_THREADS": str(threads)}


class Worker:
    """A task in a process of its own; call it to run the task once."""

    def __init__(self, task: str, arguments: Mapping[str, object], threads: int | None = None) -> None:
        """Start it and wait until it is ready. `threads`: at most so many to decode; None: all."""
        environment = os.environ | (thread_limits(threads) if threads else {})
        command = [sys.executable, "-m", "benchmarks.worker", task, json.dumps(dict(arguments))]
        self._process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told: dict[str, Any] = self._answer(task)

    def _answer(self, what: str) -> dict[str, Any]:
        """Its next line; the most memory it had until then is `anon_mib` of it."""
        out, peak = self._process.stdout, anon_mib(self._process.pid)
        if out is None:
            raise AssertionError
        while not select.select([out], [], [], POLL_S)[0]:
            peak = max(peak, anon_mib(self._process.pid))
        line = out.readline()
        if not line:
            sys.exit(f"benchmark {what}: the process ended with {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told | {"anon_mib": max(peak, anon_mib(self._process.pid))}

    def begin(self) -> None:
        """Let it run once; `end` waits for it."""
        if self._process.stdin is None:
            raise AssertionError
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> Taken:
        """What the run took."""
        return Taken(**self._answer("run"))

    def __call__(self) -> Taken:
        """Let it run once."""
        self.begin()
        return self.end()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextlib.contextmanager
def workers(*some: Worker) -> Iterator[None]:
    """Close them all at the end."""
    try:
        yield
    finally:
        for worker in some:
            worker.close()


def at_once(some: Sequence[Worker]) -> Taken:
    """All of them at the same time: until the last one is done; their CPU and memory together."""
    begin = time.perf_counter()
    for worker in some:
        worker.begin()
    runs = [worker.end() for worker in some]
    wall_s = time.perf_counter() - begin
    return Taken(wall_s, sum(run.cpu_s for run in runs), sum(run.anon_mib for run in runs))


def main(task: str, arguments: dict[str, Any]) -> None:
    """Get ready, then run at each line that comes in. `task`: MODULE.FUNCTION of `benchmarks`."""
    module, _, function = task.partition(".")
    ready: Ready = getattr(import_module(f"benchmarks.{module}"), function)(**arguments)
    ready.act()  # whatever is done once is done now
    print(json.dumps(ready.told), flush=True)
    for _ in sys.stdin:
        begin = Span.now()
        own = ready.act()
        span = own if isinstance(own, Span) else begin.until_now()
        print(json.dumps(asdict(span)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

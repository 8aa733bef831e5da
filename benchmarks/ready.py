"""What a task of a `worker` is; nothing here loads a library that a task might not need."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = ["ts_ns", "op", "pfn", "order", "migratetype", "aux"]  # all that a replay needs
THREADS = "PAGETIDE_BENCH_THREADS"


@dataclass(frozen=True)
class Span:
    """Seconds by the clock and of CPU."""

    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> "Span":
        """Since whenever the two clocks began."""
        return cls(time.perf_counter(), time.process_time())

    def until_now(self) -> "Span":
        """From this instant on."""
        now = Span.now()
        return Span(now.wall_s - self.wall_s, now.cpu_s - self.cpu_s)


@dataclass(frozen=True)
class Ready:
    """A task that can be run.

    Attributes:
        act: run it once. Where not all of it counts, it returns a `Span` of what does.
        told: what a reader of the figures has to know of it: how many events, say.
    """

    act: Callable[[], object]
    told: dict[str, Any] = field(default_factory=dict)


def forget(trace: str | Path) -> None:
    """Make a trace another one than was replayed before: what was kept about it is not found again."""
    os.utime(Path(trace, "manifest.json"))


def hold_to(threads: int | None) -> None:
    """Let Arrow use so many threads."""
    if threads:
        import pyarrow as pa

        pa.set_cpu_count(threads)


def threads_allowed() -> int | None:
    """How many threads the environment allows to decode; None: as many as there are CPUs."""
    said = os.environ.get(THREADS)
    return int(said) if said else None


def nothing(number: int, _admit: Callable[[int], None]) -> int:
    """Do a task of a batch in which there is nothing to do."""
    return number


def replayed(task: Any, admit: Any) -> float:  # noqa: ANN401 - its type needs numba
    """Do a task of a batch; the CPU time that it took."""
    from replay.batching.work import do

    begin = Span.now()
    done = do(task, admit)
    if done.reason:
        raise RuntimeError(done.reason[0])
    return begin.until_now().cpu_s

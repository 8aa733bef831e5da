"""What handing out many traces costs, and what a second worker gives.

Usage: python -m benchmarks.fleet [--rounds N] [--tasks N] [--many N] [--trace TRACE] [--events N]
[--repeat N] [--no-cluster]. Prints a Markdown table, then one line of JSON.

- *overhead*: tasks that do nothing, on one worker: the time of all but the first, divided by their number.
  Imports and the start of the worker are not in it.
- *scaling*: tasks of a batch, each a copy of TRACE, tiled to so many events, under the policies of the
  comparison, in interleaved rounds: one worker on one CPU, two workers on two, and one worker that has both:
  it uses part of the second one, to decode ahead and for half of the policies. The first task of each worker
  is not counted.
- *memory*: of the coordinator, anonymous, after a tenth of many tasks that do nothing, and after all.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import (
    BUSY,
    TRACE,
    Taken,
    anon_mib,
    interleaved,
    machine,
    machine_line,
    seconds,
    spread,
)
from benchmarks.ready import nothing, replayed
from benchmarks.tiling import Tile, count_of, tiled
from replay.batching.dataset import make_dataset
from replay.batching.processes import Processes
from replay.batching.task import Task
from replay.costs import Costs
from replay.engine import Options
from tracer import Place, open_trace

if TYPE_CHECKING:
    from replay.batching.executor import Executor

WARM = 20  # tasks before the first that counts
AT_LEAST_S = 1.0  # a task of the scaling


@dataclass
class Measured:
    """A figure, a value for each round; with what it must reach, where it must."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    most: float | None = None
    least: float | None = None

    @property
    def reached(self) -> str:
        """Is the median as it must be?"""
        median = statistics.median(self.values)
        if self.most is not None:
            return f"<= {self.most:g}: {'yes' if median <= self.most else '**no**'}"
        if self.least is not None:
            return f">= {self.least:g}: {'yes' if median >= self.least else '**no**'}"
        return ""

    @property
    def markdown(self) -> str:
        """A line of the table."""
        return f"| {self.name} | {spread(self.values)} {self.unit} | {self.reached} |"


def lost(task: object, why: str) -> Any:  # noqa: ANN401 - it never is
    """A task that did not come to anything: there must be none."""
    raise RuntimeError(f"{task}: {why}")


def overhead_ms(executor: "Executor", tasks: int) -> float:
    """Of a task that does nothing."""
    results = executor.run(nothing, range(WARM + tasks), lost)
    for _ in range(WARM):
        next(results)
    return seconds(lambda: list(results)) / tasks * 1e3


@contextmanager
def small_cluster() -> "Iterator[Executor]":
    """A Dask cluster on the loopback: the scheduler in this process, a worker in another one."""
    from distributed import LocalCluster

    from replay.batching.cluster import Cluster

    made: Any = LocalCluster
    with made(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield Cluster(cluster.scheduler_address)


def growth_mib(executor: "Executor", tasks: int) -> tuple[float, float]:
    """Anonymous memory of this process after a tenth of the tasks, and after all."""
    early = 0.0
    for done, _ in enumerate(executor.run(nothing, range(tasks), lost)):
        if done == tasks // 10:
            early = anon_mib(os.getpid())
    return early, anon_mib(os.getpid())


def taken(traces: list[Path], out: Path, workers: int, cpus: int) -> Taken:
    """Replays of these traces, but for the first one of each worker, on so many workers and CPUs."""
    shutil.rmtree(out, ignore_errors=True)
    make_dataset(Place(out))
    options, began_s = Options(threads=max(cpus // workers, 1)), [0.0]

    def tasks() -> Iterator[Task]:
        for number, trace in enumerate(traces):
            if number == workers:
                began_s[0] = time.perf_counter()
            yield Task(str(trace), (), options, Costs(), str(out))

    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:cpus])  # of the workers, too
    try:
        results = list(Processes(workers).run(replayed, tasks(), lost))
        return Taken(time.perf_counter() - began_s[0], sum(results[workers:]), 0.0)
    finally:
        os.sched_setaffinity(0, usable)


def scaling(trace: Path, events: int, count: int, rounds: int) -> list[Measured]:
    """One worker and two, each with the same batch."""
    with tempfile.TemporaryDirectory(prefix="pagetide-fleet-") as folder:
        traces = [Path(folder, f"{number}.trace") for number in range(count + 2)]
        tile = Tile.of(open_trace(trace))
        tiled(tile, traces[0], tile.tiles_of(events))
        for copy in traces[1:]:
            shutil.copytree(traces[0], copy, copy_function=os.link)
        out = Path(folder, "out")
        taken(traces[:3], out, 1, 2)  # what is compiled once is so now
        acts = {
            "1": lambda: taken(traces[1:], out, 1, 1),
            "2": lambda: taken(traces, out, 2, 2),
            "1 of 2": lambda: taken(traces[1:], out, 1, 2),
        }
        runs = interleaved(acts, rounds)
    one, two, roomy = runs["1"], runs["2"], runs["1 of 2"]

    def beside(peer: list[Taken], what: str) -> list[float]:
        return [getattr(a, what) / getattr(b, what) for a, b in zip(peer, two, strict=True)]

    return [
        Measured("a task, one worker on one CPU", "s", [run.wall_s / count for run in one], least=AT_LEAST_S),
        Measured("two workers on two CPUs beside that", "x", beside(one, "wall_s"), least=1.8),
        Measured("CPU time of one worker beside that of two", "x", beside(one, "cpu_s")),
        Measured("two workers beside one that has both CPUs", "x", beside(roomy, "wall_s")),
    ]


def all_of(asked: argparse.Namespace) -> Iterator[Measured]:
    """The figures, as they are measured."""
    local = Processes(1)
    values = [overhead_ms(local, asked.tasks) for _ in range(asked.rounds)]
    yield Measured("overhead of a task, on a process of this machine", "ms", values, most=20)
    if asked.cluster:
        with small_cluster() as cluster:
            values = [overhead_ms(cluster, asked.tasks) for _ in range(asked.rounds)]
        yield Measured("overhead of a task, on a Dask cluster on the loopback", "ms", values, most=20)
    early, late = growth_mib(Processes(2), asked.many)
    yield Measured(f"the coordinator's memory after {asked.many:,} tasks", "MiB", [late])
    yield Measured("of which it took after the first tenth of them", "MiB", [late - early], most=5)
    yield from scaling(asked.trace, asked.events, asked.repeat, asked.rounds)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--events", type=count_of, default=count_of("40M"))
    parser.add_argument("--repeat", type=int, default=8, metavar="N", help="copies of TRACE in a batch")
    parser.add_argument("--cluster", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    """Measure, and print the table."""
    asked, facts, began_s = arguments(), machine(), time.monotonic()
    print(machine_line(facts), end="\n\n")
    if facts["load_before"] > BUSY:
        print("**The machine was busy with something else: this is worth little.**", end="\n\n")
    print("| what | median (range) | goal, reached |\n| --- | --- | --- |", flush=True)
    measured = []
    for each in all_of(asked):
        measured.append(each)
        print(each.markdown, flush=True)
    told = {"machine": facts, "took_s": time.monotonic() - began_s, "figures": [asdict(m) for m in measured]}
    print(f"\n{json.dumps(told)}")


if __name__ == "__main__":
    main()

"""What a second worker gives for one long trace, cut into shards.

Usage: python -m benchmarks.sharding [--rounds N] [--trace TRACE] [--events N] [--policy NAME …]. Prints a
Markdown table, then one line of JSON.

In interleaved rounds, with the results of all of them equal:

- *whole*: `replay`, in one process on one CPU;
- *one*: one shard on one worker, on one CPU: what cutting costs;
- *two*: two shards on two workers, on two CPUs. Starting workers is in it, as in `pagetide batch --shards`;
- *whole on two*: `replay` with both CPUs, which it uses for part of its work.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.fleet import Measured
from benchmarks.harness import BUSY, TRACE, Taken, interleaved, machine, machine_line
from benchmarks.tiling import Tile, count_of, tiled
from replay import Options, Replay, replay
from replay.batching.processes import Processes
from replay.sharding import replay_sharded
from tracer import open_trace


def on(cpus: int, work: Callable[[], Replay], answers: list[str]) -> Taken:
    """Do it on so many CPUs, workers too, and keep the answer."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:cpus])
    try:
        begin = time.perf_counter()
        found = work()
        taken = Taken(time.perf_counter() - begin, 0.0, 0.0)
    finally:
        os.sched_setaffinity(0, usable)
    answers.append(json.dumps([result.summary for result in found.results]))
    return taken


def compared(trace: Path, policies: list[str], rounds: int) -> list[Measured]:
    """Each way to the same answer beside one process on one CPU."""
    answers: list[str] = []

    def whole(cpus: int) -> Callable[[], Taken]:
        options = Options(threads=cpus)
        return lambda: on(cpus, lambda: replay(trace, policies, options), answers)

    def cut(workers: int) -> Callable[[], Taken]:
        options = Options(threads=workers)
        executor = Processes(workers)

        def work() -> Replay:
            return replay_sharded(trace, policies, options, shards=workers, executor=executor)

        return lambda: on(workers, work, answers)

    runs = interleaved({"whole": whole(1), "one": cut(1), "two": cut(2), "whole on two": whole(2)}, rounds)
    if len(set(answers)) != 1:
        raise RuntimeError("the ways come to different answers")
    base = [run.wall_s for run in runs["whole"]]

    def beside(name: str) -> list[float]:
        return [one / run.wall_s for one, run in zip(base, runs[name], strict=True)]

    return [
        Measured("one process on one CPU", "s", base),
        Measured("one shard on one CPU beside that", "x", beside("one")),
        Measured("two shards on two CPUs beside that", "x", beside("two")),
        Measured("one process on two CPUs beside that", "x", beside("whole on two")),
    ]


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--events", type=count_of, default=count_of("300M"))
    parser.add_argument("--policy", nargs="+", default=["upstream"])
    return parser.parse_args()


def main() -> None:
    """Measure, and print the table."""
    asked, facts, began_s = arguments(), machine(), time.monotonic()
    print(machine_line(facts), end="\n\n")
    if facts["load_before"] > BUSY:
        print("**The machine was busy with something else: this is worth little.**", end="\n\n")
    with tempfile.TemporaryDirectory(prefix="pagetide-sharding-") as folder:
        long, tile = Path(folder, "long.trace"), Tile.of(open_trace(asked.trace))
        tiled(tile, long, tile.tiles_of(asked.events))
        print(f"{open_trace(long).rows:,} events, {', '.join(asked.policy)}\n")
        print("| what | median (range) | |\n| --- | --- | --- |")
        measured = compared(long, asked.policy, asked.rounds)
    for each in measured:
        print(each.markdown)
    told = {"machine": facts, "took_s": time.monotonic() - began_s, "figures": [asdict(m) for m in measured]}
    print(f"\n{json.dumps(told)}")


if __name__ == "__main__":
    main()

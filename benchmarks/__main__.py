"""Each figure beside its peer, in interleaved rounds of one run: medians, and the ratio's spread.

Usage: python -m benchmarks [ROUNDS]. Prints a Markdown table; these are measurements, not tests.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).parent.parent
TRACE = REPO / "data" / "database.trace"
COLUMNS = ["ts_ns", "op", "pfn", "order", "migratetype"]
Timed = Callable[[], float]


def seconds(act: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def compare(what: str, ours: Timed, peer: str, theirs: Timed, rounds: int) -> None:
    """One row: ours and the peer in turn, the median of each, the median and spread of the ratio."""
    ours(), theirs()  # warm caches and compilations, for both
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in pairs)
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
    print(
        f"| {what} | {mine * 1e3:.0f} ms | {peer} | {other * 1e3:.0f} ms "
        f"| {statistics.median(ratios):.2f} ({spread}) |",
        flush=True,
    )


def python(*arguments: str) -> Timed:
    """Time this interpreter with these arguments."""
    return lambda: seconds(
        lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=REPO)
    )


def start_up(rounds: int) -> None:
    """`pagetide --help` and a whole `pagetide replay` of the shipped trace, as commands."""
    main = "from replay.main import main; main()"
    compare("pagetide --help", python("-c", main, "--help"), "python -c pass", python("-c", "pass"), rounds)
    compare(
        "pagetide replay, one policy, as a command",
        python("-c", main, "replay", str(TRACE), "--policy", "upstream"),
        "importing numba and polars",
        python("-c", "import numba, polars"),
        rounds,
    )


def replaying(rounds: int) -> None:
    """The engine beside reading the same columns; all policies beside one."""
    from replay.api import replay
    from tracer import open_trace

    trace = open_trace(TRACE)

    def read() -> float:
        return seconds(lambda: sum(batch.num_rows for batch in trace.batches(COLUMNS)))

    def one() -> float:
        return seconds(lambda: replay(trace, ["upstream"]))

    def every() -> float:
        return seconds(lambda: replay(trace))

    compare(f"replay, one policy, {trace.rows:,} events", one, "decoding its columns", read, rounds)
    compare("replay, all policies", every, "replay, one policy", one, rounds)


def main(rounds: int) -> None:
    """What replaying costs; `benchmarks.buddy` measures its step 1, `benchmarks.recording` the recorder."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"Linux {platform.release()}, {machine}\n")
    print(f"| what | median | beside | median | ratio (spread of {rounds} rounds) |")
    print("| --- | --- | --- | --- | --- |")
    start_up(rounds)
    replaying(rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

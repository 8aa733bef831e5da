"""How right the model is on this machine: four real workloads, recorded and validated.

Usage: python -m benchmarks.fidelity [SECONDS] [LAYER...]. Needs root. Prints a Markdown table: events,
impossible steps, frames wrong at the end, and samples that agree in all orders. These are measurements
of one guest's luck as much as of the model: run it more than once.
"""

import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import PAGETIDE, REPO
from benchmarks.workload import main as buffers
from replay import validate
from tracer import open_trace

HEADINGS = (
    "workload",
    "layers",
    "events",
    "impossible per million",
    "frames wrong of changed",
    "samples right",
)


def compiling(seconds: float) -> None:
    """Translate a few hundred generated C functions, again and again."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "a.c")
        until, round_ = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            body = [f"double f{k}(double x) {{ return x * {k}.5 + {round_}; }}" for k in range(4000)]
            source.write_text("\n".join(body))
            subprocess.run(["gcc", "-O2", "-c", source, "-o", Path(folder, "a.o")], check=True)
            round_ += 1


def database(seconds: float) -> None:
    """Insert and update rows of an SQLite file of some 100 MiB at random."""
    choose = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        base = sqlite3.connect(Path(folder, "a.db"))
        base.execute("create table t (id integer primary key, body blob)")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            rows = [(choose.randrange(200_000), choose.randbytes(2000)) for _ in range(1000)]
            base.executemany("insert or replace into t values (?, ?)", rows)
            base.commit()
        base.close()


def churning(seconds: float) -> None:
    """Start programs that end at once."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        subprocess.run(
            ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do ls / >/dev/null & done; wait"], check=True
        )


WORKLOADS: dict[str, Callable[[float], None]] = {
    "compile": compiling,
    "database": database,
    "buffers": buffers,
    "processes": churning,
}


def row(name: str, layer: str, seconds: float, folder: Path) -> str:
    """Record a workload and compare: one line of the table."""
    path = folder / f"{name}-{layer}.trace"
    work = [sys.executable, "-m", "benchmarks.fidelity", "--run", name, str(seconds)]
    record = [*PAGETIDE, "record", str(path), "--layer", layer]
    subprocess.run([*record, "--allow-loss", "--", *work], check=True, cwd=REPO, stdout=subprocess.DEVNULL)
    trace = open_trace(path)
    verdict = validate(trace)
    wrong, changed = verdict.fidelity["frames_wrong"], verdict.fidelity["frames_changed"]
    cells = (
        name,
        layer,
        f"{trace.rows:,}",
        f"{verdict.impossible_share * 1e6:.1f}",
        f"{wrong:,} of {changed:,} ({verdict.wrong_share:.3%})",
        f"{verdict.right} of {len(verdict.judged)}",
    )
    return f"| {' | '.join(cells)} |"


def main(seconds: float, layers: list[str]) -> None:
    """All workloads, each layer in turn."""
    print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}")
    with tempfile.TemporaryDirectory(dir=REPO) as folder:
        for name in WORKLOADS:
            for layer in layers:
                print(row(name, layer, seconds, Path(folder)), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        WORKLOADS[sys.argv[2]](float(sys.argv[3]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, sys.argv[2:] or ["buddy", "both"])

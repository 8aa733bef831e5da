"""A C++ build recorded: a part of DuckDB, compiled from its source release on PyPI, then deleted again.

Usage: python -m benchmarks.build record OUT.trace [JOBS]. Needs root, eBPF, g++ and pip; some minutes of
two CPUs and some GiB of memory, and as much again on the disk of OUT.trace. The stages are those of a
published measurement (docs/published.md), but for the page cache, which is the machine's and is never
dropped here: what a build has cached goes with its files. Beside the trace, OUT.stages.json says by the
trace's clock when each stage ended; `python -m benchmarks.published OUT.trace` reads both.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.harness import PAGETIDE, REPO

PROGRAM, VERSION = "duckdb", "1.1.3"
PARTS = ("core_functions", "function", "execution")  # some 60 large files, 0.4 to 1.1 GiB of memory each
JOBS = 8
IDLE_S = 30


def stages_path(trace: Path) -> Path:
    """Where the instants of a trace's stages are."""
    return trace.with_suffix(".stages.json")


def fetch(folder: Path) -> Path:
    """Download and unpack the source release; the unpacked tree."""
    wanted = ["--no-deps", "--no-binary", PROGRAM, f"{PROGRAM}=={VERSION}"]
    pip = [sys.executable, "-m", "pip", "download", "-q", *wanted, "-d", str(folder)]
    subprocess.run(pip, check=True)
    archive = folder / f"{PROGRAM}-{VERSION}.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    return folder / f"{PROGRAM}-{VERSION}"


def sources(tree: Path) -> list[str]:
    """The files of the chosen parts."""
    wanted = tuple(f"ub_src_{part}" for part in PARTS)
    lines = (tree / "sources.list").read_text().split()
    return [line for line in lines if Path(line).name.startswith(wanted)]


def compile_all(tree: Path, files: list[str], jobs: int) -> None:
    """Compile these files, so many at once, and link them."""
    objects = tree / "objects"
    objects.mkdir()
    includes = [f"-I{folder}" for folder in (tree / "includes.list").read_text().split()]
    gcc = ["g++", "-std=c++11", "-O0", "-w", "-fPIC"]

    def compiled(source: str) -> Path:
        target = objects / f"{Path(source).name}.o"
        subprocess.run([*gcc, *includes, "-c", source, "-o", target], check=True, cwd=tree)
        return target

    with ThreadPoolExecutor(jobs) as pool:
        targets = list(pool.map(compiled, files))
    subprocess.run([*gcc, "-shared", *targets, "-o", objects / "part.so"], check=True)


def run(tree: Path, jobs: int, stages: Path) -> None:
    """Build, idle, delete what was built, idle, delete the sources, idle."""
    ends: dict[str, int] = {}
    acts: dict[str, Callable[[], object]] = {
        "build": lambda: compile_all(tree, sources(tree), jobs),
        "idle": lambda: None,
        "clean": lambda: shutil.rmtree(tree / "objects"),
        "sources deleted": lambda: shutil.rmtree(tree),
    }
    for name, act in acts.items():
        act()
        if name != "build":
            time.sleep(IDLE_S)
        ends[name] = time.monotonic_ns()
    stages.write_text(json.dumps(ends, indent=1) + "\n")


def record(trace: Path, jobs: int) -> None:
    """Fetch, then record all stages."""
    with tempfile.TemporaryDirectory(dir=trace.absolute().parent) as folder:
        tree = fetch(Path(folder))
        stages = stages_path(trace.absolute())
        work: list[str | Path] = [sys.executable, "-m", "benchmarks.build", "run", tree, str(jobs), stages]
        options = ["--layer", "buddy", "--resync", "60s", "--force"]
        subprocess.run([*PAGETIDE, "record", trace.absolute(), *options, "--", *work], check=True, cwd=REPO)


def main(verb: str, path: Path, jobs: int = JOBS, stages: Path | None = None) -> None:
    """What the usage says; `run` is what is recorded."""
    if verb == "run" and stages:
        run(path, jobs, stages)
    elif verb == "record":
        record(path, jobs)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        int(sys.argv[3]) if len(sys.argv) > 3 else JOBS,
        Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )

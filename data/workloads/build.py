"""Ten of DuckDB's largest C++ files are compiled, three at once, and linked; objects and sources are deleted.

A continuous integration machine or a developer's: each compiler grows to a GiB and ends, so that memory
comes back in large pieces while the next takes it, and what was read and written stays in the page cache
until it is deleted. -O0 as in a debug build: the front end is what takes the memory.
"""

import shutil
import time
from pathlib import Path

from benchmarks.build import compile_all, fetch, sources

DEBIAN = ("g++",)
FILES, JOBS = 10, 3
REST_S = 15


def prepare(folder: Path) -> None:
    """Download and unpack the source release."""
    fetch(folder).rename(folder / "tree")


def run(folder: Path) -> None:
    """Build, rest, delete what was built, rest, delete the sources."""
    tree = folder / "tree"
    compile_all(tree, sources(tree)[:FILES], JOBS)
    time.sleep(REST_S)
    shutil.rmtree(tree / "objects")
    time.sleep(REST_S)
    shutil.rmtree(tree)

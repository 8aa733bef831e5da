"""One machine for all tests of the session that do not end it: booting is most of what a test costs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.machine import Machine


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the machine may write to, at the same path inside."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="session")
def machine(guest: None, out: Path) -> Iterator[Machine]:
    with Machine(files_out=out) as machine:
        yield machine


@pytest.fixture(scope="session")
def traces(machine: Machine, out: Path) -> Path:
    """A folder with three recordings of the same workload at the same time, one on each rung."""
    here = Path(__file__).parent
    argv: list[str | Path] = ["sh", here / "rungs.sh", out, sys.executable, here / "workload.py"]
    done = machine.run(argv, timeout_s=400)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def quiet(machine: Machine, out: Path) -> Path:
    """A folder with three recordings of a workload without compaction: with tracepoints only, one of each
    choice of layers that has the buddy's, and one on the highest rung.
    """
    here = Path(__file__).parent
    argv: list[str | Path] = ["sh", here / "quiet.sh", out, sys.executable, here / "workload.py"]
    done = machine.run(argv, timeout_s=400)
    assert done.returncode == 0, done.stderr
    return out

"""One machine for all tests of the session that do not end it: booting is most of what a test costs."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guest.lab import Run, perform, print_passes
from tests.guest.machine import Machine

HERE = Path(__file__).parent
# What the lab does for all tests: a newer kernel than the other tests have, the lowest rung and the highest.
LAB_KERNEL, LAB_RUNGS = "6.12", ("tracepoints", "fentry")
# A script ends at once when one of its recordings failed: this is for a machine that stands still.
SCRIPT_TIMEOUT_S = 1800


class Shared:
    """The session's machine; another one where that has ended, so that no test falls over another's."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._running = ExitStack()
        self._machine: Machine | None = None

    def machine(self) -> Machine:
        """One that runs."""
        if self._machine is None or self._machine.ended:
            self.close()
            self._machine = self._running.enter_context(Machine(files_out=self._out))
        return self._machine

    def close(self) -> None:
        self._running.close()
        self._machine = None


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the machine may write to, at the same path inside."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="session")
def shared(guest: None, out: Path) -> Iterator[Shared]:
    shared = Shared(out)
    try:
        yield shared
    finally:
        shared.close()


@pytest.fixture
def machine(shared: Shared) -> Machine:
    return shared.machine()


def recorded_by(script: str, machine: Machine, out: Path) -> Path:
    """The folder of the recordings that a script made of the workload."""
    argv: list[str | Path] = ["sh", HERE / script, out, sys.executable, HERE / "workload.py"]
    done = machine.run(argv, timeout_s=SCRIPT_TIMEOUT_S)
    assert done.returncode == 0, f"{script} ended with {done.returncode}: {done.stderr}"
    return out


@pytest.fixture(scope="session")
def traces(shared: Shared, out: Path) -> Path:
    """A folder with three recordings of the same workload at the same time, one on each rung."""
    return recorded_by("rungs.sh", shared.machine(), out)


@pytest.fixture(scope="session")
def quiet(shared: Shared, out: Path) -> Path:
    """A folder with three recordings of a workload without compaction: with tracepoints only, one of each
    choice of layers that has the buddy's, and one on the highest rung.
    """
    return recorded_by("quiet.sh", shared.machine(), out)


@pytest.fixture(scope="session")
def run(guest: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The short workload of the lab, done."""
    run = Run("short", LAB_RUNGS, tmp_path_factory.mktemp("lab") / "short", kernel=LAB_KERNEL)
    perform(run)
    print_passes(run)
    return run

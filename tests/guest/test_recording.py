"""Recording and checking on a stock kernel, with the machine's own userland and our own headers."""

from pathlib import Path

import pytest

from tests.guest.machine import Machine
from tests.guest.running import answer, pagetide, pagetide_outside, script
from tracer import open_trace

WORKLOAD = Path(__file__).parent / "workload.py"


@pytest.fixture(scope="module")
def trace(machine: Machine, out: Path) -> Path:
    """A recording of some seconds, made inside."""
    path = out / "stock.trace"
    done = pagetide(machine, "record", path, "--json", "--", *script(WORKLOAD), 3)
    told = answer(done)
    assert told["lost"] == 0
    assert told["events"] > 5_000
    return path


def test_doctor_finds_a_stock_guest_ready(machine: Machine) -> None:
    verdict = answer(pagetide(machine, "doctor", "--json"))
    checks = {check["name"]: check for check in verdict["checks"]}
    assert verdict["ready"]
    assert checks["BPF programs"]["state"] == "ok"
    assert checks["kernel headers"]["how"].startswith("none")
    assert checks["own reporting"]["how"].startswith("active")


def test_the_trace_of_a_stock_guest_is_complete(trace: Path) -> None:
    opened = open_trace(trace)
    assert opened.complete
    assert opened.manifest.guest.hz == 250
    assert opened.manifest.reporting.active is True


def test_the_model_agrees_with_a_stock_kernel_inside_and_outside(machine: Machine, trace: Path) -> None:
    inside = pagetide(machine, "validate", trace, "--json")
    fidelity = answer(inside)["fidelity"]
    assert fidelity["frames_changed"] > 10_000
    assert fidelity["frames_wrong"] <= 0.001 * fidelity["frames_changed"]
    assert inside.stdout == pagetide_outside("validate", trace, "--json")

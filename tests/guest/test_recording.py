"""Recording and checking on a stock kernel, with the machine's own userland and our own headers."""

import json
from pathlib import Path

from tests.guest.machine import Machine
from tests.guest.running import answer, pagetide, pagetide_outside
from tests.guest.wrong import LATE_SHARE
from tracer import open_trace


def test_the_trace_of_a_stock_guest_is_complete(traces: Path) -> None:
    trace = open_trace(traces / "fentry.trace")
    assert trace.complete
    assert trace.rows > 5_000
    assert trace.manifest.guest.hz == 250
    assert trace.manifest.reporting.active is True


def test_a_wall_clock_that_is_set_does_not_touch_the_times(traces: Path) -> None:
    trace = open_trace(traces / "fentry.trace")
    ts_ns = trace.events.select("ts_ns").collect()["ts_ns"]
    assert ts_ns.is_sorted()
    assert trace.manifest.late_events == 0
    first_ns, last_ns = trace.span_ns
    assert 7e9 < last_ns - first_ns < 3600e9  # the work and 7 s of rest, not an hour


def test_the_model_agrees_with_a_stock_kernel_inside_and_outside(machine: Machine, traces: Path) -> None:
    outside = json.loads(pagetide_outside("validate", traces / "fentry.trace", "--json"))
    assert outside["fidelity"]["frames_changed"] > 10_000
    # Which ones may be wrong at all is looked at in test_exactness.
    assert outside["fidelity"]["frames_wrong"] <= LATE_SHARE * outside["fidelity"]["frames_changed"]
    assert answer(pagetide(machine, "validate", traces / "fentry.trace", "--json")) == outside

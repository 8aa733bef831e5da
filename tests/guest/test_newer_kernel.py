"""A newer stock kernel than that of the other tests, from the same release: the recorder attaches to it on
the lowest rung and on the highest, and the model of its buddy has nothing wrong that anything tells of.
"""

import pytest

from replay.buddy.rules import preset_of
from replay.validation import validate
from tests.guest.conftest import LAB_KERNEL, LAB_RUNGS
from tests.guest.lab import Run
from tests.guest.wrong import assert_the_end_tells_of_all_that_is_wrong
from tracer import Op, open_trace


@pytest.mark.parametrize("rung", LAB_RUNGS)
def test_it_is_recorded_whole_on_the_rung_asked_for(run: Run, rung: str) -> None:
    trace = open_trace(run.out / f"{rung}.trace")
    manifest = trace.manifest
    assert manifest.guest.kernel_release.startswith(f"{LAB_KERNEL}.")
    assert preset_of(manifest.guest) == "6.10"
    assert (manifest.rung, manifest.lost, trace.complete) == (rung, 0, True)
    assert manifest.reporting.active is True
    kept = {probe.op: probe.kept for probe in manifest.probes}
    for op in (Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE):
        assert kept[op] > 0
    if rung == "fentry":
        assert kept[Op.PASS_START] > 0
        assert kept[Op.REPORTING_ISOLATE] > 0


@pytest.mark.parametrize("rung", LAB_RUNGS)
def test_no_step_is_impossible_and_nothing_is_wrong(run: Run, rung: str) -> None:
    verdict = validate(open_trace(run.out / f"{rung}.trace"))
    assert verdict.fidelity["steps"] > 5_000
    assert verdict.fidelity["frames_changed"] > 5_000
    assert_the_end_tells_of_all_that_is_wrong(verdict)

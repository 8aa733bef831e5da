"""The shipped trace under every policy, by the fast engine and by the plain-Python model: identical reports,
and identical numbers. In the normal run a slice of it, in the soak all of it.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from replay.device import Device
from replay.engine import Options, Run, run_all
from replay.policies import policy_named
from replay.slicing import slice_trace
from tests.golden.regenerate import TRACE
from tests.oracle import model
from tests.oracle.recorded import Recording, read
from tests.pure.same_answer import assert_same
from tracer import Trace, open_trace

SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
SECOND_NS = 10**9
SLICE_NS = (24 * SECOND_NS, 27 * SECOND_NS)
STARTS = ("steady", "cold", "recorded")
# Beside its order, each at what it does by itself.
POLICIES: dict[str, dict[str, Any]] = {
    "upstream": {},
    "boundary": {},
    "bitmap": {},
    "hints": {},
    "balloon-hinting": {},
    "clairvoyant": {"horizon": SECOND_NS},
    "oracle": {},
    "never": {},
}
Case = tuple[str, int, str]
CASES: list[Case] = [(policy, 9, start) for start in STARTS for policy in POLICIES]
if SOAK:
    CASES += [(policy, order, start) for order in (10, 5, 0) for start in STARTS for policy in POLICIES]
    # It would hold thousands of small blocks at once, and the model looks at each of them at each event.
    CASES = [case for case in CASES if case[0] != "balloon-hinting" or case[1] >= 9]
else:
    CASES += [(policy, 5, "cold") for policy in ("upstream", "boundary", "bitmap", "hints")]
    CASES += [("upstream", 0, "steady")]
CALL_NS = Device().call_ns


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    if SOAK:
        return open_trace(TRACE)
    out: Path = tmp_path_factory.mktemp("slice") / "part.trace"
    slice_trace(open_trace(TRACE), out, *SLICE_NS)
    return open_trace(out)


@pytest.fixture(scope="module")
def recording(trace: Trace) -> Recording:
    return read(trace)


@pytest.fixture(scope="module")
def runs(trace: Trace) -> dict[Case, Run]:
    """What the engine makes of it: for each start, all policies and orders in one pass."""
    found: dict[Case, Run] = {}
    for start in STARTS:
        cases = [case for case in CASES if case[2] == start]
        settings = [
            policy_named(policy).settle(trace.manifest.guest, {"order": order, **POLICIES[policy]})
            for policy, order, _ in cases
        ]
        found |= dict(zip(cases, run_all(trace, settings, Options(start, logging=True)), strict=True))
    return found


def plain(recording: Recording, trace: Trace, case: Case) -> model.Outcome:
    """What the plain model makes of it."""
    policy, order, start = case
    guest = trace.manifest.guest
    params: dict[str, Any] = {"order": order}
    if policy in ("upstream", "boundary"):
        params |= {"rounding": "wheel", "jiffies0": guest.jiffies, "mono0_ns": guest.jiffies_monotonic_ns}
    if policy == "clairvoyant":
        params["horizon_ns"] = POLICIES[policy]["horizon"]
    r = recording
    return model.simulate(
        r.guest, r.state, r.reported_heads, r.t0_ns, r.end_ns, r.events, policy, params, start, "4k",
        call_ns=CALL_NS, cpus=r.cpus, types=r.types,
    )  # fmt: skip


def test_the_recording_tells_enough_to_be_told_apart(recording: Recording, runs: dict[Case, Run]) -> None:
    assert len(recording.events) > 40_000
    blocks = {case: int(run.schedule.state.meters[0]["blocks"]) for case, run in runs.items()}
    silent = {case for case, reported in blocks.items() if not reported}
    assert {policy for policy, _, _ in silent} <= {"never", "boundary", "hints", "bitmap"}, blocks
    assert {policy for policy, _, _ in CASES if (policy, 9, "steady") in silent} == {"never", "boundary"}
    assert ("boundary", 9, "cold") not in silent


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_every_report_and_number_is_the_same(
    case: Case, trace: Trace, recording: Recording, runs: dict[Case, Run]
) -> None:
    want = plain(recording, trace, case)
    # What clairvoyant books into the past shows in its timeline, of which it takes the peak.
    assert_same(runs[case], want, leave_out=("peak",) if case[0] == "clairvoyant" else ())

"""Exact numbers of the shipped trace: `make golden` rewrites them, the test compares them.

Look at the diff before you commit it: each change is a change of the answer.
"""

import json
from pathlib import Path
from typing import Any

from replay.api import replay
from replay.device import Device
from replay.engine import Options
from replay.state import NEVER
from replay.validation import validate

HERE = Path(__file__).parent
TRACE = HERE.parent.parent / "data" / "database.trace"
GOLDEN = HERE / "database.json"

SPANS = ((0, 20 * 10**9), (30 * 10**9, NEVER))

CASES: dict[str, tuple[list[str], Options]] = {
    "default": ([], Options()),
    "cold": ([], Options(start="cold")),
    "device": (["upstream", "boundary", "hints"], Options(device=Device(fail_every=3, registered_ns=SPANS))),
    "recorded": (["upstream"], Options(start="recorded")),
    "2m": (["upstream", "oracle"], Options(backing="2m")),
    "thp": (["upstream:order=5", "upstream"], Options(backing="thp")),
    "orders": (["upstream:order=10", "upstream:order=4", "upstream:order=0"], Options()),
    "knobs": (["upstream:delay=100ms,capacity=512,budget=1,gate=off,rounding=none"], Options()),
}


def answers() -> dict[str, Any]:
    """Every number of every case, and the trace's fidelity."""
    found: dict[str, Any] = {}
    for name, (policies, options) in CASES.items():
        done = replay(TRACE, policies, options)
        found[name] = {"fidelity": done.fidelity, "results": [result.summary for result in done.results]}
    verdict = validate(found_trace())
    found["validate"] = {"fidelity": verdict.fidelity}
    return found


def found_trace() -> Any:
    """The shipped trace."""
    from tracer import open_trace

    return open_trace(TRACE)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(answers(), indent=1) + "\n")
    print(f"wrote {GOLDEN}")

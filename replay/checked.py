"""A finished replay, compared with the last snapshot and checked for what must always hold."""

from typing import TYPE_CHECKING

from replay.invariants import violations
from replay.validation import validate
from tracer import Fault

if TYPE_CHECKING:
    from replay.api import Replay


def check_all(done: "Replay") -> None:
    """Fill its fidelity from the end snapshot.

    Raises:
        Fault: when the model contradicts itself.
    """
    found_now = validate(done.trace).fidelity
    done.fidelity.update({name: found_now[name] for name, known in done.fidelity.items() if known is None})
    found = [text for result in done.results for text in violations(result.run)]
    if found:
        raise Fault(
            f"the model contradicts itself: {found[0]}",
            f"{len(found)} invariants are broken",
            "this is a bug in pagetide: report it with this trace",
        )

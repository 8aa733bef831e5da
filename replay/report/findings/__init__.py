"""What a replay found out, in plain words with the numbers in them: pure functions over the answer.

A word between backquotes is a name or a command. Numbers come from the answer alone, so that none can go
stale; what to choose is `replay.report.choice`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from replay.report.choice import Choice, choose
from replay.report.findings.belief import how_far
from replay.report.findings.how import at_what_price, how_soon, in_pieces, what_stays
from replay.report.findings.which import apart, which
from replay.report.rows import Rows
from tracer.units import human_duration


@dataclass(frozen=True)
class Finding:
    """A question, and what the numbers say to it: the first line is the answer, the others say why."""

    name: str
    title: str
    lines: list[str]


def findings(answer: dict[str, Any]) -> list[Finding]:
    """All that an answer gives, the choice first."""
    rows = Rows.of(answer)
    if not rows.rows or not rows.trace["duration_s"] or not rows.trace["events"]:
        return [_nothing(rows)]
    choice = choose(rows)
    parts: Sequence[tuple[str, str, Callable[[Rows, Choice | None], list[str]]]] = (
        ("choice", "Which policy to choose", which),
        ("differences", "Is another policy, or a patch, worth it?", apart),
        ("pieces", "What is out of reach at this order?", in_pieces),
        ("soon", "How soon does memory come back?", how_soon),
        ("price", "What does it cost?", at_what_price),
        ("stays", "What does not come back, and why?", what_stays),
        ("believe", "How far do these numbers go?", how_far),
    )
    told = [Finding(name, title, lines(rows, choice)) for name, title, lines in parts]
    return [finding for finding in told if finding.lines]


def _nothing(rows: Rows) -> Finding:
    trace = rows.trace
    what = f"{trace['events']:,} events over {human_duration(trace['duration_s'])}"
    return Finding(
        "nothing",
        "There is nothing to judge yet",
        [
            f"The trace has {what}: nothing happened by which memory could come back.",
            (
                "Record for longer, at best some minutes under the load that matters: `pagetide record "
                "guest.trace --duration 5min`."
            ),
        ],
    )

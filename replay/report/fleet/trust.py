"""How right the traces of a fleet are: how many are whole, and what failed."""

from dataclasses import dataclass

import polars as pl

from replay.batching.task import FAILED
from replay.report.fleet.compared import Compared
from replay.report.fleet.tasks import Failure, Tasks
from replay.report.trust import CARE, GOOD, NO

IMPOSSIBLE = 0.01  # of a trace's steps: above it the model does not know what the guest did
MOST_FAILURES = 20


@dataclass(frozen=True)
class Trust:
    """A word, and what was seen.

    Attributes:
        word: as of one trace: the worst of what is seen.
        checks: what was looked at, and what was seen.
        notes: what was left aside, a line each.
        failures: tasks without results, the first of them.
        more: how many failures there are besides.
    """

    word: str
    checks: list[tuple[str, str]]
    notes: list[str]
    failures: list[Failure]
    more: int


def trust(of: Compared, tasks: Tasks | None) -> Trust:
    """Of the traces compared."""
    guests = of.guests
    broken = guests.filter(~pl.col("whole").fill_null(value=False)).height
    wrong = guests.filter(pl.col("impossible_share") > IMPOSSIBLE).height
    lost = guests.filter(pl.col("lost_events") > 0).height
    failures = list(tasks.failures) if tasks else []
    total = guests.height
    checks = [
        ("traces that are whole", f"{total - broken:,} of {total:,}"),
        ("with lost events", f"{lost:,}"),
        (f"with more than {IMPOSSIBLE:.0%} of impossible steps", f"{wrong:,}"),
        ("traces asked for", _run(tasks)),
        ("engine", of.fleet.engine or "not told"),
    ]
    notes = list(of.fleet.notes)
    bad, asked = broken + wrong + len(failures) + of.fleet.left_out, total + len(failures) + of.fleet.left_out
    word = GOOD if not bad else NO if 2 * bad > asked else CARE
    return Trust(word, checks, notes, failures[:MOST_FAILURES], max(0, len(failures) - MOST_FAILURES))


def _run(tasks: Tasks | None) -> str:
    if tasks is None or not tasks.counts:
        return "not told: there is no manifest"
    order = sorted(tasks.counts.items(), key=lambda item: (item[0] == FAILED, item[0]))
    return ", ".join(f"{number:,} {status}" for status, number in order)

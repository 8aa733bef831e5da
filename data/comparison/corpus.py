"""One HTML page of the whole comparison: every policy on every trace of the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.comparison.answers import (
    AT_0,
    CPU_S,
    OF_ALL,
    P50_S,
    Answers,
    Shows,
    Writes,
    cell,
    column,
    cpu,
    label,
    percent,
    seconds,
)
from data.comparison.in_short import in_short
from data.comparison.pictures import pictures
from data.comparison.replayed import POLICIES, UNTOLD
from replay.output import aside
from replay.report.page import Made
from replay.report.sheet import sheet

TEMPLATE = Path(__file__).parent / "corpus.html.j2"
SHOWN = (UNTOLD, *(name for name in POLICIES if name != "never"), AT_0)


@dataclass(frozen=True)
class Number:
    """A cell: as it is shown, and its value in the table (`key`: its column there)."""

    text: str
    key: str
    value: float | None


TOLD: Sequence[tuple[str, Shows, Writes]] = (
    ("reclaimed_share_of_all_orders", OF_ALL, percent),
    ("latency_p50_s", P50_S, seconds),
    ("cost_total_s", CPU_S, cpu),
)


def corpus_html(answers: Answers, command: str) -> str:
    """The page. `command`: which makes it again.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    drawn = pictures(answers)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return sheet(
        TEMPLATE,
        {figure.name: figure.chart for figure in drawn if figure.chart is not None},
        traces=[(trace, answers.shown(column("duration_s"), trace)) for trace in answers.traces],
        events=sum(answers.over(column("events")).values()),
        findings=[line.removeprefix("- ") for line in in_short(answers).splitlines()],
        settings=[(setting, label(setting)) for setting in SHOWN],
        numbers=numbers,
        answers=answers,
        figures=drawn,
        rows=len(answers.rows),
        made=Made(command, when),
    )


def numbers(answers: Answers, trace: str, setting: str) -> list[Number]:
    """What the page's table says of a setting on a trace."""
    found: list[Number] = []
    for key, shows, write in TOLD:
        value = answers.shown(shows, trace, setting)
        found.append(Number(cell(value, write), key, value))
    return found


def write_corpus(answers: Answers, out: Path, command: str) -> int:
    """Write the page in its place whole; returns its size in bytes.

    Raises:
        Fault: as `corpus_html`, and when it cannot be written.
    """
    told: Any = corpus_html(answers, command).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with aside(out) as temporary:
        temporary.write_bytes(told)
    return len(told)

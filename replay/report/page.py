"""The page of a replay: how right the trace is, what to choose and why, the numbers, the figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replay.report.choice import choose
from replay.report.findings import findings
from replay.report.rows import Rows
from replay.report.sheet import TEMPLATES, sheet
from replay.report.table import GROUPS, cells
from replay.report.trust import trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.report.figures import Figure
    from replay.report.material import Material


@dataclass(frozen=True)
class Made:
    """How a page came to be: the command that makes it again, and when (UTC, as people write it)."""

    command: str
    when: str


def html(material: "Material", drawn: "Sequence[Figure]", made: Made) -> str:
    """The whole page as text. `drawn`: its figures, in order.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    answer = material.answer
    rows = Rows.of(answer)
    return sheet(
        TEMPLATES / "page.html.j2",
        {figure.name: figure.chart for figure in drawn if figure.chart is not None},
        trace=answer["trace"],
        name=Path(answer["trace"]["path"]).name,
        trust=trust(answer),
        findings=findings(answer),
        rows=rows,
        choice=choose(rows),
        most=max((row.byte_seconds for row in rows.rows), default=0),
        groups=GROUPS,
        cells=cells,
        figures=drawn,
        made=made,
    )

"""Which setting to choose for a guest: the rule, apart from its words.

Begin with the first setting that a released kernel has. Another of those replaces it when it reclaims
`WORTH` of the ceiling more and costs no more than `LITTLE` times the CPU. What reclaims more for a higher
price, or needs a patch, is an alternative. Less than `WORTH` is no difference.
"""

from dataclasses import dataclass

from replay.report.rows import Row, Rows

WORTH = 0.01  # of the ceiling at the chosen order: less is no reason to choose anything
LITTLE = 1.5  # times the CPU: up to this a higher price does not count against more memory
WORTH_A_PATCH = 0.05  # of the guest's memory: less is hardly worth carrying a patch for
NOTHING_BYTES = 16 << 20  # a ceiling below this, on average, is nothing worth reporting


@dataclass(frozen=True)
class Choice:
    """What to choose, and what speaks for something else.

    Attributes:
        row: the choice.
        ceiling: byte seconds, the most that is possible at its order.
        dearer: settings of released kernels that reclaim more, at a price.
        cheaper: those that reclaim the same for less CPU.
        patches: what no kernel has and reclaims more.
    """

    row: Row
    ceiling: float
    dearer: list[Row]
    cheaper: list[Row]
    patches: list[Row]

    def more(self, other: Row) -> float:
        """What another reclaims more, as a share of the ceiling."""
        return (other.byte_seconds - self.row.byte_seconds) / self.ceiling if self.ceiling else 0.0


def choose(rows: Rows) -> Choice | None:
    """None where nothing was replayed that a released kernel has."""
    if not rows.today:
        return None
    best = rows.today[0]
    for row in rows.today[1:]:
        if _more(rows, best, row) >= WORTH and row.cpu_s <= LITTLE * best.cpu_s:
            best = row
    others = [row for row in rows.today if row is not best]
    return Choice(
        best,
        rows.ceiling_byte_seconds(best.order),
        dearer=[row for row in others if _more(rows, best, row) >= WORTH],
        cheaper=[
            row for row in others if abs(_more(rows, best, row)) < WORTH and row.cpu_s * LITTLE < best.cpu_s
        ],
        patches=[row for row in rows.possible if not row.since and _more(rows, best, row) >= WORTH],
    )


def _more(rows: Rows, than: Row, row: Row) -> float:
    ceiling = rows.ceiling_byte_seconds(than.order)
    return (row.byte_seconds - than.byte_seconds) / ceiling if ceiling else 0.0

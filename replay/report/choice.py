"""Which setting to choose for a guest: the rule, apart from its words.

Begin with the first setting that a released kernel has. Another of those at the same order replaces it
when it brings back `WORTH` more and costs no more than `LITTLE` times the CPU. What brings back more for a
higher price, at another order or only with a patch, is an alternative. Less than `WORTH` is no difference.

What is more is said in bytes, and in shares of the guest's memory: shares of the ceiling are of one order.
"""

from dataclasses import dataclass

from replay.report.rows import Row, Rows

WORTH = 0.01  # of the guest's memory: less is no reason to choose anything
LITTLE = 1.5  # times the CPU: up to this a higher price does not count against more memory
WORTH_A_PATCH = 0.05  # of the guest's memory: less is hardly worth carrying a patch for
NOTHING_BYTES = 16 << 20  # a ceiling below this, on average, is nothing worth reporting


@dataclass(frozen=True)
class Choice:
    """What to choose, and what speaks for something else.

    Attributes:
        row: the choice.
        ceiling: byte seconds, the most that is possible at its order.
        lower: settings of released kernels at a lower order, the most reclaimed first.
        dearer: those at no lower order that reclaim more, at a price.
        cheaper: those that reclaim the same for less CPU.
        patches: what takes a patch, the most reclaimed first.
    """

    row: Row
    ceiling: float
    lower: list[Row]
    dearer: list[Row]
    cheaper: list[Row]
    patches: list[Row]

    def more(self, other: Row) -> float:
        """What another reclaims more, as a share of the guest's memory."""
        return _more(self.row, other)


def choose(rows: Rows) -> Choice | None:
    """None where nothing was replayed that a released kernel has."""
    if not rows.today:
        return None
    best = rows.today[0]
    for row in rows.today[1:]:
        if row.order == best.order and _more(best, row) >= WORTH and row.cpu_s <= LITTLE * best.cpu_s:
            best = row
    others = [row for row in rows.today if row is not best]
    lower = [row for row in others if row.order < best.order]
    patches = [row for row in rows.possible if not row.since]
    return Choice(
        best,
        rows.ceiling_byte_seconds(best.order),
        lower=sorted(lower, key=lambda row: -row.byte_seconds),
        dearer=[row for row in others if row not in lower and _more(best, row) >= WORTH],
        cheaper=[row for row in others if abs(_more(best, row)) < WORTH and row.cpu_s * LITTLE < best.cpu_s],
        patches=sorted(patches, key=lambda row: -row.byte_seconds),
    )


def _more(than: Row, row: Row) -> float:
    return (row.mean_bytes - than.mean_bytes) / than.managed_bytes if than.managed_bytes else 0.0

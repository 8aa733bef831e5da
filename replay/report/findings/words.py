"""What sentences of all findings are made of."""

import shlex
from collections.abc import Callable
from typing import Any

from replay.report.choice import Choice
from replay.report.rows import Row, Rows
from tracer import human_bytes


def whom(rows: Rows, choice: Choice | None) -> Row | None:
    """Whom the details are about: the choice, else the best of what a kernel could do, else none."""
    if choice:
        return choice.row
    return max(rows.possible, key=lambda row: row.byte_seconds, default=None)


def piece_of(row: Row) -> str:
    """The size of a piece that is reported."""
    return human_bytes(row.piece_bytes)


def path_of(rows: Rows) -> str:
    """The trace's path, as a shell takes it."""
    return shlex.quote(rows.trace["path"])


def listed(parts: Any) -> str:  # noqa: ANN401 - any iterable of text
    """Parts of a sentence, with `and` before the last."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else str(last)


def percent(share: float) -> str:
    """A share, to a tenth of a percent."""
    return f"{share:.1%}" if share >= 0.001 or not share else "less than 0.1%"


def times(what: str, one: float, other: float, write: Callable[[Any], str]) -> str:
    """How much of something there is after it was `one`: a factor, and both as people write them."""
    if not one:
        noun = what.removeprefix("the ")
        return f"{write(other)} of {noun} instead of none" if other else f"no {noun}"
    factor = other / one
    told = f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"
    return f"{told}x {what} ({write(one)} to {write(other)})"

"""What sentences of all findings are made of."""

import shlex
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


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many}"

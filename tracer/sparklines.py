"""Small pictures in a line of text: a series as marks of eight heights.

Where stdout's encoding has no block elements, plain ASCII does.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*%#"
UNKNOWN = " "


def can_show(text: str) -> bool:
    """Has stdout's encoding all these characters?"""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def heights() -> str:
    """The eight marks, the lowest first, that stdout can show."""
    return BLOCKS if can_show(BLOCKS) else ASCII


def sparkline(values: Sequence[float | None], least: float, most: float) -> str:
    """A mark for each value between `least` (the lowest mark) and `most` (the highest); a blank for None.

    What is beyond either end has that end's mark. Where both ends are the same, all marks are the lowest.
    """
    marks = heights()
    scale = (len(marks) - 1) / (most - least) if most > least else 0.0
    return "".join(
        UNKNOWN if value is None else marks[round(min(max(value - least, 0), most - least) * scale)]
        for value in values
    )


def averages(
    at: "NDArray[np.int64] | NDArray[np.float64]",
    values: "NDArray[np.int64] | NDArray[np.float64]",
    span: tuple[float, float],
    marks: int,
) -> list[float | None]:
    """The mean of the values in each of so many equal stretches of `span`; None where there is none.

    `at`: where each value belongs; those outside of the span count with its first or last stretch.
    """
    where = stretch_of(at, span, marks)
    counts, sums = sums_of(where, marks), sums_of(where, marks, values)
    return [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]


def stretch_of(
    at: "NDArray[np.int64] | NDArray[np.float64]", span: tuple[float, float], marks: int
) -> "NDArray[np.int64]":
    """In which of so many equal stretches of `span` each of them is."""
    import numpy as np

    first, last = span
    width = max(last - first, 1e-9) / marks
    return np.clip((at - first) / width, 0, marks - 1).astype(np.int64)


def sums_of(
    where: "NDArray[np.int64]", marks: int, values: "NDArray[np.int64] | NDArray[np.float64] | None" = None
) -> "NDArray[np.float64]":
    """The sum of the values in each stretch; without values, how many there are."""
    import numpy as np

    return np.bincount(where, values, marks).astype(np.float64)

"""What a terminal can draw of a replay: reclaimed memory over time, a line of marks for each policy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from replay.tables import WIDTH, new_table, size, tight
from tracer import averages, heights, sparkline
from tracer.units import human_duration

if TYPE_CHECKING:
    from replay.results import Result

MOST_MARKS = 48
NUMBERS = len(" 1000MiB 1000MiB") + 1  # columns of the least and the most, and the one before the marks


def over_time(rows: "Sequence[tuple[str, Result]]") -> tuple[Table, str] | None:
    """A table with a line a policy, all on one scale, and its legend; None where no time passed.

    The scale begins at the least that any of them has reclaimed, not at zero: a guest that has most of
    its memory back all the time would show nothing else. Who never reclaims has no line.
    """
    frames = {label: result.timeline for label, result in rows}
    told = {label: frame["reclaimed_bytes"].to_numpy() for label, frame in frames.items() if len(frame) > 1}
    any_reclaimed = [series for series in told.values() if series.max() > 0]
    if not any_reclaimed:
        return None
    least = min(int(series.min()) for series in any_reclaimed)
    most = max(int(series.max()) for series in any_reclaimed)
    (time_s, *_) = (frame["time_s"].to_numpy() for frame in frames.values())
    end_s = float(time_s[-1])
    middle_s = time_s - np.diff(time_s, prepend=0.0) / 2  # each instant stands for the time since the last
    marks = min(MOST_MARKS, WIDTH - max(map(len, told)) - NUMBERS, len(time_s))
    table = new_table("over time", "reclaimed", "least", "most")
    table.columns[1].justify = "left"
    for label, series in told.items():
        line = "never any"
        if series.max() > 0:
            means = averages(middle_s, series, (0.0, end_s), marks)
            line = sparkline(means, least, most)
        table.add_row(label, line, size(int(series.min())), size(int(series.max())))
    low, high = heights()[0], heights()[-1]
    mark = tight(human_duration(end_s / marks))
    return table, f"reclaimed: {low} {size(least)} to {high} {size(most)}, a mark is the mean of {mark}"

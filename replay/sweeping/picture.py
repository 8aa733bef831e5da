"""A sweep as a picture in a terminal: what each setting reclaims against how long it takes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from replay.tables import shorter, tight
from tracer.units import human_duration

COLUMNS, LINES = 60, 8
LABEL = 9  # columns of the numbers at the left
FEWEST = 4  # settings: fewer are seen in the table at once
FRONT, OTHER = "*", "o"


@dataclass(frozen=True)
class Point:
    """A setting: its mean latency, what it reclaimed over time, and whether no other one beats it."""

    latency_s: float
    gib_s: float
    front: bool


def picture(points: Sequence[Point]) -> list[str]:
    """Lines of at most 80 columns, and the last one a legend; none where there is nothing to compare.

    Latency grows to the right, by factors; reclaimed memory grows upwards. Of settings in one place the
    front's mark is seen.
    """
    timed = [point for point in points if point.latency_s > 0]
    if len(timed) < FEWEST:
        return []
    times, sizes = ([log10(point.latency_s) for point in timed], [point.gib_s for point in timed])
    if max(times) == min(times) or max(sizes) == min(sizes):
        return []
    rows = [[" "] * COLUMNS for _ in range(LINES)]
    for point, time, size in sorted(zip(timed, times, sizes, strict=True), key=lambda each: each[0].front):
        row = LINES - 1 - _place(size, sizes, LINES)
        rows[row][_place(time, times, COLUMNS)] = FRONT if point.front else OTHER
    ends = {0: shorter(max(sizes)), LINES - 1: shorter(min(sizes))}
    lines = [f"{ends.get(at, ''):>{LABEL}} |{''.join(row)}".rstrip() for at, row in enumerate(rows)]
    least, most = (tight(human_duration(10**end)) for end in (min(times), max(times)))
    axis = f"{'GiB*s':>{LABEL}} +{'-' * COLUMNS}"
    scale = f"{'':>{LABEL}}  {least}{most:>{COLUMNS - len(least)}}"
    legend = f"GiB*s reclaimed over mean latency, by factors; {FRONT} on the front, {OTHER} not"
    return [*lines, axis, scale, legend]


def _place(value: float, values: Sequence[float], places: int) -> int:
    least, most = min(values), max(values)
    return round((value - least) / (most - least) * (places - 1))

"""Who is in the pictures: each result's name, colour, line and shape, the same in all of them."""

from dataclasses import dataclass
from typing import Any, Self

from replay.policies import CEILING, OWN
from replay.report.labels import labels

# Okabe and Ito's, the ones that hold on white first; what reports nothing, or is the ceiling, is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#B8A800", "#8C564B")
GREY = "#8A8F98"
DASHES = ([1, 0], [8, 3], [2, 2], [8, 3, 2, 3], [12, 3], [4, 4], [5, 2, 1, 2, 1, 2], [1, 4])
CEILING_DASH = [6, 5]
SILENT_DASHES = ([1, 3], [1, 6], [3, 6], [1, 2, 4, 2])  # of what reports nothing
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "wedge")


@dataclass(frozen=True)
class Cast:
    """One entry of each tuple per result, in their order.

    Attributes:
        names: what it is called, no two the same.
        colours, dashes, shapes: how it is drawn: by its place among those that report.
        ceiling: the result that bounds the others, if there is one.
        first: the result to show first where one is chosen: what a stock kernel does, else one that reports.
    """

    results: list[dict[str, Any]]
    names: list[str]
    colours: list[str]
    dashes: list[list[int]]
    shapes: list[str]
    ceiling: int | None
    first: int

    @classmethod
    def of(cls, results: list[dict[str, Any]]) -> Self:
        """Of `answer["results"]`."""
        ceilings = [i for i, result in enumerate(results) if result["policy"] == CEILING]
        ceiling = ceilings[0] if len(ceilings) == 1 else None
        reporting = [i for i in range(len(results)) if i != ceiling and reports(results[i])]
        own = [i for i in reporting if results[i]["policy"] == OWN]
        colours, dashes, shapes = [], [], []
        for i in range(len(results)):
            place = reporting.index(i) if i in reporting else None
            colours.append(GREY if place is None else COLOURS[place % len(COLOURS)])
            silent = [j for j in range(i) if j not in reporting and j != ceiling]
            neutral = CEILING_DASH if i == ceiling else SILENT_DASHES[len(silent) % len(SILENT_DASHES)]
            # A second round of colours has other dashes.
            shift = 0 if place is None else place + place // len(COLOURS)
            dashes.append(neutral if place is None else DASHES[shift % len(DASHES)])
            shapes.append("circle" if place is None else SHAPES[shift % len(SHAPES)])
        first = next(iter([*own, *reporting, *range(len(results))]), 0)
        return cls(results, labels(results), colours, dashes, shapes, ceiling, first)

    def told(self, numbers: dict[int, str]) -> str:
        """A sentence for `alt`: each result's name and what is said of it."""
        return "; ".join(f"{self.names[index]}: {text}" for index, text in numbers.items()) + "."


def reports(result: dict[str, Any]) -> bool:
    """Did it report anything?"""
    return bool(result["reports"]["blocks"])

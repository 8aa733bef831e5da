"""Who is in the pictures: each result's name, colour, line and shape, the same in all of them."""

from dataclasses import dataclass
from typing import Any, Self

from replay.policies import CEILING, OWN, registry
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
        names: what it is called, no two the same; with its order where that is not `order` and the name does
            not say it.
        orders: in which it reports; None where the policy has none.
        order: the usual one: of the result to show first.
        colours, dashes, shapes: how it is drawn: by its place among those that report.
        ceiling: the result that bounds the others of the usual order, if there is one.
        first: the result to show first where one is chosen: what a stock kernel does, else one that reports.
    """

    results: list[dict[str, Any]]
    names: list[str]
    orders: list[int | None]
    order: int | None
    colours: list[str]
    dashes: list[list[int]]
    shapes: list[str]
    ceiling: int | None
    first: int

    @classmethod
    def of(cls, results: list[dict[str, Any]]) -> Self:
        """Of `answer["results"]`."""
        orders = [result["params"].get("order") for result in results]
        bounds = [i for i, result in enumerate(results) if result["policy"] == CEILING]
        reporting = [i for i in range(len(results)) if i not in bounds and reports(results[i])]
        own = [i for i in reporting if results[i]["policy"] == OWN]
        first = next(iter([*own, *reporting, *range(len(results))]), 0)
        order = orders[first] if orders else None
        ceilings = [i for i in bounds if orders[i] == order]
        ceiling = ceilings[0] if len(ceilings) == 1 else None
        reporting = [i for i in range(len(results)) if i != ceiling and reports(results[i])]
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
        names = [_named(name, orders[i], order) for i, name in enumerate(labels(results))]
        return cls(results, names, orders, order, colours, dashes, shapes, ceiling, first)

    @property
    def mixed(self) -> bool:
        """Do they differ in their orders, so that shares of what could be reported cannot be compared?"""
        return any(order is not None and order != self.order for order in self.orders)

    @property
    def main(self) -> list[int]:
        """The few that say most: what is shown first, the best other one of its order that can be had, the
        ceiling, and what reports nothing.
        """
        silent = [i for i, result in enumerate(self.results) if not reports(result)]
        others = [
            i
            for i, order in enumerate(self.orders)
            if order == self.order and i != self.first and i not in silent and not bound(self.results[i])
        ]
        best = sorted(others, key=lambda i: -self.results[i]["reclaimed"]["byte_seconds"])
        some = [self.first, *best[:1], self.ceiling, *silent[:1]]
        return list(dict.fromkeys(i for i in some if i is not None))

    def told(self, numbers: dict[int, str]) -> str:
        """A sentence for `alt`: each result's name and what is said of it."""
        return "; ".join(f"{self.names[index]}: {text}" for index, text in numbers.items()) + "."


def _named(name: str, order: int | None, usual: int | None) -> str:
    apart = order is not None and order != usual and "order=" not in name
    return f"{name} (order {order})" if apart else name


def bound(result: dict[str, Any]) -> bool:
    """Is it a bound, as its policy says?"""
    policy = registry().get(result["policy"])
    return policy is not None and bool(policy.bound)


def reports(result: dict[str, Any]) -> bool:
    """Did it report anything?"""
    return bool(result["reports"]["blocks"])

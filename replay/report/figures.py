"""The figures of a report: each answers one question, and says so to those who cannot see it too."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from replay.report import drawing
from replay.report.theme import theme

if TYPE_CHECKING:
    from replay.report.material import Material

__all__ = ["Figure", "figures", "theme"]

# Modules of `replay.report.charts`, in the order of the page.
ORDER = ("reclaimed", "latency", "fate", "pareto", "why", "orders", "address_map", "passes")


@dataclass(frozen=True)
class Figure:
    """A picture and its words.

    Attributes:
        name: its id in a page.
        title: what question it answers.
        reading: how to read it, in one or two sentences.
        alt: the main numbers, for those who cannot see it.
        chart: Vega-Lite's specification, as wide as the element that holds it and with no colours of its
            own for text and ground (`theme` has them); None where there is nothing to draw.
        missing: then why, and what to do; else empty.
    """

    name: str
    title: str
    reading: str
    alt: str
    chart: dict[str, Any] | None
    missing: str = ""


def figures(material: "Material") -> list[Figure]:
    """All figures of a report, also those with nothing to draw.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    drawing()
    cast = import_module("replay.report.charts.cast").Cast.of(material.answer["results"])
    return [import_module(f"replay.report.charts.{name}").figure(material, cast) for name in ORDER]

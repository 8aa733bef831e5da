"""Charts: one module for each question, and what they have in common. They need the extra `report`.

They are Altair's. `composition` and `fragmentation` draw one result (`Result.chart`), `save` writes any
chart. The figures of the page are in the other modules; `replay.report.figures` asks them all.
"""

from replay.report.charts.of_result import composition, fragmentation, save
from replay.report.charts.parts import LOOKS

__all__ = ["LOOKS", "composition", "fragmentation", "save"]

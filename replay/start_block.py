"""A block on the free lists where a replay begins."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class StartBlock:
    """A block that is free at the start, and whether it is already reported. `migratetype`: of its
    list, -1 where the lists were not read.
    """

    unit: int
    order: int
    reported: bool
    migratetype: int = -1

    def unreported(self) -> "StartBlock":
        """The same block, not reported."""
        return replace(self, reported=False)

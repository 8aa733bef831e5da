"""The migratetype of every pageblock."""

from tests.oracle.guest import MERGEABLE, MOVABLE, align_down


class PageblockTypes:
    """The migratetype of every pageblock; MOVABLE at the start unless told (pageblock_flags)."""

    def __init__(self, pageblock_order: int, told: dict[int, int] | None = None) -> None:
        """``told``: types at the start by number of the pageblock; the others start as MOVABLE."""
        self.pageblock_order = pageblock_order
        self._types: dict[int, int] = dict(told or {})

    def get(self, pfn: int) -> int:
        """get_pageblock_migratetype(): the type of the pageblock that contains ``pfn``."""
        return self._types.get(pfn >> self.pageblock_order, MOVABLE)

    def touched(self, pfn: int, order: int) -> list[int]:
        """First frames of the pageblocks that share a frame with the block."""
        first = align_down(pfn, self.pageblock_order)
        return list(range(first, pfn + (1 << order), 1 << self.pageblock_order))

    def set_touched(self, pfn: int, order: int, migratetype: int) -> None:
        """set_pageblock_migratetype() on every pageblock the block touches."""
        for start in self.touched(pfn, order):
            self._types[start >> self.pageblock_order] = migratetype

    def turn(self, pfn: int, order: int, migratetype: int) -> None:
        """Every pageblock the block touches becomes ``migratetype``, if it is of a mergeable type."""
        for start in self.touched(pfn, order):
            if self.get(start) in MERGEABLE:
                self._types[start >> self.pageblock_order] = migratetype

"""The guest that is replayed, and arithmetic on its frames."""

from dataclasses import dataclass

UNMOVABLE, MOVABLE, RECLAIMABLE = 0, 1, 2
MERGEABLE = frozenset({UNMOVABLE, MOVABLE, RECLAIMABLE})

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Zone:
    """One zone, [start_pfn, end_pfn); watermarks and boost in pages (``struct zone``)."""

    name: str
    start_pfn: int
    end_pfn: int
    min: int
    low: int
    boost: int
    populated: bool = True  # populated_zone(), as the guest says it at the start


@dataclass(frozen=True)
class Guest:
    """What never changes about a guest; ``max_order`` is inclusive (MAX_PAGE_ORDER)."""

    zones: tuple[Zone, ...]
    max_order: int
    pageblock_order: int
    hz: int | None
    page_size: int = 4096
    n_migratetypes: int = 5
    isolate_migratetype: int | None = 4
    by_pageblock: bool = True  # 6.10: a free block is on the list of its pageblock's type

    def zone_of_range(self, pfn: int, n_frames: int) -> int | None:
        """Index of the zone that wholly contains the frames [pfn, pfn + n_frames), if any."""
        for index, zone in enumerate(self.zones):
            if zone.start_pfn <= pfn and pfn + n_frames <= zone.end_pfn:
                return index
        return None


def block_frames(pfn: int, order: int) -> range:
    """The frames of the block at ``pfn`` of ``order``."""
    return range(pfn, pfn + (1 << order))


def overlap(one: range, other: range) -> range:
    """The frames that both have."""
    return range(max(one.start, other.start), min(one.stop, other.stop))


def align_down(pfn: int, order: int) -> int:
    """``pfn`` rounded down to a multiple of 2**order."""
    return pfn >> order << order


def align_up(pfn: int, order: int) -> int:
    """``pfn`` rounded up to a multiple of 2**order."""
    return align_down(pfn + (1 << order) - 1, order)


def is_aligned(pfn: int, order: int) -> bool:
    """Whether ``pfn`` is a multiple of 2**order."""
    return align_down(pfn, order) == pfn


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up (the kernel's DIV_ROUND_UP)."""
    return -(-numerator // denominator)

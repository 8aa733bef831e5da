"""The shape of a guest's memory, as every part of the engine needs it."""

import os
from dataclasses import dataclass, replace

from tracer import Fault, Guest, Zone, human_bytes
from tracer.faults import ExitCode

HUGE_PAGE_BYTES = 2 << 20  # what the host backs memory with, at best
UNMOVABLE, MOVABLE, RECLAIMABLE = range(3)
MERGEABLE_TYPES = 3  # those three: migratetype_is_mergeable()

MAX_UNIT_ORDER = 15  # the free frames of a unit are a uint16; no kernel's largest block is larger
STATE_BYTES = 2  # of a frame, at the least: what it is, and whether it was seen


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def disjoint(zones: list[Zone]) -> tuple[Zone, ...]:
    """The same zones, none of which shares a frame with another: where nodes are interleaved, their
    zones' spans overlap, and no trace tells whose a frame is. It is taken for the zone's that begins
    first, so that each frame is counted once (`limits` says so).
    """
    ends, end = {}, 0
    for index in sorted(range(len(zones)), key=lambda k: (zones[k].start_pfn, zones[k].end_pfn)):
        ends[index], end = end, max(end, zones[index].end_pfn)
    starts = [min(max(zone.start_pfn, ends[k]), zone.end_pfn) for k, zone in enumerate(zones)]
    return tuple(
        replace(zone, start_pfn=start, spanned=zone.end_pfn - start)
        for zone, start in zip(zones, starts, strict=True)
    )


@dataclass(frozen=True)
class Geometry:
    """Zones and orders of one guest, for one reporting order. Frames and orders, no bytes.

    Attributes:
        zones: none shares a frame with another.
        order: reporting order R; a unit is an aligned run of 2^R frames.
        host_order: frames of a host huge page, as an order.
        isolate_type: number of MIGRATE_ISOLATE, or -1.
    """

    zones: tuple[Zone, ...]
    order: int
    max_order: int
    pageblock_order: int
    page_size: int
    migratetypes: int
    isolate_type: int

    @classmethod
    def of(cls, guest: Guest, zones: list[Zone], order: int | None = None) -> "Geometry":
        """The geometry of a trace's guest; the default order is its pageblock order.

        Raises:
            Fault: when no block of that order can exist, or this machine cannot hold the frames' states.
        """
        order = guest.pageblock_order if order is None else order
        most = min(guest.max_order, MAX_UNIT_ORDER)
        if not 0 <= order <= most:
            raise Fault(
                f"reporting order {order} is not possible on this guest",
                f"its free lists have orders 0 to {guest.max_order}; units go up to order {MAX_UNIT_ORDER}",
                f"order={min(guest.pageblock_order, most)} is nearest to its pageblock order",
            )
        last, memory_bytes = max(zone.end_pfn for zone in zones), _memory_bytes()
        if last * STATE_BYTES > memory_bytes:
            raise Fault(
                f"a guest with frames up to {last:,} cannot be replayed on this machine",
                f"their states need {human_bytes(last * STATE_BYTES)}, it has {human_bytes(memory_bytes)}",
                "check its zones with pagetide info, or use a larger machine",
                ExitCode.ENVIRONMENT,
            )
        names = [name.lower() for name in guest.migratetypes]
        return cls(
            zones=disjoint(zones),
            order=order,
            max_order=guest.max_order,
            pageblock_order=guest.pageblock_order,
            page_size=guest.page_size,
            migratetypes=len(names),
            isolate_type=names.index("isolate") if "isolate" in names else -1,
        )

    @property
    def frames(self) -> int:
        """One past the last frame, rounded up to a block of the maximum order."""
        end = max(zone.end_pfn for zone in self.zones)
        size = 1 << self.max_order
        return -(-end // size) * size

    @property
    def units(self) -> int:
        """Number of units below `frames`."""
        return self.frames >> self.order

    @property
    def pageblocks(self) -> int:
        """Number of pageblocks below `frames`."""
        return -(-self.frames >> self.pageblock_order)

    @property
    def host_order(self) -> int:
        """Order of a host huge page in guest frames."""
        return max(HUGE_PAGE_BYTES // self.page_size, 1).bit_length() - 1

    @property
    def granule_order(self) -> int:
        """The largest run that is in one unit and in one host huge page."""
        return min(self.order, self.host_order)

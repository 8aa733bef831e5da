"""Occupancy: which frames are managed and free, from the recorded events alone."""

from tests.oracle.guest import Guest, align_up, block_frames, is_aligned


class FrameModel:
    """Which frames are managed and which of those are free: step 1, the trace's own truth.

    A frame is absent (not managed), used (managed, not free), free (managed and free) or unknown:
    nothing was read of it, and its first event says what it was.
    """

    def __init__(self, guest: Guest, state: dict[int, str]) -> None:
        """Start from ``state``: frame -> 'used' | 'free' | 'absent' | 'unknown'; the others are absent."""
        self.guest = guest
        self.managed: set[int] = set()
        self.unknown: set[int] = set()
        self.free: list[set[int]] = [set() for _ in guest.zones]
        self.entry_of_free = 0
        self.exit_of_used = 0
        self.outside = 0
        for pfn, what in state.items():
            self._start_frame(pfn, what)

    def _start_frame(self, pfn: int, what: str) -> None:
        if what == "absent":
            return
        if what not in ("used", "free", "unknown"):
            raise ValueError(f"frame {pfn}: unknown state {what!r}")
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is None:
            raise ValueError(f"frame {pfn} is {what} but lies in no zone")
        if what == "unknown":
            self.unknown.add(pfn)
            return
        self.managed.add(pfn)
        if what == "free":
            self.free[zone].add(pfn)

    def state_of(self, pfn: int) -> str:
        """'used', 'free', 'absent' or 'unknown'."""
        if pfn in self.unknown:
            return "unknown"
        if pfn not in self.managed:
            return "absent"
        return "free" if any(pfn in free for free in self.free) else "used"

    def free_count(self) -> int:
        """Number of free frames of the guest."""
        return sum(len(free) for free in self.free)

    def zone_of_event(self, pfn: int, order: int) -> int | None:
        """The zone of a well-formed event: aligned, order <= max_order, inside one zone."""
        if not 0 <= order <= self.guest.max_order or not is_aligned(pfn, order):
            return None
        return self.guest.zone_of_range(pfn, 1 << order)

    def enter(self, pfn: int, order: int) -> bool:
        """All 2**order frames become free; absent and unknown ones become managed.

        An event that finds a frame free already counts once in ``entry_of_free``.  A malformed
        event is ignored, counts in ``outside`` and returns False.
        """
        zone = self.zone_of_event(pfn, order)
        if zone is None:
            self.outside += 1
            return False
        frames = set(block_frames(pfn, order))
        if frames & self.free[zone]:
            self.entry_of_free += 1
        self.unknown -= frames
        self.managed |= frames
        self.free[zone] |= frames
        return True

    def exit(self, pfn: int, order: int) -> bool:
        """All 2**order frames become used; absent and unknown ones become managed.

        An event that finds a frame neither free nor unknown counts once in ``exit_of_used``.  A
        malformed event is ignored, counts in ``outside`` and returns False.
        """
        zone = self.zone_of_event(pfn, order)
        if zone is None:
            self.outside += 1
            return False
        frames = set(block_frames(pfn, order))
        if frames - self.free[zone] - self.unknown:
            self.exit_of_used += 1
        self.unknown -= frames
        self.managed |= frames
        self.free[zone] -= frames
        return True

    def correct(self, pfn: int, what: str) -> None:
        """A snapshot says that one frame is 'used' or 'free'; no step, so nothing is impossible."""
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is None:
            return
        self.unknown.discard(pfn)
        self.managed.add(pfn)
        (self.free[zone].add if what == "free" else self.free[zone].discard)(pfn)

    def is_wholly_free(self, pfn: int, order: int) -> bool:
        """Whether [pfn, pfn + 2**order) lies wholly inside one zone and all of it is free."""
        zone = self.guest.zone_of_range(pfn, 1 << order)
        if zone is None:
            return False
        return all(frame in self.free[zone] for frame in block_frames(pfn, order))

    def free_units(self, order: int) -> list[int]:
        """The wholly free units of ``order``, ascending."""
        units = []
        for zone in self.guest.zones:
            for pfn in range(align_up(zone.start_pfn, order), zone.end_pfn, 1 << order):
                if self.is_wholly_free(pfn, order):
                    units.append(pfn)
        return sorted(units)

    def free_blocks(self) -> dict[tuple[int, int], list[int]]:
        """(zone index, order) -> heads of the maximal aligned free blocks <= max_order, ascending.

        This is what a buddy allocator holds when everything that can merge has merged.
        """
        blocks: dict[tuple[int, int], list[int]] = {}
        for index, zone in enumerate(self.guest.zones):
            pfn = zone.start_pfn
            while pfn < zone.end_pfn:
                if pfn not in self.free[index]:
                    pfn += 1
                    continue
                order = self._largest_free_order_at(pfn)
                blocks.setdefault((index, order), []).append(pfn)
                pfn += 1 << order
        return blocks

    def _largest_free_order_at(self, pfn: int) -> int:
        """The largest order <= max_order at which ``pfn`` heads an aligned, wholly free block."""
        order = 0
        while (
            order < self.guest.max_order
            and is_aligned(pfn, order + 1)
            and self.is_wholly_free(pfn, order + 1)
        ):
            order += 1
        return order

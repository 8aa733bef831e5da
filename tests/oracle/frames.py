"""Occupancy: which frames are managed and free, from the recorded events alone."""

from itertools import compress

from tests.oracle.guest import Guest, is_aligned

ABSENT, USED, FREE, UNKNOWN = range(4)
WORDS = ("absent", "used", "free", "unknown")


class FrameModel:
    """Which frames are managed and which of those are free: step 1, the trace's own truth.

    A frame is absent (not managed), used (managed, not free), free (managed and free) or unknown:
    nothing was read of it, and its first event says what it was.  ``what`` has a byte for each.
    """

    def __init__(self, guest: Guest, state: dict[int, str] | bytes) -> None:
        """Start from ``state``: frame -> word, those without one are absent; or bytes, as ``what``."""
        self.guest = guest
        self.what = bytearray(max(zone.end_pfn for zone in guest.zones))
        self.entry_of_free = 0
        self.exit_of_used = 0
        self.outside = 0
        if isinstance(state, bytes):
            self.what[:] = state
        else:
            self._start_frames(state)
        zones = [self.what[zone.start_pfn : zone.end_pfn] for zone in guest.zones]
        self.n_free = [zone.count(FREE) for zone in zones]  # by zone
        self.n_managed = sum(zone.count(USED) + zone.count(FREE) for zone in zones)

    def _start_frames(self, state: dict[int, str]) -> None:
        codes = {word: code for code, word in enumerate(WORDS)}
        for pfn, what in state.items():
            if what not in codes:
                raise ValueError(f"frame {pfn}: unknown state {what!r}")
            if what != "absent":
                self._check_place(pfn, what)
                self.what[pfn] = codes[what]

    def _check_place(self, pfn: int, what: str) -> None:
        for zone in self.guest.zones:
            if zone.start_pfn <= pfn < zone.end_pfn:
                return
        raise ValueError(f"frame {pfn} is {what} but lies in no zone")

    def state_of(self, pfn: int) -> str:
        """'used', 'free', 'absent' or 'unknown'."""
        return WORDS[self.what[pfn]] if 0 <= pfn < len(self.what) else "absent"

    def is_managed(self, pfn: int) -> bool:
        """Whether the frame is used or free."""
        return self.what[pfn] in (USED, FREE)

    @property
    def managed(self) -> list[int]:
        """The frames that are used or free, ascending."""
        each = self.what.replace(bytes([UNKNOWN]), bytes([ABSENT]))
        return list(compress(range(len(each)), each))

    def free_frames(self, zone: int) -> list[int]:
        """The free frames of one zone, ascending."""
        limits = self.guest.zones[zone]
        return [pfn for pfn in range(limits.start_pfn, limits.end_pfn) if self.what[pfn] == FREE]

    def free_count(self) -> int:
        """Number of free frames of the guest."""
        return sum(self.n_free)

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
        if FREE in self._become(zone, pfn, order, FREE):
            self.entry_of_free += 1
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
        before = self._become(zone, pfn, order, USED)
        if USED in before or ABSENT in before:
            self.exit_of_used += 1
        return True

    def _become(self, zone: int, pfn: int, order: int, what: int) -> bytearray:
        """All frames of the block become used or free; returns what they were."""
        size = 1 << order
        before = self.what[pfn : pfn + size]
        self.what[pfn : pfn + size] = bytes([what]) * size
        self.n_free[zone] += (size if what == FREE else 0) - before.count(FREE)
        self.n_managed += before.count(ABSENT) + before.count(UNKNOWN)
        return before

    def correct(self, pfn: int, what: str) -> None:
        """A snapshot says that one frame is 'used' or 'free'; no step, so nothing is impossible."""
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is not None:
            self._become(zone, pfn, 0, WORDS.index(what))

    def is_wholly_free(self, pfn: int, order: int) -> bool:
        """Whether [pfn, pfn + 2**order) lies wholly inside one zone and all of it is free."""
        if self.guest.zone_of_range(pfn, 1 << order) is None:
            return False
        return self.what.count(FREE, pfn, pfn + (1 << order)) == 1 << order

    def free_units(self, order: int) -> list[int]:
        """The wholly free units of ``order``, ascending."""
        units: list[int] = []
        for (_, block_order), heads in self.free_blocks().items():
            if block_order >= order:
                for head in heads:
                    units += range(head, head + (1 << block_order), 1 << order)
        return sorted(units)

    def free_blocks(self) -> dict[tuple[int, int], list[int]]:
        """(zone index, order) -> heads of the maximal aligned free blocks <= max_order, ascending.

        This is what a buddy allocator holds when everything that can merge has merged.
        """
        blocks: dict[tuple[int, int], list[int]] = {}
        for index, zone in enumerate(self.guest.zones):
            pfn = self.what.find(FREE, zone.start_pfn, zone.end_pfn)
            while pfn >= 0:
                order = self._largest_free_order_at(pfn)
                blocks.setdefault((index, order), []).append(pfn)
                pfn = self.what.find(FREE, pfn + (1 << order), zone.end_pfn)
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

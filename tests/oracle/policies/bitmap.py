"""``bitmap``: Lal's v12 series (mm/page_hinting.c)."""

from tests.oracle.guest import align_down, ceil_div
from tests.oracle.params import check_params
from tests.oracle.scanning import Scanning
from tests.oracle.setup import Setup


class BitmapReplay(Scanning):
    """``bitmap``: a bit for each 2**R frames of each zone's span, set when a block is freed there.

    ``bits[zone]`` are the bits that are set, counted from the zone's start rounded down to 2**R.
    """

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters."""
        super().__init__(setup, capacity=16)
        check_params(setup.params, {"order", "threshold", "capacity"})
        self.threshold: int = setup.params.get("threshold", 16)
        if self.threshold < 1:
            raise ValueError("the threshold is at least 1")
        self.deadline: int | None = None
        self.bits: list[set[int]] = [set() for _ in self.guest.zones]

    # -- the maps -----------------------------------------------------------------------------

    def base(self, zone: int) -> int:
        """The first frame of the first bit."""
        return align_down(self.guest.zones[zone].start_pfn, self.reporting_order)

    def n_bits(self, zone: int) -> int:
        """Bits of one zone's map: its whole span, holes included (zone_bitmap_alloc())."""
        return ceil_div(self.guest.zones[zone].end_pfn - self.base(zone), 1 << self.reporting_order)

    def map_bits(self) -> tuple[int, int]:
        """All bits, and those that cover no managed frame (of their zone) now."""
        holes = 0
        for zone, limits in enumerate(self.guest.zones):
            frames = range(limits.start_pfn, limits.end_pfn)
            managed = [frame for frame in frames if self.frames.is_managed(frame)]
            covered = {(frame - self.base(zone)) >> self.reporting_order for frame in managed}
            holes += self.n_bits(zone) - len(covered)
        return sum(self.n_bits(zone) for zone in range(len(self.guest.zones))), holes

    # -- capture ------------------------------------------------------------------------------

    def arrive(self, zone: int, pfn: int, order: int) -> None:
        """__page_hinting_enqueue(): note the head; with enough hints the work runs at once."""
        bit = (pfn - self.base(zone)) >> self.reporting_order
        if bit not in self.bits[zone]:
            self.bits[zone].add(bit)
            self.work.hints_captured += 1
        if len(self.bits[zone]) >= self.threshold and self.deadline is None and not self.pass_under_way:
            self.deadline = self.now

    def on_registered(self) -> None:
        """page_hinting_enable(): empty maps; what is free already is never hinted."""
        self.bits = [set() for _ in self.guest.zones]

    def on_unregistered(self) -> None:
        """page_hinting_disable(): the work is cancelled, a scan under way finishes (with its maps)."""
        self.deadline = None
        if not self.pass_under_way:
            self.bits = [set() for _ in self.guest.zones]

    def next_action_ts(self) -> int | None:
        """Work that is queued runs at once."""
        return self.deadline

    # -- the work -----------------------------------------------------------------------------

    def act(self) -> None:
        """page_hinting_wq(): scan each zone that has enough hints; only a new hint queues it again."""
        self.passes += 1
        self.deadline = None
        for zone in range(len(self.guest.zones)):
            if len(self.bits[zone]) >= self.threshold:
                self._scan(zone)

    def _scan(self, zone: int) -> None:
        """scan_zone_bitmap(): bits set meanwhile ahead of the scan are seen, those behind are not."""
        self.refused.discard(zone)
        for bit in range(self.n_bits(zone)):
            self.work.bits_scanned += 1
            if bit in self.bits[zone]:
                self.look_at(self.base(zone) + (bit << self.reporting_order))
                self.bits[zone].discard(bit)
                self.report_when_full()
        self.report_batch()

"""``boundary``: Duyck's v10 series (mm/page_reporting.c and .h of its patches 3 and 4)."""

from tests.oracle.guest import MOVABLE, NS_PER_MS
from tests.oracle.lists import ListKey
from tests.oracle.params import check_params, timer_of
from tests.oracle.reporting import Reporting
from tests.oracle.setup import Setup

BOUNDARY_PARAMS = {"order", "high_water", "delay_ns", "capacity", "rounding", "jiffies0", "mono0_ns"}


class BoundaryReplay(Reporting):
    """``boundary``: in each list a mark parts what is reported (tail) from what is not (head).

    ``requested`` are the zones with ZONE_PAGE_REPORTING_REQUESTED; their number is v10's refcnt.
    ``active`` is the one zone with ZONE_PAGE_REPORTING_ACTIVE: only its lists have marks, and a list
    without one (reported_boundary at the list's head) is walked from the tail.
    """

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters."""
        super().__init__(setup)
        params = setup.params
        check_params(params, BOUNDARY_PARAMS)
        self.high_water: int = params.get("high_water", 32)
        self.delay_ns: int = params.get("delay_ns", 100 * NS_PER_MS)
        self.capacity: int = params.get("capacity", 16)
        if params.get("rounding", "none") not in ("none", "wheel"):
            raise ValueError("rounding is none or wheel")
        if self.capacity < 1 or self.high_water < 0 or self.delay_ns < 0:
            raise ValueError("the capacity is at least 1, high water and delay are not negative")
        self.deadline: int | None = None
        self.requested: set[int] = set()
        self.active: int | None = None

    # -- requests -----------------------------------------------------------------------------

    def arrive(self, zone: int, pfn: int, order: int) -> None:
        """page_reporting_notify_free(): 32 blocks of the order must be unreported."""
        unreported = self.lists.nr_free(zone, order) - self.lists.reported(zone, order)
        if zone not in self.requested and unreported >= self.high_water:
            self._request(zone)

    def on_start(self, unflagged: list[int]) -> None:
        """A cold start is a registration, and so is one that finds memory that is not reported."""
        if self.setup.start == "cold" or (self.setup.start == "recorded" and unflagged):
            self.on_registered()

    def on_registered(self) -> None:
        """page_reporting_register(): the initial flush of every populated zone."""
        for zone, limits in enumerate(self.guest.zones):
            if limits.populated:
                self._request(zone)

    def on_unregistered(self) -> None:
        """page_reporting_unregister(): a pass under way still finishes what is requested."""
        self.deadline = None
        if not self.pass_under_way:
            self.requested.clear()

    def _request(self, zone: int) -> None:
        """__page_reporting_request(): the first zone schedules the work, if it is not scheduled."""
        if not self.requested and self.deadline is None:
            self.deadline = timer_of(self.setup, self.now, self.delay_ns)
        self.requested.add(zone)

    def next_action_ts(self) -> int | None:
        """The timer; one that expired during a pass fires after it."""
        return None if self.deadline is None else max(self.deadline, self.now)

    # -- a pass -------------------------------------------------------------------------------

    def act(self) -> None:
        """page_reporting_process(): zone after zone, round and round, until none is requested."""
        self.passes += 1
        self.deadline = None
        zone = 0
        while True:
            if zone in self.requested:
                self._cycle(zone)
            zone = (zone + 1) % len(self.guest.zones)
            if not self.requested:
                return

    def _cycle(self, zone: int) -> None:
        """page_reporting_cycle(): fill, report, drain, as long as the zone is requested.

        The zone lock is held but for the reports; a drain and the next fill share a hold.  The drain
        adds to the tail (``reported`` of __free_one_page()), in the order of isolation.
        """
        self.refused.discard(zone)
        self.take_lock()
        while zone in self.requested:
            self._fill(zone)
            if not self.batch:
                return
            succeeded = self.report(self.batch)
            self.take_lock()
            self.drain(self.batch, flag=succeeded)
            if not succeeded and zone in self.requested:
                self._cancel(zone)  # v10's report() cannot fail; without this it would go round for ever

    def _fill(self, zone: int) -> None:
        """page_reporting_fill(): orders and migratetypes downwards; short of the capacity: done."""
        if self.active != zone:
            self.active = zone
            self.lists.marks.clear()
        for order in reversed(range(self.reporting_order, self.guest.max_order + 1)):
            for migratetype in reversed(range(self.guest.n_migratetypes)):
                if migratetype == self.guest.isolate_migratetype:
                    continue
                while self._take_unreported((zone, order, migratetype)):
                    if len(self.batch) == self.capacity:
                        return
        self._cancel(zone)

    def _take_unreported(self, key: ListKey) -> bool:
        """get_unreported_page(): from the mark towards the head, which takes the mark along.

        Returns whether a block was isolated; not if there is none, or the watermark refuses it.
        """
        heads = self.lists.heads(key)
        above = heads.index(self.lists.marks[key]) if key in self.lists.marks else len(heads)
        for pfn in reversed(heads[:above]):
            self.walk_entry()
            if not self.lists.blocks[pfn].reported:
                return self.isolate(pfn)
            self.lists.marks[key] = pfn
        return False

    def _cancel(self, zone: int) -> None:
        """__page_reporting_cancel(): the zone is done with."""
        self.active = None
        self.lists.marks.clear()
        self.requested.discard(zone)

    # -- compaction ---------------------------------------------------------------------------

    def on_reshuffled(self, zone: int) -> None:
        """page_reporting_free_area_release(): the marks of the MOVABLE lists are lost.

        Of all orders, as the events do not tell which one was searched.
        """
        if zone == self.active:
            lost = [key for key in self.lists.marks if key[2] == MOVABLE]
            self.work.boundary_resets += len(lost)
            for key in lost:
                del self.lists.marks[key]

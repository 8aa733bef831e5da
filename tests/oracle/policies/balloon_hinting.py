"""``balloon-hinting``: virtio free page hinting (drivers/virtio/virtio_balloon.c)."""

from dataclasses import replace

from tests.oracle.guest import MOVABLE, NS_PER_S, RECLAIMABLE, UNMOVABLE
from tests.oracle.params import check_params
from tests.oracle.replay import ReplayOver
from tests.oracle.reporting import Reporting
from tests.oracle.setup import Setup
from tests.oracle.world import Isolated


class BalloonHintingReplay(Reporting):
    """``balloon-hinting``: now and then all large blocks are allocated, told, held and freed again.

    report_free_page_func(): send_free_pages() until get_free_page_and_send() finds none, then the
    pages stay on free_page_list until the host is done, and return_free_pages_to_mm() pops them.
    Nobody is notified of anything, and nothing remembers what was told.
    """

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters; without ``order`` it is the maximum order."""
        super().__init__(replace(setup, params={"order": setup.guest.max_order, **setup.params}))
        params = setup.params
        check_params(params, {"order", "first_ns", "every_ns", "capacity", "hold_ns"})
        self.first_ns: int = params.get("first_ns", NS_PER_S)
        self.every_ns: int = params.get("every_ns", 10 * NS_PER_S)
        self.capacity: int = params.get("capacity", 1)
        self.hold_ns: int = params.get("hold_ns", 0)
        if self.capacity < 1 or min(self.first_ns, self.every_ns, self.hold_ns) < 0:
            raise ValueError("the capacity is at least 1, no time is negative")
        self.next_run: int | None = None

    def put_back_to_tail(self) -> bool:
        """free_pages() is an ordinary free."""
        return False

    # -- when ---------------------------------------------------------------------------------

    def on_start(self, unflagged: list[int]) -> None:
        """The host's clock starts with the replay."""
        self.on_registered()

    def on_registered(self) -> None:
        """The host asks for the first run some time after the device is there."""
        self.next_run = self.now + self.first_ns

    def on_unregistered(self) -> None:
        """No more runs; one under way finishes."""
        self.next_run = None

    def next_action_ts(self) -> int | None:
        """The next run."""
        return self.next_run

    # -- a run --------------------------------------------------------------------------------

    def act(self) -> None:
        """Take, tell, hold, give back; the last one taken is the first to go back."""
        self.passes += 1
        started = self.now
        self.next_run = None
        for zone in reversed(range(len(self.guest.zones))):
            if self.guest.zones[zone].name != "Movable":  # the allocation is not __GFP_MOVABLE
                self._take_all(zone)
        if self.batch:
            blocks = self.batch
            if self.report(blocks, self.capacity):
                self._hold()
            self._give_back(blocks)
        if self.every_ns and self.registered:
            self.next_run = max(started + self.every_ns, self.now)

    def _take_all(self, zone: int) -> None:
        """Allocations from one zone, until nothing is left or its min watermark is reached.

        First of the type asked for, then the fallbacks in their order (fallbacks[MIGRATE_UNMOVABLE]).
        """
        self.refused.discard(zone)
        for migratetype in (UNMOVABLE, RECLAIMABLE, MOVABLE):
            for order in range(self.reporting_order, self.guest.max_order + 1):
                while heads := self.lists.heads((zone, order, migratetype)):
                    if not self._take_block(heads[0], order):
                        return

    def _take_block(self, pfn: int, order: int) -> bool:
        """One allocation; whole pageblocks are claimed by the type it is for (a fallback does so)."""
        if not self.isolate(pfn, keep_types=True):
            return False
        self.take_lock()
        self.walk_entry()
        if order >= self.guest.pageblock_order:
            self.types.turn(pfn, order, UNMOVABLE)
        return True

    def _hold(self) -> None:
        """The pages stay away for some time after the host has got them."""
        until = self.now + self.hold_ns
        if until > self.setup.end_ns:
            raise ReplayOver
        self.apply_events(until)
        self.advance(until)

    def _give_back(self, blocks: list[Isolated]) -> None:
        """return_free_pages_to_mm(): one free after the other, each under the lock by itself."""
        for block in blocks:
            if not block.collided:
                self.take_lock()
        self.drain(list(reversed(blocks)), flag=False)

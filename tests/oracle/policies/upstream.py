"""``upstream``: free page reporting as merged in 5.7."""

from tests.oracle.guest import NS_PER_S, ceil_div
from tests.oracle.lists import ListKey
from tests.oracle.params import check_params, timer_of
from tests.oracle.reporting import Reporting
from tests.oracle.setup import Setup

IDLE, REQUESTED, ACTIVE = "IDLE", "REQUESTED", "ACTIVE"

PUTBACK = {"5.7": "head", "5.10": "tail", "7.0": "tail"}
"""Where put-backs go by default: before 5.10 by the ordinary rule, so to the head at the top orders."""

UPSTREAM_PARAMS = {
    "order",
    "kernel",
    "delay_ns",
    "capacity",
    "budget",
    "gate",
    "rounding",
    "putback",
    "jiffies0",
    "mono0_ns",
}


class UpstreamReplay(Reporting):
    """``upstream``: free page reporting as merged in 5.7 (mm/page_reporting.c)."""

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters."""
        super().__init__(setup)
        params = setup.params
        check_params(params, UPSTREAM_PARAMS)
        self.delay_ns: int = params.get("delay_ns", 2 * NS_PER_S)
        self.capacity: int = params.get("capacity", 32)
        self.budget: int = params.get("budget", 16)
        self.gate: bool = params.get("gate", True)
        self.rounding: str = params.get("rounding", "none")
        self.putback: str = params.get("putback", PUTBACK[params.get("kernel", "7.0")])
        self.status = IDLE
        self.deadline: int | None = None
        if self.rounding not in ("none", "wheel") or self.putback not in ("tail", "head"):
            raise ValueError("rounding is none or wheel, putback is tail or head")
        if self.capacity < 1 or self.budget < 1 or self.delay_ns < 0:
            raise ValueError("capacity and budget are at least 1, the delay is not negative")

    def put_back_to_tail(self) -> bool:
        """Tail from 5.10 on; before, the ordinary rule (head at the two top orders)."""
        return self.putback == "tail"

    # -- requests -----------------------------------------------------------------------------

    def on_start(self, unflagged: list[int]) -> None:
        """page_reporting_register() requests once; recorded does if there is work left."""
        start = self.setup.start
        if start == "cold" or (start == "recorded" and unflagged):
            self._request()

    def on_registered(self) -> None:
        """page_reporting_register() requests once."""
        self._request()

    def on_unregistered(self) -> None:
        """page_reporting_unregister(): the timer is cancelled; a pass under way runs to its end."""
        self.deadline = None
        if not self.pass_under_way:
            self.status = IDLE

    def arrive(self, zone: int, pfn: int, order: int) -> None:
        """page_reporting_notify_free()."""
        self._request()

    def _request(self) -> None:
        """__page_reporting_request(): only a request that finds IDLE arms the timer."""
        if self.status == IDLE:
            self.deadline = self._timer()
        self.status = REQUESTED

    def _timer(self) -> int:
        """When work queued now with the delay runs."""
        return timer_of(self.setup, self.now, self.delay_ns)

    def next_action_ts(self) -> int | None:
        """The timer, if it is armed."""
        return self.deadline

    # -- a pass -------------------------------------------------------------------------------

    def act(self) -> None:
        """page_reporting_process(): one pass over all zones, up to the first report that fails."""
        self.passes += 1
        self.status = ACTIVE
        self.deadline = None
        for zone in range(len(self.guest.zones)):
            self.refused.add(zone)
            if self._gate_open(zone):
                self.refused.discard(zone)
                if not self._process_zone(zone):
                    break
        if self.status == REQUESTED and self.registered:
            self.deadline = self._timer()
        else:
            self.status = IDLE

    def _gate_open(self, zone: int) -> bool:
        """page_reporting_process_zone(): low watermark plus one full batch must stay free."""
        if not self.gate:
            return True
        limits = self.guest.zones[zone]
        needed = limits.low + limits.boost + (self.capacity << self.reporting_order)
        return self.zone_free(zone, self.now) - self.held(zone) > needed

    def _process_zone(self, zone: int) -> bool:
        """Orders upwards, migratetypes upwards except ISOLATE; then the rest of the batch.

        Like ``_cycle`` and ``_report_batch``, it returns whether no report has failed.
        """
        for order in range(self.reporting_order, self.guest.max_order + 1):
            for migratetype in range(self.guest.n_migratetypes):
                key = (zone, order, migratetype)
                if migratetype != self.guest.isolate_migratetype and not self._cycle(key):
                    return False
        return not self.batch or self._report_batch()

    def _cycle(self, key: ListKey) -> bool:
        """page_reporting_cycle(): walk one list from its head.

        The zone lock is held but for the reports; after one, the drain and the walk share a hold.
        """
        zone, order, _ = key
        if not self.lists.heads(key):
            return True
        self.take_lock()
        budget = ceil_div(self.lists.nr_free(zone, order), self.capacity * self.budget)
        index = 0
        while index < len(self.lists.heads(key)):
            pfn = self.lists.heads(key)[index]
            self.walk_entry()
            if self.lists.blocks[pfn].reported:
                index += 1
            elif budget < 0:
                self.status = REQUESTED
                self._make_first(key, pfn)
                return True
            elif len(self.batch) < self.capacity:
                if not self.isolate(pfn):
                    self._make_first(key, pfn)
                    return True
                # the entry left the list, so heads(key)[index] is its successor now
            else:
                self._make_first(key, pfn)
                if not self._report_batch():
                    return False
                budget -= 1
                index = 0
        return True

    def _report_batch(self) -> bool:
        """Report the batch and drain it, under the lock again.

        The slots were filled from the high index down, so scatter-gather order is the reverse of
        the order of isolation.
        """
        sg_list = list(reversed(self.batch))
        succeeded = self.report(sg_list)
        self.take_lock()
        self.drain(sg_list, flag=succeeded)
        return succeeded

    def _make_first(self, key: ListKey, pfn: int) -> None:
        """Rotate so that the walk resumes here next time."""
        if self.lists.rotate_to_front(key, pfn):
            self.work.list_rotations += 1

"""``hints``: captured hints in a container, gone over later (the shape that Hildenbrand described)."""

from tests.oracle.containers import CONTAINERS
from tests.oracle.guest import NS_PER_S
from tests.oracle.params import check_params
from tests.oracle.scanning import Scanning
from tests.oracle.setup import Setup


class HintsReplay(Scanning):
    """``hints``: where a block was freed is noted; what is still free there later is reported.

    The block is isolated for the time of the report, never allocated, so its pageblocks keep their
    types.  Which hints there are, and when they are gone over, is the container's business.
    """

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters."""
        super().__init__(setup, capacity=32)
        check_params(setup.params, {"order", "container", "size", "delay_ns", "capacity"})
        self.delay_ns: int = setup.params.get("delay_ns", 2 * NS_PER_S)
        size: int = setup.params.get("size", 1000)
        name: str = setup.params.get("container", "set")
        if size < 1 or self.delay_ns < 0 or name not in CONTAINERS:
            raise ValueError("container is set, ring or array, the size at least 1, the delay not negative")
        self.container = CONTAINERS[name](size, self.work, self.is_listed)
        self.deadline: int | None = None

    def arrive(self, zone: int, pfn: int, order: int) -> None:
        """A hint; the first one that finds no work pending or running, and enough hints, queues it."""
        self.container.capture(pfn, self.cpu)
        if not self.pass_under_way:
            self._queue()

    def _queue(self) -> None:
        if self.deadline is None and self.container.wants_a_pass():
            self.deadline = self.now + (self.delay_ns if self.container.delayed else 0)

    def on_registered(self) -> None:
        """Nothing has been captured."""
        self.container.clear()

    def on_unregistered(self) -> None:
        """The work is cancelled and the hints are forgotten; a pass under way finishes."""
        self.deadline = None
        if not self.pass_under_way:
            self.container.clear()

    def next_action_ts(self) -> int | None:
        """The work, if it is queued."""
        return self.deadline

    def act(self) -> None:
        """One going over; if there is more, the next one is queued."""
        self.passes += 1
        self.deadline = None
        self.refused.clear()
        self.container.begin()
        while (pfn := self.container.take()) is not None:
            self.look_at(pfn)
            self.report_when_full()
        self.report_batch()
        self.container.end()
        if self.registered:
            self._queue()
        else:
            self.container.clear()

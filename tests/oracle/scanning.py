"""Going over hints: recheck, isolate, report, return; what ``bitmap`` and ``hints`` share."""

from tests.oracle.reporting import Reporting
from tests.oracle.setup import Setup


class Scanning(Reporting):
    """A policy that is told where free blocks were, and looks there later.

    mm/page_hinting.c of Lal's v12: scan_zone_bitmap(), process_free_page(), return_isolated_page().
    Nothing is ever flagged as reported.
    """

    def __init__(self, setup: Setup, capacity: int) -> None:
        """``capacity``: blocks a call."""
        super().__init__(setup)
        self.capacity: int = setup.params.get("capacity", capacity)
        if self.capacity < 1:
            raise ValueError("the capacity is at least 1")

    def put_back_to_tail(self) -> bool:
        """The ordinary rule: to the head, unless a merge is likely."""
        return False

    def is_listed(self, pfn: int) -> bool:
        """Whether a listed block heads exactly there (PageBuddy(), page_private() >= R)."""
        return pfn in self.lists.blocks

    def look_at(self, pfn: int) -> None:
        """One hint, under the lock: the block that heads there, if any, is isolated as a whole.

        Its pageblocks keep their types: process_free_page() restores them.
        """
        self.take_lock()
        if not self.is_listed(pfn):
            self.work.rechecks_failed += 1
        elif not self.isolate(pfn, keep_types=True):
            self.work.hints_dropped += 1

    def report_when_full(self) -> None:
        """A full batch goes to the device, and comes back, before the next hint is looked at."""
        if len(self.batch) == self.capacity:
            self.report_batch()

    def report_batch(self) -> None:
        """Report and return what is isolated; the hints of a report that fails are lost."""
        if not self.batch:
            return
        blocks = self.batch
        if not self.report(blocks):
            self.work.hints_dropped += len(blocks)
        self.take_lock()
        self.drain(blocks, flag=False)

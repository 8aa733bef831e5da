"""What the policies with a device share: isolation, the report, the way back."""

from tests.oracle.guest import MOVABLE
from tests.oracle.replay import Replay, ReplayOver
from tests.oracle.world import Isolated


class Reporting(Replay):
    """A policy that takes blocks out of the lists (``batch``), reports them and puts them back."""

    reports_at_all = True

    def on_start(self, unflagged: list[int]) -> None:
        """A cold start is a registration; else the device registered long ago, and nothing waits."""
        if self.setup.start == "cold":
            self.on_registered()

    # -- out of the lists ---------------------------------------------------------------------

    def isolate(self, pfn: int, *, keep_types: bool = False) -> bool:
        """__isolate_free_page(): refused if the zone would fall to its min watermark.

        From order pageblock_order - 1 on, mergeable pageblocks turn MOVABLE; with ``keep_types`` the caller
        sets the first one back (process_free_page() of Lal's series), so only the others do.
        """
        zone, order = self.lists.blocks[pfn].zone, self.lists.blocks[pfn].order
        available = self.zone_free(zone, self.now) - self.held(zone)
        if not available > self.guest.zones[zone].min + (1 << order):
            self.refused.add(zone)
            return False
        self.lists.remove(pfn)
        if order >= self.guest.pageblock_order - 1 and not keep_types:
            self._make_movable(pfn, order)
        elif keep_types:
            for start in self.types.touched(pfn, order)[1:]:
                self.types.turn(start, 0, MOVABLE)
        units = self.units_of(pfn, order)
        clocks = {unit: self.since[unit] for unit in units}
        self.batch.append(Isolated(zone, pfn, order, self.now, clocks, set(units)))
        return True

    def _make_movable(self, pfn: int, order: int) -> None:
        """The pageblocks turn MOVABLE; from 6.10 on, what else is free in them moves along."""
        before = {start: self.types.get(start) for start in self.types.touched(pfn, order)}
        self.types.turn(pfn, order, MOVABLE)
        for start, migratetype in before.items():
            if self.guest.by_pageblock and self.types.get(start) != migratetype:
                self.lists.move_blocks(start, self.types.get(start))

    # -- a report -----------------------------------------------------------------------------

    def report(self, blocks: list[Isolated], per_call: int | None = None) -> bool:
        """The device gets the blocks, in calls of up to ``per_call``; returns whether it succeeded.

        Events up to the completion apply before it.  Every ``fail_every``-th report fails, with all
        its calls: nothing is discarded and nothing counts as told.
        """
        per_call = per_call or len(blocks)
        submit, first = self.now, self.calls + 1
        numbers = [first + index // per_call for index in range(len(blocks))]
        total = sum(self.size(block.order) for block in blocks)
        calls = numbers[-1] - first + 1
        done = submit + calls * self.setup.call_ns + int(self.setup.byte_ns * total)
        if done > self.setup.end_ns:
            raise ReplayOver
        self.apply_events(done)
        self.advance(done)
        self.calls += calls
        self.lists_told += 1
        if self.setup.fail_every and self.lists_told % self.setup.fail_every == 0:
            self.failed_calls += calls
            return False
        for number, block in zip(numbers, blocks, strict=True):
            self._complete(block, submit, number)
        self.host.touch(frame for block in blocks for frame in sorted(block.exited))
        return True

    def _complete(self, block: Isolated, submit: int, number: int) -> None:
        """The device is done with one block: the host has what the backing lets it have."""
        page = self.guest.page_size
        result = self.host.discard(block.pfn, block.order)
        new_bytes = len(result.new) * page
        self.blocks += 1
        self.bytes += self.size(block.order)
        self.redundant_bytes += result.redundant * page
        self.acknowledged_only_bytes += result.acknowledged_only * page
        self.reports.append((submit, self.now, number, self.passes, block.pfn, block.order, new_bytes))
        # Since it last became wholly free: later than at isolation for a unit that broke and came back.
        clocks = {unit: self.last_freed.get(unit, clock) for unit, clock in block.since.items()}
        self.note_latency(clocks, result.new)
        self.told |= block.intact

    # -- back into the lists ------------------------------------------------------------------

    def drain(self, blocks: list[Isolated], *, flag: bool) -> None:
        """The blocks of the batch go back, those that no recorded exit has taken.

        With ``flag`` (page_reporting_drain()) a block that did not merge is marked as reported.
        """
        self.batch = []
        for block in blocks:
            if block.collided:
                continue
            self._release(block)
            self._put_back(block.zone, block.pfn, block.order, self.types.get(block.pfn))
            if flag and self.lists.has(block.zone, block.pfn, block.order):
                self.lists.blocks[block.pfn].reported = True
        self.observe()

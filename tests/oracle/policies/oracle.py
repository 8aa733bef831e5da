"""``oracle``: the instant bound."""

from tests.oracle.guest import block_frames
from tests.oracle.params import check_params
from tests.oracle.replay import Replay
from tests.oracle.setup import Setup


class OracleReplay(Replay):
    """``oracle``: each unit is reported the instant it becomes wholly free; the upper bound.

    Unless the host backs no frame of it.  No isolation, gate, batch, flag or service time.
    """

    reports_at_all = True

    def __init__(self, setup: Setup) -> None:
        """With 2m a unit must consist of whole host pages."""
        super().__init__(setup)
        check_params(setup.params, {"order"})
        if setup.backing == "2m" and (1 << self.reporting_order) < self.host.host_page:
            raise NotImplementedError("oracle with backing 2m needs units of >= 2 MiB")

    def on_units_freed(self, units: list[int]) -> None:
        """Report at the moment of the event that freed them, if a device is registered."""
        for unit in units if self.registered else []:
            self._report_unit(unit)

    def on_start(self, unflagged: list[int]) -> None:
        """At t0 every wholly free unit that is not reported yet is reported, in ascending pfn."""
        for head in unflagged:
            self.on_units_freed(self.units_of(head, self.lists.blocks[head].order))

    def on_registered(self) -> None:
        """Everything wholly free that is not reported yet, in ascending pfn."""
        self.on_units_freed(sorted(set(self.since) - self.told))

    def _report_unit(self, unit: int) -> None:
        """One unit, one block, one call; what of it the host lacked already is redundant."""
        order = self.reporting_order
        if self.host.backed_in(block_frames(unit, order)) == 0:
            return
        new = self.host.discard(unit, order).new
        self.calls += 1
        self.blocks += 1
        self.bytes += self.size(order)
        new_bytes = len(new) * self.guest.page_size
        self.redundant_bytes += self.size(order) - new_bytes
        self.reports.append((self.now, self.now, self.calls, 0, unit, order, new_bytes))
        self.note_latency(self.since, new)
        self.told.add(unit)

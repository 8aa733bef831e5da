"""``clairvoyant``: the bound of those who know what will stay free."""

from tests.oracle.guest import NS_PER_S, block_frames
from tests.oracle.outcome import Outcome
from tests.oracle.params import check_params
from tests.oracle.replay import Replay
from tests.oracle.setup import Setup


class ClairvoyantReplay(Replay):
    """``clairvoyant``: what will stay wholly free for ``horizon`` is reported the moment it is freed.

    Told in hindsight: at the end of its horizon a unit is booked as reclaimed from the beginning.
    No isolation, gate, batch, flag or service time.
    """

    reports_at_all = True

    def __init__(self, setup: Setup) -> None:
        """A unit must consist of whole host pages, but with 4k: then only its own exit brings it back."""
        super().__init__(setup)
        check_params(setup.params, {"order", "horizon_ns"})
        self.horizon_ns: int = setup.params.get("horizon_ns", 2 * NS_PER_S)
        if self.horizon_ns < 0:
            raise ValueError("the horizon is not negative")
        if setup.backing != "4k" and (1 << self.reporting_order) < self.host.host_page:
            raise NotImplementedError("clairvoyant with backing 2m or thp needs units of >= 2 MiB")
        self.free_from: dict[int, int] = {}  # units whose horizon has not ended, oldest first

    # -- what waits for its horizon -----------------------------------------------------------

    def on_units_freed(self, units: list[int]) -> None:
        """Their horizon begins, if a device is registered."""
        for unit in units if self.registered else []:
            self.free_from[unit] = self.now

    def on_start(self, unflagged: list[int]) -> None:
        """The horizon of what is free but not reported begins with the replay."""
        for head in unflagged:
            self.on_units_freed(self.units_of(head, self.lists.blocks[head].order))

    def on_registered(self) -> None:
        """As at the start."""
        self.on_units_freed(sorted(set(self.since) - self.told))

    def on_unregistered(self) -> None:
        """Nobody is there to be told."""
        self.free_from.clear()

    def _forget(self, unit: int) -> None:
        """The unit has broken, perhaps before its time."""
        super()._forget(unit)
        self.free_from.pop(unit, None)

    def next_action_ts(self) -> int | None:
        """The end of the first horizon."""
        return min(self.free_from.values()) + self.horizon_ns if self.free_from else None

    def act(self) -> None:
        """The units whose horizon ends now, ascending."""
        ended = [unit for unit, start in self.free_from.items() if start + self.horizon_ns == self.now]
        for unit in sorted(ended):
            self._book(unit, self.free_from.pop(unit))

    # -- booking ------------------------------------------------------------------------------

    def _book(self, unit: int, start: int) -> None:
        """One unit, one block, one call, as ``oracle`` does, but since ``start``."""
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
        # Reported when it was freed, so without any wait; unless nobody knows when that was.
        self.note_latency({unit: None if self.since[unit] is None else self.now}, new)
        self.told.add(unit)
        self._back_date(start, len(new))

    def _back_date(self, start: int, frames: int) -> None:
        """The frames were reclaimed since ``start``; until now they have counted as waiting."""
        elapsed = self.now - start
        self.reclaimed_byte_ns += frames * self.guest.page_size * elapsed
        if not self.setup.bins_ns:
            return
        told = zip(self.setup.bins_ns, self.compositions, strict=False)  # the bins up to now
        amounts = [(parts, frames) for at, parts in told if start <= at]
        for parts, amount in [*amounts, (self.part_frame_ns, frames * elapsed)]:
            parts["waiting"] -= amount
            parts["reclaimed"] += amount

    def _outcome(self) -> Outcome:
        """The peak is that of the told timeline and of the end, as what happened between is revised."""
        told = [parts["reclaimed"] for parts in self.compositions]
        self.peak_bytes = max([*told, len(self.host.reclaimed)]) * self.guest.page_size
        return super()._outcome()

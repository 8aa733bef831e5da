"""Free memory by order over time, zone by zone: what the full model holds at each bin."""

from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.full import FullModel
from replay.buddy.rules import rules_of
from replay.exact import SECOND_NS
from replay.geometry import Geometry
from replay.stretches import first_after

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from replay.buddy.steps import Columns
    from replay.start import Start
    from tracer import Trace


class Fragmentation:
    """The free lists of all orders, fed like the policies; they do not depend on any.

    Attributes:
        model: the full model, now.
        bins_ns: instants that `blocks` tells of.
        blocks: free blocks at each bin, int64, shape (bins, zones, orders).
    """

    def __init__(self, model: FullModel, start_ns: int, bins_ns: "NDArray[np.int64]") -> None:
        self.model, self.bins_ns, self._start_ns = model, bins_ns, start_ns
        self.blocks = np.zeros((len(bins_ns), *model.nr_free.shape), np.int64)
        self._told = 0

    @classmethod
    def of(
        cls, trace: "Trace", meaning: "NDArray[np.uint8]", start: "Start", bins_ns: "NDArray[np.int64]"
    ) -> "Fragmentation":
        """As the lists are when a replay of `trace` begins."""
        guest = trace.manifest.guest
        model = FullModel.at(start, meaning, Geometry.of(guest, trace.zones), rules_of(guest))
        return cls(model, start.now_ns, bins_ns)

    def feed(self, columns: "Columns") -> None:
        """Live through one batch of events, all later than the start."""
        done, ts_ns = 0, columns["ts_ns"]
        while done < len(ts_ns):
            until = len(ts_ns)
            if self._told < len(self.bins_ns):
                until = done + first_after(ts_ns[done:], int(self.bins_ns[self._told]))
            self.model.play(columns, done, until)
            if until < len(ts_ns):
                self._tell(int(ts_ns[until]))
            done = until

    def correct(self, state: "NDArray[np.uint8]", now_ns: int) -> None:
        """Take over what a snapshot says of the frames at `now_ns`, after the events up to it."""
        self._tell(now_ns)
        self.model.correct(state)

    def finish(self) -> None:
        """The trace is over: all bins are."""
        self._tell(int(self.bins_ns[-1]) + 1)

    def _tell(self, now_ns: int) -> None:
        """Note what there is for all bins before `now_ns`."""
        until = max(int(np.searchsorted(self.bins_ns, now_ns)), self._told)
        self.blocks[self._told : until] = self.model.nr_free
        self._told = until

    def frame(self) -> "pl.DataFrame":
        """`time_s` from the start of the replay, `zone` (its place in the manifest), `order`, `blocks`:
        a row for each bin, zone and order.
        """
        import polars as pl

        bins, zones, orders = self.blocks.shape
        time_s = (self.bins_ns - self._start_ns) / SECOND_NS
        return pl.DataFrame(
            {
                "time_s": np.repeat(time_s, zones * orders),
                "zone": np.tile(np.repeat(np.arange(zones, dtype=np.uint8), orders), bins),
                "order": np.tile(np.arange(orders, dtype=np.uint8), bins * zones),
                "blocks": self.blocks.ravel(),
            }
        )

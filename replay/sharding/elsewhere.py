"""Step 1 that was done elsewhere: what the shards come to, added up."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.memory import empty_memory
from replay.buddy.occupancy import Occupancy
from replay.buddy.rules import Rules
from replay.exact import SECOND_NS, frame_ns
from replay.geometry import Geometry
from replay.sharding.files import Shard
from replay.sharding.picking import SEEN
from replay.sharding.ranges import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUMS = ("steps", "exit_of_used", "entry_of_free", "free", "reportable", "managed", "corrected")


class Elsewhere(Occupancy):
    """What is known of step 1 without doing it. It has no frames, and takes no events.

    It tells of the zones' free frames as the replay begins, until it is `finish`ed: then of its end.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        geometry: Geometry,
        rules: Rules,
        start_ns: int,
        bins_ns: "NDArray[np.int64]",
    ) -> None:
        """`geometry`: the whole guest's, at the order whose sums these are."""
        self.geometry = geometry
        self._seen = shards[0].told["seen"]
        self._by_shard = [shard.told["orders"][str(geometry.order)] for shard in shards]
        self._memory = empty_memory(Range(0, 0).geometry(geometry), rules, start_ns, bins_ns)
        self._memory.zone_free[:] = _sum(shard.told["begin_free"] for shard in shards)

    def finish(self, end_ns: int) -> None:
        """Take over all sums."""
        totals = self._memory.totals
        for name in SUMS:
            totals[name] = sum(told["totals"][name] for told in self._by_shard)
        for name in SEEN:
            totals[name] = self._seen[name]
        totals["now_ns"] = end_ns
        for row in range(len(self.integrals)):
            total = sum(frame_ns(np.array(told["integrals"]), row) for told in self._by_shard)
            self.integrals[row] = divmod(total, SECOND_NS)
        self.series[:] = _sum(told["series"] for told in self._by_shard)
        self._memory.zone_free[:] = _sum(told["zone_free"] for told in self._by_shard)

    def free_frames(self) -> int:
        """Frames that are free at the end, counted one by one by the shards."""
        return sum(int(told["counted_free"]) for told in self._by_shard)


def _sum(numbers: "Iterable[list[Any]]") -> "NDArray[np.int64]":
    """Numbers of all shards, each with the same ones of the others."""
    return np.array(list(numbers), np.int64).sum(axis=0)

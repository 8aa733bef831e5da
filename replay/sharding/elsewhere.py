"""Step 1 that was done elsewhere: what the shards come to, added up."""

from collections.abc import Sequence

import numpy as np

from replay.buddy.memory import empty_memory
from replay.buddy.occupancy import Occupancy
from replay.buddy.rules import Rules
from replay.exact import SECOND_NS, frame_ns
from replay.geometry import Geometry
from replay.sharding.files import Shard
from replay.sharding.picking import SEEN
from replay.sharding.ranges import Range

SUMS = ("steps", "exit_of_used", "entry_of_free", "free", "reportable", "managed", "corrected")


class Elsewhere(Occupancy):
    """What is known of step 1 without doing it. It has no frames, and takes no events.

    It tells of the zones' free frames as the replay begins, until it is `finish`ed: then of its end.
    """

    def __init__(
        self, shards: Sequence[Shard], geometry: Geometry, rules: Rules, start_ns: int, bins_ns: np.ndarray
    ) -> None:
        """`geometry`: the whole guest's, at the order whose sums these are."""
        self.geometry = geometry
        self._seen = shards[0].told["seen"]
        self._told = [shard.told["orders"][str(geometry.order)] for shard in shards]
        self._memory = empty_memory(Range(0, 0).geometry(geometry), rules, start_ns, bins_ns)
        self._memory.zone_free[:] = sum(np.array(shard.told["begin_free"], np.int64) for shard in shards)

    def finish(self, end_ns: int) -> None:
        """Take over all sums."""
        totals = self._memory.totals
        for name in SUMS:
            totals[name] = sum(told["totals"][name] for told in self._told)
        for name in SEEN:
            totals[name] = self._seen[name]
        totals["now_ns"] = end_ns
        for row in range(len(self.integrals)):
            total = sum(frame_ns(np.array(told["integrals"]), row) for told in self._told)
            self.integrals[row] = divmod(total, SECOND_NS)
        self.series[:] = sum(np.array(told["series"], np.int64) for told in self._told)
        self._memory.zone_free[:] = sum(np.array(told["zone_free"], np.int64) for told in self._told)

    def free_frames(self) -> int:
        """Frames that are free at the end, counted one by one by the shards."""
        return sum(told["counted_free"] for told in self._told)

"""What managed memory is made of, and so why it does not come back: over time, and in byte seconds.

Every managed frame is in exactly one part. What is free comes from the model, frame by frame; of what
is used, the page cache and the per-CPU lists are told apart as the kernel's samples say, never more
than there is.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy import memory
from replay.exact import frame_ns
from replay.state import NEVER_BACKED, PART_GATED, PART_HELD, PART_KEPT, PART_WAITING, RECLAIMED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.engine import Group, Run
    from replay.schedule import Schedule

# The parts, and what each is, in the order of a chart: from what came back to what cannot.
PARTS = {
    "reclaimed": "came back: the host does not back it because of a report",
    "never_backed": "came while recording and was never used: the host has no memory for it yet",
    "kept": "reported, and the host did nothing, or took it back with a neighbour's huge page",
    "held": "in the policy's or the device's hands now",
    "waiting": "reportable, waits for a pass",
    "gated": "reportable, but a watermark refused the zone when the policy last came to it",
    "stranded": "free, in a unit that is not wholly free",
    "on_pcp": "on per-CPU lists",
    "page_cache": "used by the page cache",
    "other_used": "used by anything else (by all of it, where the trace has no samples)",
}
SAMPLED = ("page_cache", "on_pcp")
_LEVELS = {
    "reclaimed": RECLAIMED,
    "never_backed": NEVER_BACKED,
    "kept": PART_KEPT,
    "held": PART_HELD,
    "waiting": PART_WAITING,
    "gated": PART_GATED,
}


@dataclass(frozen=True)
class Composition:
    """Frames of each part (PARTS), None where it is not known: `series` at each bin (int64),
    `frame_ns` over the whole replay. Both add up to the managed memory, exactly.
    """

    series: "dict[str, NDArray[np.int64] | None]"
    frame_ns: dict[str, int | None]

    @classmethod
    def of(cls, run: "Run") -> "Composition":
        """Of one policy's finished run."""
        group, schedule, sampled = run.group, run.schedule, run.sampled
        state, step1 = schedule.state, group.occupancy
        free, managed = step1.series[memory.FREE], step1.series[memory.MANAGED]
        levels = {part: state.timeline[row] for part, row in _LEVELS.items()}
        left = managed - free
        cache = None if sampled.page_cache is None else np.minimum(sampled.page_cache, left)
        left = left if cache is None else left - cache
        pcp = None if sampled.on_pcp is None else np.minimum(sampled.on_pcp, left)
        series = levels | {
            "stranded": free - sum(levels.values()),
            "on_pcp": pcp,
            "page_cache": cache,
            "other_used": left if pcp is None else left - pcp,
        }
        return cls({part: series[part] for part in PARTS}, _over_time(group, schedule, cache, pcp))


def _over_time(
    group: "Group",
    schedule: "Schedule",
    cache: "NDArray[np.int64] | None",
    pcp: "NDArray[np.int64] | None",
) -> dict[str, int | None]:
    """Frame ns of each part: exact, but for the sampled parts, which are taken from bin to bin."""
    integrals = group.occupancy.integrals
    free = frame_ns(integrals, memory.FREE)
    used = frame_ns(integrals, memory.MANAGED) - free
    levels = {part: frame_ns(schedule.state.integrals, row) for part, row in _LEVELS.items()}
    widths = np.diff(group.bins_ns, prepend=group.start.now_ns).tolist()
    on_cache = None if cache is None else min(_total(cache, widths), used)
    on_pcp = None if pcp is None else min(_total(pcp, widths), used - (on_cache or 0))
    found: dict[str, int | None] = {
        **levels,
        "stranded": free - sum(levels.values()),
        "on_pcp": on_pcp,
        "page_cache": on_cache,
        "other_used": used - (on_cache or 0) - (on_pcp or 0),
    }
    return {part: found[part] for part in PARTS}


def _total(frames: "NDArray[np.int64]", widths_ns: list[int]) -> int:
    return sum(count * width for count, width in zip(frames.tolist(), widths_ns, strict=True))

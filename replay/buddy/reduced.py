"""What a stretch of events comes to for step 2: far rarer events, and free counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Kinds of reduced events: units became wholly free; stopped being so; frames exit for the first time
# since their unit was last wholly free; frames are managed from now on; a pageblock's type is known;
# units turn out to be wholly free, since nobody knows when; compaction searched a zone's lists.
FREED, BROKEN, TOUCH, APPEAR, RETYPE, FOUND, RESHUFFLED = 1, 2, 3, 4, 5, 6, 7
# How units enter (fpi_t of mm/page_alloc.c, bits): isolated blocks return unnoticed; new memory.
RETURNED, NEW = 1, 2
# In place of the epoch of a frame's last exit.
NEVER_USED = 0xFFFFFFFF  # not managed yet when the trace began
NOT_SEEN = 0xFFFFFFFE  # nothing is known of it yet: its first event or snapshot tells

REDUCED_DTYPE = np.dtype(
    [
        ("ts_ns", np.int64),
        ("pfn", np.int64),
        ("size", np.int32),  # FREED, FOUND, BROKEN: order; TOUCH, APPEAR: frames
        # TOUCH: epoch of the frames' exit before this one; RETYPE: how (`claims`)
        ("before", np.uint32),
        ("kind", np.uint8),
        ("migratetype", np.int8),  # RETYPE: the new one; BROKEN: of the list the rest goes to, -1: stays
        ("zone", np.uint8),
        ("fpi", np.uint8),  # FREED: how it enters, above
        ("cpu", np.uint32),  # FREED: on which CPU
    ]
)
COUNT_DTYPE = np.dtype([("ts_ns", np.int64), ("free", np.int64), ("zone", np.int64)])

REDUCED = nb.types.Array(nb.from_dtype(REDUCED_DTYPE), 1, "C")
COUNTS = nb.types.Array(nb.from_dtype(COUNT_DTYPE), 1, "C")


@dataclass(frozen=True)
class Reduced:
    """What a stretch of events comes to. `events`: REDUCED_DTYPE in time order; `counts`: free
    frames of a zone after the last event of each millisecond that had one (COUNT_DTYPE, by time).
    """

    events: "NDArray[np.void]"
    counts: "NDArray[np.void]"

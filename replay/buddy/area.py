"""The free area as plain arrays: blocks, their lists per (zone, order, migratetype), pageblock types.

`struct free_area` of include/linux/mmzone.h, for all zones and for orders from a base order on. A
*slot* is an aligned run of 2^base frames; a block is named by its first slot. A policy's lists have
base R, the full model's base 0: the same rules (`lists`) move both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from replay.bundles import NUMBERS, NUMBERS_2D, TYPES, Bundle, bundle_type, records
from replay.geometry import MOVABLE, Geometry
from tracer import Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.rules import Rules

NOBODY = -1  # no block, no neighbour on a list

# Flags of a block's first slot.
REPORTED = 1  # PG_reported
HELD = 2  # isolated: on no list, and nothing merges with it

BLOCK = np.dtype(
    [
        ("next", np.int32),  # towards the tail; of a held block: its place in the batch
        ("prev", np.int32),
        ("order", np.int8),  # of the listed or held block that begins here, else -1
        ("migratetype", np.int8),  # of the list that block is on
        ("flags", np.uint8),
        ("zone", np.uint8),
    ]
)
LIST = np.dtype(
    [
        ("head", np.int32),
        ("tail", np.int32),
        ("mark", np.int32),  # a reported block that tail insertions go before, or NOBODY
    ]
)
MOST_SLOTS = np.iinfo(np.int32).max

# Indices of `Area.shape`.
BASE, MAX_ORDER, PAGEBLOCK_ORDER, TO_TAIL, BY_PAGEBLOCK = range(5)


@dataclass(frozen=True, eq=False)
class Area(Bundle):
    """See the dtypes above. `shape`: base, maximum and pageblock order, and the kernel's `Rules`."""

    blocks: Annotated[Any, records(BLOCK)]  # a slot each
    lists: Annotated[Any, records(LIST, 3)]  # (zones, orders, migratetypes)
    nr_free: Annotated[Any, NUMBERS_2D]  # (zones, orders): listed blocks, all types
    nr_reported: Annotated[Any, NUMBERS_2D]  # (zones, orders): those of them that are flagged reported
    redirected: Annotated[Any, NUMBERS]  # (1): tail insertions that went before a mark
    types: Annotated[Any, TYPES]  # migratetype of each pageblock
    bounds: Annotated[Any, NUMBERS_2D]  # (zones, 2): slots [first, end) that lie in the zone wholly
    shape: Annotated[Any, NUMBERS]


AREA = bundle_type(Area)


def new_area(geometry: Geometry, base: int, rules: "Rules", types: "NDArray[np.int8] | None" = None) -> Area:
    """Empty lists for orders `base` and up. `types`: migratetype per pageblock, else all MOVABLE.

    Raises:
        Fault: when there are more slots than a list can link.
    """
    slots = geometry.frames >> base
    if slots > MOST_SLOTS:
        raise Fault(
            f"the guest has {slots:,} blocks of order {base}, more than the lists can hold",
            f"they hold {MOST_SLOTS:,}",
            "replay at a higher order",
        )
    bounds = [(-(-zone.start_pfn // (1 << base)), zone.end_pfn >> base) for zone in geometry.zones]
    blocks = np.zeros(slots, BLOCK)
    blocks["order"] = -1
    for zone, (first, end) in enumerate(bounds):
        blocks["zone"][first:end] = zone
    lists = np.full((len(bounds), geometry.max_order + 1, geometry.migratetypes, 3), NOBODY, np.int32)
    shape = [base, geometry.max_order, geometry.pageblock_order, rules.to_tail, rules.by_pageblock]
    return Area(
        blocks=blocks,
        lists=lists.view(LIST)[..., 0],
        nr_free=np.zeros((len(bounds), geometry.max_order + 1), np.int64),
        nr_reported=np.zeros((len(bounds), geometry.max_order + 1), np.int64),
        redirected=np.zeros(1, np.int64),
        types=np.full(geometry.pageblocks, MOVABLE, np.int8) if types is None else types.copy(),
        bounds=np.array(bounds, np.int64).reshape(-1, 2),
        shape=np.array(shape, np.int64),
    )

"""What guessing the types of pageblocks costs: free memory on a list of another type than the kernel's.

No snapshot shows types, so a replay takes them from events (`buddy.pageblocks`). Where
/proc/pagetypeinfo was read beside a snapshot, it tells how much of it was right: not which blocks, but
how many of each type and order.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.area import AREA, HELD, Area
from replay.jit import Words, compiled
from tracer import PageTypes, Zone

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Price:
    """Free frames, and how many of them the model has on a list of another type."""

    frames: int
    elsewhere: int


@compiled(nb.void(AREA, nb.int64[:, :, ::1]))
def _count(a: Area, counts: Words) -> None:
    """Listed blocks by zone, order and migratetype."""
    for slot in range(len(a.blocks)):
        block = a.blocks[slot]
        if block.order >= 0 and not block.flags & HELD:
            counts[block.zone, block.order, block.migratetype] += 1


def price_of(area: Area, zones: "Iterable[Zone]", told: list[PageTypes]) -> Price | None:
    """The model's lists (base order 0) beside what was read; None where nothing was.

    Lists that the kernel did not count to the end are left out.
    """
    if not told:
        return None
    counts = np.zeros(area.lists.shape, np.int64)
    _count(area, counts)
    names = [(zone.node, zone.name) for zone in zones]
    frames = elsewhere = 0
    for types in told:
        if (types.node, types.zone) not in names:
            continue
        kernel = np.array(types.free_blocks, np.int64).T
        model = counts[names.index((types.node, types.zone))]
        size = np.int64(1) << np.arange(len(kernel), dtype=np.int64)[:, None]
        counted = np.ones(kernel.shape, np.bool_)
        for _, order in types.cut_off:
            counted[order] = False
        frames += int((kernel * size)[counted].sum())
        elsewhere += int((np.maximum(kernel - model, 0) * size)[counted].sum())
    return Price(frames, elsewhere) if frames else None

"""Which frames are whose: ranges of addresses between which no state of step 1 crosses.

A range begins and ends at a block that is no smaller than the largest one of the buddy, a pageblock, a host
huge page and a word of the bitmaps. No event moves frames of two such blocks: a larger or unaligned one is
none (`buddy.ops`, `buddy.steps`). Nor does a unit, or a claim of pageblocks.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from replay.geometry import Geometry
from tracer import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD_ORDER = 6  # frames in a word of a bitmap
SAMPLES, SAMPLE_ROWS = 8, 1 << 16
FRAMES_SHARE = 0.1  # of the work that goes with frames, whatever happens to them


@dataclass(frozen=True)
class Range:
    """Frames [first, end) of a guest, by their pfns."""

    first: int
    end: int

    def geometry(self, whole: Geometry) -> Geometry:
        """The same zones, as far as they are in here, with the range's first frame as frame 0."""
        zones = []
        for zone in whole.zones:
            first, end = max(zone.start_pfn, self.first), min(zone.end_pfn, self.end)
            inside = (first - self.first, end - first) if first < end else (0, 0)
            zones.append(replace(zone, start_pfn=inside[0], spanned=inside[1]))
        return replace(whole, zones=tuple(zones))


def block_order(geometry: Geometry) -> int:
    """The order of the blocks that a range consists of."""
    return max(geometry.max_order, geometry.pageblock_order, geometry.host_order, WORD_ORDER)


def ranges_of(trace: Trace, geometry: Geometry, shards: int) -> list[Range]:
    """At most so many ranges, ascending, that hold all frames of the zones, with about as many events each.

    Nothing depends on where they end.
    """
    order = block_order(geometry)
    weights = _frames_by_block(geometry, order)
    there = np.flatnonzero(weights)
    share = weights[there] / weights.sum() * FRAMES_SHARE
    events = _events_by_block(trace, order, len(weights))[there]
    if events.sum():
        share += events / events.sum()
    before = np.cumsum(share) - share / 2
    cuts = np.searchsorted(before, share.sum() * np.arange(1, shards) / shards)
    inner = np.unique(cuts[(cuts > 0) & (cuts < len(there))])
    first = [0, *(there[inner] << order).tolist()]
    return [Range(*pair) for pair in zip(first, [*first[1:], len(weights) << order], strict=True)]


def _frames_by_block(geometry: Geometry, order: int) -> "NDArray[np.float64]":
    """Frames of the zones' spans in each block."""
    borders = np.arange((-(-geometry.frames >> order)) + 1, dtype=np.int64) << order
    frames = np.zeros(len(borders) - 1)
    for zone in geometry.zones:
        frames += np.diff(np.clip(borders, zone.start_pfn, zone.end_pfn))
    return frames


def _events_by_block(trace: Trace, order: int, blocks: int) -> "NDArray[np.int64]":
    """Events in each block, of some stretches all over the trace."""
    counts = np.zeros(blocks, np.int64)
    if trace.partial:  # who knows what of it a scan can read
        return counts
    step = max(trace.rows // SAMPLES, SAMPLE_ROWS)
    for first in range(0, trace.rows, step):
        pfn = trace.events.slice(first, SAMPLE_ROWS).select("pfn").collect()["pfn"].to_numpy()
        block = pfn >> np.uint64(order)
        counts += np.bincount(block[block < blocks].astype(np.int64), minlength=blocks)
    return counts

"""The memory of a synthetic guest: zones and their watermarks, and where in them there is memory."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from replay.generating.checking import refuse, write_size
from replay.generating.draws import choose
from replay.generating.recipe import Recipe
from tracer import Zone

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_FREE_KB, _MOST_FREE_KB = 128, 262_144  # mm/page_alloc.c calculate_min_free_kbytes()
_SCALE = 10  # vm.watermark_scale_factor, in 10,000ths


@dataclass(frozen=True)
class Land:
    """Attributes:
    zones: with watermarks; all of their memory is free.
    spans: of each zone, pfns [start, end) where it has memory, int64, shape (spans, 2), ascending.
    """

    zones: list[Zone]
    spans: list["NDArray[np.int64]"]

    @classmethod
    def of(cls, recipe: Recipe, seeds: "NDArray[np.uint64]") -> "Land":
        """Lay out the zones, node by node, without gaps between them.

        Raises:
            Fault: when a zone is too small to have such holes.
        """
        zones: list[Zone] = []
        spans = []
        for node, name, present in _sizes(recipe):
            start = zones[-1].end_pfn if zones else 0
            found = _spans(recipe, name, present, seeds) + start
            end = int(found[-1, 1])
            zones.append(Zone(node, name, start, end - start, present, present, present, 0, 0, 0, 0))
            spans.append(found)
        return cls(_watermarked(zones, recipe.page_bytes), spans)


def _sizes(recipe: Recipe) -> list[tuple[int, str, int]]:
    """(node, name, frames) of each zone."""
    frames = recipe.memory_bytes // recipe.page_bytes
    found = [(0, name, size // recipe.page_bytes) for name, size in recipe.zones]
    for node in range(recipe.nodes):
        share = frames // recipe.nodes + (node < frames % recipe.nodes)
        below = sum(size for _, _, size in found) if node == 0 else 0
        found.append((node, "Normal", share - below))
    return found


def _spans(recipe: Recipe, name: str, present: int, seeds: "NDArray[np.uint64]") -> "NDArray[np.int64]":
    """Where a zone that begins at 0 has memory: pieces of the holes' size, in random order."""
    piece = recipe.hole_bytes // recipe.page_bytes
    pieces = -(-present // piece)
    holes = round(recipe.holes / (1 - recipe.holes) * pieces)
    if not holes:
        return np.array([[0, present]])
    if pieces < 2:
        what = f"--holes {recipe.holes} of {write_size(recipe.hole_bytes)}"
        size = write_size(present * recipe.page_bytes)
        how = f"zone {name} has {size}: memory at both ends and holes between"
        raise refuse(what, how, "make --hole-size smaller")
    chosen = np.empty(holes, np.int64)
    choose(seeds, pieces + holes - 2, chosen)
    there = np.ones(pieces + holes, np.int8)
    there[1 + chosen] = 0
    edges = np.flatnonzero(np.diff(there, prepend=0, append=0)).reshape(-1, 2) * piece
    edges[-1, 1] -= pieces * piece - present  # the last piece is what is left
    return edges.astype(np.int64)


def _watermarked(zones: list[Zone], page_bytes: int) -> list[Zone]:
    """min, low and high as mm/page_alloc.c computes them: calculate_min_free_kbytes() and
    __setup_per_zone_wmarks(), at boot, without what transparent huge pages ask for on top.
    """
    managed = sum(zone.managed for zone in zones)
    free_kb = math.isqrt(managed * (page_bytes >> 10) * 16)
    pages_min = min(max(free_kb, _LEAST_FREE_KB), _MOST_FREE_KB) // (page_bytes >> 10)
    found = []
    for zone in zones:
        least = pages_min * zone.managed // managed
        step = max(least >> 2, zone.managed * _SCALE // 10_000)
        found.append(replace(zone, min=least, low=least + step, high=least + 2 * step))
    return found

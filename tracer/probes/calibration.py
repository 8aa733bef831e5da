"""How a `struct page *` becomes a pfn on this kernel, found by watching instead of by its headers.

With a virtually contiguous memory map (CONFIG_SPARSEMEM_VMEMMAP, all common 64-bit kernels) the
page of frame pfn lies at base + pfn * size. While the raw form of a tracepoint and the tracepoint
itself are both attached, each event tells one (page, pfn) pair; if all pairs lie on one line, that
line is the map. If they do not, or the arguments differ, the raw form is not used.
"""

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tracer.probes.program import MISMATCH, PAIR

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_PAIRS = 64
# An interrupt between the two programs can pair two events; such pairs are few.
MAX_OFF_LINE = 0.02
_STIR_BYTES = 2 << 20


@dataclass(frozen=True)
class PageMap:
    """Where struct pages lie: of frame pfn at `base` + pfn * `size`, in bytes, modulo 2^64."""

    base: int
    size: int

    @property
    def shift(self) -> int:
        """log2 of the size if that is a power of two, else 0."""
        return self.size.bit_length() - 1 if self.size & (self.size - 1) == 0 else 0


def stir(page_size: int) -> None:
    """Allocate and free some hundred pages, so that there is something to see."""
    with mmap.mmap(-1, _STIR_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, _STIR_BYTES, page_size):
            memory[at] = 1


def split(records: "NDArray[np.uint64]") -> tuple["NDArray[np.uint64]", "NDArray[np.uint64]"]:
    """(calibration records, all others) of records of shape (n, 3)."""
    about = records[:, 1] >> np.uint64(56) >= MISMATCH
    return records[about], records[~about]


def page_map(pairs: "NDArray[np.uint64]") -> PageMap | str:
    """The map that calibration records of one probe tell, or why they tell none."""
    if len(pairs) < MIN_PAIRS:
        return f"only {len(pairs)} events were seen in both forms"
    if (pairs[:, 1] >> np.uint64(56) != PAIR).mean() > MAX_OFF_LINE:
        return "its arguments are not the tracepoint's fields"
    page, pfn = pairs[:, 0], pairs[:, 1] & np.uint64((1 << 40) - 1)
    # Neighbours, not all with the first: one pair off the line must not spoil the others.
    moved = np.diff(pfn.astype(np.int64))
    if not moved.any():
        return "all events were of one page"
    apart = np.diff(page)[moved != 0].astype(np.int64)
    size = int(np.median(apart / moved[moved != 0]))
    if not 16 <= size <= 1024:
        return f"pages would be {size} bytes apart"
    bases = page - pfn * np.uint64(size)
    base = np.sort(bases)[len(bases) // 2]
    if (bases != base).mean() > MAX_OFF_LINE:
        return "pages and frames do not lie on one line"
    return PageMap(int(base), size)

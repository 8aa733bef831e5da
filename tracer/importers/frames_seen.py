"""Which page frames the events of a file name: all that an import knows of the guest's memory."""

from typing import TYPE_CHECKING

import numpy as np

from tracer.format import MAX_ORDER_LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ORDER = MAX_ORDER_LIMIT  # 2^20 frames: no block crosses a chunk


class FramesSeen:
    """A set of page frames, in chunks of 1 MiB made when a frame of theirs is named.

    Attributes:
        end_pfn: one past the highest of them.
    """

    def __init__(self) -> None:
        self.end_pfn = 0
        self._chunks: dict[int, NDArray[np.bool_]] = {}

    def add(self, pfn: "NDArray[np.uint64]", order: "NDArray[np.uint8]") -> None:
        """Add aligned blocks of 2^order frames."""
        for size_order in np.unique(order).tolist():
            blocks = pfn[order == size_order] >> np.uint64(size_order)
            self.end_pfn = max(self.end_pfn, (int(blocks.max()) + 1) << size_order)
            chunks = blocks >> np.uint64(CHUNK_ORDER - size_order)
            for chunk in np.unique(chunks).tolist():
                local = blocks[chunks == chunk] & np.uint64((1 << (CHUNK_ORDER - size_order)) - 1)
                self._chunk(chunk).reshape(-1, 1 << size_order)[local] = True

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(chunk)) for chunk in self._chunks.values())

    def _chunk(self, number: int) -> "NDArray[np.bool_]":
        if number not in self._chunks:
            self._chunks[number] = np.zeros(1 << CHUNK_ORDER, np.bool_)
        return self._chunks[number]

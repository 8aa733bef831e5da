"""The memory between the ring and the encoder: a fixed number of blocks, made once.

When none is free, records stay in the ring, and when that is full the kernel counts what it loses:
draining never waits for the encoder, and nothing is dropped anywhere else.
"""

import queue
from typing import TYPE_CHECKING

import numpy as np

from tracer.probes.ring import RECORD_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 1 << 17
BLOCKS = 8
BLOCKS_BYTES = BLOCKS * BLOCK_ROWS * RECORD_WORDS * 8


class Blocks:
    """Blocks of records, shape (BLOCK_ROWS, 3), handed out and given back."""

    def __init__(self, count: int = BLOCKS, rows: int = BLOCK_ROWS) -> None:
        self._free: queue.SimpleQueue[NDArray[np.uint64]] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(np.zeros((rows, RECORD_WORDS), np.uint64))  # touched now, not while recording

    def take(self) -> "NDArray[np.uint64] | None":
        """A free block, or None."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def give(self, block: "NDArray[np.uint64]") -> None:
        """Take a block back."""
        self._free.put(block)

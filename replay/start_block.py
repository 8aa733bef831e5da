"""Blocks on the free lists where a replay begins."""

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A block that is free at the start: its first unit, whether it is already reported, and the type of its
# list, -1 where the lists were not read.
START_BLOCK = np.dtype(
    [("unit", np.int64), ("order", np.int64), ("migratetype", np.int64), ("reported", np.bool_)]
)
START_BLOCKS = nb.types.Array(nb.from_dtype(START_BLOCK), 1, "C")


def unreported(blocks: "NDArray[np.void]") -> "NDArray[np.void]":
    """The same blocks, none of them reported."""
    blocks = blocks.copy()
    blocks["reported"] = False
    return blocks

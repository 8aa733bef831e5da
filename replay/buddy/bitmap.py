"""One bit per frame, in 64-bit words."""

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.jit import Int, Words, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bitmap_of(flags: "NDArray[np.bool_]", frames: int) -> "NDArray[np.uint64]":
    """The bits of so many frames, those beyond `flags` clear."""
    words = np.zeros(-(-frames // 64) * 8, np.uint8)
    packed = np.packbits(flags[:frames], bitorder="little")
    words[: len(packed)] = packed
    return words.view(np.uint64)


@compiled(nb.boolean(nb.uint64[::1], nb.int64), inline=True)
def is_set(words: Words, frame: Int) -> bool:
    """The bit of one frame."""
    return (words[frame >> 6] >> np.uint64(frame & 63)) & np.uint64(1) != 0


@compiled(nb.int64(nb.uint64), inline=True)
def _bits(word: Int) -> Int:
    """Number of set bits."""
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count


@compiled(nb.int64(nb.uint64[::1], nb.int64, nb.int64, nb.boolean), inline=True)
def mark(free: Words, first: Int, size: Int, value: bool) -> Int:
    """Set or clear the bits of an aligned block; returns how many of its frames were set before."""
    before = 0
    if size >= 64:
        full = ~np.uint64(0)
        for word in range(first >> 6, (first + size) >> 6):
            before += 64 if free[word] == full else _bits(free[word])
            free[word] = full if value else np.uint64(0)
        return before
    mask = ((np.uint64(1) << np.uint64(size)) - np.uint64(1)) << np.uint64(first & 63)
    old = free[first >> 6] & mask
    before = size if old == mask else _bits(old)
    if value:
        free[first >> 6] |= mask
    else:
        free[first >> 6] &= ~mask
    return before

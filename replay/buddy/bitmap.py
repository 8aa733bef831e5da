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


@compiled(nb.void(nb.uint64[::1], nb.int64), inline=True)
def set_bit(words: Words, frame: Int) -> None:
    """Set the bit of one frame."""
    words[frame >> 6] |= np.uint64(1) << np.uint64(frame & 63)


@compiled(nb.uint64(nb.int64, nb.int64), inline=True)
def mask_of(first: Int, size: Int) -> Int:
    """The bits of an aligned block of less than 64 frames, in its word."""
    return ((np.uint64(1) << np.uint64(size)) - np.uint64(1)) << np.uint64(first & 63)


@compiled(nb.int64(nb.uint64), inline=True)
def bits(word: Int) -> Int:
    """Number of set bits; LLVM knows the idiom."""
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count


@compiled(nb.int64(nb.uint64[::1], nb.int64, nb.int64), inline=True)
def count(words: Words, first: Int, size: Int) -> Int:
    """How many bits of an aligned block are set."""
    if size < 64:
        return bits(words[first >> 6] & mask_of(first, size))
    total = 0
    for word in range(first >> 6, (first + size) >> 6):
        total += bits(words[word])
    return total


@compiled(nb.int64(nb.uint64[::1], nb.int64, nb.int64, nb.boolean), inline=True)
def mark(words: Words, first: Int, size: Int, value: bool) -> Int:
    """Set or clear the bits of an aligned block; returns how many of them were set before."""
    before = count(words, first, size)
    if size < 64:
        mask = mask_of(first, size)
        old = words[first >> 6]
        words[first >> 6] = old | mask if value else old & ~mask
        return before
    for word in range(first >> 6, (first + size) >> 6):
        words[word] = ~np.uint64(0) if value else np.uint64(0)
    return before


@compiled(nb.boolean(nb.uint64[::1], nb.int64, nb.int64), inline=True)
def all_set(words: Words, first: Int, size: Int) -> bool:
    """Are all bits of an aligned block set?"""
    if size < 64:
        return not ~words[first >> 6] & mask_of(first, size)
    word, end = first >> 6, (first + size) >> 6
    while word < end and not ~words[word]:
        word += 1
    return word == end


@compiled(nb.uint64(nb.int64, nb.int64, nb.int64), inline=True)
def part_of(word: Int, first: Int, end: Int) -> Int:
    """The bits of a word that are of frames [first, end)."""
    mask = ~np.uint64(0)
    if first > word << 6:
        mask &= ~np.uint64(0) << np.uint64(first & 63)
    if end < (word + 1) << 6:
        mask &= ~(~np.uint64(0) << np.uint64(end & 63))
    return mask


@compiled(nb.int64(nb.uint64), inline=True)
def lowest(word: Int) -> Int:
    """Place of the lowest set bit; there is one."""
    return bits((word & -word) - np.uint64(1))

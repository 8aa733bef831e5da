"""One bit per unit, in the words of a policy's memory from `base` on."""

import numba as nb
import numpy as np

from replay.jit import Int, Words, compiled
from replay.policies.protocol import MEMORY


def words_for(units: int) -> int:
    """Words that so many bits take."""
    return -(-units // 64)


@compiled(nb.boolean(MEMORY, nb.int64, nb.int64), inline=True)
def is_set(memory: Words, base: Int, unit: Int) -> bool:
    """A unit's bit."""
    return (memory[base + (unit >> 6)] >> (unit & 63)) & 1 != 0


@compiled(nb.void(MEMORY, nb.int64, nb.int64), inline=True)
def set_bit(memory: Words, base: Int, unit: Int) -> None:
    """Set a unit's bit."""
    memory[base + (unit >> 6)] |= np.int64(1) << (unit & 63)


@compiled(nb.void(MEMORY, nb.int64, nb.int64), inline=True)
def clear_bit(memory: Words, base: Int, unit: Int) -> None:
    """Clear a unit's bit."""
    memory[base + (unit >> 6)] &= ~(np.int64(1) << (unit & 63))


@compiled(nb.int64(MEMORY, nb.int64, nb.int64, nb.int64))
def next_set(memory: Words, base: Int, unit: Int, end: Int) -> Int:
    """The first unit from `unit` on, and before `end`, whose bit is set; else `end`."""
    while unit < end:
        rest = memory[base + (unit >> 6)] >> (unit & 63)
        if rest == 0:
            unit = (unit | 63) + 1
            continue
        while not rest & 1:
            rest >>= 1
            unit += 1
        return min(unit, end)
    return end

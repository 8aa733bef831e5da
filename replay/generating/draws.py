"""Random numbers of a seed, the same on every machine: SplitMix64 (Steele, Lea and Flood, 2014).

There are several streams, so that what is drawn of one thing does not change what is drawn of others.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.jit import Int, Words, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = nb.uint64[::1]
FIXED, EXPONENTIAL, LOG_NORMAL = range(3)  # as `kind.AGES`

_STEP, _FIRST, _SECOND = (
    np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def streams(seed: int, names: Iterable[str]) -> "NDArray[np.uint64]":
    """The state of a stream for each name."""
    digests = (hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(each, "little") for each in digests], np.uint64)


@compiled(nb.uint64(SEEDS, nb.int64), inline=True)
def word(seeds: Words, at: Int) -> Int:
    """64 random bits of a stream."""
    seeds[at] += _STEP
    z = seeds[at]
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@compiled(nb.float64(SEEDS, nb.int64), inline=True)
def uniform(seeds: Words, at: Int) -> float:
    """A number above 0, up to 1."""
    return (np.float64(word(seeds, at) >> np.uint64(11)) + 1.0) * 2.0**-53


@compiled(nb.int64(SEEDS, nb.int64, nb.int64), inline=True)
def below(seeds: Words, at: Int, end: Int) -> Int:
    """A whole number from 0, below `end`, which is far below 2^53."""
    return min(np.int64((1.0 - uniform(seeds, at)) * end), end - 1)


@compiled(nb.float64(SEEDS, nb.int64, nb.float64, nb.int64, nb.float64))
def spread(seeds: Words, at: Int, mean: float, how: Int, sigma: float) -> float:
    """A number of that mean. `how`: FIXED, EXPONENTIAL or LOG_NORMAL (`sigma`: of its logarithm)."""
    if how == FIXED:
        return mean
    if how == EXPONENTIAL:
        return -math.log(uniform(seeds, at)) * mean
    normal = math.sqrt(-2.0 * math.log(uniform(seeds, at))) * math.cos(2.0 * math.pi * uniform(seeds, at))
    return mean * math.exp(sigma * normal - sigma * sigma / 2.0)


@compiled(nb.void(SEEDS, nb.int64, nb.int64[::1]))
def choose(seeds: Words, end: Int, chosen: Words) -> None:
    """As many different numbers below `end` as `chosen` has places, ascending, each set as likely; of
    stream 0.
    """
    found = 0
    for each in range(end):
        if found == len(chosen):
            break
        if below(seeds, 0, end - each) < len(chosen) - found:
            chosen[found] = each
            found += 1

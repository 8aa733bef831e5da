"""Exact time integrals and latency histograms in integers, so that no result depends on grouping.

An integral of frames over time does not fit 64 bits in frame nanoseconds, so it is kept as whole
frame seconds and the rest in frame nanoseconds.
"""

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.jit import Int, Words, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
_CARRY = 1 << 60  # frame ns are carried into seconds only when they get this many

# Latencies are counted in buckets of 1/1024 relative width; below 2048 ns each has its own.
BUCKET_BITS = 10
BUCKETS = (64 - BUCKET_BITS) << BUCKET_BITS


@compiled(nb.void(nb.int64[:, ::1], nb.int64, nb.int64, nb.int64), inline=True)
def settle(integrals: Words, row: Int, frames: Int, elapsed_ns: Int) -> None:
    """Add `frames`, which may be negative, over `elapsed_ns` to an integral ([frame seconds, frame ns])."""
    if elapsed_ns >= SECOND_NS:
        integrals[row, 0] += frames * (elapsed_ns // SECOND_NS)
        elapsed_ns %= SECOND_NS
    rest = integrals[row, 1] + frames * elapsed_ns
    if abs(rest) >= _CARRY:
        integrals[row, 0] += rest // SECOND_NS
        rest %= SECOND_NS
    integrals[row, 1] = rest


def frame_ns(integrals: "NDArray[np.int64]", row: int) -> int:
    """An integral in frame nanoseconds, exactly."""
    return int(integrals[row, 0]) * SECOND_NS + int(integrals[row, 1])


def byte_seconds(integrals: "NDArray[np.int64]", row: int, page_size: int) -> float:
    """An integral in byte seconds."""
    return frame_ns(integrals, row) * page_size / SECOND_NS


@compiled(nb.int64(nb.int64), inline=True)
def bucket_of(latency_ns: Int) -> Int:
    """The histogram bucket of a latency."""
    shift, rest = np.int64(0), np.uint64(latency_ns) >> np.uint64(BUCKET_BITS + 1)
    while rest:  # LLVM knows an instruction for this loop
        rest >>= np.uint64(1)
        shift += 1
    return (shift << BUCKET_BITS) + (latency_ns >> shift)


def bucket_bounds_ns() -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Lowest latency of each bucket, and its width, in ns."""
    index = np.arange(BUCKETS)
    shift = np.maximum((index >> BUCKET_BITS) - 1, 0)
    lowest = (index - (shift << BUCKET_BITS)).astype(np.float64) * np.exp2(shift)
    return lowest, np.exp2(shift)

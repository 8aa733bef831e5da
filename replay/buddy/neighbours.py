"""Frames next to each other that enter or leave one after the other: blocks at a time.

Memory is freed and taken in stretches of neighbours, frame by frame. When all frames of an aligned
block enter in a row, they merge with each other alone until the last of them is in: the lists end up
as if the block had entered whole. When they leave in a row, the first splits the block around it,
and what lies inside the aligned block is gone with the last: as if it had left whole.
"""

import numba as nb
import numpy as np

from replay.buddy.steps import OP, ORDER, PFN, TYPE
from replay.jit import Int, Words, compiled

_AT_ONCE = 64  # events compared in one go


@compiled(nb.int64(OP, ORDER, TYPE, nb.int64, nb.int64))
def alike_until(op: Words, order: Words, migratetype: Words, start: Int, stop: Int) -> Int:
    """The first event after `start` with another op, order or type."""
    i, end = np.uint64(start), np.uint64(stop)
    same_op, same_order, same_type = op[i], order[i], migratetype[i]
    while i + np.uint64(_AT_ONCE) <= end:
        other = np.uint8(0)
        for k in range(i, i + np.uint64(_AT_ONCE)):
            other |= (op[k] ^ same_op) | (order[k] ^ same_order) | np.uint8(migratetype[k] ^ same_type)
        if other:
            break
        i += np.uint64(_AT_ONCE)
    while i < end and op[i] == same_op and order[i] == same_order and migratetype[i] == same_type:
        i += np.uint64(1)
    return np.int64(i)


@compiled(nb.types.UniTuple(nb.int64, 2)(PFN, nb.int64, nb.int64), inline=True)
def stretch_at(pfn: Words, start: Int, end: Int) -> tuple[Int, Int]:
    """(how many of events [start, end) go from one frame to the next, 1 upwards or -1 downwards)."""
    i, until = np.uint64(start) + np.uint64(1), np.uint64(end)
    if i == until:
        return 1, 1
    step = np.int64(pfn[i] - pfn[i - np.uint64(1)])
    if step not in (1, -1):
        return 1, 1
    while i < until and np.int64(pfn[i] - pfn[i - np.uint64(1)]) == step:
        i += np.uint64(1)
    return np.int64(i) - start, step


@compiled(nb.types.UniTuple(nb.int64, 2)(nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def block_at(frame: Int, count: Int, step: Int, most: Int) -> tuple[Int, Int]:
    """(first frame, order) of the largest aligned block, at most of order `most`, that a stretch of
    `count` frames from `frame` on begins with.
    """
    edge, order = frame if step > 0 else frame + 1, np.int64(0)
    while order < most and count >> (order + 1) and not (edge >> order) & 1:
        order += 1
    return edge if step > 0 else edge - (np.int64(1) << order), order

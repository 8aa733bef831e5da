"""The state of a synthetic guest: its allocator, and the objects that live in it, by when they go on.

An object's blocks are linked through the allocator's own records, which a block in use has no need of. So
state is a record per frame and one per living object, however long the trace.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numba as nb
import numpy as np

from replay.buddy.area import AREA
from replay.buddy.lists import block_of, link, slots_of, take
from replay.bundles import NUMBERS, NUMBERS_2D, Bundle, bundle_type, records
from replay.generating.draws import SEEDS, below
from replay.jit import Int, Words, compiled

KIND = np.dtype(
    [
        ("rate", np.float64),  # a second
        ("blocks", np.float64),  # of an object, on average
        ("size_sigma", np.float64),
        ("growth_ns", np.float64),  # from an object's first block to its last, about
        ("lifetime_ns", np.float64),  # 0: forever
        ("age_sigma", np.float64),
        ("duty", np.float64),
        ("ages", np.int64),
        ("order", np.int64),
        ("migratetype", np.int64),
        ("wave", np.int64),
        ("period_ns", np.int64),
        ("next_ns", np.int64),  # when the next one may come
        ("free_op", np.int64),
        ("refill", np.int64),  # do per-CPU lists take this order?
        ("objects", np.int64),  # that were made
        ("taken", np.int64),  # blocks
        ("given_up", np.int64),  # objects that found no memory
    ]
)
DUE = np.dtype(
    [
        ("due_ns", np.int64),  # when it goes on growing, or leaves
        ("gap_ns", np.int64),  # between its batches
        ("age_ns", np.int64),  # that it lives for when it is whole; 0: forever
        ("head", np.int32),
        ("last", np.int32),
        ("left", np.int32),  # blocks to come; none: it is whole
        ("kind", np.int16),
        ("cpu", np.uint16),
    ]
)
NOW = np.dtype(
    [
        ("ns", np.int64),
        ("begin_ns", np.int64),  # of the trace, where waves begin
        ("events", np.int64),  # written
        ("living", np.int64),  # objects in the heap
        ("doing", np.int64),
        ("due_ns", np.int64),
        ("kind", np.int64),
        ("cpu", np.int64),  # on which it happens
        ("cpus", np.int64),  # of the guest
        ("left", np.int64),  # blocks that the object still wants
        ("batch", np.int64),  # of these, how many now
        ("gap_ns", np.int64),  # until the next batch
        ("age_ns", np.int64),
        ("head", np.int64),  # its first block
        ("last", np.int64),
        ("late_ns", np.int64),  # at most
    ]
)


@dataclass(frozen=True, eq=False)
class World(Bundle):
    """See the dtypes above. `heap`: objects that grow or live, by when they go on, the first at 0."""

    area: Annotated[Any, AREA]
    free: Annotated[Any, NUMBERS]  # frames, by zone
    marks: Annotated[Any, NUMBERS_2D]  # (zones, 2): the watermarks low and min
    zonelists: Annotated[Any, NUMBERS_2D]  # (nodes, zones): in the order in which they are tried
    kinds: Annotated[Any, records(KIND)]
    heap: Annotated[Any, records(DUE)]
    now: Annotated[Any, records(NOW)]  # one
    seeds: Annotated[Any, SEEDS]  # streams: of places and of CPUs that free, then one for each kind
    # The events written, by column.
    ts_ns: Annotated[Any, nb.int64[::1]]
    op: Annotated[Any, nb.uint8[::1]]
    pfn: Annotated[Any, nb.uint64[::1]]
    order: Annotated[Any, nb.uint8[::1]]
    migratetype: Annotated[Any, nb.int8[::1]]
    cpu: Annotated[Any, nb.uint16[::1]]
    aux: Annotated[Any, nb.uint64[::1]]


WORLD = bundle_type(World)


# At the start


@compiled(nb.void(WORLD, nb.int64, nb.int64, nb.int64, nb.int64))
def open_span(w: World, zone: Int, first: Int, end: Int, migratetype: Int) -> None:
    """Frames [first, end) are free, in the largest blocks there are, on the tails of their lists."""
    most = len(w.area.lists[zone]) - 1
    while first < end:
        order = 0
        while order < most and not first & (np.int64(1) << order) and first + (np.int64(2) << order) <= end:
            order += 1
        link(w.area, first, order, migratetype, True)
        w.free[zone] += slots_of(w.area, order)
        first += slots_of(w.area, order)


@compiled(nb.void(WORLD, nb.int64[::1], nb.int64))
def pin(w: World, pageblocks: Words, size: Int) -> None:
    """One frame of each of these pageblocks, of `size` frames, all free, leaves for good."""
    for pageblock in pageblocks:
        frame = pageblock * size + below(w.seeds, 0, size)
        take(w.area, block_of(w.area, frame), frame, 0, -1)
        w.free[w.area.blocks[frame].zone] -= 1


# The heap


@compiled(nb.void(WORLD, nb.int64))
def push(w: World, due_ns: Int) -> None:
    """The object at hand waits until then."""
    now, place = w.now[0], w.now[0].living
    w.now[0].living += 1
    while place and w.heap[(place - 1) >> 1].due_ns > due_ns:
        w.heap[place] = w.heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    entry = w.heap[place]
    entry.due_ns, entry.gap_ns, entry.age_ns, entry.left = due_ns, now.gap_ns, now.age_ns, now.left
    entry.head, entry.last, entry.kind, entry.cpu = now.head, now.last, now.kind, now.cpu


@compiled(nb.void(WORLD))
def pop(w: World) -> None:
    """Drop the first."""
    w.now[0].living -= 1
    end, place = w.now[0].living, 0
    moved_ns = w.heap[end].due_ns
    while True:
        child = 2 * place + 1
        if child + 1 < end and w.heap[child + 1].due_ns < w.heap[child].due_ns:
            child += 1
        if child >= end or w.heap[child].due_ns >= moved_ns:
            break
        w.heap[place] = w.heap[child]
        place = child
    w.heap[place] = w.heap[end]

"""What comes and goes: objects arrive, take their blocks one by one, live, and give them back.

All of it happens on one clock: at most one block every `STEP_NS`.
"""

import math

import numba as nb
import numpy as np

from replay.buddy.area import NOBODY
from replay.buddy.lists import insert, pageblock_type
from replay.generating.allocator import BOTH, EXTFRAG, take_block
from replay.generating.draws import EXPONENTIAL, FIXED, LOG_NORMAL, below, spread, uniform
from replay.generating.world import WORLD, World, pop, push
from replay.jit import Int, compiled
from tracer import Op

STEP_NS = 100
BATCH_FRAMES = 64  # that an object takes in one go while it grows: about a refill of a per-CPU list
MOST_BLOCKS = 1 << 30  # of an object
FAR_NS = np.iinfo(np.int64).max
STEADY, SINE, SQUARE = range(3)  # as `kind.WAVES`
WAITING, FILLING, FREEING = range(3)
LOW, MIN = range(2)  # columns of `marks`
_ZONE_LOCKED, _EXTFRAG, _PAGE_FREE = int(Op.ZONE_LOCKED), int(Op.EXTFRAG), int(Op.PAGE_FREE)
# Why `live` stopped.
UP_TO_DATE, NO_ROOM, NO_HEAP = range(3)
MOST_EVENTS_A_STEP = 2


# One block


@compiled(nb.void(WORLD, nb.int64, nb.int64, nb.int64, nb.int64, nb.int64), inline=True)
def _tell(w: World, op: Int, pfn: Int, order: Int, migratetype: Int, aux: Int) -> None:
    """Write an event of this instant."""
    at = w.now[0].events
    w.ts_ns[at], w.op[at], w.pfn[at], w.order[at] = w.now[0].ns, op, pfn, order
    w.migratetype[at], w.cpu[at], w.aux[at] = migratetype, w.now[0].cpu, aux
    w.now[0].events += 1


@compiled(nb.int64(WORLD, nb.int64))
def _allocate(w: World, kind: Int) -> Int:
    """A block for an object of a kind, or NOBODY: from the zones of the CPU's node, then from others, first
    above the low watermark, then down to the min.
    """
    k = w.kinds[kind]
    node = w.now[0].cpu % len(w.zonelists)
    for mark in (LOW, MIN):
        for place in range(w.zonelists.shape[1]):
            zone = w.zonelists[node, place]
            if w.free[zone] - (np.int64(1) << k.order) < w.marks[zone, mark]:
                continue
            slot, told, aux = take_block(w.area, zone, k.order, k.migratetype)
            if slot == NOBODY:
                continue
            w.free[zone] -= np.int64(1) << k.order
            if told != EXTFRAG:
                _tell(w, _ZONE_LOCKED, slot, k.order, k.migratetype, k.refill)
            if told in (EXTFRAG, BOTH):
                _tell(w, _EXTFRAG, slot, k.order, k.migratetype, aux)
            return slot
    return NOBODY


@compiled(nb.void(WORLD, nb.int64, nb.int64))
def _free(w: World, slot: Int, kind: Int) -> None:
    """Give a block back. Only a drain tells the type, which is that of the pageblock."""
    k = w.kinds[kind]
    migratetype = np.int64(-1) if k.free_op == _PAGE_FREE else pageblock_type(w.area, slot)
    w.free[w.area.blocks[slot].zone] += np.int64(1) << k.order
    insert(w.area, slot, k.order, False)
    _tell(w, k.free_op, slot, k.order, migratetype, 0)


# Objects


@compiled(nb.float64(WORLD, nb.int64, nb.int64), inline=True)
def _load(w: World, kind: Int, at_ns: Int) -> float:
    """What share of its rate a kind has at an instant."""
    k = w.kinds[kind]
    if k.wave == STEADY:
        return 1.0
    phase = np.float64((at_ns - w.now[0].begin_ns) % k.period_ns) / np.float64(k.period_ns)
    if k.wave == SINE:
        return 0.5 - 0.5 * math.cos(2.0 * math.pi * phase)
    return 1.0 if phase < k.duty else 0.0


@compiled(nb.void(WORLD, nb.int64))
def plan_next(w: World, kind: Int) -> None:
    """When the next object of a kind may come: a Poisson process, of which `_load` keeps a share."""
    k = w.kinds[kind]
    wait_ns = spread(w.seeds, 1 + kind, 1e9 / k.rate, EXPONENTIAL, 0.0)
    k.next_ns += np.int64(min(wait_ns, 1e18)) + 1


@compiled(nb.void(WORLD, nb.int64))
def _arrive(w: World, kind: Int) -> None:
    """An object comes, unless the wave says that it does not. All that chance decides of it is drawn now:
    what becomes of others does not change it.
    """
    k, now = w.kinds[kind], w.now[0]
    due_ns = k.next_ns
    plan_next(w, kind)
    if uniform(w.seeds, 1 + kind) > _load(w, kind, due_ns):
        return
    how = LOG_NORMAL if k.size_sigma else FIXED
    blocks = spread(w.seeds, 1 + kind, k.blocks, how, k.size_sigma)
    now.left = max(np.int64(min(blocks, MOST_BLOCKS) + 0.5), 1)
    now.age_ns = 0
    if k.lifetime_ns:
        age_ns = spread(w.seeds, 1 + kind, k.lifetime_ns, k.ages, k.age_sigma)
        now.age_ns = np.int64(min(age_ns, 1e18)) + 1
    now.batch = max(BATCH_FRAMES >> k.order, 1) if k.growth_ns else now.left
    now.gap_ns = np.int64(k.growth_ns * now.batch / now.left)
    now.doing, now.kind, now.due_ns = FILLING, kind, due_ns
    now.cpu, now.head, now.last = below(w.seeds, 1 + kind, now.cpus), NOBODY, NOBODY


@compiled(nb.void(WORLD))
def _go_on(w: World) -> None:
    """The first object of the heap grows on, or is at the end of its life."""
    now, due = w.now[0], w.heap[0]
    now.due_ns, now.gap_ns, now.age_ns = due.due_ns, due.gap_ns, due.age_ns
    now.kind, now.cpu, now.head, now.last, now.left = due.kind, due.cpu, due.head, due.last, due.left
    now.doing = FILLING if now.left else FREEING
    if now.left:
        now.batch = max(BATCH_FRAMES >> w.kinds[now.kind].order, 1)
    else:
        now.cpu = below(w.seeds, 0, now.cpus)
    pop(w)


@compiled(nb.void(WORLD))
def _fill(w: World) -> None:
    """The object takes its next block. One that cannot have all gives back what it got."""
    now = w.now[0]
    k, slot = w.kinds[now.kind], _allocate(w, now.kind)
    if slot == NOBODY:
        k.given_up += 1
        now.doing = WAITING if now.head == NOBODY else FREEING
        return
    if now.head == NOBODY:
        now.head = slot
    else:
        w.area.blocks[now.last].next = slot
    w.area.blocks[slot].next = NOBODY
    now.last, now.left, now.batch = slot, now.left - 1, now.batch - 1
    k.taken += 1
    if now.left == 0:
        now.doing = WAITING
        k.objects += 1
        if now.age_ns:
            push(w, now.ns + now.age_ns)
    elif now.batch == 0:
        now.doing = WAITING
        push(w, now.due_ns + now.gap_ns)


@compiled(nb.void(WORLD))
def _drop(w: World) -> None:
    """The object gives back its next block."""
    now = w.now[0]
    slot = now.head
    now.head = w.area.blocks[slot].next
    _free(w, slot, now.kind)
    if now.head == NOBODY:
        now.doing = WAITING


@compiled(nb.int64(WORLD), inline=True)
def _earliest(w: World) -> Int:
    """The kind of which an object comes next."""
    first = 0
    for kind in range(1, len(w.kinds)):
        if w.kinds[kind].next_ns < w.kinds[first].next_ns:
            first = kind
    return first


@compiled(nb.int64(WORLD, nb.int64))
def live(w: World, until_ns: Int) -> Int:
    """All that happens up to an instant. Stops before when no event can be written, or no object can be
    added to the heap: call it again with more room.
    """
    now = w.now[0]
    while True:
        if now.events + MOST_EVENTS_A_STEP > len(w.ts_ns):
            return NO_ROOM
        if now.doing == WAITING:
            kind = _earliest(w)
            end_ns = w.heap[0].due_ns if now.living else FAR_NS
            due_ns = min(w.kinds[kind].next_ns, end_ns)
            if due_ns > until_ns:
                return UP_TO_DATE
            if now.living == len(w.heap):
                return NO_HEAP
            if due_ns == end_ns:
                _go_on(w)
            else:
                _arrive(w, kind)
            continue
        at_ns = max(now.ns + STEP_NS, now.due_ns)
        if at_ns > until_ns:
            return UP_TO_DATE
        now.ns = at_ns
        now.late_ns = max(now.late_ns, at_ns - now.due_ns if now.head == NOBODY else 0)
        if now.doing == FILLING:
            _fill(w)
        else:
            _drop(w)

"""`boundary`: a pointer in each free list between what is reported and what is not.

Alexander Duyck, "mm / virtio: Provide support for unused page reporting", v10, 18 September 2019,
patches 3 (the lists: `get_unreported_tail`, `page_reporting_pull_boundary`) and 4 (mm/page_reporting.c
and .h, whose functions are named below). When an order has `high_water` blocks more than are reported,
its zone asks for a pass, which comes a tenth of a second later and reports all there is: from the
boundary of each list to its head. What goes to a list's tail meanwhile goes before its boundary, so
that none of it is missed and nothing is walked twice.

A boundary is the mark of a list (`replay.buddy.area`): the lists move it when its block leaves. Only
the zone that is being reported has any, so ZONE_PAGE_REPORTING_ACTIVE needs no word here.
"""

from collections.abc import Mapping

import numba as nb
import numpy as np

from replay.buddy.area import NOBODY, REPORTED
from replay.capabilities import COMPACTION
from replay.geometry import MOVABLE, Geometry
from replay.isolation import drain, isolate, read_counts
from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.parts import visit
from replay.policies.kit.timer import OWN, ROUNDING, SECOND_NS, delay, fires_ns, with_clock
from replay.policies.protocol import (
    ARRIVE,
    DEADLINE,
    MEMORY,
    ORDER,
    REGISTERED,
    REPORT,
    RESHUFFLED,
    SLEEP,
    TELL,
    UNREGISTERED,
    WAKE,
    Policy,
    Program,
)
from replay.state import ISOLATE_TYPE, MAX_ORDER, MIGRATETYPES, NEVER, STATE, State
from replay.state import ORDER as REPORTING_ORDER
from tracer import Guest

# Words of the policy's memory; from _ZONES on, one for each zone.
_DELAY_NS, _HIGH_WATER, _RUNNING, _ZONE, _REFCNT, _ZONES = range(OWN, OWN + 6)

# Flags of a zone: it has memory; ZONE_PAGE_REPORTING_REQUESTED.
_POPULATED, _REQUESTED = 1, 2


@compiled(nb.boolean(MEMORY, nb.int64), inline=True)
def _is_requested(memory: Words, zone: Int) -> bool:
    return memory[_ZONES + zone] & _REQUESTED != 0


@compiled(nb.void(MEMORY, nb.int64, nb.int64))
def _request(memory: Words, zone: Int, now_ns: Int) -> None:
    """__page_reporting_request(): the first zone that asks starts the timer, unless that runs."""
    if memory[_REFCNT] == 0 and memory[DEADLINE] == NEVER:
        memory[DEADLINE] = fires_ns(memory, now_ns, memory[_DELAY_NS])
    memory[_ZONES + zone] |= _REQUESTED
    memory[_REFCNT] += 1


@compiled(ARRIVE)
def _arrive(
    s: State, memory: Words, now_ns: Int, unit: Int, _order: Int, merged: Int, quiet: bool, _cpu: Int
) -> Int:
    """page_reporting_notify_free(): has the block's order enough that is not reported?"""
    zone = np.int64(s.area.blocks[unit].zone)
    unreported = s.area.nr_free[zone, merged] - s.area.nr_reported[zone, merged]
    if not quiet and not _is_requested(memory, zone) and unreported >= memory[_HIGH_WATER]:
        _request(memory, zone, now_ns)
    return SLEEP


@compiled(nb.int64(STATE, nb.int64, nb.int64, nb.int64, nb.int64))
def _take_unreported(s: State, zone: Int, order: Int, migratetype: Int, now_ns: Int) -> Int:
    """get_unreported_page(), until the list has no more of them, a watermark refuses one or the batch is
    full; returns how many entries were walked.
    """
    free_list = s.area.lists[zone, order, migratetype]
    walked = 0
    while s.device[0].first > 0:
        mark = np.int64(free_list.mark)
        unit = np.int64(free_list.tail) if mark == NOBODY else np.int64(s.area.blocks[mark].prev)
        while unit != NOBODY and s.area.blocks[unit].flags & REPORTED:
            free_list.mark = unit
            unit = np.int64(s.area.blocks[unit].prev)
            walked += 1
        if unit == NOBODY:
            break
        walked += 1
        if not isolate(s, unit, MOVABLE, now_ns):
            break
    return walked


@compiled(nb.void(STATE, MEMORY))
def _cancel(s: State, memory: Words) -> None:
    """__page_reporting_cancel(): the zone is done; its boundaries are given up."""
    zone = memory[_ZONE]
    for order in range(s.shape[REPORTING_ORDER], s.shape[MAX_ORDER] + 1):
        for migratetype in range(s.shape[MIGRATETYPES]):
            s.area.lists[zone, order, migratetype].mark = NOBODY
    memory[_ZONES + zone] &= ~_REQUESTED
    memory[_REFCNT] -= 1


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _fill(s: State, memory: Words, now_ns: Int) -> bool:
    """page_reporting_fill(): the next batch of the zone; True when there is something in it.

    With less than a full one the zone is done.
    """
    device, m = s.device[0], s.meters[0]
    walked = 0
    for order in range(s.shape[MAX_ORDER], s.shape[REPORTING_ORDER] - 1, -1):
        for migratetype in range(s.shape[MIGRATETYPES] - 1, -1, -1):
            if migratetype != s.shape[ISOLATE_TYPE]:
                walked += _take_unreported(s, memory[_ZONE], order, migratetype, now_ns)
    m.entries_walked += walked
    m.max_entries_per_lock = max(m.max_entries_per_lock, walked)
    if device.first > 0:
        _cancel(s, memory)
    return device.first < device.capacity


@compiled(nb.boolean(STATE, MEMORY, nb.int64, nb.boolean))
def _cycle(s: State, memory: Words, now_ns: Int, begins: bool) -> bool:
    """page_reporting_cycle(), from its begin or from the end of a report; True when there is another.

    A hold of the zone lock, if the zone asked for it: a batch is put back and the next one taken in one.
    `report` of v10 could not fail; here a zone whose report did is done, as after its last batch.
    """
    if not begins:
        drain(s, now_ns, True)
        if s.device[0].failed and _is_requested(memory, memory[_ZONE]):
            _cancel(s, memory)
    elif _is_requested(memory, memory[_ZONE]):
        visit(s, memory[_ZONE], False, now_ns)
    else:
        return False
    s.meters[0].lock_takes += 1
    return _is_requested(memory, memory[_ZONE]) and _fill(s, memory, now_ns)


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    """page_reporting_process(): zone by zone, over and over, until none asks for it."""
    read_counts(s, now_ns)
    begins = memory[_RUNNING] == 0
    if begins:
        memory[_RUNNING], memory[_ZONE], memory[DEADLINE] = 1, 0, NEVER
        s.meters[0].passes += 1
    while True:
        if _cycle(s, memory, now_ns, begins):
            return REPORT
        begins = True
        memory[_ZONE] = (memory[_ZONE] + 1) % len(s.zones)
        if memory[_REFCNT] == 0:
            break
    memory[_RUNNING] = 0
    # Had the timer run out meanwhile, the work would be queued behind itself.
    memory[DEADLINE] = max(memory[DEADLINE], now_ns)
    return SLEEP


@compiled(nb.void(STATE, nb.int64))
def _forget_movable(s: State, zone: Int) -> None:
    """page_reporting_free_area_release(): the walk begins at the tail again.

    Of each order: compaction searched some of them, and no trace tells which.
    """
    for order in range(s.shape[REPORTING_ORDER], s.shape[MAX_ORDER] + 1):
        free_list = s.area.lists[zone, order, MOVABLE]
        s.meters[0].boundary_resets += free_list.mark != NOBODY
        free_list.mark = NOBODY


@compiled(TELL)
def _tell(s: State, memory: Words, now_ns: Int, what: Int, where: Int) -> None:
    """page_reporting_register() asks for all populated zones; page_reporting_unregister() cancels the
    timer, and lets a pass that runs come to its end.
    """
    if what == RESHUFFLED:
        _forget_movable(s, where)
        return
    if what == UNREGISTERED:
        memory[DEADLINE] = NEVER
    for zone in range(len(s.zones)):
        if what == REGISTERED and memory[_ZONES + zone] & _POPULATED:
            _request(memory, zone, now_ns)
        elif what == UNREGISTERED and not memory[_RUNNING] and _is_requested(memory, zone):
            memory[_ZONES + zone] &= ~_REQUESTED
            memory[_REFCNT] -= 1


def _build(guest: Guest, geometry: Geometry, params: Mapping[str, Value]) -> Program:
    zones, orders = len(geometry.zones), max(geometry.max_order - geometry.order + 1, 0)
    memory = with_clock(_ZONES + zones, guest, params)
    memory[_DELAY_NS], memory[_HIGH_WATER] = int(params["delay"]), int(params["high_water"])
    memory[_ZONES:] = [_POPULATED if zone.managed else 0 for zone in geometry.zones]
    return Program(
        _arrive,
        _wake,
        _tell,
        memory,
        capacity=int(params["capacity"]),
        forward=True,
        imposes={"boundaries": orders * geometry.migratetypes, "counters": orders * zones},
    )


POLICY = Policy(
    name="boundary",
    summary="unused page reporting v10: all that is unreported, behind a boundary in each list",
    parameters=(
        ORDER,
        Parameter("high_water", "int", 32, "unreported blocks of one order that start a pass", minimum=1),
        delay(SECOND_NS // 10, "from the first request to the pass"),
        Parameter("capacity", "int", 16, "blocks in one report call", minimum=1),
        ROUNDING,
    ),
    source="Alexander Duyck, mm / virtio: Provide support for unused page reporting, v10, 18 Sep 2019",
    needs_of_kernel="a boundary in each free list that tail insertions, removals and compaction respect",
    build=_build,
    without={COMPACTION: "compaction was not recorded: boundaries are never reset by it"},
)

"""`upstream`: free page reporting as merged in Linux 5.7 (mm/page_reporting.c), with its knobs.

One delayed work item. A free of order >= R requests it (`__page_reporting_notify`); two seconds
later a pass walks the free lists of each zone whose free memory is well above its low watermark,
isolates unreported blocks into batches, reports each batch and puts it back flagged
(`page_reporting_process_zone`, `page_reporting_cycle`, `page_reporting_drain`). A budget limits a
pass to about a sixteenth of a list; what is left waits for the next pass.
"""

from collections.abc import Mapping

import numba as nb
import numpy as np

from replay.buddy.area import NOBODY, REPORTED
from replay.capabilities import WATERMARKS
from replay.geometry import MOVABLE, Geometry
from replay.isolation import drain, free_known, isolate, read_counts, rotate
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
    SLEEP,
    TELL,
    UNREGISTERED,
    WAKE,
    Knob,
    Policy,
    Program,
)
from replay.state import ISOLATE_TYPE, MAX_ORDER, MIGRATETYPES, NEVER, STATE, State
from replay.state import ORDER as REPORTING_ORDER
from replay.worker import first_later
from tracer import Guest

# Words of the policy's memory.
(
    _STATE, _PHASE, _ZONE, _LIST_ORDER, _TYPE, _BUDGET, _GONE, _DELAY_NS, _CAPACITY, _SHARE, _GATE, _WORDS,
) = range(OWN, OWN + 12)  # fmt: skip

# The state word: PAGE_REPORTING_IDLE, REQUESTED, ACTIVE.
_IDLE, _REQUESTED, _ACTIVE = range(3)
# Where a pass is when it is woken.
_WAITING, _ZONE_START, _LIST_START, _WALKING, _FULL, _REST = range(6)


@compiled(nb.int64(STATE, MEMORY, nb.int64))
def _pass_ns(s: State, memory: Words, now_ns: Int) -> Int:
    """When the pass begins that is requested now: as the timer says, or as the guest's own did."""
    if len(s.passes_ns):
        return first_later(s.passes_ns, now_ns)
    return fires_ns(memory, now_ns, memory[_DELAY_NS])


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _request(s: State, memory: Words, now_ns: Int) -> None:
    """__page_reporting_request(): ask for a pass; only the first request starts the timer."""
    if memory[_STATE] == _IDLE:
        memory[DEADLINE] = _pass_ns(s, memory, now_ns)
    memory[_STATE] = _REQUESTED


@compiled(ARRIVE)
def _arrive(
    s: State, memory: Words, now_ns: Int, _unit: Int, _order: Int, _merged: Int, quiet: bool, _cpu: Int
) -> Int:
    if not quiet:
        _request(s, memory, now_ns)
    return SLEEP


@compiled(nb.boolean(STATE, MEMORY), inline=True)
def _gate_open(s: State, memory: Words) -> bool:
    """Is the zone's free memory above its low watermark and a batch of blocks?"""
    zone = s.zones[memory[_ZONE]]
    margin = memory[_CAPACITY] << s.shape[REPORTING_ORDER]
    return memory[_GATE] == 0 or free_known(s, memory[_ZONE]) > zone.low + zone.boost + margin


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _walk(s: State, memory: Words, now_ns: Int) -> bool:
    """One hold of the zone lock in page_reporting_cycle(): True when the batch is full."""
    free_list = s.area.lists[memory[_ZONE], memory[_LIST_ORDER], memory[_TYPE]]
    m = s.meters[0]
    m.lock_takes += 1
    walked = 0
    unit = np.int64(free_list.head)
    first = np.int64(NOBODY)  # what the list is to begin with when the lock is dropped
    full = False
    while unit != NOBODY:
        following = np.int64(s.area.blocks[unit].next)
        walked += 1
        if not s.area.blocks[unit].flags & REPORTED:
            if memory[_BUDGET] < 0:
                memory[_STATE] = _REQUESTED
                first = unit
                break
            if s.device[0].first == 0:
                first = unit
                full = True
                break
            if not isolate(s, unit, MOVABLE, now_ns):
                first = unit
                break
        unit = following
    m.entries_walked += walked
    m.max_entries_per_lock = max(m.max_entries_per_lock, walked)
    if first != NOBODY:
        rotate(s, first)
    return full


@compiled(nb.boolean(STATE, MEMORY))
def _next_list(s: State, memory: Words) -> bool:
    """Go to the zone's next list that is not empty and not ISOLATE; False after the last one."""
    while memory[_LIST_ORDER] <= s.shape[MAX_ORDER]:
        memory[_TYPE] += 1
        if memory[_TYPE] == s.shape[MIGRATETYPES]:
            memory[_TYPE] = -1
            memory[_LIST_ORDER] += 1
        elif (
            memory[_TYPE] != s.shape[ISOLATE_TYPE]
            and s.area.lists[memory[_ZONE], memory[_LIST_ORDER], memory[_TYPE]].head != NOBODY
        ):
            blocks = s.area.nr_free[memory[_ZONE], memory[_LIST_ORDER]]
            memory[_BUDGET] = -(-blocks // (memory[_CAPACITY] * memory[_SHARE]))
            return True
    return False


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _process_zone(s: State, memory: Words, now_ns: Int) -> bool:
    """page_reporting_process_zone(), from where it was; True when a batch is to be reported."""
    if memory[_PHASE] == _ZONE_START:
        refused = not _gate_open(s, memory)
        visit(s, memory[_ZONE], refused, now_ns)
        if refused:
            return False
        memory[_LIST_ORDER], memory[_TYPE] = s.shape[REPORTING_ORDER], -1
    while memory[_PHASE] == _WALKING or _next_list(s, memory):
        if _walk(s, memory, now_ns):
            memory[_PHASE] = _FULL
            return True
        memory[_PHASE] = _LIST_START
    memory[_PHASE] = _REST
    return s.device[0].first < s.device[0].capacity


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _resume(s: State, memory: Words, now_ns: Int) -> None:
    """Begin a pass, or go on after a report: page_reporting_drain(), then the list or the zone."""
    if memory[_PHASE] == _WAITING:
        memory[_STATE] = _ACTIVE
        memory[_ZONE], memory[_PHASE] = 0, _ZONE_START
        s.meters[0].passes += 1
        return
    drain(s, now_ns, True)
    if s.device[0].failed or memory[_PHASE] == _REST:
        s.meters[0].lock_takes += 1  # else the walk goes on in the same hold
    if s.device[0].failed:  # the first error ends the pass
        memory[_ZONE] = len(s.zones)
    elif memory[_PHASE] == _FULL:
        memory[_BUDGET] -= 1
        memory[_PHASE] = _WALKING
    else:
        memory[_ZONE] += 1
        memory[_PHASE] = _ZONE_START


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    """page_reporting_process(): a pass over all zones, giving way whenever a report is under way."""
    read_counts(s, now_ns)
    _resume(s, memory, now_ns)
    while memory[_ZONE] < len(s.zones):
        if _process_zone(s, memory, now_ns):
            return REPORT
        memory[_ZONE] += 1
        memory[_PHASE] = _ZONE_START
    memory[_PHASE] = _WAITING
    memory[DEADLINE] = NEVER
    if memory[_STATE] == _REQUESTED and not memory[_GONE]:
        memory[DEADLINE] = _pass_ns(s, memory, now_ns)
    else:
        memory[_STATE] = _IDLE
    return SLEEP


@compiled(TELL)
def _tell(s: State, memory: Words, now_ns: Int, what: Int, _where: Int) -> None:
    """page_reporting_register() asks for a first pass; page_reporting_unregister() cancels what waits,
    lets a pass that runs come to its end, and queues no other.
    """
    if what == REGISTERED:
        memory[_GONE] = 0
        _request(s, memory, now_ns)
    elif what == UNREGISTERED:
        memory[_GONE] = 1
        if memory[_PHASE] == _WAITING:
            memory[_STATE], memory[DEADLINE] = _IDLE, NEVER


def _build(guest: Guest, _geometry: Geometry, params: Mapping[str, Value]) -> Program:
    memory = with_clock(_WORDS, guest, params)
    memory[_DELAY_NS], memory[_CAPACITY] = int(params["delay"]), int(params["capacity"])
    memory[_SHARE], memory[_GATE] = int(params["budget"]), int(params["gate"])
    return Program(
        _arrive,
        _wake,
        _tell,
        memory,
        capacity=int(params["capacity"]),
        to_tail=params["putback"] == "tail",
    )


POLICY = Policy(
    name="upstream",
    summary="free page reporting as in Linux 5.7 and later",
    parameters=(
        ORDER,
        Parameter("kernel", ("5.7", "5.10"), "5.10", "whose rules: 5.7 is Linux 5.7 to 5.9, 5.10 any since"),
        delay(2 * SECOND_NS, "from the first request to the pass"),
        Parameter("capacity", "int", 32, "blocks in one report call", minimum=1),
        Parameter("budget", "int", 16, "a pass takes about 1/budget of each list", minimum=1),
        Parameter("gate", "bool", True, "skip zones not well above their low watermark (on, off)"),
        ROUNDING,
        Parameter(
            "putback",
            ("tail", "head"),
            "tail",
            "reported blocks return to the tail (5.10+) or as any free (5.7)",
        ),
    ),
    source="mm/page_reporting.c, Linux 5.7 to 7.2",
    needs_of_kernel="Linux 5.7, a balloon with free page reporting",
    build=_build,
    since="5.7",
    without={WATERMARKS: "the zones' watermarks were not recorded: its gate never refuses a zone"},
    presets={"kernel": {"5.7": {"putback": "head"}}},
    knobs={
        "order": Knob("the module parameter `page_reporting.page_reporting_order`", "5.14", "5"),
        "delay": Knob("another constant in the kernel's source", shown="100ms"),
        "capacity": Knob("a device that asks for it", "7"),
        "kernel": Knob("a kernel of that age", "5.7"),
        "putback": Knob("another line in the kernel's source"),
    },
)

"""`clairvoyant`: reports a unit the moment it becomes wholly free, but only if it then stays so for the
horizon. The most that can be reclaimed without paying for memory that is wanted back at once.

What the future brings is known when it has come: a unit is booked at the end of its horizon, as if it had
been reported at the beginning (`replay.bounds`). So at the end of a trace, what is free for less than the
horizon still waits. Where the host splits and forms huge pages (`thp`) and units are smaller than these, it
is a little too good: a neighbour's fault within the horizon does not bring the unit back.
"""

from collections.abc import Mapping

import numba as nb

from replay.bounds import has_room, report_since, reportable
from replay.buddy.lists import slots_of
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.policies.kit.timer import LONGEST_NS, SECOND_NS
from replay.policies.protocol import (
    ARRIVE,
    DEADLINE,
    FORESIGHT,
    MEMORY,
    ORDER,
    REGISTERED,
    SLEEP,
    TELL,
    UNREGISTERED,
    WAKE,
    Policy,
    Program,
    new_memory,
)
from replay.state import NEVER, STATE, State
from tracer import Guest

# Words of the policy's memory. From _LINKS on, a ring of the units that wait, in the order in which they
# became free, later ones before its seam: for each unit and the seam, who is next; then for each, who is
# before it.
_HORIZON_NS, _REGISTERED_NS, _LINKS = range(1, 4)
_NOWHERE = -1  # next of a unit that is not in the ring


@compiled(nb.int64(STATE), inline=True)
def _seam(s: State) -> Int:
    return len(s.units)


@compiled(nb.int64(STATE, nb.int64), inline=True)
def _next(_s: State, unit: Int) -> Int:
    """The word that says who is next."""
    return _LINKS + unit


@compiled(nb.int64(STATE, nb.int64), inline=True)
def _before(s: State, unit: Int) -> Int:
    """The word that says who is before."""
    return _LINKS + _seam(s) + 1 + unit


@compiled(nb.void(STATE, MEMORY, nb.int64), inline=True)
def _leave(s: State, memory: Words, unit: Int) -> None:
    """A unit waits no longer, if it did."""
    later, earlier = memory[_next(s, unit)], memory[_before(s, unit)]
    if later != _NOWHERE:
        memory[_next(s, earlier)], memory[_before(s, later)] = later, earlier
        memory[_next(s, unit)] = _NOWHERE


@compiled(nb.void(STATE, MEMORY, nb.int64), inline=True)
def _join(s: State, memory: Words, unit: Int) -> None:
    """A unit is the last one to wait, if the host has something of it."""
    _leave(s, memory, unit)
    if reportable(s, unit):
        seam = _seam(s)
        last = memory[_before(s, seam)]
        memory[_next(s, last)], memory[_before(s, unit)] = unit, last
        memory[_next(s, unit)], memory[_before(s, seam)] = seam, unit


@compiled(nb.int64(STATE, MEMORY), inline=True)
def _since_ns(s: State, memory: Words) -> Int:
    """When the horizon of the first one that waits began: not before there was a device."""
    first = memory[_next(s, _seam(s))]
    return max(s.units[first].since_ns, memory[_REGISTERED_NS])


@compiled(nb.int64(STATE, MEMORY), inline=True)
def _due_ns(s: State, memory: Words) -> Int:
    """When its horizon ends."""
    waits = memory[_next(s, _seam(s))] != _seam(s)
    return _since_ns(s, memory) + memory[_HORIZON_NS] if waits else NEVER


@compiled(ARRIVE)
def _arrive(
    s: State, memory: Words, _now_ns: Int, unit: Int, order: Int, _merged: Int, _quiet: bool, _cpu: Int
) -> Int:
    for each in range(unit, unit + slots_of(s.area, order)):
        _join(s, memory, each)
    memory[DEADLINE] = _due_ns(s, memory)
    return SLEEP


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    while _due_ns(s, memory) <= now_ns and has_room(s):
        unit, since_ns = memory[_next(s, _seam(s))], _since_ns(s, memory)
        _leave(s, memory, unit)
        report_since(s, unit, since_ns, now_ns)
    memory[DEADLINE] = _due_ns(s, memory)  # now, when the log is full
    return SLEEP


@compiled(TELL)
def _tell(s: State, memory: Words, now_ns: Int, what: Int, _where: Int) -> None:
    if what == REGISTERED:
        memory[_REGISTERED_NS] = now_ns
        for unit in range(len(s.units)):
            _join(s, memory, unit)
    elif what == UNREGISTERED:
        for unit in range(len(s.units)):
            _leave(s, memory, unit)
    memory[DEADLINE] = _due_ns(s, memory)


def _build(_guest: Guest, geometry: Geometry, params: Mapping[str, Value]) -> Program:
    seam = geometry.units
    memory = new_memory(_LINKS + 2 * (seam + 1))
    memory[_HORIZON_NS] = int(params["horizon"])
    memory[_LINKS:] = _NOWHERE
    memory[[_LINKS + seam, _LINKS + seam + 1 + seam]] = seam
    return Program(_arrive, _wake, _tell, memory)


POLICY = Policy(
    name="clairvoyant",
    summary="reports at once, but only what stays free for the horizon",
    parameters=(
        ORDER,
        Parameter(
            "horizon", "duration", 2 * SECOND_NS, "what is told stays free for so long", maximum=LONGEST_NS
        ),
    ),
    source="a bound",
    needs_of_kernel="cannot be built: it knows the future",
    build=_build,
    bound=FORESIGHT,
)

"""`oracle`: reports each unit the instant it becomes wholly free. No policy can reclaim more at its
order; it isolates nothing, waits for nothing and costs nothing, so no kernel can do it.
"""

from collections.abc import Mapping

from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from replay.parameters import Value
from replay.policies.protocol import (
    ARRIVE,
    CEILING,
    DEADLINE,
    INSTANT,
    ORDER,
    REGISTERED,
    TELL,
    WAKE,
    Policy,
    Program,
    new_memory,
)
from replay.state import NEVER, State
from tracer import Guest


@compiled(ARRIVE)
def _arrive(
    _s: State,
    _memory: Words,
    _now_ns: Int,
    _unit: Int,
    _order: Int,
    _merged: Int,
    _quiet: bool,
    _cpu: Int,
) -> Int:
    return INSTANT


@compiled(WAKE)
def _wake(_s: State, memory: Words, _now_ns: Int) -> Int:
    memory[DEADLINE] = NEVER
    return INSTANT


@compiled(TELL)
def _tell(_s: State, memory: Words, now_ns: Int, what: Int, _where: Int) -> None:
    if what == REGISTERED:
        memory[DEADLINE] = now_ns


def _build(_guest: Guest, _geometry: Geometry, _params: Mapping[str, Value]) -> Program:
    return Program(_arrive, _wake, _tell, new_memory(1))


POLICY = Policy(
    name="oracle",
    summary="reports each unit the instant it becomes wholly free: the ceiling",
    parameters=(ORDER,),
    source="a bound",
    needs_of_kernel="cannot be built: no isolation, no delay, no cost",
    build=_build,
    bound=CEILING,
)

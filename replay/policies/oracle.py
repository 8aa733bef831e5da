"""`oracle`: reports each unit the instant it becomes wholly free. No policy can reclaim more at its
order; it isolates nothing, waits for nothing and costs nothing, so no kernel can do it.
"""

from collections.abc import Mapping

from replay.buddy.geometry import Geometry
from replay.jit import compiled
from replay.policies.protocol import (
    ARRIVE,
    DEADLINE,
    INSTANT,
    ORDER,
    WAKE,
    Policy,
    Program,
    Value,
    new_memory,
)
from replay.state import NEVER
from tracer import Guest


@compiled(ARRIVE)
def _arrive(_s, _memory, _now_ns, _unit, _order, _merged):
    return INSTANT


@compiled(WAKE)
def _wake(_s, memory, _now_ns):
    memory[DEADLINE] = NEVER
    return INSTANT


def _build(_guest: Guest, _geometry: Geometry, _params: Mapping[str, Value], requested: bool, start_ns: int) -> Program:
    memory = new_memory(1)
    if requested:
        memory[DEADLINE] = start_ns
    return Program(_arrive, _wake, memory)


POLICY = Policy(
    name="oracle",
    summary="reports each unit the instant it becomes wholly free: the ceiling",
    parameters=(ORDER,),
    source="a bound",
    needs_of_trace="nothing",
    needs_of_kernel="cannot be built: no isolation, no delay, no cost",
    build=_build,
)

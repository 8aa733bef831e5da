"""`never`: no reporting at all. The baseline that every other policy is compared with."""

from collections.abc import Mapping

from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from replay.policies.protocol import ARRIVE, ORDER, SLEEP, WAKE, Policy, Program, Value, new_memory
from replay.state import State
from tracer import Guest


@compiled(ARRIVE)
def _arrive(
    _s: State, _memory: Words, _now_ns: Int, _unit: Int, _order: Int, _merged: Int, _quiet: bool
) -> Int:
    return SLEEP


@compiled(WAKE)
def _wake(_s: State, _memory: Words, _now_ns: Int) -> Int:
    return SLEEP


def _build(
    _guest: Guest,
    _geometry: Geometry,
    _params: Mapping[str, Value],
    _requested: bool,
    _start_ns: int,
) -> Program:
    return Program(_arrive, _wake, new_memory(1), reports=False)


POLICY = Policy(
    name="never",
    summary="reports nothing: the baseline",
    parameters=(ORDER,),
    source="a bound",
    needs_of_trace="nothing",
    needs_of_kernel="nothing",
    build=_build,
)

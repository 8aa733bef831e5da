"""`never`: no reporting at all. The baseline that every other policy is compared with."""

from collections.abc import Mapping

from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from replay.parameters import Value
from replay.policies.kit.unheard import unheard
from replay.policies.protocol import FLOOR, ORDER, SLEEP, TELL, WAKE, Policy, Program, new_memory
from replay.state import State
from tracer import Guest


@compiled(WAKE)
def _wake(_s: State, _memory: Words, _now_ns: Int) -> Int:
    return SLEEP


@compiled(TELL)
def _tell(_s: State, _memory: Words, _now_ns: Int, _what: Int, _where: Int) -> None:
    pass


def _build(_guest: Guest, _geometry: Geometry, _params: Mapping[str, Value]) -> Program:
    return Program(unheard, _wake, _tell, new_memory(1), reports=False)


POLICY = Policy(
    name="never",
    summary="reports nothing: the baseline",
    parameters=(ORDER,),
    source="a bound",
    needs_of_kernel="nothing",
    build=_build,
    bound=FLOOR,
)

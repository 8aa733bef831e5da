"""`hints`: capture on free, go over it later (the shape that David Hildenbrand named in the debate on
page hinting, 2019).

A free of order >= R leaves a hint in some container. Later a work item goes over the hints: what is
still free is temporarily isolated, reported, and returned. Nothing is ever allocated for it, so a
movable zone keeps only movable memory. What the container is, is a parameter (`containers`).
"""

from collections.abc import Mapping

import numba as nb

from replay.buddy.area import NOBODY
from replay.capabilities import CPU
from replay.device import listed
from replay.geometry import Geometry
from replay.isolation import read_counts
from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.parts import visit
from replay.policies.kit.containers import (
    CONTAINERS,
    begin_pass,
    end_pass,
    following,
    forget,
    hints_of,
    store,
    with_container,
)
from replay.policies.kit.rechecking import give_back, hint_of, recheck
from replay.policies.kit.timer import SECOND_NS, delay
from replay.policies.kit.work import DELAY_NS, begin, end, is_running, queue, told
from replay.policies.protocol import (
    ARRIVE,
    MEMORY,
    ORDER,
    REPORT,
    SLEEP,
    TELL,
    WAKE,
    Policy,
    Program,
)
from replay.state import STATE, State
from tracer import Guest


@compiled(ARRIVE)
def _arrive(
    s: State, memory: Words, now_ns: Int, unit: Int, _order: Int, merged: Int, quiet: bool, cpu: Int
) -> Int:
    if not quiet and store(s, memory, hint_of(s, unit, merged), cpu):
        queue(memory, now_ns)
    return SLEEP


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _begin(s: State, memory: Words, now_ns: Int) -> None:
    begin(s, memory)
    begin_pass(memory)
    for zone in range(len(s.zones)):
        visit(s, zone, False, now_ns)


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _go_over(s: State, memory: Words, now_ns: Int) -> bool:
    """The pass's next hints; True when a batch is to be reported."""
    while True:
        unit = following(s, memory)
        if unit == NOBODY:
            return listed(s) > 0
        if recheck(s, unit, now_ns):
            return True


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    read_counts(s, now_ns)
    if is_running(memory):
        give_back(s, now_ns)
    else:
        _begin(s, memory, now_ns)
    if _go_over(s, memory, now_ns):
        return REPORT
    left = end_pass(memory)
    if end(memory):
        forget(memory)
    elif left:
        queue(memory, now_ns)
    return SLEEP


@compiled(TELL)
def _tell(_s: State, memory: Words, _now_ns: Int, what: Int, _where: Int) -> None:
    if told(memory, what):
        forget(memory)


def _build(guest: Guest, geometry: Geometry, params: Mapping[str, Value]) -> Program:
    kind, size = str(params["container"]), int(params["size"])
    memory = with_container(kind, guest, geometry, size)
    memory[DELAY_NS] = 0 if kind == "array" else int(params["delay"])
    return Program(
        _arrive,
        _wake,
        _tell,
        memory,
        capacity=int(params["capacity"]),
        forward=True,
        to_tail=False,
        imposes={"entries": hints_of(kind, guest, geometry, size)},
    )


POLICY = Policy(
    name="hints",
    summary="captured hints in a container of choice, gone over later",
    parameters=(
        ORDER,
        Parameter("container", CONTAINERS, "set", "what hints are kept in (an array is per CPU)"),
        Parameter("size", "int", 1000, "hints in the ring, or in each CPU's array", minimum=1),
        delay(2 * SECOND_NS, "from the first hint to going over them (set, ring)"),
        Parameter("capacity", "int", 32, "blocks in one report call", minimum=1),
    ),
    source="David Hildenbrand on page hinting, 2019; arrays: Nitesh Narayan Lal, v8, Feb 2019",
    needs_of_kernel="a hook in every free of order >= R, a container for the hints",
    build=_build,
    requires=frozenset({CPU}),
)

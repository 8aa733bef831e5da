"""What hints are kept in until someone goes over them: a set, a ring, or an array per CPU.

Each has the same verbs: store a hint, begin a pass, the pass's next hint, end it, forget all. The
words live in the policy's memory behind those of `work`, the hints behind them.

- set: one hint per unit, as many as there are units; gone over in ascending order. What comes during
  a pass is seen when it is ahead.
- ring: so many for all CPUs; a new one overwrites the oldest, and the oldest goes first. What comes
  during a pass waits for the next.
- array: so many per CPU, gone over when they are all blocks that are still free (Nitesh Narayan Lal,
  page hinting, v8, Feb 2019); meanwhile that CPU's frees leave no hints.
"""

from typing import TYPE_CHECKING

import numba as nb

from replay.buddy.area import NOBODY
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled
from replay.policies.kit.rechecking import still_free
from replay.policies.kit.unit_bits import clear_bit, is_set, next_set, set_bit, words_for
from replay.policies.kit.work import OWN
from replay.policies.protocol import MEMORY, new_memory
from replay.state import STATE, State
from tracer import Fault, Guest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTAINERS = ("set", "ring", "array")
_SET, _RING, _ARRAY = range(3)

# Words of the policy's memory. _CURSOR: set: unit; ring: position of the oldest entry, counted from
# its very first; array: place in it. _LIMIT: where the pass ends. _NEWEST: past the ring's newest entry.
# _CPU: whose array the pass is of. _KEPT: how many hints the set has, none of them below _LOWEST: a pass
# over a few need not look at all units.
_KIND, _SIZE, _CPUS, _CURSOR, _LIMIT, _NEWEST, _CPU, _KEPT, _LOWEST, _HINTS = range(OWN, OWN + 10)

MOST_HINTS = 1 << 28


@compiled(nb.int64(MEMORY, nb.int64), inline=True)
def _array_of(memory: Words, cpu: Int) -> Int:
    """Where a CPU's array is: the number of its hints, then they."""
    return _HINTS + cpu * (memory[_SIZE] + 1)


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _into_set(s: State, memory: Words, unit: Int) -> bool:
    if not is_set(memory, _HINTS, unit):
        set_bit(memory, _HINTS, unit)
        memory[_KEPT] += 1
        memory[_LOWEST] = min(memory[_LOWEST], unit)
        s.meters[0].hints_captured += 1
    return True


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _into_ring(s: State, memory: Words, unit: Int) -> bool:
    if memory[_NEWEST] - memory[_CURSOR] == memory[_SIZE]:
        memory[_CURSOR] += 1
        s.meters[0].hints_dropped += 1
    memory[_HINTS + memory[_NEWEST] % memory[_SIZE]] = unit
    memory[_NEWEST] += 1
    s.meters[0].hints_captured += 1
    return True


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _sift(s: State, memory: Words, array: Int) -> None:
    """Throw out the hints of an array whose block is not free any more."""
    kept = 0
    for place in range(1, memory[array] + 1):
        unit = memory[array + place]
        if still_free(s, unit):
            kept += 1
            memory[array + kept] = unit
        else:
            s.meters[0].rechecks_failed += 1
    memory[array] = kept


@compiled(nb.boolean(STATE, MEMORY, nb.int64, nb.int64))
def _into_array(s: State, memory: Words, unit: Int, cpu: Int) -> bool:
    array = _array_of(memory, cpu)
    if memory[array] == memory[_SIZE]:  # it waits for its pass, or is in it
        s.meters[0].hints_dropped += 1
        return False
    memory[array] += 1
    memory[array + memory[array]] = unit
    s.meters[0].hints_captured += 1
    if memory[array] == memory[_SIZE]:
        _sift(s, memory, array)
    return memory[array] == memory[_SIZE]


@compiled(nb.boolean(STATE, MEMORY, nb.int64, nb.int64))
def store(s: State, memory: Words, unit: Int, cpu: Int) -> bool:
    """Keep a hint that a CPU leaves; True when there is something to go over."""
    if memory[_KIND] == _SET:
        return _into_set(s, memory, unit)
    if memory[_KIND] == _RING:
        return _into_ring(s, memory, unit)
    return _into_array(s, memory, unit, cpu % memory[_CPUS])


@compiled(nb.int64(MEMORY))
def _first_full(memory: Words) -> Int:
    """The lowest CPU whose array is full, else the number of CPUs."""
    cpu = 0
    while cpu < memory[_CPUS] and memory[_array_of(memory, cpu)] < memory[_SIZE]:
        cpu += 1
    return cpu


@compiled(nb.void(MEMORY))
def begin_pass(memory: Words) -> None:
    """Begin with the first of the hints that are there."""
    if memory[_KIND] == _RING:
        memory[_LIMIT] = memory[_NEWEST]
        return
    memory[_CURSOR] = memory[_LOWEST]
    if memory[_KIND] == _ARRAY:
        memory[_CPU] = _first_full(memory)
    else:
        memory[_LOWEST] = memory[_LIMIT]


@compiled(nb.int64(STATE, MEMORY))
def following(s: State, memory: Words) -> Int:
    """The pass's next hint, which is not kept any more, or NOBODY."""
    if memory[_KIND] == _SET:
        at = next_set(memory, _HINTS, memory[_CURSOR], memory[_LIMIT]) if memory[_KEPT] else memory[_LIMIT]
        memory[_CURSOR] = at
    if memory[_CURSOR] >= memory[_LIMIT]:
        return NOBODY
    at = memory[_CURSOR]
    memory[_CURSOR] += 1
    if memory[_KIND] == _SET:
        clear_bit(memory, _HINTS, at)
        memory[_KEPT] -= 1
        s.meters[0].bits_scanned += 1
        return at
    if memory[_KIND] == _RING:
        return memory[_HINTS + at % memory[_SIZE]]
    return memory[_array_of(memory, memory[_CPU]) + 1 + at]


@compiled(nb.boolean(MEMORY))
def end_pass(memory: Words) -> bool:
    """True when there is something left to go over."""
    if memory[_KIND] == _SET:
        return memory[_KEPT] > 0
    if memory[_KIND] == _RING:
        return memory[_CURSOR] < memory[_NEWEST]
    memory[_array_of(memory, memory[_CPU])] = 0
    return _first_full(memory) < memory[_CPUS]


@compiled(nb.void(MEMORY))
def forget(memory: Words) -> None:
    """Empty it."""
    memory[_CURSOR] = memory[_NEWEST] = memory[_KEPT] = memory[_LOWEST] = 0
    for word in range(_HINTS, len(memory)):
        memory[word] = 0


def hints_of(kind: str, guest: Guest, geometry: Geometry, size: int) -> int:
    """How many hints a container has room for.

    Raises:
        Fault: when they are more than are worth it.
    """
    if kind == "set":
        return geometry.units
    hints = size * max(guest.cpus, 1) if kind == "array" else size
    if hints > MOST_HINTS:
        raise Fault(
            f"arrays of {size:,} hints for {guest.cpus:,} CPUs are not possible",
            f"together they hold at most {MOST_HINTS:,}",
            "hints: choose a smaller size, or another container",
        )
    return hints


def with_container(kind: str, guest: Guest, geometry: Geometry, size: int) -> "NDArray[np.int64]":
    """A policy's memory with an empty container.

    The hints of CPUs beyond the guest's number of CPUs, which counts those online, share the arrays.
    """
    hints, cpus = hints_of(kind, guest, geometry, size), max(guest.cpus, 1)
    words = {"set": words_for(hints), "ring": hints, "array": hints + cpus}[kind]
    memory = new_memory(_HINTS + words)
    memory[_KIND], memory[_SIZE], memory[_CPUS] = CONTAINERS.index(kind), size, cpus
    memory[_LIMIT] = geometry.units if kind == "set" else size
    return memory

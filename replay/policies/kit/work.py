"""One work item, and what the device's coming and going does to it.

Idle, queued, or running. Whoever unregisters the device cancels what is queued and waits for what
runs (`cancel_work_sync`); what was gathered by then is forgotten. The words live in the policy's memory,
from _PHASE on; its own begin at OWN.
"""

import numba as nb

from replay.jit import Int, Words, compiled
from replay.policies.protocol import DEADLINE, MEMORY, REGISTERED, UNREGISTERED
from replay.state import NEVER, STATE, State

_PHASE, _GONE, DELAY_NS, OWN = range(1, 5)

_IDLE, _QUEUED, _RUNNING = range(3)


@compiled(nb.boolean(MEMORY), inline=True)
def is_running(memory: Words) -> bool:
    """Is a pass under way?"""
    return memory[_PHASE] == _RUNNING


@compiled(nb.void(MEMORY, nb.int64), inline=True)
def queue(memory: Words, now_ns: Int) -> None:
    """queue_work(), or queue_delayed_work(): nothing when it is queued or runs already."""
    if memory[_PHASE] == _IDLE:
        memory[_PHASE] = _QUEUED
        memory[DEADLINE] = now_ns + memory[DELAY_NS]


@compiled(nb.void(STATE, MEMORY))
def begin(s: State, memory: Words) -> None:
    """A pass begins."""
    memory[_PHASE] = _RUNNING
    memory[DEADLINE] = NEVER
    s.meters[0].passes += 1


@compiled(nb.boolean(MEMORY))
def end(memory: Words) -> bool:
    """A pass is over; True when all hints are to be forgotten, since the device went meanwhile."""
    memory[_PHASE] = _IDLE
    return memory[_GONE] != 0


@compiled(nb.boolean(MEMORY, nb.int64))
def told(memory: Words, what: Int) -> bool:
    """Hear of the device, see `protocol`; True when all hints are to be forgotten."""
    if what == REGISTERED:
        memory[_GONE] = 0
    if what != UNREGISTERED:
        return False
    memory[_GONE] = 1
    if is_running(memory):
        return False
    memory[_PHASE], memory[DEADLINE] = _IDLE, NEVER
    return True

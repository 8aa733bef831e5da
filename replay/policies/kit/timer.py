"""Delayed work as the kernel's timer wheel runs it (kernel/time/timer.c).

A policy that delays work keeps the clock in its memory, from CLOCK on; its own words begin at OWN.
"""

from typing import TYPE_CHECKING

import numba as nb

from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.policies.protocol import MEMORY, new_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tracer import Guest

SECOND_NS = 1_000_000_000
LONGEST_NS = 3600 * SECOND_NS

_HZ, _JIFFIES, _JIFFIES_NS, _STEP_NS, OWN = range(1, 6)

ROUNDING = Parameter("rounding", ("wheel", "none"), "wheel", "timers as the timer wheel rounds them")


def delay(default_ns: int, meaning: str) -> Parameter:
    """The parameter `delay`."""
    return Parameter("delay", "duration", default_ns, meaning, maximum=LONGEST_NS)


@compiled(nb.int64(nb.int64))
def wheel_step(delay_jiffies: Int) -> Int:
    """Granularity in jiffies of a timer this many jiffies away (LVL_START, LVL_GRAN)."""
    step = 1
    limit = 63
    while delay_jiffies >= limit:
        limit *= 8
        step *= 8
    return step


@compiled(nb.int64(MEMORY, nb.int64))
def _jiffies(memory: Words, now_ns: Int) -> Int:
    return memory[_JIFFIES] + (now_ns - memory[_JIFFIES_NS]) * memory[_HZ] // SECOND_NS


@compiled(nb.int64(MEMORY, nb.int64, nb.int64))
def fires_ns(memory: Words, now_ns: Int, delay_ns: Int) -> Int:
    """When delayed work queued now runs: the timer wheel rounds up (calc_index).

    With the phase of jiffies known, exactly; with only their rate, plus half a step on average.
    """
    if memory[_HZ] == 0:
        return now_ns + delay_ns + memory[_STEP_NS] // 2
    ticks = -(-delay_ns * memory[_HZ] // SECOND_NS)
    step = wheel_step(ticks)
    fires = ((_jiffies(memory, now_ns) + ticks) // step + 1) * step
    ahead = (fires - memory[_JIFFIES]) * SECOND_NS
    return memory[_JIFFIES_NS] - (-ahead // memory[_HZ])


def with_clock(words: int, guest: "Guest", params: "Mapping[str, Value]") -> "NDArray[np.int64]":
    """A policy's memory with the guest's clock, by its parameters `delay` and `rounding`."""
    memory = new_memory(words)
    if params["rounding"] == "none" or guest.hz is None:
        return memory
    if guest.jiffies is not None and guest.jiffies_monotonic_ns is not None:
        memory[_HZ], memory[_JIFFIES] = guest.hz, guest.jiffies
        memory[_JIFFIES_NS] = guest.jiffies_monotonic_ns
    else:
        ticks = -(-int(params["delay"]) * guest.hz // SECOND_NS)
        memory[_STEP_NS] = wheel_step(ticks) * SECOND_NS // guest.hz
    return memory

"""For policies to which it means nothing that a block was freed."""

from replay.jit import Int, Words, compiled
from replay.policies.protocol import ARRIVE, SLEEP
from replay.state import State


@compiled(ARRIVE)
def unheard(
    _s: State,
    _memory: Words,
    _now_ns: Int,
    _unit: Int,
    _order: Int,
    _merged: Int,
    _quiet: bool,
    _cpu: Int,
) -> Int:
    """An arrival that changes nothing."""
    return SLEEP

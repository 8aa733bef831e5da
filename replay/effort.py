"""How many steps a policy may take: one that takes more would hardly let a replay come to its end.

So many at once, and more for each event and for time that goes on. A step is a wake, a list entry
visited, a quarter of an isolation, or a map of 4096 bits looked at.
"""

from typing import TYPE_CHECKING

import numba as nb

from replay.jit import Int, Words, compiled
from replay.state import STATE, State
from tracer import Fault, short_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_STEPS = 100_000_000
STEPS_AN_EVENT = 20
STEP_NS = 100  # one more for so much time of the replay
BITS_A_STEP = 4096

MOST, ACTED_NS = 2, 3  # behind the cursors of `schedule`: of steps, at instant 0; the policy's last act


def most_steps(events: int, begin_ns: int) -> int:
    """What `is_worn_out` looks for as MOST, after so many events of a replay that began at `begin_ns`."""
    return MOST_STEPS + STEPS_AN_EVENT * events - begin_ns // STEP_NS


@compiled(nb.boolean(STATE, nb.int64[::1], nb.int64), inline=True)
def is_worn_out(s: State, cursors: Words, now_ns: Int) -> bool:
    """Has the policy, which acted just now, used up its steps?"""
    m = s.meters[0]
    cursors[ACTED_NS] = now_ns
    steps = m.acts + 4 * m.isolations + m.entries_walked + m.bits_scanned // BITS_A_STEP
    return steps > cursors[MOST] + now_ns // STEP_NS


def worn_out(name: str, meters: "NDArray[np.void]", after_ns: int) -> Fault:
    """What to say then. `after_ns`: how far the replay came."""
    m = meters[0]
    did = f"it was woken {m['acts']:,} times, isolated {m['isolations']:,} blocks, "
    did += f"looked at {m['entries_walked']:,} list entries and {m['bits_scanned']:,} bits"
    return Fault(
        f"policy {name} takes so many steps that its replay would hardly end",
        f"{short_duration(after_ns)} into the replay {did}",
        "let it act less often (every, delay), on less (order), or with a slower device (call)",
    )

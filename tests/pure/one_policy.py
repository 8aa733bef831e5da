"""One policy on a guest of x86's shape, for scenarios that are computed by hand."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from replay.buddy.ops import meaning_table
from replay.device import Device
from replay.engine import Group, Options, Run
from replay.geometry import Geometry
from replay.invariants import violations
from replay.policies import policy_named
from replay.results import Result
from replay.start import Start
from tests.pure.small_guests import columns
from tracer import FrameState, Guest, Zone

S = 1_000_000_000
T0 = 100 * S
GIB_FRAMES = 1 << 18
GUEST = Guest(
    "6.12.0", "x86_64", 2, 4096, 10, 9,
    ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"], [0, 1, 2, 3, 9], None, None, None, 0,
)  # fmt: skip


def zone(frames: int, low: int = 0, name: str = "Normal", start: int = 0) -> Zone:
    """`min` is half of `low`."""
    return Zone(0, name, start, frames, frames, frames, 0, low // 2, low, low, 0)


def replayed(
    policy: str, events: Iterable[Any], *, zones: list[Zone] | None = None, free: int = 0,
    start: str = "steady", end_s: float = 60, device: Device | None = None, backing: str = "4k",
    bins_s: Iterable[float] = (), inhibit: bool = False, **params: Any,
) -> Result:  # fmt: skip
    """Frames [0, free) are free when it begins, all others in use; events are (seconds, kind, pfn, order).

    `bins_s`: instants of the timeline, to which the end is added.
    """
    zones = zones or [zone(4 * GIB_FRAMES)]
    setting = policy_named(policy).settle(GUEST, params)
    geometry = Geometry.of(GUEST, zones, setting.order)
    state = np.full(zones[-1].end_pfn, FrameState.USED, np.uint8)
    state[:free] = FrameState.BUDDY
    options = Options(start, backing, inhibit=inhibit, device=device or Device(), logging=True)
    begin = Start(T0, state, np.array([], np.int64))
    bins_ns = np.array([T0 + round(at * S) for at in [*bins_s, end_s]], np.int64)
    end_ns = int(bins_ns[-1])
    group = Group(GUEST, meaning_table(GUEST), geometry, begin, end_ns, [setting], options, bins_ns)
    group.feed(columns([(T0 + round(at * S), kind, pfn, order, 1) for at, kind, pfn, order in events]))
    group.finish()
    run = Run(setting, group.schedules[0], group)
    assert violations(run) == []
    return Result(run)


def freed(at_s: float, blocks: int, order: int = 10, first: int = 0) -> list[Any]:
    """So many blocks are freed at once, ascending."""
    return [(at_s, "enter", first + (k << order), order) for k in range(blocks)]


def frame_seconds(result: Result, part: str) -> float:
    """How long frames were in a part of managed memory."""
    total = result._composition.frame_ns[part]
    assert total is not None
    return total / S

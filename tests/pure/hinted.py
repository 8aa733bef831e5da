"""A guest of x86's shape whose blocks of 2 MiB are freed by hand, for the policies that capture hints.

Memory below GIB is free, and reported, when it begins; blocks are named by their unit from there on.
"""

from typing import Any

import numpy as np

from replay.buddy.area import NOBODY
from replay.buddy.ops import meaning_table
from replay.device import Device
from replay.engine import Group, Options, Run
from replay.geometry import Geometry
from replay.policies import policy_named
from replay.results import Result
from replay.start import Start
from tests.pure.small_guests import columns
from tracer import FrameState, Guest, Zone

S = 1_000_000_000
T0 = 100 * S
CALL_S = 0.0006
MIB = 1 << 20
GIB = 1 << 18  # frames
UNIT = 1 << 9
FIRST = GIB // UNIT  # unit at which the named ones begin

Move = tuple[float, str, int, int, int, int]  # seconds, kind, pfn, order, migratetype, CPU


def guest(cpus: int = 2) -> Guest:
    types = ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"]
    return Guest("test", "x86_64", cpus, 4096, 10, 9, types, [0, 1, 2, 3, 9], None, None, None, 0)


def zone(start: int = 0, end: int = 4 * GIB, watermark: int = 0, present: int | None = None) -> Zone:
    held = end - start if present is None else present
    return Zone(0, "Normal", start, end - start, held, held, 0, watermark, watermark, watermark, 0)


def pfn(block: int) -> int:
    return (FIRST + block) * UNIT


def alone(count: int, first: int = 0) -> list[int]:
    """Blocks that merge with nothing: the buddy of each stays in use."""
    return [2 * (first + k) + 1 for k in range(count)]


def freed(at_s: float, *blocks: int, order: int = 9, migratetype: int = 1, cpu: int = 0) -> list[Move]:
    return [(at_s, "enter", pfn(block), order, migratetype, cpu) for block in blocks]


def taken(at_s: float, block: int, order: int = 9) -> list[Move]:
    return [(at_s, "exit", pfn(block), order, -1, 0)]


def replayed(
    policy: str, moves: list[Move], zones: list[Zone] | None = None, start: str = "steady",
    end_s: float = 60, device: Device | None = None, cpus: int = 2, **params: Any,
) -> Result:  # fmt: skip
    of, zones = guest(cpus), zones or [zone()]
    setting = policy_named(policy).settle(of, params)
    geometry = Geometry.of(of, zones, setting.order)
    state = np.full(zones[-1].end_pfn, FrameState.USED, np.uint8)
    state[:GIB] = FrameState.BUDDY
    options = Options(start=start, logging=True, device=device or Device())
    begin = Start(T0, state, np.array([], np.int64))
    group = Group(of, meaning_table(of), geometry, begin, T0 + int(end_s * S), [setting], options)
    events = [(T0 + round(at * S), kind, first, order, mt) for at, kind, first, order, mt, _ in moves]
    group.feed(columns(events) | {"cpu": np.array([move[5] for move in moves], np.uint16)})
    group.finish()
    return Result(Run(setting, group.schedules[0], group))


def told(result: Result) -> list[int]:
    """The blocks that were reported, in the order of the device's lists."""
    return [first // UNIT - FIRST for first in result.reports["pfn"].to_list()]


def calls(result: Result) -> list[tuple[float, int]]:
    """When each call was submitted, in seconds from the start, and how many blocks it had."""
    rows = result.reports.group_by("submit_s", maintain_order=True).len().rows()
    return [(round(at, 6), blocks) for at, blocks in rows]


def listed(result: Result, order: int = 9, migratetype: int = 1) -> list[int]:
    """The blocks on a list of the first zone at the end, from its head; those from the start left out."""
    area, found = result.run.schedule.state.area, []
    unit = int(area.lists["head"][0, order, migratetype])
    while unit != NOBODY:
        found.append(unit - FIRST)
        unit = int(area.blocks["next"][unit])
    return [block for block in found if block >= 0]

"""Guests of unusual shapes, a random history of each, and what plain loops over its frames say of it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.pure.small_traces import GUEST, NAME, manifest
from tracer.format import CHUNK_FRAMES, BuddyInfo, FrameState, Guest, Op, Probe, Snapshot, Zone
from tracer.guest.snapshot import RawFrames, runs_table
from tracer.writer import TraceWriter

STEP_NS = 50_000_000
START_NS, FIRST_NS = 1_000_000, 10_000_000
OPS = {Op.ZONE_LOCKED: NAME, Op.PCPU_DRAIN: "kmem:mm_page_pcpu_drain", Op.PAGE_FREE: "kmem:mm_page_free"}


def zone(name: str, start: int, end: int, node: int = 0, low: int = 0) -> Zone:
    return Zone(node, name, start, end - start, end - start, end - start, 0, low // 2, low, low, 0)


@dataclass(frozen=True)
class Shape:
    """`holes`: [first, end) pfns that are never there. `new`: blocks (pfn, order) that appear half way."""

    zones: list[Zone]
    max_order: int = 10
    pageblock_order: int = 9
    page_size: int = 4096
    holes: list[tuple[int, int]] = field(default_factory=list)
    new: list[tuple[int, int]] = field(default_factory=list)
    later_zones: list[Zone] | None = None  # once they have appeared

    @property
    def guest(self) -> Guest:
        sizes: dict[str, Any] = {"max_order": self.max_order, "pageblock_order": self.pageblock_order}
        return replace(GUEST, page_size=self.page_size, **sizes)

    @property
    def last_zones(self) -> list[Zone]:
        return self.later_zones or self.zones

    @property
    def frames(self) -> int:
        """As a snapshot reads them: whole chunks."""
        return -(-max(z.end_pfn for z in self.last_zones) // CHUNK_FRAMES) * CHUNK_FRAMES


@dataclass
class Plain:
    """The guest frame by frame: `state`, `FrameState`; `fresh`, never used since it appeared; `away`,
    reclaimed by a policy that reports each unit at once.
    """

    shape: Shape
    state: Any
    fresh: Any
    away: Any

    @classmethod
    def begin(cls, shape: Shape, rng: Any) -> "Plain":
        state = np.full(shape.frames, FrameState.ABSENT, np.uint8)
        for each in shape.zones:
            state[each.start_pfn : each.end_pfn] = FrameState.USED
        size = 1 << (shape.pageblock_order - 1)
        for first in range(0, shape.frames, size):
            if rng.random() < 0.6:
                block = state[first : first + size]
                block[block == FrameState.USED] = FrameState.BUDDY
        for first, end in [*shape.holes, *((pfn, pfn + (1 << order)) for pfn, order in shape.new)]:
            state[first:end] = FrameState.ABSENT
        nothing = np.zeros(shape.frames, bool)
        plain = cls(shape, state, nothing.copy(), nothing.copy())
        plain.report(0, shape.frames)
        return plain

    def may(self, pfn: int, order: int) -> bool:
        """Can a block be an event's: wholly in a zone, and all of it free, or all in use?"""
        block = self.state[pfn : pfn + (1 << order)]
        whole = any(z.start_pfn <= pfn and pfn + (1 << order) <= z.end_pfn for z in self.shape.last_zones)
        return whole and block[0] != FrameState.ABSENT and bool((block == block[0]).all())

    def enter(self, pfn: int, order: int) -> None:
        block = slice(pfn, pfn + (1 << order))
        self.fresh[block] = self.state[block] == FrameState.ABSENT
        self.state[block] = FrameState.BUDDY
        self.report(block.start, block.stop)

    def leave(self, pfn: int, order: int) -> None:
        block = slice(pfn, pfn + (1 << order))
        self.state[block], self.fresh[block], self.away[block] = FrameState.USED, False, False

    def report(self, first: int, end: int) -> None:
        """Give up the units of these frames that are wholly free; what is fresh the host lacks already."""
        size = 1 << self.shape.pageblock_order
        for unit in range(first // size * size, end, size):
            if self.is_unit(unit):
                self.away[unit : unit + size] = ~self.fresh[unit : unit + size]

    def is_unit(self, unit: int) -> bool:
        size = 1 << self.shape.pageblock_order
        zones = self.shape.last_zones
        whole = any(z.start_pfn <= unit and unit + size <= z.end_pfn for z in zones)
        return whole and bool((self.state[unit : unit + size] == FrameState.BUDDY).all())

    @property
    def reportable(self) -> int:
        size = 1 << self.shape.pageblock_order
        return sum(size for unit in range(0, self.shape.frames, size) if self.is_unit(unit))

    def blocks(self, z: Zone) -> list[int]:
        """Maximal aligned free blocks of a zone, their number by order."""
        counts, pfn = [0] * (self.shape.max_order + 1), z.start_pfn
        while pfn < z.end_pfn:
            order = self._order_at(pfn, z.end_pfn)
            counts[max(order, 0)] += order >= 0
            pfn += 1 << max(order, 0)
        return counts

    def _order_at(self, pfn: int, end: int) -> int:
        """Of the largest free block that begins here, -1: the frame is not free. (Going up from the
        zone's start, no larger one can hold it.)
        """
        if self.state[pfn] != FrameState.BUDDY:
            return -1
        for order in range(self.shape.max_order, -1, -1):
            size = 1 << order
            if pfn % size == 0 and pfn + size <= end and bool((self.state[pfn : pfn + size] == 1).all()):
                return order
        raise AssertionError


Event = tuple[int, int, int, int]  # ts_ns, op, pfn, order


def history(shape: Shape, plain: Plain, rng: Any, tries: int) -> list[Event]:
    """Possible events, one each 50 ms; `plain` lives through them."""
    events: list[Event] = []
    for turn in range(tries):
        ts_ns = FIRST_NS + turn * STEP_NS
        if turn == tries // 2:
            for pfn, order in shape.new:
                events.append((ts_ns, Op.PAGE_FREE, pfn, order))
                plain.enter(pfn, order)
        order = int(rng.integers(0, shape.max_order + 1))
        pfn = int(rng.integers(0, shape.frames >> order)) << order
        if plain.may(pfn, order):
            enters = plain.state[pfn] == FrameState.USED
            events.append((ts_ns + 1, Op.PCPU_DRAIN if enters else Op.ZONE_LOCKED, pfn, order))
            (plain.enter if enters else plain.leave)(pfn, order)
    return events


def write(path: Path, shape: Shape, seed: int, tries: int = 400, *, resync: bool = False) -> Plain:
    """A trace of such a guest; what it has come to at the end."""
    rng = np.random.default_rng(seed)
    plain = Plain.begin(shape, rng)
    first = plain.state.copy()
    events = history(shape, plain, rng, tries)
    end_ns = FIRST_NS + tries * STEP_NS
    blocks = [BuddyInfo(z.node, z.name, plain.blocks(z), end_ns, end_ns + 1) for z in shape.last_zones]
    shots = [Snapshot("start", START_NS - 10, START_NS + 10, shape.zones, [])]
    states = {"start": first, "end": plain.state}
    if resync:
        middle = FIRST_NS + 3 * tries // 4 * STEP_NS - 1000
        shots.append(Snapshot("resync-1", middle - 10, middle + 10, shape.last_zones, []))
        states["resync-1"] = lived(first, [event for event in events if event[0] < middle])
    shots.append(Snapshot("end", end_ns - 10, end_ns + 10, shape.last_zones, blocks))
    told: dict[str, Any] = {"guest": shape.guest, "zones": shape.zones, "snapshots": shots}
    writer = TraceWriter(path, manifest(**told))
    for shot in shots:
        at_ns = np.full(shape.frames // CHUNK_FRAMES, shot.begin_ns + 10, np.int64)
        raw = RawFrames(np.zeros(shape.frames, np.uint8), at_ns, at_ns + 1)
        writer.write_frames(shot.name, runs_table(states[shot.name], raw))
    probes = [
        Probe(name, "tracepoint", op, hits=count, kept=count)
        for op, name in OPS.items()
        if (count := sum(event[1] == op for event in events)) or op != Op.PAGE_FREE
    ]
    writer.write_segment(event_columns(events), probes)
    writer.close(manifest(**told, status="complete", probes=probes))
    return plain


def lived(state: Any, events: list[Event]) -> Any:
    state = state.copy()
    for _, op, pfn, order in events:
        state[pfn : pfn + (1 << order)] = FrameState.USED if op == Op.ZONE_LOCKED else FrameState.BUDDY
    return state


def event_columns(events: list[Event]) -> dict[str, Any]:
    ts_ns, op, pfn, order = (np.array(column) for column in zip(*events, strict=True))
    return {
        "ts_ns": ts_ns.astype(np.int64),
        "op": op.astype(np.uint8),
        "pfn": pfn.astype(np.uint64),
        "order": order.astype(np.uint8),
        "migratetype": np.full(len(events), 1, np.int8),
        "cpu": np.zeros(len(events), np.uint16),
        "aux": np.zeros(len(events), np.uint64),
    }

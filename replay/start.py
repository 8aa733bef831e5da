"""Where a replay begins: the guest's frames at one instant, from a snapshot that has none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from replay.buddy.frames import free_blocks, untouched
from replay.buddy.memory import NOT_TOLD
from replay.buddy.pageblocks import types_at_start
from replay.buddy.rules import rules_of
from replay.geometry import MOVABLE, Geometry
from replay.start_block import START_BLOCK
from replay.stretches import Brought
from tracer import Fault, FrameState, Snapshot, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.steps import Columns

# A block on a free list that was read: in the order of the lists, the head first.
LISTED = np.dtype([("zone", np.int64), ("order", np.int64), ("migratetype", np.int64), ("pfn", np.int64)])
MOST_SPAN_NS = 366 * 86_400 * 1_000_000_000
ASCENDING, RECORDED = "ascending", "recorded"


@dataclass(frozen=True)
class Start:
    """The guest when the replay begins.

    Attributes:
        now_ns: the end of the start snapshot, limbo settled; without one, the first event's time.
        state: `FrameState` per frame, limbo settled, uint8.
        reported_heads: pfns of heads of blocks that the guest's own reporting had reported.
        listed: the free lists from head to tail (LISTED), or None where they were not read.
        contradicted: blocks of them that are none in the snapshot, which has their frames.
        unknown_frames: frames of which nothing is known yet.
        types: migratetype of each pageblock, int8, or None: all movable.
    """

    now_ns: int
    state: "NDArray[np.uint8]"
    reported_heads: "NDArray[np.int64]"
    listed: "NDArray[np.void] | None" = None
    contradicted: int = 0
    unknown_frames: int = 0
    types: "NDArray[np.int8] | None" = None

    def without_frames(self) -> "Start":
        """The same, without a byte per frame: what is left of it once a replay has begun."""
        return replace(self, state=np.empty(0, np.uint8))

    @classmethod
    def of(cls, trace: Trace, brought: Brought) -> "Start":
        """The start snapshot with the events that came while it was read."""
        model, heads = brought.model, brought.frames.reported_heads
        settled = model.settled
        listed, contradicted = None, 0
        if brought.relisted:
            listed = _listed(trace, brought.shot, brought.relisted.seen)
            whole = untouched((settled != FrameState.BUDDY).view(np.uint8), listed["pfn"], listed["order"])
            contradicted = int((~whole).sum())
        reported = heads[model.seen[heads] == 0]
        unknown = int(np.count_nonzero(settled == FrameState.UNKNOWN))
        return cls(brought.shot.end_ns, settled, reported, listed, contradicted, unknown)

    def typed(self, trace: Trace, geometry: Geometry, told: "NDArray[np.int8]") -> "Start":
        """With the pageblocks' types. `told`: the first that events tell (`FirstTypes`)."""
        known = np.full(geometry.pageblocks, NOT_TOLD, np.int8)
        order = trace.manifest.reporting.order
        if (geometry.pageblock_order if order is None else order) >= geometry.pageblock_order - 1:
            known[self.reported_heads >> geometry.pageblock_order] = MOVABLE
        if self.listed is not None:
            least = 0 if rules_of(trace.manifest.guest).by_pageblock else geometry.pageblock_order
            _tell_types(known, self.listed[self.listed["order"] >= least], geometry.pageblock_order)
        return replace(self, types=types_at_start(known, told))

    @classmethod
    def unknown(cls, trace: Trace, geometry: Geometry) -> "Start":
        """A start of which nothing was read: each frame is unknown until its first event.

        Raises:
            Fault: when there are no events either.
        """
        if not trace.rows:
            trace.frames("start")  # says what is missing
            raise AssertionError
        state = np.full(geometry.frames, FrameState.ABSENT, np.uint8)
        for zone in geometry.zones:
            state[zone.start_pfn : zone.end_pfn] = FrameState.UNKNOWN
        unknown = int(np.count_nonzero(state == FrameState.UNKNOWN))
        return cls(trace.span_ns[0], state, np.empty(0, np.int64), unknown_frames=unknown)

    @property
    def order_of_lists(self) -> str:
        """Where the order of the free lists comes from: recorded or ascending."""
        return ASCENDING if self.listed is None else RECORDED

    def blocks(self, geometry: Geometry, mode: str) -> "NDArray[np.void]":
        """Free blocks (START_BLOCK) of at least the reporting order, each list's from head to tail;
        reported as `mode` (steady: all, cold: none, recorded: as the guest had them) says.
        """
        lists = list(self.lists(geometry))
        blocks = np.empty(sum(len(pfns) for _, pfns, _ in lists), START_BLOCK)
        pfns = np.concatenate([pfns for _, pfns, _ in lists])
        blocks["unit"] = pfns >> geometry.order
        blocks["order"] = np.repeat([order for order, _, _ in lists], [len(pfns) for _, pfns, _ in lists])
        blocks["migratetype"] = np.concatenate([kinds for _, _, kinds in lists])
        blocks["reported"] = np.isin(pfns, self.reported_heads) if mode == "recorded" else mode == "steady"
        return blocks

    def lists(self, geometry: Geometry) -> "Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]":
        """(order, pfns, migratetypes or -1) of the free blocks of at least the reporting order, zone
        by zone: in the order of the lists that were read, for blocks that have been on them since;
        the others come after those, ascending.
        """
        free = self.state == FrameState.BUDDY
        listed = np.empty(0, LISTED) if self.listed is None else self.listed
        for zone in range(len(geometry.zones)):
            heads, in_zone = free_blocks(free, geometry, zone), listed[listed["zone"] == zone]
            for order in range(geometry.order, geometry.max_order + 1):
                yield order, *_in_order(heads[order], in_zone[in_zone["order"] == order])


def _in_order(
    heads: "NDArray[np.int64]", listed: "NDArray[np.void]"
) -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
    """(pfn, migratetype or -1) of the blocks of a zone and order. `heads`: ascending."""
    place = np.searchsorted(heads, listed["pfn"])
    there = np.append(heads, -1)[place] == listed["pfn"]
    rows, rest = listed[there], np.ones(len(heads), np.bool_)
    rest[place[there]] = False
    unknown = np.full(int(rest.sum()), -1, np.int64)
    return np.concatenate([rows["pfn"], heads[rest]]), np.concatenate([rows["migratetype"], unknown])


def _tell_types(types: "NDArray[np.int8]", listed: "NDArray[np.void]", pageblock_order: int) -> None:
    """The pageblocks of listed blocks have the type of their list."""
    first = listed["pfn"] >> pageblock_order
    types[first] = listed["migratetype"]
    for order in np.unique(listed["order"][listed["order"] > pageblock_order]):
        large = listed["order"] == order
        covered = first[large][:, None] + np.arange(1 << (int(order) - pageblock_order))
        types[covered] = listed["migratetype"][large][:, None]


def start_of(trace: Trace, geometry: Geometry, events: "Iterator[Columns | Brought]") -> Start:
    """Where a replay of `events` (`stretches`) starts; what is left of them comes after it.

    Raises:
        Fault: when the trace has neither a snapshot nor events, or lasts too long.
    """
    refuse_endless(trace)
    if trace.start is None:
        return Start.unknown(trace, geometry)
    return Start.of(trace, cast("Brought", next(events)))


def refuse_endless(trace: Trace) -> None:
    """Refuse a trace of more than a year: a damaged or absurd time, and policies would act all along.

    Raises:
        Fault: naming its first and last instant.
    """
    first_ns, last_ns = trace.span_ns
    if last_ns - first_ns > MOST_SPAN_NS:
        raise Fault(
            f"the trace {trace.place} cannot be replayed: it lasts longer than a year",
            f"it goes from {first_ns} ns to {last_ns} ns (segments.jsonl, manifest.json)",
            "cut the part with the right times out of it: pagetide slice",
        )


def refuse_filtered(trace: Trace) -> None:
    """Refuse a trace whose probes left out events of the zones that it has.

    Raises:
        Fault: naming the filter.
    """
    filters = trace.manifest.filters
    for name in ("orders", "pfns"):
        kept = getattr(filters, name, None)
        if kept is not None:
            raise Fault(
                f"the trace {trace.place} cannot be replayed: which frames are free is not known",
                f"it was recorded with a filter: {name} {', '.join(map(str, kept))} (manifest.json)",
                "record it without that filter (one on zones can stay)",
            )


def _listed(trace: Trace, shot: Snapshot, seen: "NDArray[np.uint8]") -> "NDArray[np.void]":
    """Blocks that have been on the lists since those were read, list by list from the head."""
    table = trace.lists(shot.name)
    if table is None:
        raise AssertionError
    rows = table.sort_by([(key, "ascending") for key in ("zone", "order", "migratetype", "position")])
    listed = np.empty(rows.num_rows, LISTED)
    for key in LISTED.names or ():
        listed[key] = rows[key].to_numpy()
    index = {(zone.node, zone.name): k for k, zone in enumerate(trace.zones)}
    places = [index.get((zone.node, zone.name), -1) for zone in shot.zones]
    listed["zone"] = np.array([*places, -1])[np.minimum(listed["zone"], len(places))]
    return listed[untouched(seen, listed["pfn"], listed["order"])]

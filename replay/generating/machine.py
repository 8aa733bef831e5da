"""A synthetic guest that runs: a recipe's memory, opened, filled and lived in."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.available import available
from replay.buddy.area import BLOCK, new_area
from replay.buddy.rules import rules_of
from replay.generating.draws import choose, streams
from replay.generating.kind import AGES, TYPES, WAVES, Kind
from replay.generating.land import Land
from replay.generating.living import NO_HEAP, UP_TO_DATE, live, plan_next
from replay.generating.recipe import Recipe
from replay.generating.world import DUE, KIND, NOW, World, open_span, pin
from replay.geometry import MOVABLE, Geometry
from tracer import Fault, Guest, Op, human_bytes
from tracer.faults import ExitCode

if TYPE_CHECKING:
    from numpy.typing import NDArray

Columns = dict[str, "NDArray[Any]"]
BOOT_NS = 10**9  # the guest's clock when its warm-up begins
ROOM_EVENTS = 1 << 20
HEAP = 1 << 12  # living objects, at first
_COLUMNS = ("ts_ns", "op", "pfn", "order", "migratetype", "cpu", "aux")
_OTHER_BYTES = 256 << 20  # events and files on their way


def guest_of(recipe: Recipe) -> Guest:
    """What a trace says of such a guest. Its kernel has no number: the newest rules hold."""
    huge = recipe.block_order
    return Guest(
        kernel_release="none (generated)",
        machine="generated",
        cpus=recipe.cpus,
        page_size=recipe.page_bytes,
        max_order=recipe.top_order,
        pageblock_order=recipe.block_order,
        migratetypes=["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"],
        pcp_orders=sorted({each for each in (0, 1, 2, 3, huge) if each <= recipe.top_order}),
        thp_mode=None,
        hz=250,
        jiffies=0,
        jiffies_monotonic_ns=0,
    )


class Machine:
    """One guest; `live` lets time pass.

    Attributes:
        begin_ns: when its trace begins, after the warm-up.
        zones: as they were laid out, all of their memory free.
    """

    def __init__(self, recipe: Recipe) -> None:
        """Build it.

        Raises:
            Fault: when such zones cannot be, or this machine cannot hold its state.
        """
        self.recipe, self.guest = recipe, guest_of(recipe)
        kinds = [f"kind {kind.name}" for kind in recipe.kinds if kind.rate]
        seeds = streams(recipe.seed, ["places", *kinds])
        land = Land.of(recipe, seeds)
        self.zones, self.spans = land.zones, land.spans
        self.geometry = Geometry.of(self.guest, self.zones)
        _refuse_too_large(self.geometry.frames)
        self.begin_ns = BOOT_NS + recipe.warmup_ns
        self.world = self._world(seeds)
        self._populate()

    def _world(self, seeds: "NDArray[np.uint64]") -> World:
        now = np.zeros(1, NOW)
        now["ns"], now["begin_ns"], now["cpus"] = BOOT_NS, self.begin_ns, self.recipe.cpus
        rooms = {"ts_ns": np.int64, "op": np.uint8, "pfn": np.uint64, "order": np.uint8}
        rooms |= {"migratetype": np.int8, "cpu": np.uint16, "aux": np.uint64}
        kinds = [kind for kind in self.recipe.kinds if kind.rate]
        return World(
            area=new_area(self.geometry, 0, rules_of(self.guest)),
            free=np.zeros(len(self.zones), np.int64),
            marks=np.array([(zone.low, zone.min) for zone in self.zones], np.int64),
            zonelists=np.array([self._zonelist(node) for node in range(self.recipe.nodes)], np.int64),
            kinds=np.concatenate([self._kind(kind) for kind in kinds]),
            heap=np.zeros(HEAP, DUE),
            now=now,
            seeds=seeds,
            **{name: np.zeros(ROOM_EVENTS, kind) for name, kind in rooms.items()},
        )

    def _zonelist(self, node: int) -> list[int]:
        """Zones in the order in which a node's CPUs try them: their own node's first, the highest first."""
        return sorted(range(len(self.zones)), key=lambda each: (abs(self.zones[each].node - node), -each))

    def _kind(self, kind: Kind) -> "NDArray[np.void]":
        row = np.zeros(1, KIND)
        drained = kind.order in self.guest.pcp_orders
        row["rate"], row["size_sigma"], row["duty"] = kind.rate, kind.size_sigma, kind.duty
        row["blocks"] = kind.size_bytes / (self.recipe.page_bytes << kind.order)
        row["growth_ns"], row["lifetime_ns"] = kind.growth_ns, kind.lifetime_ns
        row["age_sigma"] = kind.age_sigma
        row["ages"], row["wave"] = AGES.index(kind.ages), WAVES.index(kind.wave)
        row["order"], row["migratetype"] = kind.order, TYPES.index(kind.type)
        row["period_ns"], row["next_ns"] = kind.period_ns, BOOT_NS
        row["free_op"], row["refill"] = Op.PCPU_DRAIN if drained else Op.PAGE_FREE, drained
        return row

    def _populate(self) -> None:
        """Memory as it is before anything comes: free, but for what is always in use."""
        size, free = 1 << self.recipe.block_order, []
        for zone, spans in enumerate(self.spans):
            left = int(self.recipe.used * self.zones[zone].managed) // size * size
            for start, end in spans.tolist():
                first = min(start + left, end)
                left -= first - start
                if first < end:
                    open_span(self.world, zone, first, end, MOVABLE)
                    free.append(np.arange(-(-first // size), end // size))
        blocks = np.concatenate([np.empty(0, np.int64), *free])
        chosen = np.empty(round(self.recipe.pinned * len(blocks)), np.int64)
        choose(self.world.seeds, len(blocks), chosen)
        pin(self.world, blocks[chosen], size)
        for kind in range(len(self.world.kinds)):
            plan_next(self.world, kind)

    def live(self, until_ns: int, take: "Callable[[Columns], None]") -> None:
        """Let all happen up to an instant. `take` gets the events when there is no more room for them;
        the others wait for `events`.
        """
        while (why := live(self.world, until_ns)) != UP_TO_DATE:
            if why == NO_HEAP:
                heap = np.concatenate([self.world.heap, np.zeros_like(self.world.heap)])
                self.world = replace(self.world, heap=heap)
            else:
                take(self.events())

    def events(self) -> Columns:
        """The events since the last time, as columns."""
        rows = int(self.world.now[0]["events"])
        self.world.now["events"] = 0
        return {name: getattr(self.world, name)[:rows].copy() for name in _COLUMNS}

    def forget(self) -> None:
        """The warm-up is over: what it made is not counted."""
        self.events()
        for name in ("objects", "taken", "given_up"):
            self.world.kinds[name] = 0
        self.world.now["late_ns"] = 0


def _refuse_too_large(frames: int) -> None:
    needed, left = frames * BLOCK.itemsize + _OTHER_BYTES, available()
    if needed > left.size_bytes:
        raise Fault(
            f"a guest of {frames:,} frames cannot be generated on this machine",
            f"it needs {human_bytes(needed)}, and {human_bytes(left.size_bytes)} are left ({left.source})",
            "make --memory smaller, or --page-size larger",
            ExitCode.ENVIRONMENT,
        )

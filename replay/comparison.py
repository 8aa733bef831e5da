"""The model against one snapshot, from the snapshot before it on.

Two comparisons. Frame by frame, each frame at the moment it was read; and the free blocks of each
zone and order with /proc/buddyinfo, at any one instant while that was read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.frames import (
    AMBIGUOUS,
    CHANGED,
    ENTRY_OF_FREE,
    EXIT_OF_USED,
    FAR_FUTURE_NS,
    OUTSIDE,
    STEPS,
    UNKNOWN_OPS,
    FrameModel,
    Frames,
    free_blocks,
)
from replay.buddy.steps import Columns
from replay.geometry import Geometry
from tracer import FrameState, Snapshot, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ZoneOrders:
    """Free blocks by order of one zone: the model's at the best instant, and the kernel's."""

    node: int
    zone: str
    model: list[int]
    kernel: list[int]

    @property
    def wrong(self) -> int:
        """Orders whose counts differ."""
        return sum(a != b for a, b in zip(self.model, self.kernel, strict=True))


@dataclass(frozen=True)
class Comparison:
    """How right the model is at one snapshot.

    Attributes:
        before, snapshot: between which two the model lived.
        counts: steps, impossible ones and frames, by the names of `fidelity`.
        orders: per zone, free blocks by order.
    """

    before: Snapshot
    snapshot: Snapshot
    counts: dict[str, int]
    orders: list[ZoneOrders]

    @property
    def wrong_share(self) -> float:
        """Frames wrong as a share of the frames that changed."""
        return self.counts["frames_wrong"] / max(self.counts["frames_changed"], 1)

    @property
    def impossible_share(self) -> float:
        """Impossible steps as a share of all steps."""
        impossible = self.counts["exit_of_used"] + self.counts["entry_of_free"]
        return impossible / max(self.counts["steps"], 1)


class Interval:
    """The model between two snapshots: feed it the trace's pieces (`stretches.pieces`, cut at its
    `instants`), then ask for its comparison. It holds frames only while it lives.
    """

    def __init__(self, trace: Trace, before: Snapshot, after: Snapshot, meaning: "NDArray[np.uint8]") -> None:
        self.trace, self.before, self.after, self.meaning = trace, before, after, meaning
        self.geometry = Geometry.of(trace.manifest.guest, trace.zones)
        self._first = before is trace.start
        self._last = after is trace.manifest.snapshots[-1]
        self._read_ns = (
            min((info.read_begin_ns for info in after.buddyinfo), default=after.end_ns),
            max((info.read_end_ns for info in after.buddyinfo), default=after.end_ns),
        )
        self._over_ns = FAR_FUTURE_NS if self._last else max(after.end_ns, self._read_ns[1])
        self._models: _Models | None = None
        self._result: Comparison | None = None

    @property
    def instants(self) -> list[int]:
        """Where events have to be cut: at its begin, at its end, and around the read of buddyinfo."""
        return [self.before.begin_ns - 1, self.before.end_ns, self.after.end_ns, *self._read_ns]

    def feed(self, until_ns: int, columns: Columns) -> None:
        """Hear a piece of the events, the one that belongs to the instant `until_ns`."""
        if self._result or (until_ns < self.before.begin_ns and not self._first):
            return
        if until_ns > self._over_ns:
            self.finish()
            return
        models = self._models = self._models or _Models(self)
        if until_ns <= self.after.end_ns or self._last:
            models.judged.play(columns)
        if until_ns <= self.before.end_ns and not self._first:
            # The interval before has told of these.
            models.judged.counters[[OUTSIDE, UNKNOWN_OPS]] = 0
        if until_ns <= self._read_ns[0]:
            models.counted.play(columns)
        elif until_ns <= self._read_ns[1]:
            models.inside.append(columns)

    def finish(self) -> Comparison:
        """What came of it; its frames are let go."""
        if self._result is None:
            models = self._models or _Models(self)
            counts = _compare_frames(models)
            filters = self.trace.manifest.filters
            recorded = filters.zones if filters else None
            orders = _compare_orders(self.after, self.geometry, models, recorded)
            counts["orders_checked"] = sum(len(zone.kernel) for zone in orders)
            counts["orders_wrong"] = sum(zone.wrong for zone in orders)
            self._result, self._models = Comparison(self.before, self.after, counts, orders), None
        return self._result


class _Models:
    """What an interval holds while it lives: `judged`, each frame up to its own second read;
    `counted`, all frames up to the read of buddyinfo, and the events `inside` that.
    """

    def __init__(self, interval: Interval) -> None:
        trace, frames = interval.trace, interval.geometry.frames
        self.start = Frames.of(trace.frames(interval.before.name), frames)
        self.end = Frames.of(trace.frames(interval.after.name), frames)
        model = (interval.meaning, interval.geometry, self.start, interval.before.end_ns)
        self.judged = FrameModel(*model, self.end)
        self.counted = FrameModel(*model)
        self.inside: list[Columns] = []


def _compare_frames(models: _Models) -> dict[str, int]:
    """Frames whose model state and snapshot differ; an event inside a read leaves a frame out, and
    so does a frame of which nothing is known.
    """
    model, start, end = models.judged, models.start, models.end
    known = ((model.seen & AMBIGUOUS) == 0) & (model.state != FrameState.UNKNOWN)
    known &= end.state != FrameState.UNKNOWN
    model_free, kernel_free = model.free, end.state == FrameState.BUDDY
    start_free = (start.state == FrameState.BUDDY) | (start.state == FrameState.LIMBO)
    changed = ((model.seen & CHANGED) != 0) | (start_free != kernel_free)
    differs = known & (model_free != kernel_free)
    limbo = differs & model_free & (end.state == FrameState.LIMBO)
    counters = model.counters
    return {
        "steps": int(counters[STEPS]),
        "exit_of_used": int(counters[EXIT_OF_USED]),
        "entry_of_free": int(counters[ENTRY_OF_FREE]),
        "outside": int(counters[OUTSIDE]),
        "unknown_ops": int(counters[UNKNOWN_OPS]),
        "frames_checked": int((known & (end.state != FrameState.ABSENT)).sum()),
        "frames_changed": int((changed & known).sum()),
        "frames_wrong": int((differs & ~limbo).sum()),
        "frames_limbo": int(limbo.sum()),
    }


def _compare_orders(
    snapshot: Snapshot, geometry: Geometry, models: _Models, recorded: list[str] | None
) -> list[ZoneOrders]:
    """Free blocks by order, at the instant of the read's window at which they fit best.

    Blocks in the hands of the guest's own reporting (limbo) are on no list then. Zones that were not
    recorded are left out.
    """
    names = [(zone.node, zone.name) for zone in geometry.zones]
    infos = [
        info
        for info in snapshot.buddyinfo
        if (info.node, info.zone) in names and (recorded is None or info.zone in recorded)
    ]
    best: dict[int, ZoneOrders] = {}
    for free_now in _instants(models.counted, models.inside):
        free = free_now & (models.end.state != FrameState.LIMBO)
        for info in infos:
            zone = names.index((info.node, info.zone))
            if zone in best and not best[zone].wrong:
                continue
            counts = [len(heads) for heads in free_blocks(free, geometry, zone)]
            found = ZoneOrders(info.node, info.zone, counts, info.blocks)
            if zone not in best or found.wrong < best[zone].wrong:
                best[zone] = found
    return [best[zone] for zone in sorted(best)]


# More events than this in the 50 us of a buddyinfo read are tried in steps, not one by one.
_MAX_INSTANTS = 64


def _instants(counted: FrameModel, inside: list[Columns]) -> "Iterator[NDArray[np.bool_]]":
    """Free frames before the window's events and after each of them."""
    yield counted.free
    events = {name: np.concatenate([part[name] for part in inside]) for name in (inside[0] if inside else {})}
    rows = len(events["ts_ns"]) if events else 0
    step = max(1, -(-rows // _MAX_INSTANTS))
    for at in range(0, rows, step):
        counted.play({name: values[at : at + step] for name, values in events.items()})
        yield counted.free

"""The project's conscience: the model at the end of a trace against what the kernel said then.

Two comparisons. Frame by frame with the end snapshot, each frame at the moment it was read; and the
free blocks of each zone and order with /proc/buddyinfo, at any one instant while that was read.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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
from replay.geometry import Geometry
from replay.start import event_columns
from tracer import FrameState, Snapshot, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

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
class Verdict:
    """How right the model is at the end of a trace.

    Attributes:
        fidelity: the counts of `replay --json`'s fidelity, all filled.
        orders: per zone, free blocks by order.
        warnings: what limits the comparison.
    """

    trace: Trace
    snapshot: Snapshot
    fidelity: dict[str, int]
    orders: list[ZoneOrders]
    warnings: list[str]

    @property
    def wrong_share(self) -> float:
        """Frames wrong as a share of the frames that changed."""
        return self.fidelity["frames_wrong"] / max(self.fidelity["frames_changed"], 1)

    @property
    def impossible_share(self) -> float:
        """Impossible steps as a share of all steps."""
        impossible = self.fidelity["exit_of_used"] + self.fidelity["entry_of_free"]
        return impossible / max(self.fidelity["steps"], 1)

    def to_json(self) -> dict[str, Any]:
        """What `pagetide validate --json` prints."""
        return {
            "trace": str(self.trace.path),
            "fidelity": self.fidelity,
            "snapshots": [
                {
                    "name": self.snapshot.name,
                    "frames_wrong_share": self.wrong_share,
                    "impossible_share": self.impossible_share,
                    "zones": [asdict(orders) for orders in self.orders],
                }
            ],
            "samples": [],
            "truth": None,
            "warnings": self.warnings,
        }


def validate(trace: Trace) -> Verdict:
    """Compare the model with the end snapshot.

    Raises:
        Fault: when the trace has no start or end snapshot, or cannot be read.
    """
    geometry = Geometry.of(trace.manifest.guest, trace.zones)
    runs = trace.frames("end")
    end = Frames.of(runs, geometry.frames)
    start = Frames.of(trace.frames("start"), geometry.frames)
    snapshot = trace.manifest.snapshot("end")
    if snapshot is None:  # frames() above has refused such a trace
        raise AssertionError
    guest = trace.manifest.guest
    model = FrameModel(guest, geometry, start, trace.span_ns[0], end)
    window = (
        min((info.read_begin_ns for info in snapshot.buddyinfo), default=FAR_FUTURE_NS),
        max((info.read_end_ns for info in snapshot.buddyinfo), default=FAR_FUTURE_NS),
    )
    counted = FrameModel(guest, geometry, start, trace.span_ns[0])
    inside: list[dict[str, Any]] = []
    for columns in event_columns(trace):
        events = [columns[name] for name in ("ts_ns", "op", "pfn", "order")]
        model.play(*events)
        first, last = np.searchsorted(columns["ts_ns"], window, "right")
        counted.play(*(column[:first] for column in events))
        inside.append({name: values[first:last] for name, values in columns.items()})
    fidelity = _compare_frames(trace, model, start, end)
    orders = _compare_orders(snapshot, geometry, counted, end, inside)
    fidelity["orders_checked"] = sum(len(zone.kernel) for zone in orders)
    fidelity["orders_wrong"] = sum(zone.wrong for zone in orders)
    return Verdict(trace, snapshot, fidelity, orders, _caveats(trace))


def _compare_frames(trace: Trace, model: FrameModel, start: Frames, end: Frames) -> dict[str, int]:
    """Frames whose model state and snapshot differ; an event inside a read leaves a frame out."""
    known = (model.seen & AMBIGUOUS) == 0
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
        "lost_events": trace.manifest.lost,
        "frames_checked": int((known & (end.state != FrameState.ABSENT)).sum()),
        "frames_changed": int((changed & known).sum()),
        "frames_wrong": int((differs & ~limbo).sum()),
        "frames_limbo": int(limbo.sum()),
        "frames_corrected": 0,
    }


def _compare_orders(
    snapshot: Snapshot,
    geometry: Geometry,
    counted: FrameModel,
    end: Frames,
    inside: list[dict[str, Any]],
) -> list[ZoneOrders]:
    """Free blocks by order, at the instant of the read's window at which they fit best.

    Blocks in the hands of the guest's own reporting (limbo) are on no list then.
    """
    names = [(zone.node, zone.name) for zone in geometry.zones]
    best: dict[int, ZoneOrders] = {}
    for free_now in _instants(counted, inside):
        free = free_now & (end.state != FrameState.LIMBO)
        for info in snapshot.buddyinfo:
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


def _instants(counted: FrameModel, inside: list[dict[str, Any]]) -> "Iterator[NDArray[np.bool_]]":
    """Free frames before the window's events and after each of them."""
    yield counted.free
    events = {name: np.concatenate([part[name] for part in inside]) for name in (inside[0] if inside else {})}
    rows = len(events["ts_ns"]) if events else 0
    step = max(1, -(-rows // _MAX_INSTANTS))
    for at in range(0, rows, step):
        counted.play(*(events[name][at : at + step] for name in ("ts_ns", "op", "pfn", "order")))
        yield counted.free


def _caveats(trace: Trace) -> list[str]:
    """What the comparison cannot see."""
    caveats = list(trace.warnings)
    if trace.manifest.rung == "tracepoints":
        caveats.append("tracepoints only: isolation by compaction and direct frees of order 0 leave no event")
    return caveats

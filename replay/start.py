"""Where a replay begins: the guest's frames at one instant, from a snapshot that has none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.frames import FrameModel, Frames, free_blocks
from replay.geometry import Geometry
from replay.schedule import StartBlock
from tracer import FrameState, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ["ts_ns", "op", "pfn", "order", "migratetype"]


@dataclass(frozen=True)
class Start:
    """The guest when the replay begins.

    Attributes:
        now_ns: the end of the start snapshot, limbo settled.
        state: `FrameState` per frame, limbo settled, uint8.
        reported_heads: pfns of heads of blocks that the guest's own reporting had reported.
    """

    now_ns: int
    state: "NDArray[np.uint8]"
    reported_heads: "NDArray[np.int64]"

    @classmethod
    def of(cls, trace: Trace, geometry: Geometry) -> "Start":
        """The start snapshot with the events that came while it was read.

        Raises:
            Fault: when the trace has no start snapshot.
        """
        frames = Frames.of(trace.frames("start"), geometry.frames)
        now_ns = trace.span_ns[0]
        model = FrameModel(trace.manifest.guest, geometry, frames, now_ns)
        for columns in event_columns(trace):
            until = int(np.searchsorted(columns["ts_ns"], now_ns, "right"))
            model.play(*(columns[name][:until] for name in ("ts_ns", "op", "pfn", "order")))
            if until < len(columns["ts_ns"]):
                break
        heads = frames.reported_heads
        state = np.where(model.free, np.uint8(FrameState.BUDDY), model.state)
        return cls(now_ns, state, heads[model.seen[heads] == 0])

    def blocks(self, geometry: Geometry, mode: str) -> Iterator[StartBlock]:
        """Free blocks of at least the reporting order, ascending in each list; reported as `mode`
        (steady: all, cold: none, recorded: as the guest had them) says.
        """
        free = self.state == FrameState.BUDDY
        for zone in range(len(geometry.zones)):
            heads = free_blocks(free, geometry, zone)
            for order in range(geometry.order, geometry.max_order + 1):
                reported = np.full(len(heads[order]), mode == "steady")
                if mode == "recorded":
                    reported = np.isin(heads[order], self.reported_heads)
                for pfn, known in zip(heads[order], reported, strict=True):
                    yield StartBlock(int(pfn) >> geometry.order, order, bool(known))


def event_columns(trace: Trace) -> Iterator[dict[str, "NDArray[Any]"]]:
    """The trace's events, batch by batch, as arrays by column name."""
    for batch in trace.batches(COLUMNS):
        yield {name: batch.column(name).to_numpy() for name in COLUMNS}

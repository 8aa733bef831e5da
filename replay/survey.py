"""What only the whole trace tells: read once before the replay itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.buddy.frames import Frames
from replay.buddy.hindsight import DirectFrees, FreeAtEnd, FreeFinder, can_be_told
from replay.buddy.pageblocks import FirstTypes
from replay.buddy.steps import Columns
from replay.geometry import Geometry
from replay.stretches import event_columns
from tracer import FrameState, Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Survey:
    """A trace's events, as the replay takes them.

    Attributes:
        types: the first migratetype that events tell of each pageblock, int8, NOT_TOLD for none.
        direct: frees that turned out to be entries.
    """

    trace: Trace
    types: "NDArray[np.int8]"
    direct: DirectFrees

    @classmethod
    def of(cls, trace: Trace, geometry: Geometry, meaning: "NDArray[np.uint8]") -> "Survey":
        """Read all events once.

        Raises:
            Fault: when the trace cannot be read.
        """
        types, finder = FirstTypes(geometry, meaning), None
        if can_be_told(meaning):
            finder = FreeFinder(trace.rows, geometry.frames, meaning, _free_at_end(trace, geometry))
        for columns in event_columns(trace):
            types.feed(columns)
            if finder:
                finder.feed(columns)
        return cls(trace, types.types, finder.direct() if finder else DirectFrees())

    def batches(self, *, cpus: bool = False) -> Iterator[Columns]:
        """The trace's events, batch by batch, as arrays by column name; with `cpus` also the column cpu."""
        return self.direct.tell(event_columns(self.trace, cpus=cpus))


def _free_at_end(trace: Trace, geometry: Geometry) -> FreeAtEnd | None:
    end = trace.manifest.snapshot("end")
    if end is None:
        return None
    frames = Frames.of(trace.frames("end"), geometry.frames)
    return FreeAtEnd(frames.state == FrameState.BUDDY, end.begin_ns)

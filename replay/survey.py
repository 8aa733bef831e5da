"""What only the whole trace tells: read once before the replay itself, each row checked.

Of a long trace it is kept beside the compiled code, so that the next replay of the same trace reads it
only once (`kept`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.buddy.frames import Frames
from replay.buddy.hindsight import DirectFrees, FreeAtEnd, FreeFinder, can_be_told
from replay.buddy.ops import meaning_of
from replay.buddy.pageblocks import FirstTypes
from replay.buddy.steps import Columns
from replay.findings import Findings
from replay.geometry import Geometry
from replay.stretches import event_columns, events_again
from tracer import Fault, FrameState, Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONG_ROWS = 1 << 20  # shorter traces are read again in no time


class Unreadable(Fault):
    """A trace whose events can be read up to some place only. `readable`: the trace up to there."""

    def __init__(self, fault: Fault, readable: Trace) -> None:
        super().__init__(fault.what, fault.how, fault.fix, fault.code)
        self.readable = readable


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
    def of(
        cls,
        trace: Trace,
        geometry: Geometry,
        meaning: "NDArray[np.uint8]",
        tell: Callable[[int], None] = lambda _rows: None,
    ) -> "Survey":
        """Read all events once, or know from before what they tell. `tell` hears of rows read.

        Raises:
            Unreadable: when some can be read, and then no more.
            Fault: when the trace cannot be read.
        """
        kept = _kept(trace, geometry, meaning)
        if kept and (found := kept.load("types", "rows", "at_end")):
            (types, rows, at_end), lines = found
            trace.warnings += [line for line in lines if line not in trace.warnings]
            return cls(trace, types, DirectFrees(rows, at_end))
        survey = cls._read(trace, geometry, meaning, tell)
        if kept:
            rows, at_end = survey.direct.rows, survey.direct.at_end
            kept.store({"types": survey.types, "rows": rows, "at_end": at_end}, trace.warnings)
        return survey

    @classmethod
    def _read(
        cls, trace: Trace, geometry: Geometry, meaning: "NDArray[np.uint8]", tell: Callable[[int], None]
    ) -> "Survey":
        types, finder = FirstTypes(geometry, meaning), None
        if can_be_told(meaning):
            finder = FreeFinder(trace.rows, geometry.frames, meaning, _free_at_end(trace, geometry))
        rows, last_ns = 0, 0
        try:
            for columns in event_columns(trace):
                types.feed(columns)
                if finder:
                    finder.feed(columns)
                if len(columns["ts_ns"]):
                    tell(len(columns["ts_ns"]))
                    rows, last_ns = rows + len(columns["ts_ns"]), max(last_ns, int(columns["ts_ns"].max()))
        except Fault as fault:
            if rows:
                raise Unreadable(fault, trace.until(rows, last_ns, fault)) from fault
            raise
        return cls(trace, types.types, finder.direct() if finder else DirectFrees())

    def batches(self, *, cpus: bool = False) -> Iterator[Columns]:
        """The trace's events, batch by batch, as arrays by column name; with `cpus` also the column cpu."""
        return self.direct.tell(events_again(self.trace, cpus=cpus))


def _kept(trace: Trace, geometry: Geometry, meaning: "NDArray[np.uint8]") -> Findings | None:
    return Findings(trace.identity, geometry, meaning) if trace.rows >= LONG_ROWS else None


def rows_to_read(trace: Trace, replays: int = 1) -> int:
    """How many events so many replays, one after the other, are going to read in all."""
    kept = _kept(trace, Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace))
    if kept is None:
        return 2 * replays * trace.rows
    return (replays + (kept.load() is None)) * trace.rows


def _free_at_end(trace: Trace, geometry: Geometry) -> FreeAtEnd | None:
    end = trace.manifest.snapshot("end")
    if end is None:
        return None
    frames = Frames.of(trace.frames("end"), geometry.frames)
    return FreeAtEnd(frames.state == FrameState.BUDDY, end.begin_ns)

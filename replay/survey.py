"""What only the whole trace tells: read once before the replay itself, each row checked.

Of a long trace it is kept beside the compiled code, so that the next replay of the same trace reads it
only once (`kept`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.frames import Frames
from replay.buddy.hindsight import DirectFrees, FreeAtEnd, FreeFinder, can_be_told
from replay.buddy.ops import meaning_of
from replay.buddy.pageblocks import FirstTypes
from replay.buddy.searches import Taken, TakenFinder, are_searches, can_be_found, numbered
from replay.buddy.steps import Columns
from replay.findings import Findings
from replay.geometry import Geometry
from replay.stretches import Brought, event_columns, events_again, stretches
from tracer import Fault, FrameState, Trace

if TYPE_CHECKING:
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
        taken: blocks that compaction took, as its searches tell.
    """

    trace: Trace
    types: "NDArray[np.int8]"
    direct: DirectFrees
    taken: Taken = field(default_factory=Taken)

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
        if kept and (found := kept.load("types", "rows", "at_end", "taken_rows", "taken", "unclear")):
            (types, rows, at_end, told_by, blocks, unclear), lines = found
            trace.warnings += [line for line in lines if line not in trace.warnings]
            return cls(trace, types, DirectFrees(rows, at_end), Taken(told_by, blocks, int(unclear)))
        survey = cls._read(trace, geometry, meaning, tell)
        if kept:
            kept.store(survey.arrays, trace.warnings)
        return survey

    @property
    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What is kept of it."""
        direct, taken = self.direct, self.taken
        return {
            "types": self.types,
            "rows": direct.rows,
            "at_end": direct.at_end,
            "taken_rows": taken.rows,
            "taken": taken.blocks,
            "unclear": np.array(taken.unclear),
        }

    @classmethod
    def _read(
        cls, trace: Trace, geometry: Geometry, meaning: "NDArray[np.uint8]", tell: Callable[[int], None]
    ) -> "Survey":
        types, finder = FirstTypes(geometry, meaning), None
        if can_be_told(meaning):
            finder = FreeFinder(trace.rows, geometry.frames, meaning, _free_at_end(trace, geometry))
        rows, last_ns, searched = 0, 0, False
        try:
            for columns in event_columns(trace):
                types.feed(columns)
                searched = searched or are_searches(columns)
                if finder:
                    finder.feed(columns)
                if len(columns["ts_ns"]):
                    tell(len(columns["ts_ns"]))
                    rows, last_ns = rows + len(columns["ts_ns"]), max(last_ns, int(columns["ts_ns"].max()))
        except Fault as fault:
            if rows:
                raise Unreadable(fault, trace.until(rows, last_ns, fault)) from fault
            raise
        survey = cls(trace, types.types, finder.direct() if finder else DirectFrees())
        if searched and can_be_found(meaning, {probe.op for probe in trace.manifest.probes}):
            return replace(survey, taken=_taken(survey, geometry, meaning))
        return survey

    def batches(self, *, cpus: bool = False) -> Iterator[Columns]:
        """The trace's events, batch by batch, as arrays by column name; with `cpus` also the column cpu."""
        return self.taken.tell(self.direct.tell(events_again(self.trace, cpus=cpus)))


def _taken(survey: Survey, geometry: Geometry, meaning: "NDArray[np.uint8]") -> Taken:
    """What compaction took: known once frees are."""
    finder = TakenFinder(geometry, meaning)
    for each in stretches(survey.trace, numbered(survey.batches()), geometry, meaning):
        if isinstance(each, Brought):
            finder.begin(each.model.settled)
        else:
            finder.feed(each)
    return finder.taken()


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

"""A trace's events in order, and between them its snapshots, each brought to one instant.

Everything here streams: a batch of events and one snapshot at a time. Cuts lie between events, by
the order in which they are stored, so nothing depends on where batches end.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from replay.buddy.frames import FAR_FUTURE_NS, FrameModel, Frames
from replay.buddy.steps import Columns
from replay.geometry import Geometry
from tracer import Snapshot, Trace, ahead

COLUMNS = ["ts_ns", "op", "pfn", "order", "migratetype", "aux"]


def event_columns(trace: Trace) -> Iterator[Columns]:
    """The trace's events, batch by batch, as arrays by column name, each row checked.

    Raises:
        Fault: when the trace cannot be read.
    """
    for batch in ahead(trace.batches(COLUMNS)):
        yield _named(trace, {name: batch.column(name).to_numpy() for name in COLUMNS})


def events_again(trace: Trace, *, cpus: bool) -> Iterator[Columns]:
    """The same without a check, with `cpus` also the column cpu: for a trace that was read before."""
    for columns in trace.arrays([*COLUMNS, "cpu"] if cpus else COLUMNS):
        yield _named(trace, columns)


def _named(trace: Trace, columns: Columns) -> Columns:
    """A migratetype that the guest does not name is unknown (-1): the trace warns of them."""
    kinds, named = columns["migratetype"], len(trace.manifest.guest.migratetypes)
    if len(kinds) and kinds.max() >= named:
        return columns | {"migratetype": np.where(kinds < named, kinds, np.int8(-1))}
    return columns


def pieces(batches: Iterable[Columns], instants: Sequence[int]) -> Iterator[tuple[int, Columns]]:
    """Events cut at `instants` (ns, ascending): (the instant to which a piece belongs, the piece).

    An event belongs to the first instant that is not earlier than it; after the last one, and that
    is FAR_FUTURE_NS. A piece may be empty; instants after the last event may not come.
    """
    left = deque(sorted(set(instants)))
    for batch in batches:
        columns = batch
        while left and (cut := first_after(columns["ts_ns"], left[0])) < len(columns["ts_ns"]):
            yield left.popleft(), {name: values[:cut] for name, values in columns.items()}
            columns = {name: values[cut:] for name, values in columns.items()}
        yield left[0] if left else FAR_FUTURE_NS, columns


def first_after(ts_ns: NDArray[np.int64], instant_ns: int) -> int:
    """Index of the first event later than an instant; their number when none is."""
    later = ts_ns > instant_ns
    at = int(np.argmax(later)) if len(later) else 0
    return at if at < len(later) and later[at] else len(later)


def snapshots_of(trace: Trace) -> list[Snapshot]:
    """The snapshots that a replay applies, in order: the start, if there is one, and the resyncs."""
    return [shot for shot in (trace.start, *trace.resyncs) if shot]


@dataclass
class Brought:
    """A snapshot on its way to its end, and there.

    Limbo is free, as at the start. What the guest's own reporting held for longer than limbo is
    waited for (0.2 s) looks used in a snapshot and cannot be told from memory in use: it is taken for
    used, and for free again by the next snapshot. Both corrections are counted.

    Attributes:
        shot: which snapshot.
        frames: as it was read.
        model: it, with the events since each frame was read.
        relisted: marks what changed since the free lists were read, where they were.
    """

    shot: Snapshot
    frames: Frames
    model: FrameModel
    relisted: FrameModel | None = field(default=None)

    @classmethod
    def begin(
        cls,
        trace: Trace,
        shot: Snapshot,
        geometry: Geometry,
        meaning: NDArray[np.uint8],
        frames: Frames | None = None,
    ) -> "Brought":
        """The snapshot as it was read: it has still to hear the events since."""
        frames = frames or Frames.of(trace.frames(shot.name), geometry.frames)
        model = FrameModel(meaning, geometry, frames, shot.end_ns)
        relisted = None
        if shot.lists and (lists := trace.lists(shot.name)):
            listed_ns = lists["read_begin_ns"].to_numpy()
            read_ns = np.full_like(frames.begin_ns, listed_ns.min() if len(listed_ns) else shot.begin_ns)
            since = Frames(frames.state, read_ns, read_ns, frames.reported_heads)
            relisted = FrameModel(meaning, geometry, since, shot.end_ns)
        return cls(shot, frames, model, relisted)

    def play(self, columns: Columns) -> None:
        """Hear the next events."""
        self.model.play(columns)
        if self.relisted:
            self.relisted.play(columns)


def stretches(
    trace: Trace,
    batches: Iterable[Columns],
    geometry: Geometry,
    meaning: NDArray[np.uint8],
    tell: Callable[[int], None] = lambda _rows: None,
) -> Iterator[Columns | Brought]:
    """Events (`batches`: all of the trace's), and each snapshot of `snapshots_of` at its end: after all
    events up to that instant.

    Events up to the end of the start snapshot are in it and do not come. `tell` hears of rows read.

    Raises:
        Fault: when the trace cannot be read.
    """
    shots = deque(snapshots_of(trace))
    cuts = [instant for shot in shots for instant in (shot.begin_ns - 1, shot.end_ns)]
    begun = not shots
    pending: list[Brought] = []  # one at most, and not held here once it is given away
    for until_ns, columns in pieces(_told(batches, tell), cuts):
        while shots and until_ns > shots[0].end_ns:
            pending = pending or [Brought.begin(trace, shots[0], geometry, meaning)]
            yield pending.pop()
            shots.popleft()
            begun = True
        if shots and until_ns >= shots[0].begin_ns:
            pending = pending or [Brought.begin(trace, shots[0], geometry, meaning)]
            pending[0].play(columns)
        if begun and len(columns["ts_ns"]):
            yield columns
    for shot in shots:
        pending = pending or [Brought.begin(trace, shot, geometry, meaning)]
        yield pending.pop()


def _told(batches: Iterable[Columns], tell: Callable[[int], None]) -> Iterator[Columns]:
    for columns in batches:
        yield columns
        tell(len(columns["ts_ns"]))

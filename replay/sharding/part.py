"""Step 1 of a range of addresses, whose reduced events say which of all events they come of."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.occupancy import Occupancy
from replay.sharding.files import RowsFile
from replay.sharding.picking import Picked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.reduced import Reduced

MOST_TOGETHER = 1 << 16  # events whose places fit the column cpu
_PLACES = np.arange(MOST_TOGETHER, dtype=np.uint16)


class Part(Occupancy):
    """As `Occupancy`, of some of the frames, with the first of them as frame 0.

    A reduced event tells on which CPU its event was. Here the events' column `cpu` holds their places among
    those that are reduced together: so it is known which one each comes of, and the CPU is looked up.
    """

    def goes_to(self, events: RowsFile, counts: RowsFile | None, first: int) -> "Part":
        """Where its reduced events and zone counts (None: nowhere) go; `first`: its first frame's pfn."""
        self._events_file, self._counts_file, self._first = events, counts, first
        return self

    def live(self, picked: Picked, sequence: int) -> None:
        """Reduce what was picked of a batch; `sequence`: of the batch's first event."""
        searched = 0
        for span in spans(len(picked.rows), picked.cuts):
            more = span.stop < len(picked.rows)
            until = picked.search_rows.searchsorted(picked.rows[span.stop]) if more else None
            rows, events = self._together(picked, span)
            searches = slice(searched, until)
            searched = until or 0
            if len(picked.search_rows[searches]):
                rows = np.concatenate((rows, picked.search_rows[searches]))
                events = np.concatenate((events, picked.searches[searches]))
                in_order = np.argsort(rows, kind="stable")
                rows, events = rows[in_order], events[in_order]
            self._events_file.write(events, rows + sequence)

    def _together(self, picked: Picked, span: slice) -> "tuple[NDArray[np.int64], NDArray[np.void]]":
        """(rows of the batch, reduced events) that events next to each other come to."""
        columns = {name: values[span] for name, values in picked.columns.items()}
        cpu, columns["cpu"] = columns["cpu"], _PLACES[: span.stop - span.start]
        self._last[:] = -1  # what of them is one taking was told apart already
        rows, told = [picked.rows[:0]], [picked.searches[:0]]
        for part in self.reduce(columns):
            place, events = part.events["cpu"], self._kept(part)
            events["cpu"] = cpu[place]
            rows.append(picked.rows[span][place])
            told.append(events)
        return np.concatenate(rows), np.concatenate(told)

    def put_right(self, state: "NDArray[np.uint8]", now_ns: int, sequence: int) -> None:
        """Take over a snapshot of the range's frames, zone by zone: the first one has number `sequence`."""
        for part in self.correct(state, now_ns):
            events = self._kept(part)
            self._events_file.write(events, sequence + events["zone"].astype(np.int64))

    def _kept(self, part: "Reduced") -> "NDArray[np.void]":
        """A copy of what is told, pfns as recorded; the counts are on their way."""
        if self._counts_file:
            self._counts_file.write(part.counts)
        events = part.events.copy()
        events["pfn"] += self._first
        return events


def spans(count: int, cuts: "NDArray[np.int64]") -> Iterator[slice]:
    """What is reduced together of so many events; one span at least, also of none."""
    edges = np.unique(np.concatenate((np.arange(0, count, MOST_TOGETHER), cuts, [0, count]))).tolist()
    for first, end in zip(edges, edges[1:] or edges, strict=False):
        yield slice(first, end)

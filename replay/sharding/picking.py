"""A shard's own events out of all, each as what it is among all of them.

Two things about an event depend on events elsewhere: its time, which never goes back, and whether a fallback
and an exit of one block, next to each other in their zone, are one taking. Both are decided here, on all
events; what is picked is told as what it is (its `Meaning`), at its time.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.buddy.ops import ORDERS, Meaning
from replay.buddy.reduced import REDUCED_DTYPE, RESHUFFLED
from replay.buddy.steps import (
    AUX,
    BAD,
    BOUNDS,
    CPU,
    ENTER,
    EXIT,
    FALLBACK,
    MEANING,
    NOTHING,
    OP,
    ORDER,
    PFN,
    RESHUFFLE,
    TS,
    TYPE,
    UNKNOWN,
    Columns,
    detail_of,
    event_arrays,
    zone_at,
    zone_bounds,
)
from replay.geometry import Geometry
from replay.jit import Int, Words, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.sharding.ranges import Range

# What was seen of all events: places in `Picker.seen`. The rest of them is of the last call alone.
NOW_NS, CLOCK_BACK, OUTSIDE, UNKNOWN_OPS, OWN, SEARCHES, CUTS = range(7)
SEEN = ("now_ns", "clock_back", "outside", "unknown_ops")
# What is rare in a batch, rows of an array: own events that are not to be reduced together with the one
# before, and compaction's searches.
CUT, SEARCH, SEARCH_NS, SEARCH_ZONE = range(4)

_OWN = {
    "row": np.int64, "ts_ns": np.int64, "op": np.uint8, "pfn": np.uint64, "order": np.uint8,
    "migratetype": np.int8, "aux": np.uint64, "cpu": np.uint16,
}  # fmt: skip

# What a picked event is told as: itself, whatever its order.
MEANS_ITSELF = np.full((256, ORDERS), Meaning.UNKNOWN, np.uint8)
MEANS_ITSELF[: len(Meaning)] = np.arange(len(Meaning), dtype=np.uint8)[:, None]

_I64, _BY_ZONE = nb.int64[::1], nb.int64[:, ::1]
_TAKEN = EXIT + FALLBACK  # the sum of the meanings of two events that may be one taking


@compiled(
    nb.int64(
        TS, OP, PFN, ORDER, MEANING, BOUNDS, _BY_ZONE, _BY_ZONE, nb.int64, nb.int64, nb.int64, _I64,
        _I64, _I64, nb.uint8[::1], _BY_ZONE,
    )
)  # fmt: skip
def _look(
    ts_ns: Words, op: Words, pfn: Words, order: Words, meaning: Words, bounds: Words, last: Words,
    own_last: Words, first: Int, end: Int, i: Int, seen: Words, row: Words, at_ns: Words, own_op: Words,
    rare: Words,
) -> Int:  # fmt: skip
    """One event, whatever it is, as `_scan`; returns its zone if it is a step there, or -1."""
    frame = np.int64(pfn[i])
    what, zone = detail_of(op[i], frame, np.int64(order[i]), meaning, bounds, last)
    mine = first <= frame < end
    seen[UNKNOWN_OPS] += what == UNKNOWN
    seen[OUTSIDE] += what == BAD
    if what in (UNKNOWN, BAD):
        return -1
    if what == NOTHING:
        if meaning[op[i], 0] == RESHUFFLE:
            zone = zone_at(frame, 1, bounds, 0)
            if zone >= 0:
                seen[NOW_NS] = max(seen[NOW_NS], ts_ns[i])
                if mine:
                    at = seen[SEARCHES]
                    rare[SEARCH, at], rare[SEARCH_NS, at], rare[SEARCH_ZONE, at] = i, seen[NOW_NS], zone
                    seen[SEARCHES] += 1
        return -1
    seen[NOW_NS] = max(seen[NOW_NS], ts_ns[i])
    if mine:
        if own_last[zone, 1] == frame and own_last[zone, 0] + what == _TAKEN:
            rare[CUT, seen[CUTS]] = seen[OWN]
            seen[CUTS] += 1
        own_last[zone, 0], own_last[zone, 1] = what, frame
        row[seen[OWN]], at_ns[seen[OWN]], own_op[seen[OWN]] = i, seen[NOW_NS], what
        seen[OWN] += 1
    return zone


@compiled(
    nb.void(
        TS, OP, PFN, ORDER, MEANING, BOUNDS, _BY_ZONE, _BY_ZONE, nb.int64, nb.int64, _I64, _I64, _I64,
        nb.uint8[::1], _BY_ZONE,
    )
)  # fmt: skip
def _scan(
    ts_ns: Words, op: Words, pfn: Words, order: Words, meaning: Words, bounds: Words, last: Words,
    own_last: Words, first: Int, end: Int, seen: Words, row: Words, at_ns: Words, own_op: Words, rare: Words,
) -> None:  # fmt: skip
    """Find the events of frames [first, end): which rows, when, and what they are; note what was seen of all.

    `last`: see `detail_of`; `own_last`: likewise, of own events. `rare`: see CUT and the next ones.
    Nearly all events are plain ones, in the zone of the one before: what there is to know of that zone is at
    hand. Nobody can foretell whose the next event is, so it is written down before it is known.
    """
    here, now_ns, own, back = np.int64(0), seen[NOW_NS], np.uint64(0), np.int64(0)
    lowest, highest = bounds[0, 0], bounds[0, 1]
    was, was_at, own_was, own_at = last[0, 0], last[0, 1], own_last[0, 0], own_last[0, 1]
    seen[OWN] = seen[SEARCHES] = seen[CUTS] = 0
    for i in range(np.uint64(len(ts_ns))):
        frame, size_order = np.int64(pfn[i]), order[i]
        what = np.int64(meaning[op[i], min(size_order, ORDERS - 1)])
        back += ts_ns[i] < now_ns
        if what == ENTER or (what == EXIT and FALLBACK not in (was, own_was)):
            size = np.int64(1) << np.int64(size_order)
            if lowest <= frame <= highest - size and not frame & (size - 1):
                now_ns, was, was_at = max(now_ns, ts_ns[i]), what, frame
                row[own], at_ns[own], own_op[own] = i, now_ns, what
                mine = first <= frame < end
                own_was, own_at = what if mine else own_was, frame if mine else own_at
                own += np.uint64(mine)
                continue
        last[here, 0], last[here, 1], own_last[here, 0], own_last[here, 1] = was, was_at, own_was, own_at
        seen[NOW_NS], seen[OWN] = now_ns, own
        zone = _look(
            ts_ns, op, pfn, order, meaning, bounds, last, own_last, first, end, i, seen, row, at_ns,
            own_op, rare,
        )  # fmt: skip
        here = zone if zone >= 0 else here
        lowest, highest, now_ns, own = bounds[here, 0], bounds[here, 1], seen[NOW_NS], np.uint64(seen[OWN])
        was, was_at, own_was, own_at = last[here, 0], last[here, 1], own_last[here, 0], own_last[here, 1]
    last[here, 0], last[here, 1], own_last[here, 0], own_last[here, 1] = was, was_at, own_was, own_at
    seen[NOW_NS], seen[OWN], seen[CLOCK_BACK] = now_ns, own, seen[CLOCK_BACK] + back


@compiled(
    nb.void(
        PFN, ORDER, TYPE, AUX, CPU, _I64, nb.uint64, nb.uint64[::1], nb.uint8[::1], nb.int8[::1],
        nb.uint64[::1], nb.uint16[::1],
    )
)  # fmt: skip
def _gather(
    pfn: Words, order: Words, migratetype: Words, aux: Words, cpu: Words, rows: Words, first: Int,
    own_pfn: Words, own_order: Words, own_type: Words, own_aux: Words, own_cpu: Words,
) -> None:  # fmt: skip
    """Copy some rows, frames counted from `first`."""
    for k in range(np.uint64(len(rows))):
        i = np.uint64(rows[k])
        own_pfn[k], own_order[k], own_type[k] = pfn[i] - first, order[i], migratetype[i]
        own_aux[k], own_cpu[k] = aux[i], cpu[i]


@dataclass(frozen=True)
class Picked:
    """A shard's own events of a batch.

    Attributes:
        columns: of the events, as `Occupancy.reduce` takes them with `MEANS_ITSELF`; pfns from the range's
            first frame on.
        rows: which of the batch they are, int64, ascending.
        cuts: indices of events that are not to be reduced together with the one before.
        searches: compaction's of lists (REDUCED_DTYPE, RESHUFFLED), which move nothing; pfns as recorded.
        search_rows: which of the batch those are.
    """

    columns: Columns
    rows: "NDArray[np.int64]"
    cuts: "NDArray[np.int64]"
    searches: "NDArray[np.void]"
    search_rows: "NDArray[np.int64]"


class Picker:
    """Picks the events of a range: feed it all batches, in order.

    Attributes:
        seen: of all events so far, int64: see `NOW_NS` and the next ones.
    """

    def __init__(self, meaning: "NDArray[np.uint8]", geometry: Geometry, own: "Range", start_ns: int) -> None:
        """`meaning`: see `ops`; `geometry`: the whole guest's."""
        self._meaning, self._bounds, self._range = meaning, zone_bounds(geometry), own
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._own_last = self._last.copy()
        self.seen = np.zeros(7, np.int64)
        self.seen[NOW_NS] = start_ns
        self._own = {name: np.empty(0, dtype) for name, dtype in _OWN.items()}
        self._rare = np.empty((4, 0), np.int64)

    def wait(self, until_ns: int) -> int:
        """Nothing happens until then, unless it is later already; the time now."""
        self.seen[NOW_NS] = max(self.seen[NOW_NS], until_ns)
        return int(self.seen[NOW_NS])

    def pick(self, columns: Columns) -> Picked:
        """The own events of the next batch. The arrays are reused by the next call."""
        ts_ns, (op, pfn, order, migratetype, aux) = columns["ts_ns"], event_arrays(columns)
        cpu = columns.get("cpu", np.zeros(len(ts_ns), np.uint16))
        self._make_room(len(ts_ns))
        own, rare = self._own, self._rare
        _scan(
            ts_ns, op, pfn, order, self._meaning, self._bounds, self._last, self._own_last,
            self._range.first, self._range.end, self.seen, own["row"], own["ts_ns"], own["op"], rare,
        )  # fmt: skip
        picked = {name: values[: self.seen[OWN]] for name, values in own.items()}
        rows = picked.pop("row")
        _gather(
            pfn, order, migratetype, aux, cpu, rows, self._range.first, picked["pfn"], picked["order"],
            picked["migratetype"], picked["aux"], picked["cpu"],
        )  # fmt: skip
        searches = rare[:, : self.seen[SEARCHES]]
        cuts = rare[CUT, : self.seen[CUTS]]
        return Picked(picked, rows, cuts, _reshuffled(searches, pfn), searches[SEARCH])

    def _make_room(self, rows: int) -> None:
        """For a batch of so many events, and one more: an event is written before it is known whose it is."""
        if len(self._own["row"]) <= rows:
            self._own = {name: np.empty(rows + 1, values.dtype) for name, values in self._own.items()}
            self._rare = np.empty((len(self._rare), rows + 1), np.int64)


def _reshuffled(searches: "NDArray[np.int64]", pfn: "NDArray[np.uint64]") -> "NDArray[np.void]":
    """Reduced events of compaction's searches (see SEARCH)."""
    told = np.zeros(searches.shape[1], REDUCED_DTYPE)
    told["kind"], told["size"], told["migratetype"] = RESHUFFLED, 1, -1
    told["ts_ns"], told["zone"] = searches[SEARCH_NS], searches[SEARCH_ZONE]
    told["pfn"] = pfn[searches[SEARCH]]
    return told

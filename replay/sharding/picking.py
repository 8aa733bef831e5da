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

# What a picked event is told as: itself, whatever its order.
MEANS_ITSELF = np.full((256, ORDERS), Meaning.UNKNOWN, np.uint8)
MEANS_ITSELF[: len(Meaning)] = np.arange(len(Meaning), dtype=np.uint8)[:, None]

_I64 = nb.int64[::1]


@compiled(
    nb.void(
        TS, OP, PFN, ORDER, TYPE, AUX, CPU, MEANING, BOUNDS, nb.int64[:, ::1], nb.int64[:, ::1],
        nb.int64, nb.int64, _I64, _I64, nb.uint8[::1], nb.uint64[::1], nb.uint8[::1], nb.int8[::1],
        nb.uint64[::1], nb.uint16[::1], _I64, _I64, _I64, _I64, _I64,
    )
)  # fmt: skip
def _pick(
    ts_ns: Words, op: Words, pfn: Words, order: Words, migratetype: Words, aux: Words, cpu: Words,
    meaning: Words, bounds: Words, last: Words, own_last: Words, first: Int, end: Int, seen: Words,
    own_ts_ns: Words, own_op: Words, own_pfn: Words, own_order: Words, own_type: Words, own_aux: Words,
    own_cpu: Words, own_row: Words, cuts: Words, search_row: Words, search_ts_ns: Words, search_zone: Words,
) -> None:  # fmt: skip
    """Copy the events of frames [first, end), counted from `first`, and note what was seen of all.

    `last`: see `detail_of`; `own_last`: likewise, of what was picked. `cuts`: picked events that would be taken
    for one taking with the event before, and are not.
    """
    now_ns, own, searches, cut = seen[NOW_NS], np.int64(0), np.int64(0), np.int64(0)
    for i in range(len(ts_ns)):
        frame, size_order = np.int64(pfn[i]), np.int64(order[i])
        what, zone = detail_of(op[i], frame, size_order, meaning, bounds, last)
        if ts_ns[i] < now_ns:
            seen[CLOCK_BACK] += 1
        if what == UNKNOWN:
            seen[UNKNOWN_OPS] += 1
            continue
        if what == BAD:
            seen[OUTSIDE] += 1
            continue
        if what == NOTHING:
            if meaning[op[i], 0] != RESHUFFLE:
                continue
            zone = zone_at(frame, 1, bounds, 0)
            if zone < 0:
                continue
            now_ns = max(now_ns, ts_ns[i])
            if first <= frame < end:
                search_row[searches], search_ts_ns[searches], search_zone[searches] = i, now_ns, zone
                searches += 1
            continue
        now_ns = max(now_ns, ts_ns[i])
        if not first <= frame < end:
            continue
        if own_last[zone, 1] == frame and own_last[zone, 0] + what == EXIT + FALLBACK:
            cuts[cut] = own
            cut += 1
        own_last[zone, 0], own_last[zone, 1] = what, frame
        own_ts_ns[own], own_op[own], own_pfn[own], own_order[own] = now_ns, what, frame - first, size_order
        own_type[own], own_aux[own], own_cpu[own], own_row[own] = migratetype[i], aux[i], cpu[i], i
        own += 1
    seen[NOW_NS], seen[OWN], seen[SEARCHES], seen[CUTS] = now_ns, own, searches, cut


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

    def __init__(
        self, meaning: "NDArray[np.uint8]", geometry: Geometry, own: "Range", start_ns: int
    ) -> None:
        """`meaning`: see `ops`; `geometry`: the whole guest's."""
        self._meaning, self._bounds, self._own = meaning, zone_bounds(geometry), own
        self._last = np.full((len(geometry.zones), 2), -1, np.int64)
        self._own_last = self._last.copy()
        self.seen = np.zeros(7, np.int64)
        self.seen[NOW_NS] = start_ns

    def wait(self, until_ns: int) -> int:
        """Nothing happens until then, unless it is later already; the time now."""
        self.seen[NOW_NS] = max(self.seen[NOW_NS], until_ns)
        return int(self.seen[NOW_NS])

    def pick(self, columns: Columns) -> Picked:
        """The own events of the next batch."""
        ts_ns, events = columns["ts_ns"], event_arrays(columns)
        cpu = columns.get("cpu", np.zeros(len(ts_ns), np.uint16))
        names = dict(ts_ns=ts_ns, op=events[0], pfn=events[1], order=events[2])
        names |= dict(migratetype=events[3], aux=events[4], cpu=cpu)
        own = {name: np.empty(len(ts_ns), values.dtype) for name, values in names.items()}
        rows, cuts, search_rows, search_ns, search_zone = np.empty((5, len(ts_ns)), np.int64)
        _pick(
            ts_ns, *events, cpu, self._meaning, self._bounds, self._last, self._own_last,
            self._own.first, self._own.end, self.seen, *own.values(),
            rows, cuts, search_rows, search_ns, search_zone,
        )  # fmt: skip
        count, searches = int(self.seen[OWN]), slice(int(self.seen[SEARCHES]))
        told = np.zeros(searches.stop, REDUCED_DTYPE)
        told["kind"], told["size"], told["migratetype"] = RESHUFFLED, 1, -1
        told["ts_ns"], told["zone"] = search_ns[searches], search_zone[searches]
        told["pfn"] = events[1][search_rows[searches]]
        return Picked(
            {name: values[:count] for name, values in own.items()},
            rows[:count],
            cuts[: int(self.seen[CUTS])],
            told,
            search_rows[searches],
        )

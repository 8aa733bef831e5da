"""The model's free lists beside those that were read from the kernel's memory.

Each zone and order was walked between two instants that were noted. Is each block on the list on which
it was found, and do the blocks of a list follow each other as they did? A block that moved in the
model between those instants is left out: nobody can tell when the walk came by. Nor can lists be told
of a zone and order that had no block at all.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from replay.buddy.checks import list_of
from replay.buddy.full import FullModel
from replay.buddy.rules import rules_of
from replay.geometry import Geometry
from replay.start import start_of
from replay.stretches import Brought, pieces, stretches
from replay.survey import Survey

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from replay.buddy.steps import Columns

# The lists of one zone and order: pfns from head to tail, by migratetype.
Lists: TypeAlias = dict[int, list[int]]


@dataclass(frozen=True)
class Walk:
    """The lists of one zone (index) and order, as they were between two instants."""

    zone: int
    order: int
    begin_ns: int
    end_ns: int
    lists: Lists


@dataclass(frozen=True)
class Listed:
    """How right the model's lists are beside one walk; numbers of blocks.

    Attributes:
        compared: found by the walk or on the model's lists, and not left out.
        elsewhere: of those, the ones that only one of both has on this list.
        out_of_order: of those that both have on a list, the fewest that would have to move to put
            that list in order.
    """

    walk: Walk
    compared: int
    elsewhere: int
    out_of_order: int


def walks_of(table: "pa.Table") -> list[Walk]:
    """The walks of one snapshot (`Trace.lists`), earliest first."""
    names = ("zone", "order", "migratetype", "position", "pfn", "read_begin_ns", "read_ts_ns")
    rows = table.select(names).sort_by([(name, "ascending") for name in names[:4]])
    found: dict[tuple[int, int], Walk] = {}
    for zone, order, kind, _, pfn, begin, end in zip(
        *(rows[name].to_pylist() for name in names), strict=True
    ):
        walk = found.setdefault((zone, order), Walk(zone, order, begin, end, {}))
        walk.lists.setdefault(kind, []).append(pfn)
    return sorted(found.values(), key=lambda walk: walk.begin_ns)


def compare(walk: Walk, begin: Lists, end: Lists) -> Listed:
    """A walk beside the model's lists of its zone and order when it began, and when it was over."""
    before, after, found = _places(begin), _places(end), _places(walk.lists)
    moved = {pfn for pfn in before.keys() | after.keys() if before.get(pfn) != after.get(pfn)}
    compared = (found.keys() | before.keys()) - moved
    elsewhere = sum(found.get(pfn) != before.get(pfn) for pfn in compared)
    out_of_order = 0
    for kind, pfns in walk.lists.items():
        position = {pfn: at for at, pfn in enumerate(begin.get(kind, ())) if pfn in compared}
        out_of_order += _out_of_order([position[pfn] for pfn in pfns if pfn in position])
    return Listed(walk, len(compared), elsewhere, out_of_order)


def _places(lists: Lists) -> dict[int, int]:
    """The list (migratetype) of each block."""
    return {pfn: kind for kind, pfns in lists.items() for pfn in pfns}


def _out_of_order(positions: list[int]) -> int:
    """How many are not in the longest increasing run of a permutation.

    `ends[n]` is the least position that such a run of n + 1 can end with so far.
    """
    ends: list[int] = []
    for position in positions:
        at = bisect_left(ends, position)
        ends[at : at + 1] = [position]
    return len(positions) - len(ends)


class Listing:
    """Looks at a model's lists while it plays, at the instants of the walks."""

    def __init__(self, model: FullModel, walks: Iterable[Walk]) -> None:
        self._model = model
        self._left = deque(sorted(walks, key=lambda walk: walk.begin_ns))
        self._open: list[tuple[Walk, Lists]] = []
        self._listed: list[Listed] = []

    @property
    def instants(self) -> list[int]:
        """Where events have to be cut (`stretches.pieces`)."""
        return [instant for walk in self._left for instant in (walk.begin_ns, walk.end_ns)]

    def before(self, until_ns: int) -> None:
        """Call it before the model plays the piece of events that belongs to the instant `until_ns`."""
        while self._left and self._left[0].begin_ns < until_ns:
            walk = self._left.popleft()
            self._open.append((walk, self._lists(walk)))
        for walk, begin in [each for each in self._open if each[0].end_ns < until_ns]:
            self._open.remove((walk, begin))
            self._listed.append(compare(walk, begin, self._lists(walk)))

    def finish(self) -> list[Listed]:
        """What came of all walks, when no more events come."""
        walks = [*self._left, *(walk for walk, _ in self._open)]
        last_ns = max((walk.end_ns for walk in walks), default=0)
        self.before(last_ns + 1)
        return self._listed

    def _lists(self, walk: Walk) -> Lists:
        area = self._model.full.area
        kinds = range(area.lists.shape[2])
        return {kind: list_of(area, walk.zone, walk.order, kind) for kind in kinds}


def _corrected(events: "Iterable[Columns | Brought]", model: FullModel) -> "Iterator[Columns]":
    """The events; snapshots in between correct the model."""
    for each in events:
        if isinstance(each, Brought):
            model.correct(each.model.settled)
        else:
            yield each


def listings(survey: Survey, meaning: "NDArray[np.uint8]", name: str = "end") -> Iterator[Listed]:
    """The lists read beside a snapshot, and the model's that began with those of the start snapshot.

    `meaning`: that of the survey. With the guest's own reporting in it, that takes blocks off the lists
    and puts them back.

    Raises:
        Fault: when the trace cannot be read.
    """
    trace = survey.trace
    table = trace.lists(name)
    if table is None or trace.start is None:
        return
    geometry = Geometry.of(trace.manifest.guest, trace.zones)
    events = stretches(trace, survey.batches(), geometry, meaning)
    start = start_of(trace, geometry, events).typed(trace, geometry, survey.types)
    model = FullModel.at(start, meaning, geometry, rules_of(trace.manifest.guest))
    listing = Listing(model, walks_of(table))
    for until_ns, columns in pieces(_corrected(events, model), listing.instants):
        listing.before(until_ns)
        model.play(columns)
    yield from listing.finish()

"""Events per second of the buddy, from memory, on one core: step 1 (which units are wholly free, and
when), and the full model (the free lists of all orders).

Usage: python -m benchmarks.buddy [ROUNDS]. Beside step 1, in the same rounds: the plain-Python model
of the tests, and a DuckDB query for the running sum of free frames per unit, which is the least that
step 1 has to know. Neither tells first exits, types, integrals or series, as step 1 does. Beside the
full model: the plain-Python lists of the tests, which do not learn types from events.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.harness import TRACE, Figure, Measured, Row, Table, Taken, anon_mib, interleaved, seconds
from replay.buddy.full import FullModel
from replay.buddy.occupancy import Occupancy
from replay.buddy.ops import Meaning, meaning_of
from replay.buddy.rules import rules_of
from replay.engine import bins
from replay.geometry import Geometry
from replay.start import Start, start_of
from replay.stretches import event_columns, stretches
from tests.oracle import model
from tracer import FrameState, Trace, open_trace

Columns = dict[str, NDArray[Any]]
FEW = 20_000  # for plain Python
FEWER = 5_000  # for its lists
MANY = 5_000_000  # for DuckDB
LOOPS = 12
SUMS = """
    SELECT count(*) FROM (
        SELECT sum(frames) OVER (PARTITION BY unit ORDER BY nr ROWS UNBOUNDED PRECEDING) AS free FROM steps
    ) WHERE free = 512
"""


@dataclass(frozen=True)
class Load:
    """Events in memory, and where they start."""

    name: str
    trace: Trace
    geometry: Geometry
    start: Start
    batches: list[Columns]

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(len(batch["ts_ns"]) for batch in self.batches)

    def occupancy(self) -> float:
        """Seconds that step 1 takes."""
        span_ns = self.start.now_ns, int(self.batches[-1]["ts_ns"][-1])
        guest = self.trace.manifest.guest
        begin = (self.geometry, rules_of(guest), self.start.state, self.start.now_ns, bins(*span_ns))
        step = Occupancy(meaning_of(self.trace), *begin)
        return seconds(lambda: [len(part.events) for batch in self.batches for part in step.reduce(batch)])

    def full(self) -> float:
        """Seconds that the full model takes."""
        meaning, geometry = meaning_of(self.trace), replace(self.geometry, order=0)
        full = FullModel.at(self.start, meaning, geometry, rules_of(self.trace.manifest.guest))

        def run() -> None:
            for batch in self.batches:
                full.play(batch)

        return seconds(run)

    def first(self, count: int) -> Columns:
        """The first so many events."""
        return {name: values[:count] for name, values in self.batches[0].items()}


def shipped() -> Load:
    """The trace that comes with the sources."""
    trace = open_trace(TRACE)
    geometry = Geometry.of(trace.manifest.guest, trace.zones)
    events = stretches(trace, event_columns(trace), geometry, meaning_of(trace))
    start = start_of(trace, geometry, events)
    batches = [each for each in events if isinstance(each, dict)]
    return Load("shipped trace", trace, geometry, start, batches)


def signs(load: Load, batch: Columns) -> NDArray[np.int64]:
    """Frames that each event adds to the buddy."""
    what = meaning_of(load.trace)[batch["op"], batch["order"]]
    sign = np.select([what == Meaning.ENTER, what == Meaning.EXIT], [1, -1], 0)
    return sign.astype(np.int64) << batch["order"].astype(np.int64)


def looped(load: Load) -> Load:
    """Its steps of single frames, then undone from the last to the first, and so on."""
    meaning = meaning_of(load.trace)[:, 0]
    undo = np.arange(256, dtype=np.uint8)
    exits, enters = (int(np.flatnonzero(meaning == kind)[0]) for kind in (Meaning.EXIT, Meaning.ENTER))
    undo[meaning == Meaning.ENTER], undo[meaning == Meaning.EXIT] = exits, enters
    one = {name: np.concatenate([batch[name] for batch in load.batches]) for name in load.batches[0]}
    one = {name: values[one["order"] == 0] for name, values in one.items()}
    back = {name: values[::-1].copy() for name, values in one.items()}
    back["op"], width_ns = undo[back["op"]], int(one["ts_ns"][-1]) - load.start.now_ns
    back["ts_ns"] = 2 * int(one["ts_ns"][-1]) - back["ts_ns"]
    loops = [
        part | {"ts_ns": part["ts_ns"] + 2 * width_ns * loop}
        for loop in range(LOOPS // 2)
        for part in (one, back)
    ]
    return Load(f"{LOOPS} times, to and fro", load.trace, load.geometry, load.start, loops)


def plain_guest(load: Load) -> model.Guest:
    """The guest as the plain-Python model wants it."""
    guest = load.trace.manifest.guest
    zones = [model.Zone(z.name, z.start_pfn, z.end_pfn, z.min, z.low, z.boost) for z in load.trace.zones]
    return model.Guest(tuple(zones), guest.max_order, guest.pageblock_order, guest.hz)


def rows_of(load: Load, count: int) -> list[tuple[int, int, int]]:
    """(sign, pfn, order) of the first so many events."""
    few = load.first(count)
    return list(zip(signs(load, few).tolist(), few["pfn"].tolist(), few["order"].tolist(), strict=True))


def oracle(load: Load) -> float:
    """Seconds that the plain-Python model takes for the first `FEW` events."""
    frames, rows = model.FrameModel(plain_guest(load), {}), rows_of(load, FEW)

    def run() -> None:
        for sign, pfn, order in rows:
            if sign:
                (frames.enter if sign > 0 else frames.exit)(pfn, order)

    return seconds(run)


def plain_lists(load: Load) -> float:
    """Seconds that the plain-Python lists of all orders take for the first `FEWER` events."""
    guest, rows = plain_guest(load), rows_of(load, FEWER)
    lists = model.FreeLists(guest, 0, model.PageblockTypes(guest.pageblock_order))
    free = set(np.flatnonzero(load.start.state == FrameState.BUDDY).tolist())

    def zone_of(pfn: int) -> int:
        return next(i for i, zone in enumerate(guest.zones) if pfn in range(zone.start_pfn, zone.end_pfn))

    for order, heads, kinds in load.start.lists(replace(load.geometry, order=0)):
        for pfn, kind in zip(heads.tolist(), kinds.tolist(), strict=True):
            lists.add(zone_of(pfn), pfn, order, kind if kind >= 0 else model.MOVABLE, tail=True)

    def run() -> None:
        for sign, pfn, order in rows:
            block = range(pfn, pfn + (1 << order))
            if sign > 0 and free.isdisjoint(block):
                lists.free(zone_of(pfn), pfn, order)
                free.update(block)
            elif sign < 0 and free.issuperset(block):
                lists.take(pfn, order)
                free.difference_update(block)

    return seconds(run)


def window(load: Load) -> Callable[[], float]:
    """Time the query for the running sums, on one thread, over the first `MANY` of the events."""
    base = np.bincount(
        np.flatnonzero(load.start.state == FrameState.BUDDY) >> load.geometry.order,
        minlength=load.geometry.units,
    )
    pfn = np.concatenate([batch["pfn"] for batch in load.batches])[:MANY]
    units = pfn >> np.uint64(load.geometry.order)
    frames = np.concatenate([signs(load, batch) for batch in load.batches])[:MANY]
    steps = pa.table(  # the start counts as each unit's first step
        {
            "nr": np.concatenate([np.zeros(len(base), np.int64), np.arange(1, len(units) + 1)]),
            "unit": np.concatenate([np.arange(len(base)), units.astype(np.int64)]),
            "frames": np.concatenate([base, frames]),
        }
    )
    database = duckdb.connect()
    database.execute("SET threads = 1")
    database.register("arrow", steps)
    database.execute("CREATE TABLE steps AS SELECT * FROM arrow")
    return lambda: seconds(lambda: database.execute(SUMS).fetchall())


def measured(act: Callable[[], float]) -> Measured:
    """A function that tells its own seconds; all is one thread's work in this process."""
    return lambda: Taken(act(), 0, anon_mib(os.getpid()))


@dataclass(frozen=True)
class Other:
    """A peer: what it is, its seconds, and for how many events."""

    name: str
    act: Callable[[], float]
    events: int


def row(what: str, load: Load, ours: Callable[[], float], other: Other, rounds: int) -> Row:
    """Ours and the peer in turn: millions of events per second."""
    ours(), other.act()
    runs = interleaved({"ours": measured(ours), "peer": measured(other.act)}, rounds)
    peer = Figure.rate(f"{other.name}, {other.events:,} of them", runs["peer"], other.events)
    rate = Figure.rate("pagetide", runs["ours"], load.events)
    return Row(f"{what}: {load.name}, {load.events:,} events", rate, peer)


def main(rounds: int) -> None:
    """A row for each load and peer."""
    small = shipped()
    loads = small, looped(small)
    table = Table("# The buddy, from memory, on one core", {"rounds": rounds})
    table.begin()
    for load in loads:
        plain = Other("plain Python", partial(oracle, load), FEW)
        query = Other("DuckDB window", window(load), min(MANY, load.events))
        for other in (plain, query):
            table.add(row("occupancy step", load, load.occupancy, other, rounds))
    for load in loads:
        lists = Other("plain Python", partial(plain_lists, load), FEWER)
        table.add(row("full model", load, load.full, lists, rounds))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

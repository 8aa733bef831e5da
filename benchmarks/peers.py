"""What replaying is measured against, each as good as it gets here: models of the buddy, a cache simulator.

Their libraries come with `pip install pagetide[bench]`.
"""

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ours import Columns, Loaded, loaded
from benchmarks.ready import COLUMNS, Ready, Span
from replay.buddy.ops import Meaning, meaning_of
from tracer import FrameState, open_trace


def _first(here: Loaded, most: int) -> Columns:
    parts = {name: np.concatenate([batch[name] for batch in here.batches])[:most] for name in COLUMNS}
    return {name: np.ascontiguousarray(values) for name, values in parts.items()}


def _signs(here: Loaded, columns: Columns) -> NDArray[np.int64]:
    """Frames that each event adds to the buddy."""
    what = meaning_of(here.trace)[columns["op"], columns["order"]]
    sign = np.select([what == Meaning.ENTER, what == Meaning.EXIT], [1, -1], 0)
    return sign.astype(np.int64) << columns["order"].astype(np.int64)


def _free_at_start(here: Loaded, order: int) -> NDArray[np.int64]:
    """Free frames of each unit when the replay begins."""
    state = here.start.state
    return np.bincount(np.flatnonzero(state == FrameState.BUDDY) >> order, minlength=len(state) >> order)


def simpy_model(trace: str, events: int) -> Ready:
    """The occupancy step as a SimPy process: at each event's time, the free frames of its unit."""
    import simpy

    here = loaded(open_trace(trace), events)
    order = here.trace.manifest.guest.pageblock_order
    columns = _first(here, events)
    frames, units = _signs(here, columns).tolist(), (columns["pfn"] >> np.uint64(order)).tolist()
    waits = np.diff(columns["ts_ns"], prepend=columns["ts_ns"][:1]).tolist()
    free_then, whole = _free_at_start(here, order).tolist(), 1 << order

    def guest(env: "simpy.Environment", told: list[tuple[int, int]]) -> "Iterator[simpy.Event]":
        free = list(free_then)
        for wait_ns, unit, change in zip(waits, units, frames, strict=True):
            if wait_ns > 0:
                yield env.timeout(wait_ns)
            before = free[unit]
            free[unit] = before + change
            if (before == whole) != (before + change == whole):
                told.append((unit, env.now))

    def act() -> None:
        env = simpy.Environment()
        env.process(guest(env, []))
        env.run()

    return Ready(act, {"events": len(units)})


SUMS = """
    SELECT count(*) FROM (
        SELECT sum(frames) OVER (PARTITION BY unit ORDER BY nr ROWS UNBOUNDED PRECEDING) AS free FROM steps
    ) WHERE free = ?
"""


def duckdb_window(trace: str, events: int) -> Ready:
    """The running sum of free frames per unit, the least that the occupancy step has to know, as a
    query over events that are in the database's memory; all threads.
    """
    import duckdb
    import pyarrow as pa

    here = loaded(open_trace(trace), events)
    order = here.trace.manifest.guest.pageblock_order
    columns, base = _first(here, events), _free_at_start(here, order)
    units, frames = (columns["pfn"] >> np.uint64(order)).astype(np.int64), _signs(here, columns)
    steps = pa.table(  # the start counts as each unit's first step
        {
            "nr": np.concatenate([np.zeros(len(base), np.int64), np.arange(1, len(units) + 1)]),
            "unit": np.concatenate([np.arange(len(base)), units]),
            "frames": np.concatenate([base, frames]),
        }
    )
    database = duckdb.connect()
    database.register("arrow", steps)
    database.execute("CREATE TABLE steps AS SELECT * FROM arrow")
    return Ready(lambda: database.execute(SUMS, [1 << order]).fetchall(), {"events": len(units)})


def plain_oracle(trace: str, events: int) -> Ready:
    """The tests' plain-Python replay under `upstream`."""
    from tests.oracle import model

    here = loaded(open_trace(trace), events)
    columns, guest = _first(here, events), here.trace.manifest.guest
    zones = [model.Zone(z.name, z.start_pfn, z.end_pfn, z.min, z.low, z.boost) for z in here.trace.zones]
    plain = model.Guest(tuple(zones), guest.max_order, guest.pageblock_order, guest.hz)
    names = {FrameState.USED: "used", FrameState.BUDDY: "free"}
    managed = np.flatnonzero(np.isin(here.start.state, list(names))).tolist()
    state = {
        int(pfn): names[FrameState(what)]
        for pfn, what in zip(managed, here.start.state[managed], strict=True)
    }
    kinds = np.sign(_signs(here, columns)).tolist()
    rows = zip(
        *(columns[name].tolist() for name in ("ts_ns", "pfn", "order", "migratetype")), kinds, strict=True
    )
    told = [(ts, "enter" if k > 0 else "exit", pfn, order, kind) for ts, pfn, order, kind, k in rows if k]
    span = here.start.now_ns, told[-1][0]

    def act() -> Span:
        begun: list[Span] = []  # when the state has been built

        def observe(_replay: object) -> None:
            if not begun:
                begun.append(Span.now())

        params = {"order": guest.pageblock_order}
        more: dict[str, Any] = {"observer": observe, "cpus": [0] * len(told)}
        model.simulate(plain, state, set(), *span, told, "upstream", params, "steady", "4k", **more)
        return begun[0].until_now()

    return Ready(act, {"events": len(told)})


# A cache simulator

REQUEST = np.dtype([("s", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])  # its oracleGeneral


def lru(trace: str, events: int, share: float = 0.5) -> Ready:
    """LibCacheSim's LRU over the pfns of the same events, one request each, through `process_trace` from a
    file that is in the page cache; it holds a share of the frames that are asked for.
    """
    import libcachesim

    here = loaded(open_trace(trace), events)
    columns = _first(here, events)
    requests = np.zeros(len(columns["pfn"]), REQUEST)
    requests["s"] = (columns["ts_ns"] - columns["ts_ns"][0]) // 10**9
    requests["id"], requests["size"], requests["next"] = columns["pfn"], 1, -2
    frames = len(np.unique(columns["pfn"]))
    file = tempfile.NamedTemporaryFile(suffix=".oracleGeneral")  # noqa: SIM115 - as long as this process
    requests.tofile(file.name)
    most = max(int(frames * share), 1)

    def act() -> None:
        kind = libcachesim.TraceType.ORACLE_GENERAL_TRACE
        cache = libcachesim.LRU(most, hashpower=most.bit_length() + 1)
        cache.process_trace(libcachesim.TraceReader(file.name, kind))

    return Ready(act, {"events": len(requests), "file": file.name})

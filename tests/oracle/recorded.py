"""A recorded trace, read plainly: where its replay starts, and what its events mean, one by one."""

from dataclasses import dataclass, replace

from tests.oracle.frames import FrameModel
from tests.oracle.guest import MOVABLE, Guest, Zone, align_down, block_frames, is_aligned
from tests.oracle.meaning import meaning_of
from tests.oracle.setup import Event
from tracer import CHUNK_FRAMES, FrameState, Op, Trace

STATES = {
    FrameState.USED: "used",
    FrameState.BUDDY: "free",
    FrameState.LIMBO: "free",  # seen in the buddy again before the snapshot was settled
    FrameState.ABSENT: "absent",
    FrameState.UNKNOWN: "unknown",
}


@dataclass(frozen=True)
class Row:
    """One event as it was recorded, and what it means to the buddy."""

    ts_ns: int
    op: str
    pfn: int
    order: int
    migratetype: int
    aux: int
    cpu: int
    means: str = "nothing"


@dataclass(frozen=True, repr=False)
class Recording:
    """What ``simulate`` wants to know; ``state`` has a byte a frame, ``types`` are by pageblock."""

    guest: Guest
    state: bytes
    reported_heads: set[int]
    types: dict[int, int]
    t0_ns: int
    end_ns: int
    events: list[Event]
    cpus: list[int]
    listed: list[tuple[int, int, int]]


def guest_of(trace: Trace, *, by_pageblock: bool) -> Guest:
    """The guest that was recorded."""
    g = trace.manifest.guest
    names = [name.lower() for name in g.migratetypes]
    return Guest(
        zones=tuple(
            Zone(z.name, z.start_pfn, z.end_pfn, z.min, z.low, z.boost, z.managed > 0) for z in trace.zones
        ),
        max_order=g.max_order,
        pageblock_order=g.pageblock_order,
        hz=g.hz,
        page_size=g.page_size,
        n_migratetypes=len(names),
        isolate_migratetype=names.index("isolate") if "isolate" in names else None,
        by_pageblock=by_pageblock,
    )


def read(trace: Trace) -> Recording:
    """A trace of a kernel from 6.10 on, with a start snapshot, but without resyncs. Free lists must have been
    read at the snapshot's end.
    """
    shot = trace.start
    if shot is None or trace.resyncs or trace.owners_only:
        raise NotImplementedError("a plain reading knows traces with a start snapshot and no more")
    guest = guest_of(trace, by_pageblock=True)
    recorded = rows_of(trace)
    rows = once(guest, with_direct_frees(trace, recorded))
    state, heads = at_start(trace, rows)
    frames = bytes(FrameModel(guest, state).what)
    types = first_types(guest, once(guest, recorded))
    types |= {head >> guest.pageblock_order: MOVABLE for head in heads}
    listed = lists_at_start(trace)
    for pfn, order, migratetype in listed:
        first, end = pfn >> guest.pageblock_order, (pfn + (1 << order) - 1) >> guest.pageblock_order
        types |= dict.fromkeys(range(first, end + 1), migratetype)
    told = [(event, row.cpu) for row in rows if row.ts_ns > shot.end_ns for event in events_of(guest, row)]
    events, cpus = [event for event, _ in told], [cpu for _, cpu in told]
    return Recording(guest, frames, heads, types, shot.end_ns, trace.span_ns[1], events, cpus, listed)


def lists_at_start(trace: Trace) -> list[tuple[int, int, int]]:
    """(pfn, order, migratetype) of the blocks on the lists that were read, each list from head to tail."""
    shot = trace.start
    table = trace.lists(shot.name) if shot and shot.lists else None
    if shot is None or table is None:
        return []
    if set(table["read_begin_ns"].to_pylist()) - {shot.end_ns}:
        raise NotImplementedError("a plain reading knows lists that were read when the snapshot ended")
    keys = ("zone", "order", "migratetype", "position", "pfn")
    rows = sorted(zip(*(table[key].to_pylist() for key in keys), strict=True))
    return [(pfn, order, migratetype) for _, order, migratetype, _, pfn in rows]


def rows_of(trace: Trace) -> list[Row]:
    """All events in the order in which they are stored, each with what its op means by itself."""
    recorded = {Op(probe.op).name.lower() for probe in trace.manifest.probes if probe.op}
    pcp_orders = set(trace.manifest.guest.pcp_orders)
    columns = ["ts_ns", "op", "pfn", "order", "migratetype", "aux", "cpu"]
    rows = []
    for ts_ns, number, pfn, order, migratetype, aux, cpu in (
        trace.events.select(columns).collect().iter_rows()
    ):
        op = Op(number).name.lower()
        means = meaning_of(op, order, recorded, pcp_orders, owners_only=False)
        rows.append(Row(ts_ns, op, pfn, order, migratetype, aux, cpu, means))
    return rows


def with_direct_frees(trace: Trace, rows: list[Row]) -> list[Row]:
    """A free that a per-CPU list would have taken, but whose page leaves the buddy, or is in it at the end,
    with neither a drain nor an allocation in between, was an entry.
    """
    end = trace.manifest.snapshot("end")
    freed: dict[int, int] = {}  # frame -> row of the free since which nothing has happened to it
    direct = set()
    for index, row in enumerate(rows):
        frames = block_frames(row.pfn, row.order)
        if row.means in ("exit", "fallback", "isolate"):
            for number in {freed[frame] for frame in frames if frame in freed}:
                direct.add(number)
                for frame in block_frames(rows[number].pfn, rows[number].order):
                    freed.pop(frame, None)
        elif row.op == "page_free" and row.means == "nothing":
            freed |= dict.fromkeys(frames, index)
        elif row.means == "enter" or row.op == "page_alloc":
            for frame in frames:
                freed.pop(frame, None)
    if end is not None:
        free = {frame for frame, what in snapshot(trace, "end").items() if what == FrameState.BUDDY}
        direct |= {
            number for frame, number in freed.items() if frame in free and rows[number].ts_ns < end.begin_ns
        }
    return [replace(row, means="enter") if index in direct else row for index, row in enumerate(rows)]


def once(guest: Guest, rows: list[Row]) -> list[Row]:
    """A fallback that claims tells of one taking twice, by extfrag and zone_locked, next to each other in
    their zone and in either order: the second is no exit, but a claim is one all the same.
    """
    found: list[Row] = []
    last: dict[int, tuple[str, int]] = {}  # of each zone
    for row in rows:
        zone = guest.zone_of_range(row.pfn, 1 << row.order)
        if row.means == "nothing" or zone is None or not is_aligned(row.pfn, row.order):
            found.append(row)
        elif {last.get(zone), (row.means, row.pfn)} == {("exit", row.pfn), ("fallback", row.pfn)}:
            found.append(replace(row, means="claim" if row.means == "fallback" else "nothing"))
            last[zone] = ("nothing", row.pfn)
        else:
            found.append(row)
            last[zone] = (row.means, row.pfn)
    return found


def snapshot(trace: Trace, name: str) -> dict[int, int]:
    """``FrameState`` of each frame of a snapshot that is not absent."""
    state: dict[int, int] = {}
    for run in trace.frames(name).to_pylist():
        if run["state"] != FrameState.ABSENT:
            state |= dict.fromkeys(range(run["pfn"], run["pfn"] + run["count"]), run["state"])
    return state


def at_start(trace: Trace, rows: list[Row]) -> tuple[dict[int, str], set[int]]:
    """The frames at the end of the start snapshot, and the heads that were reported since they were read.

    Each frame as it was read, then the events since its chunk's read began.
    """
    shot = trace.start
    if shot is None:
        raise AssertionError
    state = {frame: STATES[FrameState(what)] for frame, what in snapshot(trace, shot.name).items()}
    runs = trace.frames(shot.name).to_pylist()
    begin_ns = {run["pfn"] // CHUNK_FRAMES: run["read_begin_ns"] for run in runs}
    heads = {run["pfn"] for run in runs if run["reported_head"]}
    for row in [
        row for row in rows if row.ts_ns <= shot.end_ns and row.means in ("enter", "exit", "fallback")
    ]:
        for frame in block_frames(row.pfn, row.order):
            if row.ts_ns >= begin_ns.get(frame // CHUNK_FRAMES, row.ts_ns):
                state[frame] = "free" if row.means == "enter" else "used"
                heads.discard(frame)
    return state, heads


def first_types(guest: Guest, rows: list[Row]) -> dict[int, int]:
    """The first type that an event tells of each pageblock; a fallback tells what it was until then."""
    types: dict[int, int] = {}
    for row in rows:
        told = (row.aux >> 16) & 255 if row.means in ("fallback", "claim") else row.migratetype
        if row.means != "nothing" and 0 <= told < guest.n_migratetypes:
            last = row.pfn + (1 << row.order) - 1
            for pageblock in range(row.pfn >> guest.pageblock_order, (last >> guest.pageblock_order) + 1):
                types.setdefault(pageblock, told)
    return types


def events_of(guest: Guest, row: Row) -> list[Event]:
    """What the replay is told of a row.

    A fallback (try_to_claim_block(), __rmqueue_steal() of 6.10) that claims makes its own what it found,
    the whole block or the pageblock, and takes from that; else it leaves the rest where it was.
    """
    if row.means in ("enter", "exit"):
        return [(row.ts_ns, row.means, row.pfn, row.order, row.migratetype)]
    if row.means not in ("fallback", "claim"):
        return []
    found, thief, victim = row.aux & 255, (row.aux >> 8) & 255, (row.aux >> 16) & 255
    owned = bool(row.aux >> 24 & 1)
    exit_: Event = (row.ts_ns, "exit", row.pfn, row.order, thief if owned else victim)
    whole = max(found, guest.pageblock_order)
    claim: Event = (row.ts_ns, "claim", align_down(row.pfn, whole), whole, thief)
    return [claim] * owned + [exit_] * (row.means == "fallback")

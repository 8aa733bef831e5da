"""Small made-up guests and event streams for the property tests, and both models run on them."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from replay.buddy.ops import meaning_table
from replay.buddy.rules import rules_of
from replay.device import Device
from replay.engine import Group, Options
from replay.geometry import Geometry
from replay.policies import policy_named
from replay.policies.protocol import Policy
from replay.schedule import Schedule
from replay.start import LISTED, Start
from replay.state import NEVER
from tests.oracle import model
from tracer import FrameState, Guest, Op, Zone

T0_NS = 5_000_000_123
STATES = {
    "used": FrameState.USED,
    "free": FrameState.BUDDY,
    "absent": FrameState.ABSENT,
    "unknown": FrameState.UNKNOWN,
}
PAGE_SIZE = 256 << 10  # so that a host huge page is 8 frames


CPUS = 2
TYPES = ["Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate"]


def guest(
    max_order: int,
    pageblock_order: int,
    hz: int | None,
    jiffies: tuple[int, int] | None,
    kernel: str = "6.12.1-test",
) -> Guest:
    return Guest(
        kernel_release=kernel, machine="test", cpus=CPUS, page_size=PAGE_SIZE, max_order=max_order,
        pageblock_order=pageblock_order, migratetypes=TYPES, pcp_orders=[], thp_mode=None,
        hz=hz, jiffies=jiffies[0] if jiffies else None,
        jiffies_monotonic_ns=jiffies[1] if jiffies else None,
    )  # fmt: skip


def zone(name: str, start: int, end: int, low: int = 0) -> Zone:
    size = end - start
    return Zone(0, name, start, size, size, size, 0, low // 2, low, low, 0)


@dataclass(frozen=True)
class Case:
    guest: Guest
    zones: list[Zone]
    state: dict[int, str]
    events: list[model.Event]
    end_ns: int
    corrections: list[model.Correction] = field(default_factory=list)
    listed: list[tuple[int, int, int]] = field(default_factory=list)


@st.composite
def cases(draw: st.DrawFn, max_events: int = 80) -> Case:
    """Tiny guests of every shape: zone borders, orders, watermarks and clocks of all kinds."""
    max_order = draw(st.integers(2, 5))
    middle = draw(st.integers(10, 60))
    low = draw(st.sampled_from([0, 0, 4, 12]))
    first, hole = draw(st.integers(0, 9)), draw(st.integers(0, 5))
    above = draw(st.sampled_from(["B", "B", "Movable"]))
    zones = [zone("A", first, middle, low), zone(above, middle + hole, 100, low)]
    hz = draw(st.sampled_from([None, 100, 250, 1000]))
    jiffies = draw(st.sampled_from([None, (4_000_000, T0_NS - 777_777)])) if hz else None
    state = _frames(draw, zones, [1, 2, 8, 16, 32])
    events, end_ns = _events(draw, zones, dict(state), max_order, max_events, [-1, 1, 1, 0, 2, 3])
    kernel = draw(st.sampled_from(["5.10.0", "6.12.1"]))
    made = guest(max_order, draw(st.integers(1, max_order)), hz, jiffies, kernel)
    return Case(made, zones, state, events, end_ns)


@st.composite
def healed(draw: st.DrawFn, max_events: int = 80) -> Case:
    """Guests of which something is unknown at the start, with events dropped, and snapshots among
    what is left that know the truth: all of it, or some frames too few.
    """
    case = draw(cases(max_events))
    unknown = draw(st.sampled_from([0.0, 0.3, 1.0]))
    random = draw(st.randoms(use_true_random=False))
    state = {frame: "unknown" if random.random() < unknown else what for frame, what in case.state.items()}
    dropped = draw(st.sampled_from([0.0, 0.2, 0.7]))
    kept = [event for event in case.events if random.random() >= dropped]
    times = {draw(st.sampled_from([e[0] for e in case.events] or [case.end_ns])) for _ in range(3)}
    corrections = []
    for ts_ns in sorted(times | draw(st.sets(st.integers(T0_NS + 1, case.end_ns), max_size=2))):
        seen = draw(st.sampled_from([0.0, 0.5, 1.0, 1.0]))
        truth = true_state(case, ts_ns).items()
        corrections.append((ts_ns, {frame: what for frame, what in truth if random.random() < seen}))
    return replace(case, state=state, events=kept, corrections=corrections)


def true_state(case: Case, until_ns: int) -> dict[int, str]:
    """The frames at an instant, after its events; absent ones are not in it."""
    state = {frame: what for frame, what in case.state.items() if what != "absent"}
    for ts_ns, kind, pfn, order, _ in case.events:
        if ts_ns <= until_ns and pfn % (1 << order) == 0 and _in_a_zone(case.zones, pfn, order):
            state |= dict.fromkeys(range(pfn, pfn + (1 << order)), "free" if kind == "enter" else "used")
    return state


@st.composite
def searched(draw: st.DrawFn, max_events: int = 80) -> Case:
    """Guests whose free lists compaction searches now and then, also where no zone is."""
    case = draw(cases(max_events))
    times = [event[0] for event in case.events]
    times += draw(st.lists(st.integers(T0_NS + 1, min(case.end_ns, T0_NS + 9_000_000)), max_size=20))
    search = st.tuples(st.sampled_from(times), st.integers(0, 99))
    searches = draw(st.lists(search, max_size=30)) if times else []
    events = case.events + [(ts_ns, "reshuffle", pfn, 0, -1) for ts_ns, pfn in searches]
    return replace(case, events=sorted(events, key=lambda event: event[0]))


@st.composite
def listed(draw: st.DrawFn) -> Case:
    """Guests whose free lists were read at the start: some of their blocks, and some that are gone."""
    case = draw(cases())
    blocks = model.FrameModel(oracle_guest(case), case.state).free_blocks()
    found = []
    for (_, order), heads in sorted(blocks.items()):
        for head in draw(st.permutations(heads)):
            kind = draw(st.sampled_from([None, 0, 1, 2, 3]))
            if kind is not None:
                found.append((head, draw(st.sampled_from([order, order, order + 1])), kind))
    return replace(case, listed=found)


@st.composite
def full_orders(draw: st.DrawFn, max_events: int = 25) -> Case:
    """Guests with x86's orders, and only types that merge, so that blocks follow from the frames."""
    zones = [zone("A", 7, 1500), zone("B", 1536, 4096)]
    state = _frames(draw, zones, [1, 16, 256, 1024])
    events, end_ns = _events(draw, zones, dict(state), 10, max_events, [-1, 0, 1, 2])
    return Case(guest(10, 9, None, None), zones, state, events, end_ns)


def _frames(draw: st.DrawFn, zones: list[Zone], lengths: list[int]) -> dict[int, str]:
    state: dict[int, str] = {}
    for z in zones:
        frame = z.start_pfn
        while frame < z.end_pfn:
            what = draw(st.sampled_from(["used", "free", "free", "absent"]))
            until = min(z.end_pfn, frame + draw(st.sampled_from(lengths)))
            state |= dict.fromkeys(range(frame, until), what)
            frame = until
    return state


WAITS_NS = [0, 0, 1, 1000, 200_000, 600_000, 1_000_000, 3_000_000, 40_000_000]


def _events(
    draw: st.DrawFn, zones: list[Zone], state: dict[int, str], max_order: int, most: int, types: list[int]
) -> tuple[list[model.Event], int]:
    last = zones[-1].end_pfn - 1
    moves = draw(st.lists(st.tuples(
        st.sampled_from(WAITS_NS), st.sampled_from(["exit", "enter"]), st.integers(0, last),
        st.integers(0, max_order), st.sampled_from(types), st.integers(0, 30),
    ), max_size=most))  # fmt: skip
    now_ns, events = T0_NS + 1, []  # a replay has only events later than its start
    for wait_ns, kind, place, order, migratetype, wild in moves:
        now_ns += wait_ns
        pfn = place if wild == 0 else _fitting(state, zones, kind, place, order)
        if pfn is None:
            continue
        events.append((now_ns, kind, pfn, order, migratetype))
        if pfn % (1 << order) == 0 and _in_a_zone(zones, pfn, order):
            state |= dict.fromkeys(range(pfn, pfn + (1 << order)), "free" if kind == "enter" else "used")
    return events, now_ns + draw(st.sampled_from([0, 500_000, 50_000_000]))


def _in_a_zone(zones: list[Zone], pfn: int, order: int) -> bool:
    return any(z.start_pfn <= pfn and pfn + (1 << order) <= z.end_pfn for z in zones)


def _fitting(state: dict[int, str], zones: list[Zone], kind: str, place: int, order: int) -> int | None:
    """An aligned block near `place` for which the move is possible, if there is one."""
    size = 1 << order
    span = -(-zones[-1].end_pfn // size) * size
    for step in range(0, span, size):
        pfn = (place + step) % span // size * size
        if _in_a_zone(zones, pfn, order):
            free = [state.get(frame) == "free" for frame in range(pfn, pfn + size)]
            if all(free) if kind == "exit" else not any(free):
                return pfn
    return None


def oracle_guest(case: Case) -> model.Guest:
    g = case.guest
    zones = [
        model.Zone(z.name, z.start_pfn, z.end_pfn, z.min, z.low, z.boost, z.managed > 0) for z in case.zones
    ]
    return model.Guest(
        zones=tuple(zones), max_order=g.max_order, pageblock_order=g.pageblock_order, hz=g.hz,
        page_size=g.page_size, by_pageblock=rules_of(g).by_pageblock,
    )  # fmt: skip


def frames_of(state: dict[int, str]) -> Any:
    frames = np.full(4096, FrameState.ABSENT, np.uint8)
    for frame, what in state.items():
        frames[frame] = STATES[what]
    return frames


def start_of(case: Case, reported_heads: list[int] | None = None) -> Start:
    found = None
    if case.listed:
        zone_of = oracle_guest(case).zone_of_range
        rows = [(zone_of(pfn, 1), order, kind, pfn) for pfn, order, kind in case.listed]
        found = np.array(rows, LISTED)
    return Start(T0_NS, frames_of(case.state), np.array(reported_heads or [], np.int64), found)


def columns(events: list[model.Event]) -> dict[str, Any]:
    """Events as the trace's columns: an entry of known type is a drain, of unknown type a page_free."""
    entry = {True: Op.PCPU_DRAIN, False: Op.PAGE_FREE}
    other = {"exit": Op.ZONE_LOCKED, "reshuffle": Op.COMPACTION_ISOLATE}
    ops = [other.get(kind) or entry[mt >= 0] for _, kind, _, _, mt in events]
    return {
        "ts_ns": np.array([e[0] for e in events], np.int64),
        "op": np.array(ops, np.uint8),
        "pfn": np.array([e[2] for e in events], np.uint64),
        "order": np.array([e[3] for e in events], np.uint8),
        "migratetype": np.array([e[4] for e in events], np.int8),
        "aux": np.zeros(len(events), np.uint64),
        "cpu": np.array([cpu_of(event) for event in events], np.uint16),
    }


def cpu_of(event: model.Event) -> int:
    """The CPU of an event, made up from when and where it is; at times one more than the guest tells of."""
    return (event[0] + event[2]) % (CPUS + 1)


@dataclass(frozen=True)
class How:
    policy: str
    order: int
    start: str
    backing: str
    params: dict[str, Any]
    call_ns: int = 600_000
    fail_every: int = 0
    switches: tuple[int, ...] = ()  # when the device unregisters, registers, and so on: ns since the start

    @property
    def device(self) -> Device:
        """The same, as the engine is told."""
        ends = [0, *self.switches, *([NEVER] if len(self.switches) % 2 == 0 else [])]
        spans = tuple(zip(ends[::2], ends[1::2], strict=True))
        return Device(call_ns=self.call_ns, fail_every=self.fail_every, registered_ns=spans)


BIN_NS = 300_000


def bins_of(case: Case) -> list[int]:
    """Instants close enough to lie between the events, and on some of them; the last one at the end."""
    inner = [T0_NS + 1, *(event[0] for event in case.events[::3])]
    inner += [ts_ns for ts_ns, _ in case.corrections]
    inner += range(T0_NS + BIN_NS, min(case.end_ns, T0_NS + 40 * BIN_NS), BIN_NS)
    return sorted({at for at in inner if at < case.end_ns} | {case.end_ns})


def run_engine(
    case: Case,
    how: How,
    batch: int,
    reported_heads: list[int],
    policy: Policy | None = None,
    *,
    address_map: bool = False,
) -> Group:
    geometry = Geometry.of(case.guest, case.zones, how.order)
    policy = policy or policy_named(how.policy)
    setting = policy.settle(case.guest, {"order": how.order, **how.params})
    options = Options(start=how.start, backing=how.backing, device=how.device, logging=True)
    options = replace(options, address_map=address_map)
    start = start_of(case, reported_heads)
    bins_ns = np.array(bins_of(case), np.int64)
    group = Group(
        case.guest, meaning_table(case.guest), geometry, start, case.end_ns, [setting], options, bins_ns
    )
    live_through(group, case, batch)
    return group


def live_through(group: Group, case: Case, batch: int) -> None:
    """Feed it all events, so many at a time, and what snapshots correct."""
    left = case.events
    for ts_ns, state in [*case.corrections, (case.end_ns + 1, {})]:
        now = [event for event in left if event[0] <= ts_ns]
        left = left[len(now) :]
        for at in range(0, len(now), batch):
            group.feed(columns(now[at : at + batch]))
        if state:
            group.correct(frames_of(state), ts_ns)
    group.finish()


def left_behind(schedule: Schedule) -> dict[str, Any]:
    """All arrays that a replay leaves behind, and its report log."""
    state = schedule.state
    found = {each.name: getattr(state, each.name) for each in fields(state)}
    found |= {f"area.{each.name}": getattr(state.area, each.name) for each in fields(state.area)}
    del found["area"]
    found["log"] = np.concatenate([state.log[:0], *schedule.log])
    return found | {"waiting": np.array(schedule.waiting_frames)}


def run_oracle(case: Case, how: How, reported_heads: list[int]) -> model.Outcome:
    g = case.guest
    durations = {knob.name for knob in policy_named(how.policy).parameters if knob.kind == "duration"}
    params = {
        "order": how.order,
        **{f"{k}_ns" if k in durations else k: v for k, v in how.params.items()},
    }
    if how.params.get("rounding") == "wheel" and g.jiffies is not None:
        params |= {"jiffies0": g.jiffies, "mono0_ns": g.jiffies_monotonic_ns}
    return model.simulate(
        oracle_guest(case), {f: w for f, w in case.state.items() if w != "absent"}, set(reported_heads),
        T0_NS, case.end_ns, case.events, how.policy, params, how.start, how.backing, call_ns=how.call_ns,
        corrections=case.corrections, listed=case.listed, bins_ns=bins_of(case),
        cpus=[cpu_of(event) % CPUS for event in case.events],
        fail_every=how.fail_every, switches=[T0_NS + at_ns for at_ns in how.switches],
    )  # fmt: skip

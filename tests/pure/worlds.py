"""Made-up histories of a guest with three chunks of frames, written as traces: snapshots that are
read while events go on, events that got lost, frames nobody knows. And what a plain reading of
FORMAT.md makes of them.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.oracle import model
from tests.pure.small_traces import GUEST, NAME, manifest
from tracer.format import CHUNK_FRAMES, FrameState, Op, Probe, Snapshot, Zone
from tracer.guest.snapshot import RawFrames, runs_table
from tracer.writer import TraceWriter

CHUNKS = 3
FRAMES = CHUNKS * CHUNK_FRAMES
ZONES = [Zone(0, "Normal", 0, FRAMES, FRAMES, FRAMES, 0, 10, 20, 30, 0)]
ORACLE_GUEST = model.Guest((model.Zone("Normal", 0, FRAMES, 0, 0, 0),), 10, 9, None)
NEVER_NS = 1 << 62
PROBES = [
    Probe(NAME, "tracepoint", Op.ZONE_LOCKED),
    Probe("kmem:mm_page_pcpu_drain", "tracepoint", Op.PCPU_DRAIN),
]


@dataclass(frozen=True)
class Shot:
    """A snapshot: its instants, per chunk the window of its read, and what was read."""

    name: str
    begin_ns: int
    end_ns: int
    chunks: list[tuple[int, int]]
    state: Any


@dataclass(frozen=True)
class World:
    """`events`: (ts, enters, pfn, order), as recorded; `shots`: start, resyncs, end."""

    events: list[tuple[int, bool, int, int]]
    shots: list[Shot]
    batches: list[int] = field(default_factory=list)  # rows of each segment

    @property
    def start(self) -> Shot | None:
        return self.shots[0] if self.shots and self.shots[0].name == "start" else None

    @property
    def resyncs(self) -> list[Shot]:
        return [shot for shot in self.shots if shot.name.startswith("resync")]


@dataclass
class Told:
    """A plain replay up to an instant."""

    frames: model.FrameModel
    steps: int = 0
    corrected: int = 0

    @property
    def numbers(self) -> Any:
        counts = (self.steps, self.frames.exit_of_used, self.frames.entry_of_free, self.corrected)
        return np.array(counts)

    @property
    def free(self) -> list[int]:
        return self.frames.free_frames(0)


def brought(world: World, shot: Shot) -> dict[int, str]:
    """A snapshot at its end: each frame as it was read, then the events since its chunk's read began."""
    state = {
        frame: {0: "used", 1: "free", 2: "free", 3: "absent", 4: "unknown"}[int(what)]
        for frame, what in enumerate(shot.state)
    }
    for ts_ns, enters, pfn, order in world.events:
        for frame in range(pfn, pfn + (1 << order)):
            if shot.chunks[frame // CHUNK_FRAMES][0] <= ts_ns <= shot.end_ns:
                state[frame] = "free" if enters else "used"
    return state


def plain(world: World, until_ns: int = NEVER_NS) -> Told:
    """What a replay has come to after the events and corrections up to an instant."""
    start = brought(world, world.start) if world.start else dict.fromkeys(range(FRAMES), "unknown")
    told = Told(model.FrameModel(ORACLE_GUEST, start))
    begin_ns = world.start.end_ns if world.start else -1
    moments: list[tuple[int, int, Any]] = [(e[0], 0, e) for e in world.events if e[0] > begin_ns]
    moments += [(shot.end_ns, 1, shot) for shot in world.resyncs]
    for _, _, what in sorted(moments, key=lambda moment: moment[:2]):
        if isinstance(what, Shot):
            if what.end_ns <= until_ns:
                _correct(told, brought(world, what))
        elif what[0] <= until_ns:
            told.steps += 1
            (told.frames.enter if what[1] else told.frames.exit)(what[2], what[3])
    return told


def _correct(told: Told, state: dict[int, str]) -> None:
    for frame, what in state.items():
        before = told.frames.state_of(frame)
        if what in ("used", "free") and before != what:
            told.corrected += before != "unknown" and "free" in (before, what)
            told.frames.correct(frame, what)


@st.composite
def worlds(draw: st.DrawFn, *, unknown: bool = True, absent: bool = True, lossy: bool = True) -> World:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    truth = rng.random(FRAMES >> 9) < 0.6
    first = truth = np.repeat(truth, 512)
    events = _history(rng, truth.copy(), draw(st.integers(0, 60)))
    times = [1000, *sorted(rng.choice(np.arange(1200, 3000), draw(st.integers(0, 3)), replace=False)), 3400]
    shots: list[Shot] = []
    for index, begin_ns in enumerate(times):
        name = "start" if index == 0 else "end" if index == len(times) - 1 else f"resync-{index}"
        after = shots[-1].end_ns + 1 if shots else 0
        shots.append(_shot(rng, name, max(int(begin_ns), after), first, events, absent=absent and index > 0))
    if unknown and draw(st.booleans()):
        shots = []
    dropped = draw(st.sampled_from([0.0, 0.1, 0.5])) if lossy else 0.0
    kept = [event for event in events if rng.random() >= dropped]
    sizes = rng.integers(1, 20, 60).tolist()
    return World(kept, shots, sizes)


def _history(rng: Any, free: Any, tries: int) -> list[tuple[int, bool, int, int]]:
    """Possible events: a block that is free leaves, one that is in use enters."""
    ts_ns, events = 900, []
    for _ in range(tries):
        ts_ns += int(rng.choice([0, 1, 5, 60, 120]))
        order = int(rng.integers(0, 11))
        pfn = int(rng.integers(0, FRAMES >> order)) << order
        block = free[pfn : pfn + (1 << order)]
        if block.all() or not block.any():
            events.append((ts_ns, not block[0], pfn, order))
            block[:] = not block[0]
    return events


def _shot(rng: Any, name: str, begin_ns: int, first: Any, events: Any, *, absent: bool) -> Shot:
    chunks, state, now_ns = [], np.empty(FRAMES, np.uint8), begin_ns
    for chunk in range(CHUNKS):
        part = slice(chunk * CHUNK_FRAMES, (chunk + 1) * CHUNK_FRAMES)
        window = (now_ns, now_ns + int(rng.integers(0, 40)))
        read_ns = int(rng.integers(window[0], window[1] + 1))
        truth = first.copy()
        for ts_ns, enters, pfn, order in events:
            if ts_ns < read_ns:
                truth[pfn : pfn + (1 << order)] = enters
        state[part] = np.where(truth[part], FrameState.BUDDY, FrameState.USED)
        chunks.append(window)
        now_ns = window[1] + int(rng.integers(0, 20))
    if rng.random() < 0.5:  # held by the guest's own reporting
        block = state[: int(rng.integers(1, FRAMES >> 9)) << 9][-512:]
        block[block == FrameState.BUDDY] = FrameState.LIMBO
    if absent and rng.random() < 0.3:
        state[int(rng.integers(0, FRAMES)) :] = FrameState.ABSENT
    return Shot(name, begin_ns, now_ns + int(rng.integers(0, 60)), chunks, state)


def write(path: Path, world: World, **over: Any) -> Path:
    """The world as a trace on disk."""
    shots = [Snapshot(shot.name, shot.begin_ns, shot.end_ns, ZONES, []) for shot in world.shots]
    imported = {} if world.shots else {"rung": "imported", "clock": None, "notes": ["it was imported"]}
    told: dict[str, Any] = {"zones": ZONES, "guest": GUEST, "snapshots": shots} | imported | over
    writer = TraceWriter(path, manifest(**told))
    for shot in world.shots:
        begin_ns, end_ns = np.array(shot.chunks, np.int64).T.copy()
        writer.write_frames(
            shot.name, runs_table(shot.state, RawFrames(np.zeros(FRAMES, np.uint8), begin_ns, end_ns))
        )
    probes, left = PROBES, list(world.events)
    for rows in world.batches:
        now, left = left[:rows], left[rows:]
        if now:
            columns = event_columns(now)
            probes = [_heard(probe, int((columns["op"] == probe.op).sum())) for probe in probes]
            writer.write_segment(columns, probes)
    writer.close(manifest(**(told | {"status": "complete", "probes": probes})))
    return path


def _heard(probe: Probe, rows: int) -> Probe:
    return replace(probe, hits=probe.hits + rows, kept=probe.kept + rows)


def event_columns(events: list[tuple[int, bool, int, int]]) -> dict[str, Any]:
    count = len(events)
    return {
        "ts_ns": np.array([e[0] for e in events], np.int64),
        "op": np.array([Op.PCPU_DRAIN if e[1] else Op.ZONE_LOCKED for e in events], np.uint8),
        "pfn": np.array([e[2] for e in events], np.uint64),
        "order": np.array([e[3] for e in events], np.uint8),
        "migratetype": np.full(count, 1, np.int8),
        "cpu": np.arange(count).astype(np.uint16),
        "aux": np.zeros(count, np.uint64),
    }

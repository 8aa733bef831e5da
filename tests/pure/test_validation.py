"""validate: the model against snapshots and samples, and the cause that it names."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from replay import validate
from replay.main import main
from replay.validation import Verdict
from tests.oracle import model
from tests.pure import small_traces
from tests.pure.small_traces import FRAMES, GUEST, START_NS, ZONES, manifest
from tracer import open_trace
from tracer.format import (
    SAMPLE_COLUMNS,
    BuddyInfo,
    FrameState,
    Loss,
    Op,
    Part,
    Probe,
    Reporting,
    Snapshot,
)
from tracer.guest.snapshot import RawFrames, runs_table
from tracer.parquet import arrow_schema, event_schema
from tracer.writer import TraceWriter, segment_of

ORACLE = model.Guest((model.Zone("Normal", 0, FRAMES, 0, 0, 0),), 10, 9, None)
SECOND = 1_000_000_000
BEGIN_NS = SECOND
Event = tuple[int, Op, int, int, int]  # ts_ns, op, pfn, order, aux


@dataclass
class World:
    """What a guest did, what of it was recorded, and when it was sampled (begin, end of the read)."""

    happened: list[Event]
    unseen: set[int] = field(default_factory=set)
    seconds: int = 4
    held: dict[int, tuple[int, int]] = field(default_factory=dict)  # second: block out of reach then
    losses: list[Loss] = field(default_factory=list)
    read_ns: int = 1000
    told: dict[int, list[int]] = field(default_factory=dict)  # second: what the sample says
    looked_ns: int | None = None  # of a snapshot on the way

    def frames(self, until_ns: int) -> model.FrameModel:
        free = model.FrameModel(ORACLE, {f: "free" if f >= FRAMES // 2 else "used" for f in range(FRAMES)})
        for ts_ns, op, pfn, order, _ in self.happened:
            if ts_ns <= until_ns and op in (Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE):
                (free.exit if op == Op.ZONE_LOCKED else free.enter)(pfn, order)
        return free

    def counts(self, at_ns: int, held: tuple[int, int] | None = None) -> list[int]:
        frames = self.frames(at_ns)
        if held:
            frames.exit(*held)
        blocks = frames.free_blocks()
        return [len(blocks.get((0, order), [])) for order in range(11)]


def exits(second: int, first: int, count: int = 200) -> list[Event]:
    """Single frames leave, one a microsecond, in the middle of a second."""
    at_ns = BEGIN_NS + second * SECOND + SECOND // 2
    return [(at_ns + 1000 * k, Op.ZONE_LOCKED, first + k, 0, 0) for k in range(count)]


def busy() -> list[Event]:
    return [event for second in range(4) for event in exits(second, FRAMES // 2 + 200 * second)]


def write(path: Path, world: World) -> Path:
    end_ns = BEGIN_NS + world.seconds * SECOND
    kept = [event for place, event in enumerate(world.happened) if place not in world.unseen]
    writer = TraceWriter(path, manifest())
    times = {"start": START_NS, "resync-1": world.looked_ns, "end": end_ns}
    shots = [_shot(writer, world, name, at_ns) for name, at_ns in times.items() if at_ns]
    events = pa.table(_columns(kept), schema=event_schema())
    parts: dict[str, Part] = {"samples": writer.write_part("samples", "00000", _samples(world))}
    part = writer.write_part("events", "00000", events)
    lost = sum(loss.events for loss in world.losses)
    probes = [
        Probe(name, "tracepoint", op, hits=sum(e[1] == op for e in kept), kept=sum(e[1] == op for e in kept))
        for name, op in (
            (small_traces.NAME, Op.ZONE_LOCKED),
            ("drain", Op.PCPU_DRAIN),
            ("c", Op.COMPACTION_ISOLATE),
        )
    ]
    probes[0] = replace(probes[0], hits=probes[0].hits + lost, lost=lost)
    span = kept[0][0], kept[-1][0]
    writer.append_segment(segment_of(part, span, probes, losses=world.losses, **parts))
    reporting = Reporting(9, active=bool(world.held))
    writer.close(manifest(status="complete", probes=probes, snapshots=shots, reporting=reporting))
    return path


def _shot(writer: TraceWriter, world: World, name: str, at_ns: int) -> Snapshot:
    free = world.frames(at_ns).free_frames(0)
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[free] = FrameState.BUDDY
    times = np.full(FRAMES // 4096, at_ns, np.int64)
    runs = runs_table(state, RawFrames(np.zeros(FRAMES, np.uint8), times, times + 1))
    info = BuddyInfo(0, "Normal", world.counts(at_ns), at_ns + 50, at_ns + 60)
    shot = Snapshot(name, at_ns - 100, at_ns + 100, ZONES, [info])
    return replace(shot, parts=writer.write_snapshot(name, runs, None))


def _samples(world: World) -> pa.Table:
    rows = []
    for second in range(1, world.seconds):
        at_ns = BEGIN_NS + second * SECOND
        row: dict[str, Any] = dict.fromkeys(SAMPLE_COLUMNS, 7)
        row |= {"zone": 0, "read_begin_ns": at_ns, "read_end_ns": at_ns + world.read_ns, "free": 1}
        counts = world.told.get(second) or world.counts(at_ns, world.held.get(second))
        rows.append(row | {"free_blocks": counts})
    return pa.Table.from_pylist(rows, schema=arrow_schema(SAMPLE_COLUMNS))


def _columns(events: Sequence[Event]) -> dict[str, Any]:
    columns = small_traces.columns([event[0] for event in events])
    for place, name in enumerate(("op", "pfn", "order", "aux"), 1):
        columns[name] = np.array([event[place] for event in events], columns[name].dtype)
    columns["migratetype"][columns["op"] == Op.COMPACTION_ISOLATE] = -1
    return columns


def verdict_of(tmp_path: Path, world: World) -> Verdict:
    return validate(open_trace(write(tmp_path / "a.trace", world)))


def causes(verdict: Verdict) -> list[tuple[str, int]]:
    """Each divergence's cause, and the second of its first sample."""
    found = [each for drift in verdict.drifts for each in drift.divergences]
    return [(each.cause, (each.from_ns - BEGIN_NS) // SECOND) for each in found]


def test_a_model_that_saw_everything_is_right_at_every_sample(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, World(busy()))
    assert (len(verdict.judged), verdict.right) == (3, 3)
    assert causes(verdict) == []
    assert verdict.fidelity["orders_wrong"] == verdict.fidelity["frames_wrong"] == 0
    assert verdict.fidelity["steps"] == 800


def test_a_step_that_nobody_saw_makes_every_later_sample_wrong(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, World(busy(), unseen={250}))
    assert [bool(each.wrong) for each in verdict.judged] == [False, True, True]
    assert causes(verdict) == [("unseen", 2)]
    assert verdict.last.wrong_by_cause == {"isolation": 0, "impossible": 0, "unseen": 1}
    assert verdict.drifts[0].divergences[0].difference[0] == 1


def freed_straight_into_the_buddy(second: int) -> World:
    """A frame that left in the first second, freed again in this one: the end alone tells where it went."""
    freed = (BEGIN_NS + second * SECOND + SECOND // 4, Op.PAGE_FREE, busy()[0][2], 0, 0)
    return World(sorted([*busy(), freed]))


def test_what_the_end_alone_tells_of_is_not_in_the_models_favour(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, freed_straight_into_the_buddy(2))
    assert (verdict.fidelity["direct_frees"], verdict.fidelity["frames_wrong"]) == (1, 1)
    assert verdict.fidelity["orders_wrong"] == 0


@pytest.mark.parametrize(("freed_in", "wrong"), [(1, 0), (2, 0), (3, 1)])
def test_what_an_earlier_snapshot_has_told_of_is_not_wrong_at_the_end(
    tmp_path: Path, freed_in: int, wrong: int
) -> None:
    world = freed_straight_into_the_buddy(freed_in)
    world.looked_ns = BEGIN_NS + 3 * SECOND
    verdict = verdict_of(tmp_path, world)
    assert [each.snapshot.name for each in verdict.comparisons] == ["resync-1", "end"]
    assert [each.counts["frames_wrong"] for each in verdict.comparisons] == [0, wrong]


def test_with_lost_events_the_loss_is_behind_it(tmp_path: Path) -> None:
    at_ns = busy()[250][0]
    world = World(busy(), unseen={250}, losses=[Loss(at_ns - 10, at_ns + 10, 1)])
    assert causes(verdict_of(tmp_path, world)) == [("loss", 2)]


def test_an_unseen_exit_shows_again_as_an_impossible_entry(tmp_path: Path) -> None:
    gone = busy()[250][2]
    back = [(BEGIN_NS + 2 * SECOND + SECOND // 4, Op.PCPU_DRAIN, gone, 0, 0)]
    happened = sorted([*busy(), *back])
    world = World(happened, unseen={happened.index(busy()[250])})
    verdict = verdict_of(tmp_path, world)
    assert causes(verdict) == [("unseen", 2)]  # right again once it is back
    assert [bool(each.wrong) for each in verdict.judged] == [False, True, False]
    assert verdict.fidelity["entry_of_free"] == 1
    assert [each.impossible for each in verdict.judged] == [0, 0, 1]


def test_what_compaction_took_is_put_down_to_it(tmp_path: Path) -> None:
    scanned, taken = 64, 1
    first = FRAMES // 2 + 200
    told = (busy()[250][0], Op.COMPACTION_ISOLATE, first, 0, scanned | 100 << 16 | taken << 32)
    happened = sorted([*busy(), told], key=lambda event: event[0])
    verdict = verdict_of(tmp_path, World(happened, unseen={happened.index(busy()[250])}))
    assert causes(verdict) == [("isolation", 2)]
    assert verdict.last.wrong_by_cause == {"isolation": 1, "impossible": 0, "unseen": 0}


def test_large_blocks_out_of_reach_for_a_moment_are_limbo(tmp_path: Path) -> None:
    world = World(busy(), held={2: (FRAMES - 1024, 9)})
    verdict = verdict_of(tmp_path, world)
    assert causes(verdict) == [("limbo", 2)]
    assert [bool(each.wrong) for each in verdict.judged] == [False, True, False]
    assert verdict.fidelity["frames_wrong"] == 0


@pytest.mark.parametrize("inside", [0, 100, 199])
@pytest.mark.parametrize("more", [0, 5])
def test_a_sample_is_right_at_any_one_instant_of_its_read(tmp_path: Path, inside: int, more: int) -> None:
    at_ns = BEGIN_NS + 2 * SECOND
    during = [(at_ns + 1000 * k, Op.ZONE_LOCKED, FRAMES - 1 - k, 0, 0) for k in range(200)]
    world = World(sorted([*busy(), *during]), read_ns=200_000)
    counts = world.counts(at_ns + 1000 * inside)
    world.told[2] = [counts[0] + more, *counts[1:]]  # at no instant there are five more of order 0
    verdict = verdict_of(tmp_path, world)
    assert (not verdict.judged[1].wrong) == (more == 0)


def test_few_events_are_not_judged(tmp_path: Path) -> None:
    few = [event for second in range(4) for event in exits(second, FRAMES // 2 + 200 * second, 99)]
    verdict = verdict_of(tmp_path, World(few))
    assert verdict.judged == []


def test_the_table_and_the_json_tell_the_same(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "a.trace", World(busy(), unseen={250})))

    def said(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["pagetide", "validate", path, *arguments])
        with pytest.raises(SystemExit):
            main()
        text: str = capsys.readouterr().out
        return text

    text = said()
    assert "samples right in all orders: 1 of 3 (33.3%)" in text
    assert "unseen: nothing in the trace tells" in text
    told = json.loads(said("--json"))
    assert [sample["orders_wrong"] > 0 for sample in told["samples"]] == [False, True, True]
    (drift,) = told["drift"]
    assert (drift["judged"], drift["right"]) == (3, 1)
    assert drift["divergences"][0]["cause"] == "unseen"
    assert drift["divergences"][0]["zone"] == f"0/{ZONES[0].name}"
    assert GUEST.max_order + 1 == len(drift["divergences"][0]["difference"])

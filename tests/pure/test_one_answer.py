"""What the guest's own reporting did is in traces of the upper rung, and changes no answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.api import replay
from replay.engine import Options
from tests.lower_rung import assert_same_answers, down_to_tracepoints
from tests.pure.small_traces import FRAMES, GUEST, ZONES, frame_runs, manifest
from tracer import Op, Probe, Snapshot, Trace, open_trace
from tracer.writer import TraceWriter

START_NS, STEP_NS = 1_000_000_000, 7_000_000
NAMES = ("ts_ns", "op", "pfn", "order", "migratetype", "cpu", "aux")
OWN = (Op.NOTIFY, Op.PASS_START, Op.REPORTING_ISOLATE, Op.REPORT, Op.REPORTING_PUT_BACK, Op.PASS_END)
TRACEPOINTS = (Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE)
# Such that each reports something of a guest so small.
POLICIES = (
    "upstream:gate=off,delay=100ms", "boundary:high_water=1", "bitmap:threshold=1", "hints:delay=100ms",
    "balloon-hinting:order=9,every=1s", "clairvoyant:horizon=20ms", "oracle", "never",
)  # fmt: skip
Row = tuple[int, Op, int, int, int, int, int]


def history(seed: int, steps: int = 6_000) -> list[Row]:
    """Blocks leave and enter; now and then the guest's own reporting takes free ones, and puts them back."""
    dice = np.random.default_rng(seed)
    free = np.arange(FRAMES) >= FRAMES // 2
    rows: list[Row] = []
    for step in range(steps):
        now_ns = START_NS + (step + 1) * STEP_NS
        order = int(dice.choice([0, 9, 9, 10]))
        pfn = int(dice.integers(0, FRAMES >> order)) << order
        block = free[pfn : pfn + (1 << order)]
        kind = int(dice.integers(0, 3))
        if block.all() and dice.random() < 0.5:
            rows.append((now_ns, Op.ZONE_LOCKED, pfn, order, kind, 0, 0))
            block[:] = False
        elif not block.any():
            rows.append((now_ns, Op.PCPU_DRAIN, pfn, order, kind, 1, 0))
            block[:] = True
        elif block.all() and order >= 9:
            rows += [(now_ns + k, op, pfn, order, kind, 1, 1) for k, op in enumerate(OWN)]
    return rows


def write(path: Path, rows: list[Row], ops: tuple[Op, ...]) -> Trace:
    columns: dict[str, Any] = {name: np.array([row[i] for row in rows]) for i, name in enumerate(NAMES)}
    kinds = (np.int64, np.uint8, np.uint64, np.uint8, np.int8, np.uint16, np.uint64)
    columns = {name: columns[name].astype(kind) for name, kind in zip(NAMES, kinds, strict=True)}
    told = [(op, int((columns["op"] == op).sum())) for op in ops]
    probes = [Probe(op.name.lower(), "fentry", op, hits=rows_, kept=rows_) for op, rows_ in told]
    zones = [replace(ZONES[0], low=1)]
    shots = [Snapshot("start", START_NS - 100, START_NS, zones, [])]
    given: dict[str, Any] = {"rung": "fentry", "guest": GUEST, "zones": zones, "snapshots": shots}
    writer = TraceWriter(path, manifest(**given))
    writer.write_frames("start", frame_runs(START_NS - 50))
    writer.write_segment(columns, probes)
    writer.close(manifest(**given, status="complete", probes=probes))
    return open_trace(path)


@pytest.mark.parametrize("start", ["steady", "cold", "recorded"])
@pytest.mark.parametrize("seed", range(4))
def test_own_reporting_changes_no_answer_of_any_policy(tmp_path: Path, seed: int, start: str) -> None:
    upper = write(tmp_path / "upper.trace", history(seed), (*TRACEPOINTS, *OWN))
    lower = down_to_tracepoints(upper, tmp_path / "lower.trace")
    assert lower.rows < upper.rows - 100
    assert lower.manifest.rung == "tracepoints"
    options = Options(start, logging=True)
    one, two = replay(upper, POLICIES, options), replay(lower, POLICIES, options)
    assert [result.policy for result in one.results if result.reports.is_empty()] == ["never"]
    assert_same_answers(one, two)


def test_compaction_that_tracepoints_do_not_show_changes_answers(tmp_path: Path) -> None:
    rows = history(1)
    at = next(i for i, row in enumerate(rows) if row[1] == Op.REPORTING_ISOLATE)
    ts_ns, _, pfn, order, kind, cpu, _ = rows[at]
    rows = [*rows[:at], (ts_ns, Op.ISOLATE, pfn, order, kind, cpu, 1), *rows[at + 2 :]]
    upper = write(tmp_path / "upper.trace", rows, (*TRACEPOINTS, Op.ISOLATE, *OWN))
    lower = down_to_tracepoints(upper, tmp_path / "lower.trace")
    with pytest.raises(AssertionError):
        assert_same_answers(replay(upper, POLICIES), replay(lower, POLICIES))


def test_a_trace_whose_entries_were_told_by_a_function_cannot_be_brought_down(tmp_path: Path) -> None:
    rows = history(1)
    for at, (ts_ns, op, pfn, order, kind, cpu, aux) in enumerate(rows):
        if op == Op.PCPU_DRAIN:
            rows[at] = (ts_ns, Op.BUDDY_FREE, pfn, order, kind, cpu, aux)
    upper = write(tmp_path / "upper.trace", rows, (Op.ZONE_LOCKED, Op.BUDDY_FREE, *OWN))
    with pytest.raises(ValueError, match="drains"):
        down_to_tracepoints(upper, tmp_path / "lower.trace")

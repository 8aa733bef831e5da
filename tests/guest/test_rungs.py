"""On the upper rungs of the ladder, what tracepoints do not show is in the trace."""

from pathlib import Path

import polars as pl
import pytest

from replay.buddy.ops import Meaning, meaning_of
from tests.guest.machine import Machine
from tests.guest.running import answer, pagetide
from tracer import Op, Trace, open_trace

UPPER = ("kprobes", "fentry")
RUNGS = ("tracepoints", *UPPER)
REPORTING_BATCH = 32  # include/linux/page_reporting.h: PAGE_REPORTING_CAPACITY
FUNCTIONS = {Op.ISOLATE, Op.PUT_BACK, Op.NOTIFY, Op.PASS_START, Op.PASS_END, Op.REPORT}
FUNCTIONS |= {Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK}


def rung_of(traces: Path, rung: str) -> Trace:
    return open_trace(traces / f"{rung}.trace")


def events(trace: Trace, *ops: Op) -> pl.DataFrame:
    """Those while the workload ran: the recordings begin and end at different times."""
    shots = trace.manifest.snapshots
    inside = pl.col("ts_ns").is_between(shots[0].end_ns, shots[-1].begin_ns)
    return trace.events.filter(pl.col("op").is_in([int(op) for op in ops]) & inside).collect()


@pytest.mark.parametrize(
    ("rung", "reason"), [("fentry", None), ("kprobes", "held down"), ("tracepoints", "held down")]
)
def test_the_rung_in_use_and_why_no_higher_one_are_told(traces: Path, rung: str, reason: str | None) -> None:
    manifest = rung_of(traces, rung).manifest
    assert manifest.rung == rung
    assert manifest.lost == 0
    assert (manifest.rung_reason or "").startswith(reason or "")
    assert (manifest.rung_reason is None) == (reason is None)


def test_doctor_tells_the_rung_and_what_holds_it_down(machine: Machine) -> None:
    verdict = answer(pagetide(machine, "doctor", "--json", PAGETIDE_RUNG="kprobes"))
    checks = {check["name"]: check["how"] for check in verdict["checks"]}
    assert verdict["ready"]
    assert checks["rung"].startswith("kprobes: ")
    assert "held down by PAGETIDE_RUNG" in checks["rung"]
    assert checks["free lists"] == "their order can be read"
    assert checks["BPF programs"].startswith("compiled")
    assert checks["kernel headers"].startswith("none")
    assert checks["own reporting"].startswith("active")


def test_tracepoints_alone_record_no_function(traces: Path) -> None:
    trace = rung_of(traces, "tracepoints")
    assert {probe.kind for probe in trace.manifest.probes} <= {"tracepoint", "raw_tracepoint"}
    assert not {probe.op for probe in trace.manifest.probes} & FUNCTIONS


@pytest.mark.parametrize(("rung", "kind"), [("fentry", "fentry"), ("kprobes", "kprobe")])
def test_each_function_has_a_probe_of_the_rungs_kind(traces: Path, rung: str, kind: str) -> None:
    manifest = rung_of(traces, rung).manifest
    probes = {probe.op: probe for probe in manifest.probes}
    assert set(probes) >= FUNCTIONS
    # The driver is a module, where fentry does not reach from here.
    kinds = {probe.kind for op, probe in probes.items() if op in FUNCTIONS - {Op.REPORT}}
    assert kinds == {kind}
    assert probes[Op.ISOLATE].name == "__isolate_free_page"
    assert probes[Op.ISOLATE].hits == probes[Op.ISOLATE].kept > 0
    # This kernel compiles it such that it cannot be traced: told, and the drains are kept instead.
    assert Op.BUDDY_FREE not in probes
    assert any(note.startswith("__free_one_page is not recorded: ") for note in manifest.notes)
    assert probes[Op.PCPU_DRAIN].kept > 0


@pytest.mark.parametrize("rung", UPPER)
def test_the_guests_own_reporting_is_told_pass_by_pass(traces: Path, rung: str) -> None:
    trace = rung_of(traces, rung)
    assert len(events(trace, Op.NOTIFY)) > 0
    told = events(trace, Op.PASS_START, Op.PASS_END, Op.REPORT, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK)
    held: list[tuple[int, int]] = []
    inside, passes = False, 0
    rows = told.select("op", "pfn", "order", "aux").rows()
    begun = next(at for at, row in enumerate(rows) if row[0] == Op.PASS_START)  # one may go on before
    for op, pfn, order, aux in rows[begun:]:
        if op in (Op.PASS_START, Op.PASS_END):
            assert inside == (op == Op.PASS_END)
            inside, passes = op == Op.PASS_START, passes + 1
            assert not held
            continue
        assert inside
        if op == Op.REPORTING_ISOLATE:
            assert order >= trace.manifest.guest.pageblock_order
            held.append((pfn, order))
        elif op == Op.REPORT:
            assert aux == len(held) > 0
        else:
            held.remove((pfn, order))
    assert passes >= 2


@pytest.mark.parametrize("rung", UPPER)
def test_what_compaction_takes_out_of_the_buddy_is_an_exit(traces: Path, rung: str) -> None:
    trace = rung_of(traces, rung)
    taken = events(trace, Op.ISOLATE)
    assert len(taken) > 10
    assert set(taken["aux"]) == {1}
    assert all(pfn % (1 << order) == 0 for pfn, order in taken.select("pfn", "order").rows())
    assert meaning_of(trace)[Op.ISOLATE, 0] == Meaning.ISOLATE


def test_both_upper_rungs_tell_the_same_blocks(traces: Path) -> None:
    one, two = (rung_of(traces, rung) for rung in UPPER)
    begin = max(trace.manifest.snapshots[0].end_ns for trace in (one, two))
    end = min(trace.manifest.snapshots[-1].begin_ns for trace in (one, two))
    told = [
        events(trace, Op.ISOLATE, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK)
        .filter(pl.col("ts_ns").is_between(begin, end))
        .select("op", "pfn", "order", "migratetype", "aux")
        for trace in (one, two)
    ]
    assert len(told[0]) > 10
    assert told[0].equals(told[1])


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("rung", ["tracepoints", "fentry"])
def test_the_free_lists_are_read_beside_each_snapshot(traces: Path, rung: str, name: str) -> None:
    trace = rung_of(traces, rung)
    shot, lists = trace.manifest.snapshot(name), trace.lists(name)
    assert shot and shot.lists and lists
    told = pl.DataFrame(pl.from_arrow(lists))
    assert shot.begin_ns <= told["read_begin_ns"].min() <= told["read_ts_ns"].max() <= shot.end_ns  # type: ignore[operator]
    assert told.select("zone", "order", "migratetype", "position").is_unique().all()
    assert told["pfn"].is_unique().all()
    counted = {(zone, order): count for zone, order, count in told.group_by("zone", "order").len().rows()}
    moved = 0
    for zone, info in enumerate(shot.buddyinfo):
        for order in range(trace.manifest.guest.pageblock_order, trace.manifest.guest.max_order + 1):
            moved += abs(counted.get((zone, order), 0) - info.blocks[order])
    assert len(told) > 100
    # The guest's own reporting may hold a batch at one of the two instants.
    assert moved <= 0.05 * len(told) + REPORTING_BATCH

"""What ftrace prints (trace, trace_pipe) and what trace-cmd report makes of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.main import run
from tests.pure import import_texts
from tests.pure.import_texts import FTRACE, imported, lines, refused, rows, rows_of
from tracer import open_trace
from tracer.faults import ExitCode
from tracer.format import Loss, Op
from tracer.importers.blocks import parse
from tracer.importers.manifest import ANY_EVENT

HEADER = lines(
    "# tracer: nop",
    "#",
    "# entries-in-buffer/entries-written: 4/{written}   #P:4",
    "#",
    "#                                _-----=> irqs-off/BH-disabled",
    "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION",
    "#              | |         |   |||||     |         |",
)


def locked(ts: str, cpu: int = 0, pfn: int = 16) -> str:
    at = f"page=000000007d700afb pfn={pfn:#x} order=0 migratetype=0 percpu_refill=1"
    return f"            bash-1234    [{cpu:03d}] d..2. {ts}: mm_page_alloc_zone_locked: {at}"


def drained(ts: str, cpu: int = 0, pfn: int = 16) -> str:
    at = f"page=000000007d700afb pfn={pfn:#x} order=0 migratetype=0"
    return f"     kworker/1:1-28737   [{cpu:03d}] d..2. {ts}: mm_page_pcpu_drain: {at}"


TRACE = HEADER.format(written=4) + lines(
    locked("1.000000", 0), drained("2.000000", 0), locked("3.000000", 1), drained("4.000000", 1)
)


@pytest.mark.parametrize("dialect", FTRACE)
@given(data=st.data())
def test_whatever_ftrace_prints_comes_back_as_the_same_columns(dialect, data):
    events = data.draw(import_texts.events(microseconds=dialect != "trace-cmd"))
    block = parse(lines(*map(FTRACE[dialect], events)).encode(), with_pid=True)
    assert not block.bad
    with_tgid = dialect == "tgid, decimal"
    assert block.rows.pop("pid").tolist() == [
        event.task.tgid if with_tgid else event.task.pid for event in events
    ]
    assert block.threads == (0 if with_tgid else len(events))
    assert rows_of(block) == [event.row for event in events]


def test_a_whole_buffer_is_a_whole_trace(tmp_path):
    trace, said = imported(tmp_path, TRACE)
    assert trace.complete
    assert [row["cpu"] for row in rows(trace)] == [0, 0, 1, 1]
    assert trace.manifest.guest.cpus == 4
    assert trace.manifest.clock is None
    assert (said.summary.lines, said.summary.other) == (11, 7)
    assert any("whole microseconds" in note for note in trace.manifest.notes)


def test_what_was_overwritten_is_lost_before_the_first_event(tmp_path):
    trace, _ = imported(tmp_path, TRACE.replace("4/4 ", "4/1004 "))
    assert trace.losses == [Loss(1_000_000_000, 1_000_000_000, 1000)]
    lost = next(probe for probe in trace.manifest.probes if probe.name == ANY_EVENT)
    assert (lost.hits, lost.kept, lost.lost) == (1000, 0, 1000)
    assert any("also of kinds not imported: 1000" in note for note in trace.manifest.notes)


def test_a_cpu_whose_buffer_starts_later_was_unseen_until_then(tmp_path):
    head, third, rest = TRACE.replace("4/4 ", "4/1004 ").partition(locked("3.000000", 1))
    trace, _ = imported(tmp_path, f"{head}##### CPU 1 buffer started ####\n{third}{rest}")
    assert trace.losses == [
        Loss(1_000_000_000, 1_000_000_000, 1000),
        Loss(1_000_000_000, 3_000_000_000, 0),
    ]
    assert trace.manifest.lost == 1000


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("CPU:1 [LOST 1234 EVENTS]", 1234),
        ("CPU:1 [LOST EVENTS]", 1),
        ("CPU:1 [1234 EVENTS DROPPED]", 1234),
        ("CPU:1 [EVENTS DROPPED]", 1),
    ],
)
def test_lost_events_lie_between_two_events_of_their_cpu(tmp_path, line, events):
    text = lines(
        locked("1.000000", 1), locked("2.000000", 0), line, drained("3.000000", 1), drained("4.000000", 0)
    )
    trace, _ = imported(tmp_path, text)
    assert trace.losses == [Loss(1_000_000_000, 3_000_000_000, events)]
    assert trace.manifest.lost == events


def test_a_loss_at_the_very_end_ends_with_the_file(tmp_path):
    trace, _ = imported(tmp_path, TRACE + lines("CPU:0 [LOST 7 EVENTS]"))
    assert trace.losses == [Loss(2_000_000_000, 4_000_000_000, 7)]


def test_trace_cmds_own_lines_are_no_events(tmp_path):
    text = lines("CPU 2 is empty", "cpus=4", locked("1.000000"), drained("2.000000"))
    trace, said = imported(tmp_path, text)
    assert (trace.rows, said.summary.other, trace.manifest.guest.cpus) == (2, 2, 4)


def test_a_kernel_that_does_not_say_refill_is_not_made_to(tmp_path):
    trace, _ = imported(tmp_path, TRACE.replace(" percpu_refill=1", ""))
    assert [row["aux"] for row in rows(trace) if row["op"] == Op.ZONE_LOCKED] == [2, 2]


def test_a_clock_that_counts_is_refused(tmp_path):
    text = lines(locked("123456789"), drained("123456790"))
    assert "cannot be read, the first: " in refused(lambda: imported(tmp_path, text)).how


def test_the_command_takes_ftrace_and_knows_a_perf_data(tmp_path, capsys):
    file, out = tmp_path / "trace", tmp_path / "b.trace"
    file.write_text(TRACE)
    assert run(["import", "ftrace", str(file), "-o", str(out)]) == 0
    assert open_trace(out).rows == 4
    file.write_bytes(b"PERFILE2\0")
    capsys.readouterr()
    assert run(["import", "ftrace", str(file), "-o", str(out), "--force"]) == ExitCode.USAGE
    assert "pagetide import perf" in capsys.readouterr().err
    assert run(["import", "bpf", str(file), "-o", str(out), "--force"]) == ExitCode.USAGE
    assert open_trace(out).rows == 4


def test_lost_events_end_the_command_with_3_unless_allowed(tmp_path, capsys):
    file, out = tmp_path / "trace", tmp_path / "b.trace"
    file.write_text(TRACE + lines("CPU:0 [LOST 7 EVENTS]"))
    command: Any = ["import", "ftrace", str(file), "-o", str(out)]
    assert run(command) == ExitCode.LOSSY
    assert "--allow-loss" in capsys.readouterr().err
    assert run([*command, "--force", "--allow-loss"]) == 0

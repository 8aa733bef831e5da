"""perf script's text and perf.data, as perfs and kernels of several years write them."""

import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.main import run
from tests.pure import import_texts
from tests.pure.import_texts import FLAGS, PERF, imported, lines, refused, rows, rows_of
from tracer import open_trace
from tracer.faults import ExitCode
from tracer.format import Clock, Loss, Op
from tracer.importers import ordering
from tracer.importers.blocks import parse
from tracer.importers.frames_seen import FramesSeen
from tracer.importers.importing import Wanted, import_file
from tracer.importers.said import GuestSaid

ALLOC = "page=0x1fd10e pfn=0x1fd10e order=0 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_ZERO"
FREE = "page=0x1fd10e pfn=0x1fd10e order=3"
OWNERS = lines(
    f"            perf  6707 [001] 11968.651859:                              kmem:mm_page_alloc: {ALLOC}",
    f"     Web Content  6708 [000] 11968.651973:                               kmem:mm_page_free: {FREE}",
)
LOCKED = "page=0x1003af pfn=0x1003af order=0 migratetype=2 percpu_refill=1"
DRAINED = "page=0x26d136 pfn=0x26d136 order=0 migratetype=1"
BUDDY = lines(
    f"         python3  6708 [001] 11968.653541:                  kmem:mm_page_alloc_zone_locked: {LOCKED}",
    f"         python3  6708 [000] 11970.050480:                         kmem:mm_page_pcpu_drain: {DRAINED}",
)
HEADER = lines(
    "# ========",
    "# captured on    : Mon Nov 23 00:23:03 2026",
    "# hostname : secret",
    "# os release : 6.1.0-18-amd64",
    "# arch : x86_64",
    "# nrcpus online : 8",
    "# cmdline : /usr/bin/perf record -a -k mono -e kmem:mm_page_alloc -- sh -c ",
    "  echo mm_page_free and more",
    "# event : name = kmem:mm_page_pcpu_drain, , id = { 3636, 3637 }, type = 2, size = 128",
    "# clockid: monotonic (1)",
    "# reference time: 2026-11-23 00:23:03.643743 = 1795393383.643743 (TOD) = 11972.471944618 (monotonic)",
    "# ========",
    "#",
)


def locked(ts: str, cpu: int = 0, pfn: int = 16) -> str:
    at = f"page=0x1 pfn={pfn:#x} order=0 migratetype=0 percpu_refill=1"
    return f"            bash  1 [{cpu:03d}] {ts}: kmem:mm_page_alloc_zone_locked: {at}"


def drained(ts: str, cpu: int = 0, pfn: int = 16) -> str:
    at = f"page=0x1 pfn={pfn:#x} order=0 migratetype=0"
    return f"            bash  1 [{cpu:03d}] {ts}: kmem:mm_page_pcpu_drain: {at}"


# Round trip


@pytest.mark.parametrize("dialect", PERF)
@given(data=st.data())
def test_whatever_perf_prints_comes_back_as_the_same_columns(dialect, data):
    events = data.draw(import_texts.events(microseconds=dialect == "perf"))
    block = parse(lines(*map(PERF[dialect], events)).encode())
    assert not block.bad
    assert rows_of(block) == [event.row for event in events]


@given(events=import_texts.events(microseconds=False))
def test_processes_and_flags_come_back_when_asked_for(events):
    text = lines(*map(PERF["pid/tid, ns"], events))
    block = parse(text.encode(), with_pid=True, with_gfp=True)
    assert block.threads == 0
    assert block.rows["pid"].tolist() == [event.task.tgid for event in events]
    flags = [FLAGS[event.flags] if event.op == Op.PAGE_ALLOC else 0 for event in events]
    assert block.rows["gfp"].tolist() == flags


def test_a_thread_is_not_taken_for_its_process_unsaid(tmp_path):
    unknown = "             :-1    -1 [001] 11971.000000: kmem:mm_page_pcpu_drain: " + DRAINED
    trace, _ = imported(tmp_path, BUDDY + lines(unknown), with_pid=True, with_gfp=True)
    assert [row["pid"] for row in rows(trace)] == [6708, 6708, 0]
    assert any("may be a thread's" in note for note in trace.manifest.notes)


def test_flags_without_a_number_are_named(tmp_path):
    text = OWNERS.replace("__GFP_ZERO", "__GFP_NEW|__GFP_ZERO")
    trace, _ = imported(tmp_path, text, with_gfp=True)
    assert [row["gfp"] for row in rows(trace)] == [0xDC0, 0]
    assert any("__GFP_NEW" in note for note in trace.manifest.notes)


# What is known, and what is not


def test_a_perf_text_says_what_was_recorded_and_where(tmp_path):
    trace, said = imported(tmp_path, HEADER + BUDDY + OWNERS)
    manifest, guest = trace.manifest, trace.manifest.guest
    assert trace.complete
    assert (manifest.rung, manifest.layers, manifest.snapshots) == ("imported", ["buddy", "frame"], [])
    assert (guest.kernel_release, guest.machine, guest.cpus) == ("6.1.0-18-amd64", "x86_64", 8)
    assert manifest.clock == Clock(monotonic_ns=11972_471944618, wall_ns=1795393383_643743000)
    assert (said.summary.lines, said.summary.other) == (17, 13)
    assert {probe.kind for probe in manifest.probes} == {"imported"}
    assert sum(probe.kept for probe in manifest.probes) == trace.rows == 4
    assert "secret" not in json.dumps(json.loads((trace.path / "manifest.json").read_text()))


def test_without_pids_no_column_tells_them(tmp_path):
    trace, _ = imported(tmp_path, BUDDY)
    assert "pid" not in trace.events.collect_schema()
    assert "gfp" not in trace.events.collect_schema()


def test_the_zone_reaches_to_the_highest_frame_and_manages_those_seen(tmp_path):
    trace, _ = imported(tmp_path, OWNERS)
    (zone,) = trace.zones
    assert (zone.name, zone.start_pfn, zone.end_pfn) == ("unknown", 0, 0x1FD400)
    assert zone.managed == zone.present == 8  # order 3; the allocated frame lies inside
    assert (zone.free, zone.min, zone.low, zone.high) == (0, 0, 0, 0)


def test_an_alloc_and_its_free_alone_are_owners(tmp_path):
    trace, _ = imported(tmp_path, OWNERS)
    assert trace.owners_only
    assert trace.manifest.layers == ["owner"]
    assert any("owners" in note for note in trace.manifest.notes)


def test_owners_beside_half_of_the_buddys_events_stay_owners_and_say_so(tmp_path):
    trace, _ = imported(tmp_path, OWNERS + lines(locked("11969.000000")))
    assert trace.manifest.layers == ["owner"]
    assert any("without mm_page_pcpu_drain" in note for note in trace.manifest.notes)


def test_an_event_a_header_names_was_recorded_though_it_never_came(tmp_path):
    header = "# event : name = kmem:mm_page_pcpu_drain, , id = { 1 }\n"
    trace, _ = imported(tmp_path, header + lines(locked("1.000001")))
    assert trace.manifest.layers == ["buddy"]
    drain = next(probe for probe in trace.manifest.probes if probe.op == Op.PCPU_DRAIN)
    assert (drain.hits, drain.kept) == (0, 0)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "clock of the times is unknown"),
        ("# cmdline : perf record -k CLOCK_MONOTONIC -a\n", "CLOCK_MONOTONIC; where"),
    ],
)
def test_a_clock_that_is_not_named_is_unknown(tmp_path, header, said):
    trace, _ = imported(tmp_path, header + BUDDY)
    assert trace.manifest.clock is None
    assert any(said in note for note in trace.manifest.notes)


def test_what_the_user_says_of_the_guest_is_not_assumed(tmp_path):
    guest = GuestSaid(page_size=16384, max_order=11, pageblock_order=11, pcp_orders=[0])
    trace, _ = imported(tmp_path, BUDDY, said=guest)
    told = trace.manifest.guest
    assert (told.page_size, told.max_order, told.pageblock_order, told.pcp_orders) == (16384, 11, 11, [0])
    (assumed,) = [note for note in trace.manifest.notes if note.startswith("assumed")]
    assert "bytes" not in assumed
    assert "order" not in assumed


def test_an_order_beyond_the_assumed_one_raises_it(tmp_path):
    trace, _ = imported(tmp_path, BUDDY.replace("order=0 migratetype=1", "order=11 migratetype=1"))
    assert trace.manifest.guest.max_order == 11


def test_extfrag_tells_the_pageblock_order(tmp_path):
    at = "page=0x1 pfn=0x200 alloc_order=0 fallback_order=5 pageblock_order=7 alloc_migratetype=1"
    more = "fallback_migratetype=2 fragmenting=1 change_ownership=0"
    trace, _ = imported(
        tmp_path, BUDDY + lines(f"bash 1 [000] 11971.000000: kmem:mm_page_alloc_extfrag: {at} {more}")
    )
    assert trace.manifest.guest.pageblock_order == 7


def test_a_text_with_only_time_and_event_has_no_cpus_and_says_so(tmp_path):
    text = "".join(line[line.index("11") :] + "\n" for line in BUDDY.splitlines())
    trace, _ = imported(tmp_path, text)
    assert [row["cpu"] for row in rows(trace)] == [0, 0]
    assert any("do not say their CPU, for which 0 stands: 2" in note for note in trace.manifest.notes)


@given(st.lists(st.tuples(st.integers(0, 1 << 23), st.integers(0, 12)), max_size=20))
def test_frames_seen_are_those_of_all_blocks(blocks):
    seen, expected = FramesSeen(), set()
    for start, order in blocks:
        pfn = start >> order << order
        seen.add(np.array([pfn], np.uint64), np.array([order], np.uint8))
        expected |= set(range(pfn, pfn + (1 << order)))
    assert (len(seen), seen.end_pfn) == (len(expected), max(expected, default=-1) + 1)


def test_an_allocation_without_a_page_is_filtered(tmp_path):
    none = OWNERS.splitlines()[0].replace("page=0x1fd10e pfn=0x1fd10e", "page=(nil) pfn=0x0")
    raw = none.replace("pfn=0x0", "pfn=18446744073709551615")
    trace, _ = imported(tmp_path, OWNERS + lines(none, raw))
    alloc = next(probe for probe in trace.manifest.probes if probe.op == Op.PAGE_ALLOC)
    assert (alloc.hits, alloc.kept, alloc.filtered, alloc.lost) == (3, 1, 2, 0)


# Losses and dirt


def test_a_lost_record_lies_between_its_cpus_last_event_and_itself(tmp_path):
    lost = "            bash  1 [001] 5.000000500: PERF_RECORD_LOST lost 53"
    text = lines(locked("1.000000000", 1), locked("2.000000000", 0), lost, drained("6.000000000", 1))
    trace, said = imported(tmp_path, text)
    assert trace.losses == [Loss(1_000_000_000, 5_000_000_500, 53)]
    assert trace.manifest.lost == 53
    assert not trace.complete
    assert not said.summary.bad


@pytest.mark.parametrize(
    ("line", "loss"),
    [
        ("[001] 5.000000500: PERF_RECORD_LOST_SAMPLES lost 7", Loss(1_000_000_000, 5_000_000_500, 7)),
        ("PERF_RECORD_LOST lost 7", Loss(2_000_000_000, 6_000_000_000, 7)),
        ("LOST 7 events!", Loss(2_000_000_000, 6_000_000_000, 7)),
    ],
)
def test_a_loss_without_cpu_or_time_lies_between_its_neighbours(tmp_path, line, loss):
    text = lines(locked("1.000000000", 1), locked("2.000000000", 0), line, drained("6.000000000", 1))
    assert imported(tmp_path, text)[0].losses == [loss]


def test_a_task_cannot_pretend_a_loss(tmp_path):
    other = "LOST 999 events 1 [000] 2.500000: cycles: ffff".rjust(60)
    trace, said = imported(tmp_path, lines(locked("1.000000"), other, drained("3.000000")))
    assert (trace.losses, said.summary.other) == ([], 1)


def test_a_loss_reaches_back_over_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.importers.source.BLOCK_BYTES", 256)
    between = [locked(f"2.{n:06d}", 0) for n in range(100)]
    lost = "            bash  1 [001] 5.000000500: PERF_RECORD_LOST lost 53"
    trace, _ = imported(tmp_path, lines(locked("1.000000", 1), *between, lost, drained("6.000000", 1)))
    assert trace.losses == [Loss(1_000_000_000, 5_000_000_500, 53)]
    assert trace.rows == 102


@pytest.mark.parametrize(
    "line",
    [
        "bash 1 [000] 2.000000: kmem:mm_page_free: page=0x1 pfn=0x12zz order=1",
        "bash 1 [000] 2.000000: kmem:mm_page_free: page=0x1 pfn=0x12",
        "bash 1 [000] 2.000000: kmem:mm_page_free: page=0x1 pfn=0x12 order=99",
        "bash 1 [000] 2.000000: kmem:mm_page_free: page=0x1 pfn=0x100000000000 order=0",
        "bash 1 [70000] 2.000000: kmem:mm_page_free: page=0x1 pfn=0x12 order=0",
        "bash 1 [000] 99999999999.000000: kmem:mm_page_free: page=0x1 pfn=0x12 order=0",
        "bash 1 [000] 212345: kmem:mm_page_free: page=0x1 pfn=0x12 order=0",
        "another format 2.000000 kmem:mm_page_free: page=0x1 pfn=0x12 order=0",
    ],
)
def test_a_line_that_cannot_be_read_is_counted_quoted_and_lost(tmp_path, line):
    text = lines(locked("1.000000"), line, drained("3.000000"))
    trace, said = imported(tmp_path, text)
    assert said.summary.bad == {Op.PAGE_FREE: 1}
    assert said.summary.first_bad == line
    assert trace.losses == [Loss(1_000_000_000, 3_000_000_000, 1)]
    assert trace.manifest.lost == 1
    assert not any(line in note for note in trace.manifest.notes)
    assert trace.rows == 2


def test_a_torn_last_line_is_not_believed(tmp_path):
    whole = lines(locked("1.000000"), drained("2.000000"))
    trace, said = imported(tmp_path, whole + locked("3.000000")[:-1])
    assert trace.rows == 2
    assert said.summary.bad == {Op.ZONE_LOCKED: 1}
    assert trace.losses == [Loss(2_000_000_000, 2_000_000_000, 1)]


def test_another_events_text_is_no_event(tmp_path):
    fake = f"prog 12 [001] 2.000000: ftrace:print: [001] 2.000000: kmem:mm_page_free: {FREE}"
    trace, said = imported(
        tmp_path, BUDDY + lines(fake, "bash 1 [000] 2.000000: kmem:mm_page_free_batched: page=1")
    )
    assert trace.rows == 2
    assert (said.summary.bad.total(), said.summary.other) == (1, 1)


def test_call_graphs_and_other_events_are_other_lines(tmp_path):
    stack = [
        "        ffffffff8128d3c6 __free_one_page+0x6 ([kernel.kallsyms])",
        "",
        "bash 1 [000] 1.0: cycles: ffff",
    ]
    trace, said = imported(tmp_path, BUDDY + lines(*stack))
    assert (trace.rows, said.summary.other, said.summary.bad.total()) == (2, 3, 0)


def test_bytes_that_are_no_unicode_stay_inside_a_tasks_name(tmp_path):
    trace, said = imported(tmp_path, BUDDY.encode().replace(b"python3", b"pyt\xff\xfe3"))
    assert (trace.rows, said.summary.bad.total()) == (2, 0)


# Order


def test_small_swaps_are_put_into_order(tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "SEGMENT_ROWS", 50)
    monkeypatch.setattr(ordering, "HELD_ROWS", 10)
    monkeypatch.setattr("tracer.importers.source.BLOCK_BYTES", 512)
    at = [n ^ 1 for n in range(1000)]
    trace, _ = imported(
        tmp_path, lines(*(drained(f"{n}.000000", pfn=n + 1) for n in at), locked("1000.000000"))
    )
    assert [row["ts_ns"] for row in rows(trace)] == [n * 10**9 for n in range(1001)]
    assert trace.manifest.late_events == 0
    assert len(trace.segments) > 5


def test_late_events_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "SEGMENT_ROWS", 50)
    monkeypatch.setattr(ordering, "HELD_ROWS", 10)
    monkeypatch.setattr("tracer.importers.source.BLOCK_BYTES", 512)
    text = lines(*(drained(f"{n}.000000") for n in range(10, 500)), locked("1.000000"))
    trace, _ = imported(tmp_path, text)
    assert trace.manifest.late_events == 1
    assert any("time goes back: 1" in note for note in trace.manifest.notes)


# Bad inputs


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\x7fELF\0\0\0\0\n", "is not text"),
        (b"\x17\x08\x44tracing6\0\n", "is no text"),
        (b"\x28\xb5\x2f\xfd\0\n", "is packed"),
        (b"hello\nworld\n", "has no page alloc/free events"),
        (lines(locked("1.000000")).encode(), "cannot be replayed"),
        (
            b"bash 1 [000] 212345: kmem:mm_page_free: page=0x1 pfn=0x12 order=0\n",
            "has no page alloc/free events",
        ),
        (b"x" * (20 << 20), "is not text"),
        (gzip.compress(BUDDY.encode() * 100)[:-20], "is damaged"),
        (gzip.compress(b"PERFILE2\n"), "cannot be given to perf"),
    ],
    ids=["empty", "binary", "trace.dat", "zstd", "text", "one", "clock", "line", "gz", "perf.data.gz"],
)
def test_a_bad_file_is_refused_and_leaves_nothing(tmp_path, content, what):
    fault = refused(lambda: imported(tmp_path, content))
    assert what in fault.what
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_wrong_with_the_first_line_is_quoted(tmp_path):
    line = "bash 1 [000] 212345: kmem:mm_page_free: page=0x1 pfn=0x12 order=0"
    assert line in refused(lambda: imported(tmp_path, lines(line))).how


def test_a_failure_after_segments_were_written_leaves_the_old_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(ordering, "SEGMENT_ROWS", 50)
    monkeypatch.setattr(ordering, "HELD_ROWS", 10)
    imported(tmp_path, BUDDY)
    packed = gzip.compress(lines(*(drained(f"{n}.000000") for n in range(6_000))).encode())[:-9]
    monkeypatch.setattr("tracer.importers.source.BLOCK_BYTES", 1 << 16)
    refused(lambda: imported(tmp_path, packed))
    assert open_trace(tmp_path / "out.trace").rows == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "out.trace"]


def test_an_output_that_exists_is_refused_unless_forced(tmp_path):
    imported(tmp_path, BUDDY)
    wanted = Wanted(str(tmp_path / "a.txt"), tmp_path / "out.trace", [])
    assert "exists already" in refused(lambda: import_file(wanted)).what


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    wanted = Wanted(str(tmp_path / name), tmp_path / "out.trace", [])
    assert "cannot be read" in refused(lambda: import_file(wanted)).what
    assert list(tmp_path.iterdir()) == []


def test_gzipped_text_is_text(tmp_path):
    trace, _ = imported(tmp_path, gzip.compress(BUDDY.encode()))
    assert trace.rows == 2


# perf.data


def fake_perf(folder: Path, script: str) -> None:
    perf = folder / "perf"
    perf.write_text(f"#!/bin/sh\n{script}\n")
    perf.chmod(perf.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path, monkeypatch) -> Any:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_a_perf_data_is_given_to_perf_script(tmp_path, path):
    (tmp_path / "text").write_text(HEADER + BUDDY)
    fake_perf(path, f'echo "$@" > {tmp_path}/args; cat {tmp_path}/text')
    trace, _ = imported(tmp_path, b"PERFILE2 and more\0", "perf.data")
    assert trace.rows == 2
    args = (tmp_path / "args").read_text()
    assert args.startswith(f"script -i {tmp_path}/perf.data ")
    assert "comm" not in args
    imported(tmp_path, b"PERFILE2 and more\0", "perf.data", with_pid=True)
    assert "comm,pid" in (tmp_path / "args").read_text()


def test_a_perf_that_fails_is_quoted(tmp_path, path):
    fake_perf(path, "echo; echo 'incompatible file format (rerun with -v)' >&2; exit 255")
    fault = refused(lambda: imported(tmp_path, b"PERFILE2\0", "perf.data"))
    assert "incompatible file format" in fault.how
    assert not (tmp_path / "out.trace").exists()


def test_a_missing_perf_is_said_with_the_command_that_helps(tmp_path, path, monkeypatch):
    monkeypatch.setenv("PATH", str(path))
    fault = refused(lambda: imported(tmp_path, b"PERFILE2\0", "perf.data"), ExitCode.ENVIRONMENT)
    assert "apt-get install linux-perf" in fault.fix


# The command


@pytest.fixture
def text(tmp_path) -> Any:
    (tmp_path / "a.txt").write_text(BUDDY)
    return tmp_path / "a.txt"


def test_the_command_says_what_came_in_and_what_is_unknown(tmp_path, text, capsys):
    assert run(["import", "perf", str(text), "-o", str(tmp_path / "b.trace")]) == 0
    out = capsys.readouterr().out
    assert "imported 2 events" in out
    assert "of 2 lines 0 are other, 0 cannot be read" in out
    assert "note: no start state" in out
    assert run(["info", str(tmp_path / "b.trace")]) == 0
    assert "note: no start state" in capsys.readouterr().out
    command_line = open_trace(tmp_path / "b.trace").manifest.command_line
    assert command_line == ["pagetide", "import", "perf", "a.txt", "-o", "b.trace"]


def test_json_is_one_object(tmp_path, text, capsys):
    with text.open("a") as file:
        file.write("bash 1 [000] 2.0: kmem:mm_page_free: torn\n")
    out = tmp_path / "b.trace"
    assert run(["import", "perf", str(text), "-o", str(out), "--json"]) == ExitCode.LOSSY
    said = json.loads(capsys.readouterr().out)
    assert (said["events"], said["lost"]) == (2, 1)
    assert said["lines"] == {
        "all": 3,
        "other": 0,
        "bad": 1,
        "first_bad": "bash 1 [000] 2.0: kmem:mm_page_free: torn",
    }
    assert run(["import", "perf", str(text), "-o", str(out), "--allow-loss", "--force"]) == 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--page-size", "5KiB"], "--page-size 5KiB is not possible"),
        (["--max-order", "21"], "--max-order 21 is not possible"),
        (["--pcp-orders", "a"], "--pcp-orders a cannot be read"),
        (["--pcp-orders", "3-1"], "--pcp-orders 3-1 is not possible"),
    ],
)
def test_a_guest_that_cannot_be_is_refused(tmp_path, text, capsys, options, what):
    assert run(["import", "perf", str(text), "-o", str(tmp_path / "b.trace"), *options]) == ExitCode.USAGE
    assert what in capsys.readouterr().err
    assert not (tmp_path / "b.trace").exists()


def test_orders_are_said_as_ranges(tmp_path, text):
    assert run(["import", "perf", str(text), "-o", str(tmp_path / "b.trace"), "--pcp-orders", "0-2,9"]) == 0
    assert open_trace(tmp_path / "b.trace").manifest.guest.pcp_orders == [0, 1, 2, 9]


def test_text_can_come_on_stdin(tmp_path):
    main = [sys.executable, "-c", "from replay.main import main; main()"]
    repo = Path(__file__).parents[2]
    done = subprocess.run(
        [*main, "import", "perf", "-", "-o", tmp_path / "b.trace"],
        input=BUDDY, text=True, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(repo)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert open_trace(tmp_path / "b.trace").rows == 2

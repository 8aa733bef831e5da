import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pure import small_traces
from tests.pure.small_traces import SEGMENTS, START_NS, edit_manifest, replace_events
from tracer import open_trace
from tracer.faults import ExitCode, Fault
from tracer.format import COUNTER_COLUMNS, EVENT_COLUMNS, FRAME_COLUMNS, LIST_COLUMNS, SAMPLE_COLUMNS
from tracer.output import check_output, output_fault
from tracer.parquet import arrow_schema, event_schema
from tracer.writer import TraceWriter

ROWS = sum(len(part) for part in SEGMENTS)
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def whole(tmp_path) -> Any:
    return small_traces.write(tmp_path / "a.trace")


def times(trace) -> Any:
    return [at for batch in trace.batches(["ts_ns"]) for at in batch["ts_ns"].to_pylist()]


def fault_of(call, code=ExitCode.USAGE) -> Any:
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == code
    assert len(str(caught.value).splitlines()) == 3
    return caught.value


def read_all(path) -> Any:
    trace = open_trace(path)
    trace.frames("start")
    return times(trace)


def index(path) -> Any:
    return path / "segments.jsonl"


def lines(path) -> Any:
    return index(path).read_bytes().splitlines(keepends=True)


# Round trip


def test_what_is_written_is_read_back(whole):
    trace = open_trace(whole)
    assert trace.complete
    assert trace.rows == ROWS
    assert times(trace) == [at for part in SEGMENTS for at in part]
    (batch,) = list(open_trace(whole).batches(list(EVENT_COLUMNS)))[1:]
    expected = small_traces.columns(SEGMENTS[1])
    assert {name: batch[name].to_pylist() for name in EVENT_COLUMNS} == {
        name: values.tolist() for name, values in expected.items()
    }
    assert {field.name: str(field.type) for field in batch.schema} == EVENT_COLUMNS


def test_the_manifest_is_read_back(whole):
    opened = open_trace(whole).manifest
    assert (opened.status, opened.guest, opened.zones) == ("complete", small_traces.GUEST, small_traces.ZONES)
    assert [shot.name for shot in opened.snapshots] == ["start", "end"]


def test_the_frames_are_read_back(whole):
    trace = open_trace(whole)
    assert trace.frames("start").equals(small_traces.frame_runs(START_NS - 100))
    assert trace.frames("start").schema.names == list(FRAME_COLUMNS)


def test_batches_have_at_most_the_rows_asked_for_and_keep_the_order(whole):
    sizes = [batch.num_rows for batch in open_trace(whole).batches(["pfn"], rows=2)]
    assert sizes == [2, 2, 1]


def test_events_are_lazy_and_whole(whole):
    assert open_trace(whole).events.select("ts_ns").collect()["ts_ns"].to_list() == [
        at for part in SEGMENTS for at in part
    ]


def test_the_span_begins_with_the_start_snapshot_and_ends_with_the_end_one(whole):
    assert open_trace(whole).span_ns == (START_NS, small_traces.END_NS)


def test_a_whole_trace_matches_its_checksums_and_leaves_nothing_aside(whole):
    open_trace(whole).verify()
    assert not list(whole.rglob(".*"))


def test_a_trace_is_private_to_its_owner(whole):
    assert whole.stat().st_mode & 0o777 == 0o700


def test_an_empty_trace_opens_with_no_rows_and_all_columns(tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace", []))
    assert (trace.complete, trace.rows, times(trace)) == (True, 0, [])
    assert trace.events.collect().shape == (0, len(EVENT_COLUMNS))


def test_unknown_keys_are_ignored_so_that_formats_can_grow(whole):
    edit_manifest(whole, lambda data: (data.update(future=1), data["guest"].update(future=[2])))
    assert open_trace(whole).complete


# Killed recordings


def test_a_killed_recording_is_recovered_up_to_its_last_closed_segment(tmp_path):
    trace = open_trace(small_traces.kill(small_traces.begin(tmp_path / "a.trace")))
    assert trace.manifest.status == "recovered"
    assert not trace.complete
    assert "killed" in trace.warnings[0]
    assert trace.rows == ROWS
    assert trace.manifest.probes[0].kept == ROWS
    assert trace.span_ns == (START_NS, SEGMENTS[-1][-1])


def test_a_recording_killed_before_its_first_segment_opens(tmp_path):
    trace = open_trace(small_traces.kill(small_traces.begin(tmp_path / "a.trace", [])))
    assert (trace.manifest.status, trace.rows) == ("recovered", 0)
    assert trace.span_ns == (START_NS, START_NS)


def test_a_recording_under_way_is_not_called_recovered(tmp_path):
    writer = small_traces.begin(tmp_path / "a.trace")
    trace = open_trace(writer.path)
    assert (trace.manifest.status, trace.rows) == ("recording", ROWS)
    assert ["still being recorded" in warning for warning in trace.warnings] == [True]
    small_traces.kill(writer)


def test_a_segment_without_an_index_line_is_not_part_of_the_trace(tmp_path):
    writer = small_traces.begin(tmp_path / "a.trace")
    (writer.path / "events/00002.parquet").write_bytes(b"half a file")
    (writer.path / "events/.00003.parquet.tmp").write_bytes(b"")
    assert len(times(open_trace(small_traces.kill(writer)))) == ROWS


@pytest.mark.parametrize("kept", [1, 40, -2])
def test_a_torn_last_index_line_leaves_its_segment_out_and_says_so(tmp_path, kept):
    path = small_traces.kill(small_traces.begin(tmp_path / "a.trace"))
    first, last = lines(path)
    index(path).write_bytes(first + last[:kept])
    trace = open_trace(path)
    assert times(trace) == list(SEGMENTS[0])
    assert any("torn" in warning for warning in trace.warnings)


def test_an_end_snapshot_that_was_never_taken_is_a_fault(tmp_path):
    path = small_traces.kill(small_traces.begin(tmp_path / "a.trace"))
    fault = fault_of(lambda: open_trace(path).frames("end"))
    assert "no end snapshot" in fault.what
    assert "it has start" in fault.how


# Damage


def test_a_damaged_index_line_in_the_middle_is_named(whole):
    first, last = lines(whole)
    index(whole).write_bytes(first.replace(b'"rows": 2', b'"rows": 3') + last)
    assert "line 1" in fault_of(lambda: open_trace(whole)).how


def test_a_segment_listed_twice_is_read_once(whole):
    first, last = lines(whole)
    index(whole).write_bytes(first + first + last)
    trace = open_trace(whole)
    assert trace.rows == ROWS
    assert "listed twice" in trace.warnings[0]
    assert not trace.complete


@pytest.mark.parametrize("kept", [0, 1])
def test_index_lines_that_are_gone_are_noticed(whole, kept):
    index(whole).write_bytes(b"".join(lines(whole)[:kept]))
    assert not open_trace(whole).complete


def test_an_index_that_is_gone_is_noticed(whole):
    index(whole).unlink()
    assert not open_trace(whole).complete


def test_a_truncated_segment_is_named_with_both_sizes(whole):
    file = whole / "events/00001.parquet"
    size = file.stat().st_size
    os.truncate(file, size - 1)
    fault = fault_of(lambda: open_trace(whole))
    assert "events/00001.parquet" in fault.what
    assert str(size) in fault.how
    assert str(size - 1) in fault.how


def test_a_missing_segment_is_named(whole):
    (whole / "events/00000.parquet").unlink()
    assert "lacks events/00000.parquet" in fault_of(lambda: open_trace(whole)).what


def test_a_flipped_bit_that_still_decodes_is_found_when_read_and_when_verified(tmp_path):
    # Random frames do not compress: the page holds them as they are, and one bit makes another frame.
    events = small_traces.columns(range(2_000_000, 2_004_000))
    events["pfn"] = np.random.default_rng(1).integers(0, 1 << 40, 4000, np.uint64)
    writer = small_traces.begin(tmp_path / "a.trace", [])
    writer.write_segment(events, small_traces.counted(4000))
    path = small_traces.kill(writer)
    file = path / "events/00000.parquet"
    column = pq.ParquetFile(file).metadata.row_group(0).column(2)
    data = bytearray(file.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    file.write_bytes(data)
    assert pq.read_table(file)["pfn"].to_pylist() != events["pfn"].tolist()
    trace = open_trace(path)
    assert "events/00000.parquet" in fault_of(lambda: list(trace.batches(["pfn"]))).what
    assert "checksum" in fault_of(trace.verify).how


def test_a_segment_that_is_no_parquet_is_named(whole):
    file = whole / "events/00000.parquet"
    file.write_bytes(b"x" * file.stat().st_size)
    assert "events/00000.parquet" in fault_of(lambda: times(open_trace(whole))).what


def test_a_missing_column_is_named_with_those_there_are(whole):
    replace_events(whole, pa.table(small_traces.columns(SEGMENTS[0])).drop_columns(["order"]))
    fault = fault_of(lambda: list(open_trace(whole).batches(["ts_ns", "order"])))
    assert "no column order" in fault.how
    assert "migratetype" in fault.how


@pytest.mark.parametrize("values", [[1.0, 2.0], ["a", "b"], pa.array([None, 2], pa.uint64())])
def test_a_column_of_another_type_or_with_nulls_is_a_fault(whole, values):
    table = pa.table(small_traces.columns(SEGMENTS[0])).set_column(2, "pfn", pa.array(values))
    replace_events(whole, table)
    assert "pfn" in str(fault_of(lambda: list(open_trace(whole).batches(["pfn"]))))


@pytest.mark.parametrize(
    "damage",
    [lambda file: file.unlink(), lambda file: os.truncate(file, 50), lambda file: file.write_bytes(b"")],
)
def test_a_damaged_snapshot_is_named(whole, damage):
    damage(whole / "frames/start.parquet")
    assert "frames/start.parquet" in fault_of(lambda: open_trace(whole).frames("start")).what


def test_a_snapshot_with_other_columns_is_a_fault(whole):
    file = whole / "frames/start.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["count"]), file)
    assert "no column count, only pfn, state" in fault_of(lambda: open_trace(whole).frames("start")).how


def test_lost_and_late_events_make_a_trace_incomplete_and_are_told(tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace", lost=3, late_events=2))
    assert not trace.complete
    assert trace.warnings == ["3 events were lost while recording", "2 events were stored out of time order"]


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/hostname"])
def test_a_file_outside_the_folder_is_never_read(whole, name):
    first = json.loads(lines(whole)[0])["line"]
    from tracer.format import Segment, from_json
    from tracer.writer import index_line

    segment = from_json(Segment, first | {"file": name}, "")
    index(whole).write_bytes(index_line(segment))
    fault = fault_of(lambda: open_trace(whole))
    assert "outside itself" in fault.what
    assert name in fault.how


def test_a_segment_that_is_a_link_to_the_outside_is_never_read(whole, tmp_path):
    file = whole / "events/00000.parquet"
    file.rename(tmp_path / "moved.parquet")
    file.symlink_to(tmp_path / "moved.parquet")
    assert "outside itself" in fault_of(lambda: open_trace(whole)).what


# Manifests


def test_a_newer_format_asks_for_an_upgrade(whole):
    edit_manifest(whole, lambda data: data.update(format=2, guest="something else"))
    fault = fault_of(lambda: open_trace(whole))
    assert "format 2" in fault.what
    assert "pagetide test" in fault.how
    assert fault.fix == "upgrade pagetide"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda data: data.pop("zones"), "manifest.json.zones"),
        (lambda data: data["guest"].pop("page_size"), "manifest.json.guest.page_size"),
        (lambda data: data["zones"][0].pop("managed"), "manifest.json.zones[0].managed"),
        (lambda data: data.update(status=1), "manifest.json.status"),
        (lambda data: data.update(format="1"), "manifest.json.format"),
        (lambda data: data.update(format=True), "manifest.json.format"),
        (lambda data: data.update(format=1.0), "manifest.json.format"),
        (lambda data: data.update(zones={}), "manifest.json.zones"),
        (lambda data: data["guest"].update(max_order="10"), "manifest.json.guest.max_order"),
        (lambda data: data["guest"].update(migratetypes=[1]), "manifest.json.guest.migratetypes[0]"),
        (lambda data: data.update(guest=[]), "manifest.json.guest"),
        (lambda data: data["reporting"].update(active="yes"), "manifest.json.reporting.active"),
    ],
)
def test_a_missing_key_or_a_wrong_type_is_named(whole, change, where):
    edit_manifest(whole, change)
    assert fault_of(lambda: open_trace(whole)).what.endswith(f" {where}")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_a_fault(whole, text):
    (whole / "manifest.json").write_bytes(text)
    assert "damaged" in fault_of(lambda: open_trace(whole)).what


@pytest.mark.parametrize(
    "change",
    [
        lambda data: (data.update(zones=[]), data["snapshots"][0].update(zones=[])),
        lambda data: data["guest"].update(page_size=0),
        lambda data: data["guest"].update(max_order=70),
        lambda data: data["guest"].update(pageblock_order=-1),
        lambda data: data.update(format=0),
    ],
)
def test_a_manifest_that_describes_no_possible_guest_is_a_fault(whole, change):
    edit_manifest(whole, change)
    fault_of(lambda: open_trace(whole))


def first_shot(**over: Any) -> Any:
    return lambda data: data["snapshots"][0].update(over)


def first_info(**over: Any) -> Any:
    return lambda data: data["snapshots"][0]["buddyinfo"][0].update(over)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (first_info(blocks=[1] * 10), "snapshots[0].buddyinfo[0].blocks"),
        (first_info(blocks=[1] * 12), "snapshots[0].buddyinfo[0].blocks"),
        (first_info(blocks=[-1] * 11), "snapshots[0].buddyinfo[0].blocks[0]"),
        (first_info(read_end_ns=1 << 63), "snapshots[0].buddyinfo[0].read_end_ns"),
        (first_shot(begin_ns=-(1 << 63) - 1), "snapshots[0].begin_ns"),
        (first_shot(end_ns=1 << 63), "snapshots[0].end_ns"),
        (first_shot(end_ns=START_NS - 201), "snapshots[0].end_ns"),
        (first_shot(name="end"), "snapshots[1].name"),
        (lambda data: data["zones"][0].update(low=-1), "zones[0].low"),
        (lambda data: data["zones"][0].update(managed=(1 << 48) + 1), "zones[0].managed"),
        (lambda data: data["zones"][0].update(spanned=(1 << 36) + 1), "zones' spanned, as a sum"),
        (lambda data: data["guest"].update(pcp_orders=[0, 21]), "guest.pcp_orders[1]"),
        (lambda data: data["guest"].update(pcp_orders=[-1]), "guest.pcp_orders[0]"),
        (lambda data: data["guest"].update(hz=0), "guest.hz"),
        (lambda data: data["probes"][0].update(lost=-1), "probes[0].lost"),
        (lambda data: data["probes"][0].update(op=256), "probes[0].op"),
        (lambda data: data.update(late_events=-1), "late_events"),
        (lambda data: data.update(end_ns=1 << 63), "end_ns"),
    ],
)
def test_a_value_that_cannot_be_is_named(whole, change, where):
    edit_manifest(whole, change)
    assert f"damaged at manifest.json.{where}" in fault_of(lambda: open_trace(whole)).what


def change_line(path, number: int, **over: Any) -> None:
    """Change a line of the index, with a right checksum."""
    from tracer.format import Segment, from_json
    from tracer.writer import index_line

    all_lines = lines(path)
    segment = from_json(Segment, json.loads(all_lines[number])["line"] | over, "")
    all_lines[number] = index_line(segment)
    index(path).write_bytes(b"".join(all_lines))


@pytest.mark.parametrize(
    ("over", "where"),
    [
        ({"first_ts_ns": SEGMENTS[1][-1] + 1}, "last_ts_ns"),
        ({"last_ts_ns": 1 << 63}, "last_ts_ns"),
        ({"first_ts_ns": -(1 << 63) - 1}, "first_ts_ns"),
        ({"rows": -1}, "rows of events/00001.parquet"),
        ({"losses": [{"begin_ns": 5, "end_ns": 4, "events": 1}]}, "losses[0].end_ns"),
        ({"losses": [{"begin_ns": 5, "end_ns": 6, "events": -1}]}, "losses[0].events"),
        ({"losses": [{"begin_ns": 5, "end_ns": 1 << 63, "events": 1}]}, "losses[0].end_ns"),
        ({"probes": [{"name": "a", "kind": "b", "op": 1, "hits": -1}]}, "probes[0].hits"),
    ],
)
def test_an_index_line_that_cannot_be_is_named(whole, over, where):
    change_line(whole, 1, **over)
    assert f"damaged at segments.jsonl line 2.{where}" in fault_of(lambda: open_trace(whole)).what


def test_a_segment_without_rows_may_begin_when_it_was_closed(tmp_path):
    path = small_traces.write(tmp_path / "a.trace", [SEGMENTS[0]], probes=small_traces.counted(0))
    empty = pa.table(small_traces.columns([]), schema=event_schema())
    file = path / "events/00000.parquet"
    pq.write_table(empty, file)
    change_line(path, 0, rows=0, size_bytes=file.stat().st_size, first_ts_ns=9, last_ts_ns=0)
    assert open_trace(path).complete


def test_index_lines_out_of_time_order_are_told(whole):
    assert open_trace(whole).warnings == []
    index(whole).write_bytes(b"".join(reversed(lines(whole))))
    (warning,) = open_trace(whole).warnings
    assert "segments.jsonl line 2: events/00000.parquet ends before" in warning


def test_a_trace_that_is_not_there_is_told_from_what_is_no_trace(tmp_path):
    assert "there is no trace" in fault_of(lambda: open_trace(tmp_path / "none.trace")).what
    for path in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").write_text("x")
        assert "is not a trace" in fault_of(lambda path=path: open_trace(path)).what


def test_a_name_that_is_too_long_is_a_fault(tmp_path):
    fault_of(lambda: open_trace(tmp_path / ("x" * 300)))


# Outputs


def test_an_output_that_exists_is_kept(whole):
    assert "exists already" in fault_of(lambda: check_output(whole, force=False)).what
    assert read_all(whole)


def test_force_replaces_a_trace_and_leaves_nothing_of_it(whole, tmp_path):
    writer = TraceWriter(whole, small_traces.manifest(tool="the new one"), force=True)
    small_traces.kill(writer)
    trace = open_trace(whole)
    assert (trace.manifest.tool, trace.rows) == ("the new one", 0)
    assert list(tmp_path.iterdir()) == [whole]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_text("mine")])
def test_force_replaces_only_traces(tmp_path, make):
    path = tmp_path / "a.trace"
    make(path)
    assert (
        "replaces traces only"
        in fault_of(lambda: TraceWriter(path, small_traces.manifest(), force=True)).what
    )
    assert path.exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_trace_is_never_written_through_a_link(whole, tmp_path, force):
    link = tmp_path / "link.trace"
    link.symlink_to(whole)
    assert "is a link" in fault_of(lambda: check_output(link, force=force)).what
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    assert "is a link" in fault_of(lambda: check_output(link, force=force)).what


@pytest.mark.parametrize("name", ["a", "a.traces", ".trace", "a.trace.gz"])
def test_a_trace_needs_its_ending(tmp_path, name):
    assert "NAME.trace" in fault_of(lambda: check_output(tmp_path / name, force=False)).what


@pytest.mark.parametrize("name", ["", ".", "..", ".trace"])
def test_an_output_without_a_name_is_told_to_have_none(name):
    fault = fault_of(lambda: check_output(Path(name), force=False))
    assert fault.how == "it has no name of its own"
    assert fault.what.endswith(f"not {name or '.'}")


def test_an_output_in_a_folder_that_does_not_exist_is_refused(tmp_path):
    fault = fault_of(lambda: check_output(tmp_path / "no/a.trace", force=False))
    assert fault.fix == f"mkdir -p {tmp_path / 'no'}"


def test_an_output_folder_that_is_not_writable_is_the_machines_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.writer.os.access", lambda *_: False)
    fault = fault_of(lambda: check_output(tmp_path / "a.trace", force=False), ExitCode.ENVIRONMENT)
    assert "not writable" in fault.what


def test_a_full_disk_is_told_from_other_refusals(tmp_path):
    assert "free some space" in output_fault(tmp_path, NO_SPACE).fix
    assert "another" in output_fault(tmp_path, OSError(errno.EROFS, "Read-only file system")).fix


# Nothing lost when writing fails


def full_disk(*_, **__) -> Any:
    raise NO_SPACE


def start_on_full_disk(path, monkeypatch, *, force) -> None:
    monkeypatch.setattr("tracer.writer.TraceWriter.write_manifest", full_disk)
    fault_of(lambda: TraceWriter(path, small_traces.manifest(), force=force), ExitCode.ENVIRONMENT)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_full_disk_at_the_start_brings_the_replaced_trace_back(whole, tmp_path, monkeypatch):
    start_on_full_disk(whole, monkeypatch, force=True)
    assert read_all(whole)
    assert list(tmp_path.iterdir()) == [whole]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_full_disk_at_the_start_leaves_no_folder_behind(tmp_path, monkeypatch):
    start_on_full_disk(tmp_path / "a.trace", monkeypatch, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_of_an_earlier_replacement_never_costs_the_present_trace(whole, tmp_path):
    small_traces.write(tmp_path / "old.trace", [(2_000_000,)]).rename(tmp_path / ".a.trace.replaced")
    try:
        small_traces.kill(TraceWriter(whole, small_traces.manifest(tool="the new one"), force=True))
    except Fault:
        assert len(read_all(whole)) == ROWS  # refused: then what was there is there
    else:
        assert open_trace(whole).manifest.tool == "the new one"


def test_a_segment_that_cannot_be_written_leaves_the_earlier_ones_and_nothing_aside(tmp_path, monkeypatch):
    writer = small_traces.begin(tmp_path / "a.trace")
    monkeypatch.setattr("tracer.writer.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        writer.write_segment(small_traces.columns((8_000_000,)), [])
    monkeypatch.undo()
    path = small_traces.kill(writer)
    assert len(read_all(path)) == ROWS
    assert sorted(file.name for file in (path / "events").iterdir()) == ["00000.parquet", "00001.parquet"]


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    writer = small_traces.begin(tmp_path / "a.trace")
    monkeypatch.setattr("tracer.writer.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        writer.write_manifest(small_traces.manifest(tool="the new one"))
    monkeypatch.undo()
    assert open_trace(small_traces.kill(writer)).manifest.tool == "pagetide test"


def test_an_index_line_that_is_written_in_two_parts_is_whole(tmp_path, monkeypatch):
    write, calls = os.write, []

    def reluctant(fd, data) -> Any:
        calls.append(len(data))
        return write(fd, data[: len(data) // 2]) if len(calls) == 1 else write(fd, data)

    monkeypatch.setattr("tracer.writer.os.write", reluctant)
    path = small_traces.write(tmp_path / "a.trace")
    assert len(read_all(path)) == ROWS


# Samples, counters, snapshots


BLOCKS = [1, 2, *[0] * 9]


def _samples(number) -> Any:
    row = dict.fromkeys(SAMPLE_COLUMNS, 1) | {"zone": 0, "free": 10 + number, "free_blocks": BLOCKS}
    row |= {"read_begin_ns": START_NS + number, "read_end_ns": START_NS + number}
    return pa.Table.from_pylist([row], schema=arrow_schema(SAMPLE_COLUMNS))


def _lists() -> Any:
    row = dict(zip(LIST_COLUMNS, [0, 10, 1, 0, 4096, START_NS + 20, START_NS + 30], strict=True))
    return pa.Table.from_pylist([row], schema=arrow_schema(LIST_COLUMNS))


@pytest.fixture
def full(tmp_path) -> Any:
    """A trace with samples and counters beside its events, a resync and free lists."""
    from tests.pure.test_encoder import counters_table
    from tracer.writer import segment_of

    writer = small_traces.begin(tmp_path / "full.trace", [])
    for number, ts_ns in enumerate(SEGMENTS):
        events = pa.table(small_traces.columns(ts_ns), schema=event_schema())
        parts = {
            "samples": writer.write_part("samples", f"{number:05d}", _samples(number)),
            "counters": writer.write_part("counters", f"{number:05d}", counters_table(20 + number, 30)),
        }
        part = writer.write_part("events", f"{number:05d}", events)
        writer.append_segment(segment_of(part, (ts_ns[0], ts_ns[-1]), [], losses=[], **parts))
    writer.write_frames("resync-1", small_traces.frame_runs(START_NS + 10))
    writer.write_frames("resync-1-lists", _lists())
    start = small_traces.snapshot("start", START_NS - 200, START_NS)
    resync = dataclasses.replace(small_traces.snapshot("resync-1", START_NS + 1, START_NS + 50), lists=True)
    writer.close(
        small_traces.manifest(status="complete", snapshots=[start, resync], probes=small_traces.counted(ROWS))
    )
    return writer.path


BESIDE = ["samples/00001.parquet", "counters/00000.parquet"]
SNAPSHOTS = ["frames/start.parquet", "frames/resync-1.parquet", "frames/resync-1-lists.parquet"]


def test_samples_and_counters_are_read_back_over_all_segments(full):
    trace = open_trace(full)
    assert trace.complete, trace.warnings
    assert trace.samples["free"].to_pylist() == [10, 11]
    assert trace.samples["free_blocks"].to_pylist() == [BLOCKS] * 2
    assert trace.counters["hits"].to_pylist() == [20, 30, 21, 30]
    trace.verify()


def test_a_trace_without_samples_has_empty_tables_of_their_columns(whole):
    trace = open_trace(whole)
    assert (trace.samples.num_rows, trace.samples.schema.names) == (0, list(SAMPLE_COLUMNS))
    assert (trace.counters.num_rows, trace.counters.schema.names) == (0, list(COUNTER_COLUMNS))
    trace.verify()


@pytest.mark.parametrize("name", BESIDE)
def test_a_missing_part_beside_the_events_is_named(full, name):
    (full / name).unlink()
    assert f"lacks {name}" in fault_of(lambda: open_trace(full)).what


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("size", [-1, 0, 7])
def test_a_truncated_part_beside_the_events_is_named_with_both_sizes(full, name, size):
    there = (full / name).stat().st_size
    os.truncate(full / name, size if size >= 0 else there + size)
    fault = fault_of(lambda: open_trace(full))
    assert name in fault.what
    assert f"the trace says {there}" in fault.how


@pytest.mark.parametrize("name", BESIDE)
def test_a_part_that_is_gone_after_the_trace_was_opened_is_a_fault(full, name):
    trace = open_trace(full)
    (full / name).unlink()
    assert name in fault_of(trace.verify).what
    assert name in fault_of(lambda: (trace.samples, trace.counters)).what


@pytest.mark.parametrize("name", ["events/00001.parquet", *BESIDE])
@pytest.mark.parametrize("where", [0, 3, 4, 40, -1])
def test_verify_finds_a_changed_bit_in_any_file_of_a_segment(full, name, where):
    data = bytearray((full / name).read_bytes())
    data[where] ^= 4
    (full / name).write_bytes(data)
    fault = fault_of(open_trace(full).verify)
    assert name in fault.what
    assert "checksum" in fault.how


@pytest.mark.parametrize("name", SNAPSHOTS)
@pytest.mark.parametrize("damage", ["gone", "truncated", "changed"])
def test_verify_reads_every_snapshot_and_its_lists(full, name, damage):
    file = full / name
    if damage == "gone":
        file.unlink()
    elif damage == "truncated":
        os.truncate(file, file.stat().st_size // 2)
    else:
        column = pq.ParquetFile(file).metadata.row_group(0).column(0)
        data = bytearray(file.read_bytes())
        data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
        file.write_bytes(data)
    assert name in fault_of(lambda: open_trace(full).verify()).what


def test_verify_reads_nothing_outside_the_trace(full, tmp_path):
    file = full / BESIDE[0]
    file.rename(tmp_path / "moved.parquet")
    file.symlink_to(tmp_path / "moved.parquet")
    assert "outside itself" in fault_of(lambda: open_trace(full)).what


@pytest.mark.parametrize("name", ["events/00000.parquet", *BESIDE])
def test_a_damaged_file_is_told_by_info_verify(full, name, capsys):
    from replay.main import run

    assert run(["info", "--verify", str(full)]) == ExitCode.DONE
    data = bytearray((full / name).read_bytes())
    data[20] ^= 1
    (full / name).write_bytes(data)
    assert run(["info", "--verify", str(full)]) == ExitCode.USAGE
    assert name in capsys.readouterr().err

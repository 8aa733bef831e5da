"""Merging: same rows in the same order, bounded, nothing left over, and safe to be killed anywhere."""

import dataclasses
import errno
import os
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pure import dying, small_traces
from tests.pure.small_traces import counted
from tests.pure.test_encoder import counters_table, fails, samples_table
from tracer import open_trace
from tracer.format import Loss, Segment
from tracer.parquet import event_schema
from tracer.recording import merger
from tracer.recording.merger import FAN_IN, MAX_BYTES, MAX_SPAN_NS, Merger, choose, merge, merged_name, rank
from tracer.writer import TraceWriter, segment_of

MS = 1_000_000


def listed(name, *, first_ns=0, last_ns=1, size=100) -> Segment:
    return Segment(f"events/{name}.parquet", 1, first_ns, last_ns, size, "", [])


def row_of(count, first=0, **more) -> Any:
    return [listed(f"{first + k:05d}", **more) for k in range(count)]


def never() -> bool:
    return False


def add(writer, ts_ns, *, beside=None, losses=()) -> None:
    """A closed segment as the encoder makes one; `beside` fills its samples and counters."""
    name = writer.next_name
    events = pa.table(small_traces.columns(list(ts_ns)), schema=event_schema())
    part = writer.write_part("events", name, events)
    samples = writer.write_part("samples", name, samples_table(beside)) if beside is not None else None
    counters = writer.write_part("counters", name, counters_table(beside)) if beside is not None else None
    total = sum(s.rows for s in writer.segments) + len(ts_ns)
    span = (min(ts_ns), max(ts_ns))
    writer.append_segment(
        segment_of(part, span, counted(total), losses=list(losses), samples=samples, counters=counters)
    )


def begun(folder, sizes=(1,) * FAN_IN) -> Any:
    """A recording under way with segments of so many rows; each has a sample, a counter and a loss."""
    writer = small_traces.begin(folder / "a.trace", [])
    at = 2 * MS
    for number, size in enumerate(sizes):
        add(writer, range(at, at + size), beside=number, losses=[Loss(number, number, 1)])
        at += size
    return writer


def times(trace) -> Any:
    return [at for batch in trace.batches(["ts_ns"]) for at in batch["ts_ns"].to_pylist()]


def merge_all(writer) -> int:
    count = 0
    while some := choose(writer.segments):
        assert merge(writer, some, never)
        count += 1
    return count


def files(path) -> Any:
    kinds = ("events", "samples", "counters")
    return sorted(f"{kind}/{file.name}" for kind in kinds for file in (path / kind).iterdir())


def assert_same_rows(trace, count, segments) -> None:
    assert times(trace) == list(range(2 * MS, 2 * MS + count))
    assert trace.samples["free"].to_pylist() == list(range(segments))
    assert trace.counters["hits"].to_pylist() == list(range(segments))
    assert trace.losses == [Loss(k, k, 1) for k in range(segments)]
    trace.verify()


# What is chosen


@pytest.mark.parametrize(("name", "made_of"), [("00000", 1), ("00008-00015", 8), ("99999-100006", 8)])
def test_a_name_tells_of_how_many_a_segment_is_made(name, made_of):
    assert rank(listed(name)) == made_of


def test_a_merged_name_sorts_where_its_segments_did():
    names = ["00000-00007", *(f"{n:05d}" for n in range(8, 16)), "00016"]
    new = merged_name([listed(name) for name in names[1:9]])
    assert new == "00008-00015"
    assert sorted([names[0], names[-1], new]) == [names[0], new, names[-1]]
    assert merged_name([listed("00000-00007"), listed("00056-00063")]) == "00000-00063"


def test_eight_neighbours_of_one_rank_are_chosen_and_not_seven():
    assert choose(row_of(7)) == []
    assert choose(row_of(9)) == row_of(8)


def test_neighbours_of_different_ranks_are_not_merged():
    big = listed("00000-00007")
    assert choose([big, *row_of(7, 8)]) == []
    assert choose([big, *row_of(8, 8)]) == row_of(8, 8)
    assert choose([*row_of(4), listed("00004-00011"), *row_of(4, 12)]) == []


def test_the_size_limit_holds_exactly():
    assert (FAN_IN, MAX_BYTES, MAX_SPAN_NS) == (8, 64 << 20, 3600 * 10**9)
    assert choose(row_of(8, size=MAX_BYTES // 8))
    assert choose([*row_of(7, size=MAX_BYTES // 8), listed("00007", size=MAX_BYTES // 8 + 1)]) == []


def test_the_span_limit_holds_exactly():
    some = [*row_of(7), listed("00007", last_ns=100)]
    assert choose(some, 100) == some
    assert choose(some, 99) == []


def test_segments_too_large_do_not_stop_those_behind_them():
    some = [listed("00000", size=MAX_BYTES), *row_of(8, 1)]
    assert choose(some) == row_of(8, 1)


# Merging


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=0, max_size=20))
def test_rows_are_the_same_and_in_order_after_any_merging(tmp_path_factory, sizes):
    writer = begun(tmp_path_factory.mktemp("merge"), sizes)
    merges = merge_all(writer)
    assert merges == len(sizes) // 8
    assert_same_rows(open_trace(small_traces.kill(writer)), sum(sizes), len(sizes))


def test_many_segments_become_a_few_over_several_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(merger, "FAN_IN", 2)
    writer = begun(tmp_path, [3] * 11)
    merge_all(writer)
    assert [s.file.split("/")[1].split(".")[0] for s in writer.segments] == [
        "00000-00007",
        "00008-00009",
        "00010",
    ]
    assert writer.next_name == "00011"
    trace = open_trace(small_traces.kill(writer))
    assert_same_rows(trace, 33, 11)
    assert files(trace.path) == sorted(part.file for s in trace.segments for part in s.parts)


def test_larger_files_than_fit_in_memory_come_out_row_group_by_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(merger, "GROUP_ROWS", 10)
    writer = begun(tmp_path, [7] * 8)
    assert merge_all(writer) == 1
    trace = open_trace(small_traces.kill(writer))
    assert_same_rows(trace, 56, 8)
    assert pq.ParquetFile(trace.path / trace.segments[0].file).num_row_groups > 3


def test_a_merged_segment_spans_all_and_has_the_last_counters(tmp_path):
    writer = begun(tmp_path, [])
    spans = [(5, 9), (3, 12), *((20 + k, 21 + k) for k in range(6))]
    for span in spans:  # the second has rows that were late
        add(writer, span)
    last = writer.segments[-1].probes
    merge_all(writer)
    (segment,) = writer.segments
    assert (segment.first_ts_ns, segment.last_ts_ns, segment.rows) == (3, 26, 16)
    assert segment.probes == last
    assert (segment.samples, segment.counters) == (None, None)
    small_traces.kill(writer)


def test_optional_columns_survive(tmp_path):
    writer = small_traces.begin(tmp_path / "a.trace", [])
    for number in range(8):
        columns = small_traces.columns([number]) | {"pid": np.array([number], np.uint32)}
        writer.write_segment(columns, counted(number + 1))
    merge_all(writer)
    path = small_traces.kill(writer)
    assert pq.read_table(path / "events/00000-00007.parquet")["pid"].to_pylist() == list(range(8))


def test_a_segment_closed_while_others_are_merged_stays_behind_them(tmp_path):
    writer = begun(tmp_path)

    def closes_another() -> bool:
        if len(writer.segments) == 8:
            add(writer, [50 * MS])
        return False

    assert merge(writer, choose(writer.segments), closes_another)
    trace = open_trace(small_traces.kill(writer))
    assert [s.file for s in trace.segments] == ["events/00000-00007.parquet", "events/00008.parquet"]
    assert times(trace)[-1] == 50 * MS


def test_the_size_counts_each_row_once(tmp_path):
    writer = begun(tmp_path)
    merge_all(writer)
    on_disk = sum(file.stat().st_size for file in writer.path.rglob("*") if file.is_file())
    assert writer.size_bytes == on_disk
    small_traces.kill(writer)


# Given up, failed, killed


def test_a_merge_given_up_leaves_nothing_behind(tmp_path):
    writer = begun(tmp_path)
    before = files(writer.path)
    assert not merge(writer, choose(writer.segments), lambda: True)
    assert files(writer.path) == before
    assert_same_rows(open_trace(small_traces.kill(writer)), 8, 8)


@pytest.mark.parametrize("kind", ["events", "samples", "counters"])
def test_a_merge_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, kind):
    writer = begun(tmp_path)
    before = files(writer.path)
    really = TraceWriter.open_part

    def full(self, wanted, *args) -> Any:
        if wanted == kind:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(self, wanted, *args)

    monkeypatch.setattr(TraceWriter, "open_part", full)
    with pytest.raises(OSError, match="No space"):
        merge(writer, choose(writer.segments), never)
    assert files(writer.path) == before
    assert_same_rows(open_trace(small_traces.kill(writer)), 8, 8)


def test_a_merge_killed_at_any_step_leaves_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(merger, "FAN_IN", 2)
    for good_calls in range(1000):
        (folder := tmp_path / str(good_calls)).mkdir()
        writer = begun(folder, [1, 1])
        some = choose(writer.segments)
        with dying.after(good_calls) as life:
            merge(writer, some, never)
        trace = open_trace(dying.bury(writer))
        assert trace.manifest.status == "recovered"
        assert_same_rows(trace, 2, 2)
        if not life.died:
            break
    assert good_calls > 20
    assert [s.file for s in trace.segments] == ["events/00000-00001.parquet"]


def test_damage_in_a_file_is_not_merged_away(tmp_path):
    writer = begun(tmp_path)
    file = writer.path / "events/00003.parquet"
    os.truncate(file, 30)
    with pytest.raises((OSError, pa.ArrowException)):
        merge(writer, choose(writer.segments), never)
    assert [s.file for s in writer.segments] == [f"events/{n:05d}.parquet" for n in range(8)]
    small_traces.kill(writer)


# The thread


def wait_until(happened) -> None:
    for _ in range(2000):
        if happened():
            return
        threading.Event().wait(0.005)
    pytest.fail("it did not happen")


def test_the_thread_merges_when_told_to_look(tmp_path):
    writer = begun(tmp_path)
    thread = Merger(writer)
    thread.look()
    wait_until(lambda: len(writer.segments) == 1)
    thread.finish()
    assert thread.failure is None
    assert_same_rows(open_trace(small_traces.kill(writer)), 8, 8)


def test_the_thread_keeps_to_its_span(tmp_path):
    writer = begun(tmp_path)
    thread = Merger(writer, max_span_ns=3)
    thread.look()
    threading.Event().wait(0.1)
    thread.finish()
    assert len(writer.segments) == 8
    small_traces.kill(writer)


def test_a_failing_merge_ends_the_thread_and_costs_nothing(tmp_path, monkeypatch):
    writer = begun(tmp_path)
    fails(monkeypatch, TraceWriter, "open_part")
    thread = Merger(writer)
    thread.look()
    wait_until(lambda: thread.failure is not None)
    thread.look()
    thread.finish()
    assert_same_rows(open_trace(small_traces.kill(writer)), 8, 8)


def test_nothing_is_merged_while_the_index_is_held(tmp_path):
    writer = begun(tmp_path)
    thread = Merger(writer)
    with thread.exclusive:
        thread.look()
        threading.Event().wait(0.1)
        assert len(writer.segments) == 8
    wait_until(lambda: len(writer.segments) == 1)
    thread.finish()
    small_traces.kill(writer)


def test_a_segment_knows_its_files():
    segment = listed("00000")
    assert [part.file for part in segment.parts] == ["events/00000.parquet"]
    both = dataclasses.replace(segment, samples=segment.parts[0], counters=segment.parts[0])
    assert len(both.parts) == 3

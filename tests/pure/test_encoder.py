"""From blocks of records to segments on disk: in order, accounted, and nothing half-written left."""

import errno
import itertools
import os
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pure import small_traces
from tests.pure.small_traces import counted
from tracer import open_trace
from tracer.format import COUNTER_COLUMNS, SAMPLE_COLUMNS, Loss, Op, Probe
from tracer.parquet import PartFile, arrow_schema
from tracer.probes.ring import RECORD_WORDS
from tracer.recording.blocks import Blocks
from tracer.recording.encoder import HOLD_BACK_NS, Beside, Closing, Encoder, in_time_order

MS = 1_000_000
BASE = 100_000 * MS
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def records(*times_ms, op=Op.ZONE_LOCKED, aux=0) -> Any:
    rows = [[BASE + int(at * MS), number | int(op) << 56, aux << 14] for number, at in enumerate(times_ms)]
    return np.array(rows, np.uint64).reshape(-1, RECORD_WORDS)


def hits(count, op=Op.ZONE_LOCKED, **more) -> Any:
    return [Probe("kmem:x", "tracepoint", int(op), hits=count, **more)]


def counters_table(*hit_counts) -> pa.Table:
    rows = {name: list(hit_counts) if name == "hits" else [1] * len(hit_counts) for name in COUNTER_COLUMNS}
    return pa.table(rows, schema=arrow_schema(COUNTER_COLUMNS))


READS = itertools.count(1)


def samples_table(*frees) -> pa.Table:
    """Each read later than the one before it, whoever asked for that."""
    rows: dict[str, Any] = {name: [1] * len(frees) for name in SAMPLE_COLUMNS}
    at_ns = [next(READS) for _ in frees]
    rows |= {"read_begin_ns": at_ns, "read_end_ns": at_ns, "zone": [0] * len(frees)}
    rows |= {"free": list(frees), "free_blocks": [[0] * 11] * len(frees)}
    return pa.table(rows, schema=arrow_schema(SAMPLE_COLUMNS))


class Bench:
    """An encoder over a real trace, whose blocks are handed out one by one."""

    def __init__(self, folder, **options) -> None:
        self.writer = small_traces.begin(folder / "a.trace", [])
        self.blocks = Blocks(3, 100)
        self.tables: list[Beside] = []
        self.encoder = Encoder(
            self.writer, self.blocks, lambda: self.tables.pop(0) if self.tables else Beside(), **options
        )

    def put(self, rows) -> None:
        while (block := self.blocks.take()) is None:
            threading.Event().wait(0.001)
        block[: len(rows)] = rows
        self.encoder.put(block, len(rows))

    def segment(self, probes=(), losses=(), *, final=False) -> None:
        self.encoder.close_segment(Closing(list(probes), list(losses), final))

    def end(self) -> Any:
        """Wait until all is written; the trace as a kill would leave it."""
        self.encoder.finish()
        return open_trace(small_traces.kill(self.writer))


@pytest.fixture
def bench(tmp_path) -> Any:
    made = Bench(tmp_path)
    yield made
    if made.encoder._thread.is_alive():
        made.end()


def times(trace) -> Any:
    """Of each segment, in ms from the base."""
    return [
        [(at - BASE) / MS for at in pa.parquet.read_table(trace.path / s.file)["ts_ns"].to_pylist()]
        for s in trace.segments
    ]


def flat(lists) -> Any:
    return [value for some in lists for value in some]


# Order


def test_equal_times_keep_the_order_of_the_ring():
    rows = np.array([[5, 0, 0], [3, 1, 0], [5, 2, 0], [3, 3, 0]], np.uint64)
    assert in_time_order(rows)[:, 1].tolist() == [1, 3, 0, 2]


def test_sorted_records_are_not_copied():
    rows = records(1, 1, 2)
    assert in_time_order(rows) is rows


def test_rows_are_in_time_order_over_blocks_and_segments(bench):
    bench.put(records(5, 4, 30))
    bench.put(records(29, 12, 31))  # 12 and 29 are within the hold-back of what was seen
    bench.segment()
    bench.put(records(80, 70, 60))
    bench.segment(final=True)
    trace = bench.end()
    assert flat(times(trace)) == [4, 5, 12, 29, 30, 31, 60, 70, 80]
    assert bench.encoder.late == 0


def test_the_newest_records_wait_for_the_next_segment(bench):
    bench.put(records(0, 50, 71))
    bench.segment()
    bench.put(records(70.5, 200))
    bench.segment()
    bench.segment(final=True)
    assert times(bench.end()) == [[0, 50], [70.5, 71], [200]]
    assert bench.encoder.late == 0


def test_the_hold_back_includes_its_own_border(bench):
    assert HOLD_BACK_NS == 20 * MS
    bench.put(records(0, 0.1, 20))
    bench.segment()
    assert times(bench.end()) == [[0]]


def test_rows_older_than_what_is_stored_are_kept_and_counted_as_late(bench):
    bench.put(records(0, 100, 150))
    bench.put(records(30, 99, 100, 160))
    bench.segment(final=True)
    trace = bench.end()
    assert bench.encoder.late == 2  # 100 again is not late: equal times have no order
    assert trace.rows == 7


def test_late_rows_are_within_the_span_of_their_segment(bench):
    bench.put(records(50, 100, 150))
    bench.put(records(30, 99, 160))
    bench.segment(final=True)
    (segment,) = bench.end().segments
    assert (segment.first_ts_ns, segment.last_ts_ns) == (BASE + 30 * MS, BASE + 160 * MS)


def test_a_late_segment_does_not_make_the_next_late_rows_look_punctual(bench):
    for rows in (records(0, 100, 121), records(50), records(60)):
        bench.put(rows)
        bench.segment()
    bench.segment(final=True)
    bench.end()
    assert bench.encoder.late == 2


SIZES = st.lists(st.lists(st.integers(0, 60), max_size=12), max_size=8)


@settings(max_examples=25, deadline=None)
@given(SIZES, st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_blocks_and_closings_store_each_row_once_and_in_order(tmp_path_factory, blocks, closings):
    bench = Bench(tmp_path_factory.mktemp("encoder"))
    expected, last = [], 0
    for jumps, closing in zip(blocks, closings, strict=False):
        rows = sorted(last + jump for jump in jumps)
        rows = [last, *rows] if rows else rows
        last = rows[-1] if rows else last
        swapped = rows[:-2] + rows[-2:][::-1]
        bench.put(records(*swapped))
        expected += rows
        if closing:
            bench.segment()
    bench.segment(final=True)
    trace = bench.end()
    assert flat(times(trace)) == sorted(expected)
    assert bench.encoder.account(hits(len(expected)))[0].lost == 0


# Segments


def test_what_was_seen_beside_no_event_is_stored_at_once(bench):
    bench.tables = [Beside(samples_table(1, 2), counters_table(3)), Beside(samples_table(4), None)]
    bench.put(records(1, 2))  # all held back
    bench.segment(losses=[Loss(1, 2, 3)])
    bench.put(records(100))
    bench.segment(losses=[Loss(7, 8, 9)])
    trace = bench.end()
    assert [segment.rows for segment in trace.segments] == [0, 2]
    assert [segment.losses for segment in trace.segments] == [[Loss(1, 2, 3)], [Loss(7, 8, 9)]]
    assert trace.samples["free"].to_pylist() == [1, 2, 4]
    assert trace.counters["hits"].to_pylist() == [3]


def test_nothing_to_tell_makes_no_segment(bench):
    bench.segment()
    bench.put(records(1))
    bench.segment()  # it is held back
    assert bench.end().segments == []


def test_losses_are_told_once(bench):
    bench.put(records(0, 100))
    bench.segment(losses=[Loss(1, 2, 3)])
    bench.put(records(200))
    bench.segment()
    assert [segment.losses for segment in bench.end().segments] == [[Loss(1, 2, 3)], []]


def test_each_segment_has_what_was_sampled_meanwhile_under_its_own_name(bench):
    bench.tables = [Beside(samples_table(1), counters_table(1)), Beside(), Beside(samples_table(2), None)]
    for at in (0, 100, 200):
        bench.put(records(at, at + 50))
        bench.segment()
    parts = [(s.file, s.samples and s.samples.file, s.counters and s.counters.file)
             for s in bench.end().segments]  # fmt: skip
    assert parts == [
        ("events/00000.parquet", "samples/00000.parquet", "counters/00000.parquet"),
        ("events/00001.parquet", None, None),
        ("events/00002.parquet", "samples/00002.parquet", None),
    ]


def test_what_was_seen_beside_no_event_at_all_is_in_the_trace(bench):
    bench.tables = [Beside(samples_table(7), counters_table(8))]
    bench.segment()
    bench.segment(losses=[Loss(1, 2, 3)], final=True)
    trace = bench.end()
    assert (trace.rows, trace.losses) == (0, [Loss(1, 2, 3)])
    assert trace.samples["free"].to_pylist() == [7]
    assert trace.counters["hits"].to_pylist() == [8]
    assert list(trace.batches(["ts_ns"])) == []
    assert trace.events.collect().height == 0
    trace.verify()


def test_a_recording_of_nothing_has_no_segment(bench):
    bench.segment(final=True)
    assert bench.end().segments == []


def test_a_segment_spans_its_rows_and_carries_the_counters_of_its_closing(bench):
    bench.put(records(3, 7, 60))
    bench.segment(hits(9, filtered=2))
    (segment,) = bench.end().segments
    assert (segment.first_ts_ns, segment.last_ts_ns) == (BASE + 3 * MS, BASE + 7 * MS)
    (probe,) = segment.probes
    assert (probe.hits, probe.kept, probe.lost, probe.filtered) == (9, 2, 5, 2)  # as far as it is stored


def test_owners_have_columns_where_they_were_asked_for(tmp_path):
    bench = Bench(tmp_path, with_pid=True, with_gfp=True)
    bench.put(records(1, op=Op.PAGE_ALLOC, aux=77 << 28 | 0xCC0))
    bench.segment(final=True)
    trace = bench.end()
    table = pa.parquet.read_table(trace.path / trace.segments[0].file)
    assert (table["pid"].to_pylist(), table["gfp"].to_pylist(), table["aux"].to_pylist()) == (
        [77],
        [0xCC0],
        [0],
    )


# Accounting


def test_what_is_not_stored_is_lost_and_what_is_filtered_is_not(bench):
    bench.put(records(1, 2, op=Op.PAGE_FREE))
    bench.segment(final=True)
    bench.end()
    (probe,) = bench.encoder.account(hits(10, Op.PAGE_FREE, lost=3, filtered=4))
    assert (probe.hits, probe.kept, probe.lost, probe.filtered) == (10, 2, 4, 4)


def test_rows_are_accounted_by_op(bench):
    bench.put(records(1))
    bench.put(records(2, 3, op=Op.PUT_BACK))
    bench.segment(final=True)
    bench.end()
    probes = bench.encoder.account([*hits(1), *hits(2, Op.PUT_BACK), *hits(1, Op.REPORT)])
    assert [(probe.kept, probe.lost) for probe in probes] == [(1, 0), (2, 0), (0, 1)]


def test_blocks_are_given_back(bench):
    for at in range(30):  # of three
        bench.put(records(at * 100, at * 100 + 1))
    bench.segment(final=True)
    bench.end()
    assert [bench.blocks.take() is not None for _ in range(4)] == [True, True, True, False]


def test_a_block_given_back_may_be_written_over(bench):
    bench.put(records(1, 2))
    while (block := bench.blocks.take()) is not None:
        block[:] = 7
    bench.segment(final=True)
    assert times(bench.end()) == [[1, 2]]


# Failures


def fails(monkeypatch, where, name, after=0) -> None:
    really, calls = getattr(where, name), []

    def call(*args, **more) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise NO_SPACE
        return really(*args, **more)

    monkeypatch.setattr(where, name, call)


@pytest.mark.parametrize(
    ("where", "name", "after"),
    [(PartFile, "append", 1), (PartFile, "close", 1), (os, "fsync", 2), (os, "fsync", 3), (os, "rename", 1)],
)
def test_a_failure_keeps_the_closed_segments_and_owns_up_to_the_rest(bench, monkeypatch, where, name, after):
    fails(monkeypatch, where, name, after)
    bench.put(records(0, 1, 50))
    bench.segment(hits(3))
    bench.put(records(100, 200))
    bench.segment(hits(5))
    bench.put(records(300))
    bench.segment(hits(6), final=True)
    bench.encoder.finish()
    monkeypatch.undo()
    trace = open_trace(small_traces.kill(bench.writer))
    assert bench.encoder.failure is NO_SPACE
    assert times(trace) == [[0, 1]]
    (probe,) = bench.encoder.account(hits(6))
    assert (probe.kept, probe.lost) == (2, 4)
    assert not list(trace.path.rglob("*.tmp"))
    assert bench.encoder.open_bytes == 0


def test_nothing_is_encoded_after_a_failure(bench, monkeypatch):
    fails(monkeypatch, bench.writer, "open_part")
    bench.put(records(0, 50))
    bench.encoder._jobs.put(lambda: pytest.fail("nothing runs after a failure"))
    bench.encoder.finish()
    assert bench.encoder.failure is NO_SPACE


def test_a_failure_told_from_outside_ends_it_too(bench):
    bench.put(records(0, 50))
    bench.segment(hits(2))
    bench.put(records(100, 200))
    while bench.encoder._jobs.qsize():
        threading.Event().wait(0.001)
    bench.encoder.failure = NO_SPACE
    trace = bench.end()
    assert trace.rows == bench.encoder.account(hits(4))[0].kept
    assert not list(trace.path.rglob("*.tmp"))


def test_the_counters_of_a_killed_recording_are_those_of_its_last_segment(bench):
    bench.put(records(0, 50, 100))
    bench.segment(counted(4))
    trace = bench.end()
    assert trace.manifest.probes[0].kept == trace.rows == 2


def test_the_size_of_a_file_is_known_while_and_after_it_is_closed(tmp_path):
    bench = Bench(tmp_path)
    file = bench.encoder._open(BASE)
    assert file.size_bytes == 0
    file.append(pa.table({name: [1] for name in file._schema.names}, schema=file._schema))
    written = file.size_bytes
    assert written > 0
    bench.encoder._file = file
    file.close()
    assert bench.encoder.open_bytes == written
    bench.encoder._file = None
    bench.end()

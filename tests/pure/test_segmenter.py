import errno
import threading
from typing import Any

import numpy as np
import pytest
from tracer.recording.segmenter import HOLD_BACK_NS, Segmenter, in_time_order

from tests.pure import small_traces
from tracer import open_trace
from tracer.format import Op, Probe

MS = 1_000_000
SECOND = 1000 * MS
BASE = 100 * SECOND


class Shelf:
    """A writer that keeps its segments; `fail` is raised instead of writing."""

    def __init__(self, fail=None) -> None:
        self.segments: list[list[int]] = []
        self.fail = fail

    def write_segment(self, columns, _probes) -> None:
        if self.fail is not None:
            raise self.fail
        self.segments.append((columns["ts_ns"] - BASE).tolist())


def records(*times_ms, op=Op.ZONE_LOCKED) -> Any:
    rows = [[BASE + int(at * MS), number | int(op) << 56, 0] for number, at in enumerate(times_ms)]
    return np.array(rows, np.uint64).reshape(-1, 3)


def ms(*times) -> Any:
    return [int(at * MS) for at in times]


def wait_for(event) -> None:
    event.wait()


def hits(count, op=Op.ZONE_LOCKED, **more) -> Any:
    return [Probe("kmem:x", "tracepoint", int(op), hits=count, **more)]


@pytest.fixture
def shelf() -> Any:
    return Shelf()


@pytest.fixture
def segmenter(shelf) -> Any:
    made = Segmenter(shelf)
    yield made
    if made._thread.is_alive():
        made.finish()


def test_equal_times_keep_the_order_of_the_ring():
    rows = np.array([[5, 0, 0], [3, 1, 0], [5, 2, 0], [3, 3, 0]], np.uint64)
    assert in_time_order(rows)[:, 1].tolist() == [1, 3, 0, 2]


def test_sorted_records_are_not_copied():
    rows = records(1, 1, 2)
    assert in_time_order(rows) is rows


def test_a_segment_is_in_time_order_over_its_parts(segmenter, shelf):
    segmenter.segment([records(5, 4), records(1)], hits(3), final=True)
    segmenter.finish()
    assert shelf.segments == [ms(1, 4, 5)]


def test_the_newest_records_wait_for_the_next_segment(segmenter, shelf):
    segmenter.segment([records(0, 50, 71)], hits(3))
    segmenter.segment([records(70.5, 200)], hits(5))
    segmenter.segment([], hits(5), final=True)
    segmenter.finish()
    assert shelf.segments == [ms(0, 50), ms(70.5, 71), ms(200)]
    assert segmenter.late == 0


def test_the_hold_back_includes_its_own_border(segmenter, shelf):
    segmenter.segment([records(0, HOLD_BACK_NS / MS)], hits(2))
    segmenter.finish()
    assert shelf.segments == [ms(0)]


def test_a_segment_with_nothing_old_enough_is_not_written(segmenter, shelf):
    segmenter.segment([records(1, 2)], hits(2))
    segmenter.segment([], hits(2))
    segmenter.finish()
    assert shelf.segments == []


def test_the_last_segment_holds_nothing_back(segmenter, shelf):
    segmenter.segment([records(1, 2)], hits(2), final=True)
    segmenter.finish()
    assert shelf.segments == [ms(1, 2)]
    assert segmenter.account(hits(2))[0].kept == 2


def test_rows_older_than_what_is_stored_are_counted_as_late(segmenter, shelf):
    segmenter.segment([records(0, 100, 150)], hits(3))
    segmenter.segment([records(30, 99, 100, 160)], hits(7))
    segmenter.segment([], hits(7), final=True)
    segmenter.finish()
    assert segmenter.late == 2  # 100 again is not late: equal times have no order
    assert sum(map(len, shelf.segments)) == 7


def test_a_late_segment_does_not_make_the_next_late_rows_look_punctual(segmenter):
    segmenter.segment([records(0, 100, 121)], hits(3))
    segmenter.segment([records(50)], hits(4))
    segmenter.segment([records(60)], hits(5))
    segmenter.finish()
    assert segmenter.late == 2


def test_what_is_not_stored_is_lost_and_what_is_filtered_is_not(segmenter):
    segmenter.segment([records(1, 2, op=Op.PAGE_FREE)], [], final=True)
    segmenter.finish()
    (probe,) = segmenter.account(hits(10, Op.PAGE_FREE, lost=3, filtered=4))
    assert (probe.hits, probe.kept, probe.lost, probe.filtered) == (10, 2, 4, 4)


def test_rows_are_accounted_by_op(segmenter):
    segmenter.segment([records(1), records(2, 3, op=Op.PUT_BACK)], [], final=True)
    segmenter.finish()
    probes = segmenter.account([*hits(1), *hits(2, Op.PUT_BACK), *hits(1, Op.REPORT)])
    assert [(probe.kept, probe.lost) for probe in probes] == [(1, 0), (2, 0), (0, 1)]


def test_rows_that_pile_up_are_dropped_and_counted_as_lost(segmenter, shelf, monkeypatch):
    monkeypatch.setattr("tracer.recording.segmenter.MAX_WAITING_ROWS", 3)
    writing = threading.Event()
    segmenter.submit(lambda: wait_for(writing))
    segmenter.segment([records(1, 2)], [])
    segmenter.segment([records(3, 4)], [])  # a fourth waiting row
    segmenter.segment([records(5)], [], final=True)
    writing.set()
    segmenter.finish()
    assert shelf.segments == [ms(1, 2, 5)]
    (probe,) = segmenter.account(hits(5))
    assert (probe.kept, probe.lost) == (3, 2)


def test_written_rows_make_room_for_new_ones(segmenter, shelf, monkeypatch):
    monkeypatch.setattr("tracer.recording.segmenter.MAX_WAITING_ROWS", 2)
    for at in (0, 100, 200):
        done = threading.Event()
        segmenter.segment([records(at, at + 1)], [], final=True)
        segmenter.submit(done.set)
        assert done.wait(10)
    segmenter.finish()
    assert shelf.segments == [ms(0, 1), ms(100, 101), ms(200, 201)]


def test_a_failing_writer_is_told_and_all_behind_it_is_lost():
    full = OSError(errno.ENOSPC, "No space left on device")
    segmenter = Segmenter(Shelf(full))  # type: ignore[arg-type] # all that it uses of a writer
    segmenter.segment([records(1)], [], final=True)
    segmenter.submit(lambda: pytest.fail("nothing runs after a failure"))
    segmenter.finish()
    assert segmenter.failure is full
    assert segmenter.account(hits(1))[0].lost == 1


def test_jobs_run_after_the_segments_before_them(segmenter, shelf):
    seen = []
    segmenter.segment([records(1)], [], final=True)
    segmenter.submit(lambda: seen.append(len(shelf.segments)))
    segmenter.finish()
    assert seen == [1]


def test_a_killed_recording_owns_up_to_the_rows_that_were_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr("tracer.recording.segmenter.MAX_WAITING_ROWS", 3)
    writer = small_traces.begin(tmp_path / "a.trace", [])
    segmenter = Segmenter(writer)
    busy = threading.Event()
    segmenter.submit(lambda: wait_for(busy))
    segmenter.segment([records(1, 2)], hits(2, kept=2))
    segmenter.segment([records(3, 4)], hits(4, kept=4))
    segmenter.segment([records(100)], hits(5, kept=5))
    busy.set()
    segmenter.finish()
    trace = open_trace(small_traces.kill(writer))
    (probe,) = trace.manifest.probes
    assert trace.rows == 2
    assert (probe.hits, probe.kept, probe.lost) == (5, 2, 3)

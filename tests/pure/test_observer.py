"""What is seen beside the events: samples and counters each second, snapshots when asked."""

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.pure import small_traces
from tracer.faults import environment
from tracer.format import COUNTER_COLUMNS, SAMPLE_COLUMNS, Filters, Op, PageTypes, Probe
from tracer.parquet import arrow_schema
from tracer.recording import observer as module
from tracer.recording.observer import CounterLog, Observer

PROBES = [Probe("a", "tracepoint", Op.ZONE_LOCKED), Probe("b", "tracepoint", Op.PAGE_FREE)]
NO_PROC = environment("kpageflags cannot be read", "EIO", "no")


def counted(*rows) -> Any:
    """Shape (probes, CPUs, 3) of (probe, cpu, hits, ring_full, filtered)."""
    made = np.zeros((2, 3, 3), np.int64)
    for probe, cpu, *values in rows:
        made[probe, cpu] = values
    return made


def rows_of(table) -> Any:
    assert table.schema == arrow_schema(COUNTER_COLUMNS)
    return [tuple(row.values()) for row in table.to_pylist()]


# Counters


def test_counters_are_told_per_probe_and_cpu_where_there_were_hits():
    log = CounterLog(PROBES)
    log.note(5, counted((0, 2, 10, 1, 2), (1, 0, 7, 0, 7)))
    assert rows_of(log.take_table()) == [(5, 1, 2, 10, 1, 2), (5, 4, 0, 7, 0, 7)]


def test_counters_are_told_again_only_where_hits_grew():
    log = CounterLog(PROBES)
    log.note(5, counted((0, 2, 10, 1, 2), (1, 0, 7, 0, 7)))
    log.note(6, counted((0, 2, 10, 1, 2), (1, 0, 7, 0, 7)))
    log.note(7, counted((0, 2, 11, 1, 2), (1, 0, 7, 0, 7)))
    assert [row[0] for row in rows_of(log.take_table())] == [5, 5, 7]


def test_counters_are_taken_once_and_still_compared_with_the_last():
    log = CounterLog(PROBES)
    log.note(5, counted((0, 2, 10, 1, 2)))
    log.take_table()
    log.note(6, counted((0, 2, 10, 1, 2)))
    assert rows_of(log.take_table()) == []


def test_nothing_noted_is_an_empty_table_of_the_right_columns():
    assert rows_of(CounterLog(PROBES).take_table()) == []


# The thread


class Guest:
    """What the sampler sees: a sample a call, or a fault."""

    def __init__(self) -> None:
        self.samples = 0
        self.fault: Exception | None = None

    def take(self, _files, zones, lost) -> Any:
        if self.fault:
            raise self.fault
        self.samples += 1
        return [(1, 2, 0, [1] * 11, *range(14), lost) for _ in zones]


@pytest.fixture
def guest(monkeypatch) -> Guest:
    made = Guest()
    monkeypatch.setattr("tracer.guest.samples.take", made.take)
    monkeypatch.setattr("tracer.guest.samples.appeared", lambda *_: [])
    monkeypatch.setattr(module, "SAMPLE_INTERVAL_S", 0.02)
    return made


@pytest.fixture
def observer(guest) -> Any:
    hits = iter(range(1, 1_000_000))

    def counters() -> Any:
        return counted((0, 1, next(hits), 5, 0), (1, 0, 9, 6, 0))

    made = Observer(None, small_traces.ZONES, counters, PROBES)  # type: ignore[arg-type] # nothing is read
    yield made
    if made._thread.is_alive():
        made.finish()


def wait_until(happened) -> None:
    for _ in range(2000):
        if happened():
            return
        time.sleep(0.005)
    pytest.fail("it did not happen")


def test_it_samples_at_the_start_again_and_again_and_at_the_end(observer, guest):
    observer.start()
    wait_until(lambda: guest.samples >= 3)
    observer.finish()
    tables = observer.take_tables()
    assert tables.samples.num_rows == guest.samples
    assert tables.samples.schema == arrow_schema(SAMPLE_COLUMNS)
    assert set(tables.samples["lost_events"].to_pylist()) == {11}
    hits = [row[3] for row in rows_of(tables.counters) if row[1] == Op.ZONE_LOCKED]
    assert hits == list(range(1, guest.samples + 1))
    assert observer.notes == []


def test_a_recording_shorter_than_a_second_has_its_first_and_last_sample(observer, guest, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_INTERVAL_S", 60)
    observer.start()
    wait_until(lambda: guest.samples == 1)
    observer.finish()
    assert guest.samples == 2


def test_what_was_taken_is_not_told_again(observer, guest):
    observer.start()
    wait_until(lambda: guest.samples >= 2)
    first = observer.take_tables().samples.num_rows
    observer.finish()
    assert first + observer.take_tables().samples.num_rows == guest.samples


def test_samples_that_cannot_be_taken_are_noted_with_the_first_reason(observer, guest):
    guest.fault = NO_PROC
    observer.start()
    wait_until(lambda: observer._sampler.failures >= 2)
    guest.fault = None
    wait_until(lambda: guest.samples >= 1)
    observer.finish()
    (note,) = observer.notes
    assert note.endswith("samples could not be read, the first because: kpageflags cannot be read: EIO")
    assert note.startswith(str(observer._sampler.failures))
    assert observer.take_tables().samples.num_rows == guest.samples


# Snapshots


@pytest.fixture
def writer(tmp_path) -> Any:
    made = small_traces.begin(tmp_path / "a.trace", [])
    yield made
    small_traces.kill(made)


class Shots:
    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fault: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def take(self, name, _files, pageblock_order, filters, page_types) -> Any:
        assert self.go.wait(10)
        self.asked.append((name, pageblock_order, filters))
        if self.fault:
            raise self.fault
        shot = replace(small_traces.snapshot(name, 1, 2), page_types=page_types())
        return shot, small_traces.frame_runs(1)


@pytest.fixture
def typed() -> list[Any]:
    """What pagetypeinfo says: page types, or a fault."""
    return []


@pytest.fixture
def shots(monkeypatch, typed) -> Shots:
    def read_page_types(_files, migratetypes) -> Any:
        assert migratetypes == small_traces.GUEST.migratetypes
        if typed and isinstance(typed[0], Exception):
            raise typed[0]
        return typed

    made = Shots()
    monkeypatch.setattr("tracer.guest.snapshot.take", made.take)
    monkeypatch.setattr(module, "read_page_types", read_page_types)
    return made


def snap(observer, writer, name) -> None:
    observer.begin_snapshot(name, writer, small_traces.GUEST, None)
    wait_until(lambda: observer.snapshot_ended)


def test_a_snapshot_is_stored_before_it_is_told(observer, writer, shots):
    shots.go.clear()
    observer.begin_snapshot("resync-1", writer, small_traces.GUEST, Filters(pfns=[1, 2]))
    assert not observer.snapshot_ended
    assert observer.snapshots == []
    shots.go.set()
    wait_until(lambda: observer.snapshot_ended)
    assert shots.asked == [("resync-1", 9, Filters(pfns=[1, 2]))]
    assert [shot.name for shot in observer.snapshots] == ["resync-1"]
    assert (writer.path / "frames/resync-1.parquet").is_file()


def test_without_a_snapshot_asked_for_none_is_waited_for(observer):
    assert observer.snapshot_ended


def test_the_first_snapshot_that_cannot_be_read_ends_the_recording(observer, writer, shots):
    shots.fault = NO_PROC
    observer.begin_snapshot("start", writer, small_traces.GUEST, None)
    with pytest.raises(type(NO_PROC)) as caught:
        wait_until(lambda: observer.snapshot_ended)
    assert caught.value is NO_PROC
    assert observer.snapshot_ended  # told once


def test_a_resync_that_cannot_be_read_is_a_note_and_the_next_may_be(observer, writer, shots):
    snap(observer, writer, "start")
    shots.fault = NO_PROC
    snap(observer, writer, "resync-1")
    shots.fault = None
    snap(observer, writer, "resync-2")
    assert observer.notes == [
        "1 snapshots could not be read, the first because: kpageflags cannot be read: EIO"
    ]
    assert [shot.name for shot in observer.snapshots] == ["start", "resync-2"]


def test_page_types_are_read_at_the_start_and_at_the_end_only(observer, writer, shots, typed):
    typed.append(PageTypes(0, "Normal", [], [], [], 1, 2))
    for name in ("start", "resync-1", "end"):
        snap(observer, writer, name)
    assert [shot.page_types for shot in observer.snapshots] == [typed, [], typed]
    assert observer.notes == []


def test_page_types_that_cannot_be_read_are_a_note_and_the_snapshot_stands(observer, writer, shots, typed):
    typed.append(environment("pagetypeinfo cannot be read", "EIO", "no"))
    snap(observer, writer, "start")
    snap(observer, writer, "end")
    assert [(shot.name, shot.page_types) for shot in observer.snapshots] == [("start", []), ("end", [])]
    (note,) = observer.notes
    assert note.startswith(
        "2 snapshots' page types could not be read, the first because: start: pagetypeinfo"
    )


def test_a_resync_that_cannot_be_stored_ends_the_recording(observer, writer, shots, monkeypatch):
    snap(observer, writer, "start")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(writer, "write_frames", lambda *_: (_ for _ in ()).throw(full))
    observer.begin_snapshot("resync-1", writer, small_traces.GUEST, None)
    with pytest.raises(OSError, match="No space"):
        wait_until(lambda: observer.snapshot_ended)


def test_finish_waits_for_a_snapshot_that_nobody_waited_for(observer, writer, shots):
    shots.go.clear()
    observer.start()
    observer.begin_snapshot("resync-1", writer, small_traces.GUEST, None)
    threading.Timer(0.2, shots.go.set).start()
    observer.finish()
    assert (writer.path / "frames/resync-1.parquet").is_file()

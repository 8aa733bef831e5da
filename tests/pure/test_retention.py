"""What --keep removes, that the rest still replays, and when a recording has to end."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.pure import dying, small_traces
from tests.pure.small_traces import FRAMES, counted, snapshot
from tracer import Fault, open_trace
from tracer.format import FrameState, Snapshot
from tracer.guest.snapshot import RawFrames, runs_table
from tracer.recording.retention import Growth, forget, outdated, reason_to_end
from tracer.recording.settings import Settings

MS = 1_000_000
S = 1000 * MS


def shots(*ends_s) -> list[Snapshot]:
    return [snapshot(f"s{k}", int(end * S) - MS, int(end * S)) for k, end in enumerate(ends_s)]


def names(found) -> list[str]:
    return [shot.name for shot in found]


# What is old


@pytest.mark.parametrize(
    ("ends_s", "old"),
    [
        ([], []),
        ([95], []),
        ([50], []),  # old, but nothing younger starts what is kept
        ([50, 95], []),
        ([50, 89.999, 95], ["s0"]),
        ([50, 90, 95], ["s0"]),  # just as old as is kept
        ([50, 90.001, 95], []),
        ([10, 20, 30, 80, 95], ["s0", "s1", "s2"]),
    ],
)
def test_all_snapshots_before_the_last_old_one_are_outdated(ends_s, old):
    assert names(outdated(shots(*ends_s), 10 * S, 100 * S)) == old


@pytest.mark.parametrize("interval_s", [1, 3, 10, 11])
def test_what_is_asked_for_is_always_kept(interval_s):
    kept: list[Snapshot] = []
    for now_s in range(interval_s, 200, interval_s):
        kept.append(snapshot(str(now_s), now_s * S - MS, now_s * S))
        kept = kept[len(outdated(kept, 30 * S, now_s * S)) :]
        assert kept[0].end_ns <= max(now_s - 30, interval_s) * S
        assert len(kept) <= 30 // interval_s + 2


# Forgetting


def runs_at(exits, at_ns) -> Any:
    """Frame runs of the guest when so many of its free frames have been taken."""
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[FRAMES // 2 + exits :] = FrameState.BUDDY
    times = np.full(FRAMES // 4096, at_ns - 10, np.int64)
    return runs_table(state, RawFrames(np.zeros(FRAMES, np.uint8), times, times + 1))


STARTS = {"start": (0, 1 * S), "resync-1": (10, 11 * S), "resync-2": (20, 21 * S)}


def begun(folder) -> Any:
    """Exits of one frame each, ten between two snapshots; segments of five."""
    writer = small_traces.begin(folder / "a.trace", [])
    taken = []
    for name, (exits, at_ns) in STARTS.items():
        writer.write_frames(name, runs_at(exits, at_ns))
        taken.append(snapshot(name, at_ns - 100, at_ns))
    manifest = small_traces.manifest(snapshots=taken)
    writer.write_manifest(manifest)
    at = [int((1.5 + 10 * (n // 10) + 0.9 * (n % 10)) * S) for n in range(25)]
    for first in range(0, 25, 5):
        columns = small_traces.columns(at[first : first + 5])
        columns["pfn"] += np.uint64(first)
        writer.write_segment(columns, counted(first + 5))
    return writer, manifest


def left(writer) -> list[str]:
    kinds = ("events", "frames")
    return sorted(f"{kind}/{file.stem}" for kind in kinds for file in (writer.path / kind).iterdir())


def impossible(path) -> int:
    """Exits of frames that are not free, from the trace's first snapshot on, as FORMAT.md says."""
    trace = open_trace(path)
    free, begin_ns, wrong = set(), 0, 0
    for run in trace.frames().to_pylist():
        begin_ns = run["read_begin_ns"]  # the same of all chunks here
        if run["state"] == FrameState.BUDDY:
            free |= set(range(run["pfn"], run["pfn"] + run["count"]))
    for batch in trace.batches(["ts_ns", "pfn"]):
        for event in batch.to_pylist():
            if event["ts_ns"] >= begin_ns:
                wrong += event["pfn"] not in free
                free.discard(event["pfn"])
    return wrong


def assert_replays(path) -> None:
    """What is kept is right from its first snapshot on, whatever lies before it."""
    assert impossible(path) == 0


def test_what_lies_before_the_first_snapshot_kept_is_removed(tmp_path):
    writer, manifest = begun(tmp_path)
    kept = forget(writer, manifest, manifest.snapshots[:1])
    assert names(kept.snapshots) == ["resync-1", "resync-2"]
    assert kept.discarded_events == 10
    assert left(writer) == [
        "events/00002", "events/00003", "events/00004", "frames/resync-1", "frames/resync-2",
    ]  # fmt: skip
    assert writer.next_name == "00005"
    path = small_traces.kill(writer)
    trace = open_trace(path)
    assert trace.start == manifest.snapshots[1]
    assert names(trace.resyncs) == ["resync-2"]
    assert trace.span_ns[0] == 11 * S
    assert_replays(path)


def test_a_snapshot_that_is_not_the_first_one_kept_would_be_noticed(tmp_path):
    writer, manifest = begun(tmp_path)
    forget(writer, manifest, manifest.snapshots[:1])
    path = small_traces.kill(writer)
    frames = path / "frames"
    (frames / "resync-1.parquet").write_bytes((frames / "resync-2.parquet").read_bytes())
    with pytest.raises(Fault, match=r"damaged at frames/resync-1\.parquet row 0") as caught:
        impossible(path)  # else nobody would know: the later one knows of all events before its own read
    assert "its snapshot in" in caught.value.how
    pq.write_table(runs_at(20, 11 * S), frames / "resync-1.parquet")
    assert impossible(path) == 10


def test_discarded_events_add_up_over_several_times(tmp_path):
    writer, manifest = begun(tmp_path)
    kept = forget(writer, manifest, manifest.snapshots[:1])
    kept = forget(writer, kept, kept.snapshots[:1])
    assert names(kept.snapshots) == ["resync-2"]
    assert kept.discarded_events == 20
    writer.close(dataclasses.replace(kept, status="complete", probes=counted(25)))
    trace = open_trace(writer.path)
    assert trace.complete, trace.warnings
    assert trace.rows == 5
    assert_replays(writer.path)


def test_a_row_that_is_gone_without_being_discarded_is_noticed(tmp_path):
    writer, manifest = begun(tmp_path)
    kept = forget(writer, manifest, manifest.snapshots[:1])
    writer.close(dataclasses.replace(kept, status="complete", probes=counted(25), discarded_events=9))
    assert any("lines of it are gone" in warning for warning in open_trace(writer.path).warnings)


def test_a_segment_that_reaches_into_the_snapshot_is_kept(tmp_path):
    writer, manifest = begun(tmp_path)
    start = dataclasses.replace(manifest.snapshots[1], begin_ns=writer.segments[1].last_ts_ns)
    manifest = dataclasses.replace(manifest, snapshots=[manifest.snapshots[0], start, manifest.snapshots[2]])
    kept = forget(writer, manifest, manifest.snapshots[:1])
    assert kept.discarded_events == 5
    assert "events/00001" in left(writer)
    small_traces.kill(writer)


def test_where_no_segment_is_old_only_the_snapshot_goes(tmp_path):
    writer = small_traces.begin(tmp_path / "a.trace", [(30 * S,)])
    manifest = small_traces.manifest(snapshots=[snapshot("start", 1, 2), snapshot("resync-1", 3, 4)])
    writer.write_frames("resync-1", small_traces.frame_runs(3))
    kept = forget(writer, manifest, manifest.snapshots[:1])
    assert kept.discarded_events == 0
    assert left(writer) == ["events/00000", "frames/resync-1"]
    small_traces.kill(writer)


def test_free_lists_of_a_snapshot_go_with_it(tmp_path):
    writer, manifest = begun(tmp_path)
    first = dataclasses.replace(manifest.snapshots[0], lists=True)
    writer.write_frames("start-lists", small_traces.frame_runs(1))
    manifest = dataclasses.replace(manifest, snapshots=[first, *manifest.snapshots[1:]])
    forget(writer, manifest, [first])
    assert not [name for name in left(writer) if "start" in name]
    small_traces.kill(writer)


def test_a_kill_at_any_step_leaves_a_trace_that_opens_and_replays(tmp_path):
    for good_calls in range(200):
        (folder := tmp_path / str(good_calls)).mkdir()
        writer, manifest = begun(folder)
        with dying.after(good_calls) as life:
            forget(writer, manifest, manifest.snapshots[:1])
        path = dying.bury(writer)
        trace = open_trace(path)
        trace.verify()
        assert trace.manifest.status == "recovered"
        assert trace.start in manifest.snapshots[:2]
        assert trace.rows in {25, 15}
        assert_replays(path)
        if not life.died:
            break
    assert good_calls > 5
    assert (trace.rows, trace.start) == (15, manifest.snapshots[1])


# When to end


@pytest.fixture
def writer(tmp_path) -> Any:
    made = small_traces.begin(tmp_path / "a.trace")
    yield made
    small_traces.kill(made)


def reason(writer, *, coming_bytes=0, **asked) -> Any:
    return reason_to_end(Settings(**({"min_free_bytes": 0} | asked)), writer, coming_bytes)


def test_without_bounds_there_is_no_reason_to_end(writer):
    assert reason(writer, coming_bytes=1 << 60, min_free_bytes=-(1 << 62)) is None


def test_the_size_counts_all_that_is_there_and_leaves_room_for_what_comes(writer):
    size = writer.size_bytes
    assert size == sum(file.stat().st_size for file in writer.path.rglob("*") if file.is_file())
    assert reason(writer, max_bytes=size) == "max-size"
    assert reason(writer, max_bytes=size + 1) is None
    assert reason(writer, max_bytes=size + 30, coming_bytes=30) == "max-size"
    assert reason(writer, max_bytes=size + 31, coming_bytes=30) is None


def test_the_disk_keeps_what_was_asked_for_and_room_to_end(writer, monkeypatch):
    snapshots = 3 * writer.size_of_kind("frames")
    monkeypatch.setattr("tracer.folder.Folder.free_bytes", lambda _self: snapshots + 1000)
    assert reason(writer, min_free_bytes=1000) is None
    assert reason(writer, min_free_bytes=1001) == "disk"
    assert reason(writer, min_free_bytes=900, coming_bytes=snapshots + 100) is None
    assert reason(writer, min_free_bytes=901, coming_bytes=snapshots + 100) == "disk"


def test_growth_expects_what_came_at_its_fastest():
    growth = Growth()
    assert growth.rows_within(1000) == 0
    for now_ns, rows in ((0, 0), (100, 50), (200, 500), (300, 510)):
        growth.note(now_ns, rows)
    assert growth.rows_within(1000) == 4500


def test_the_largest_snapshot_is_what_the_last_one_may_take(writer):
    assert writer.size_of_kind("frames") == (writer.path / "frames/start.parquet").stat().st_size
    assert writer.size_of_kind("samples") == 0

"""Converting: the same trace in every row and word, in another layout; or a fault, and nothing written."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

import tracer
from replay import main
from tests.pure import damage, small_traces
from tests.pure.worlds import World, event_columns, worlds
from tests.pure.worlds import write as write_world
from tracer import Fault, Loss, Trace, TraceWriter, converting, open_trace
from tracer.faults import ExitCode
from tracer.layouts import BUDDY, CONVERTED, FRAME, Target, recorded
from tracer.parquet import PartFile

TARGETS = ("archive", "replay")
DATABASE = Path(__file__).parents[2] / "data/database.trace"
HOUR_NS = 3600 * 10**9


def said(*words: Any) -> damage.Said:
    """What a command line says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([str(word) for word in words])
    return damage.Said(code, out.getvalue(), err.getvalue())


def events(trace: Trace) -> pa.Table:
    return pa.Table.from_batches(trace.batches(trace.columns))


def rows(table: pa.Table | None) -> Any:
    return None if table is None else table.to_pylist()


def assert_same(made: Trace, source: Trace) -> None:
    """All that a trace tells, but for how it is stored."""
    made.verify()
    assert made.columns == source.columns
    if source.segments:
        assert events(made).equals(events(source))
    assert made.samples.equals(source.samples)
    assert made.counters.equals(source.counters)
    assert made.losses == source.losses
    for shot in source.manifest.snapshots:
        assert made.frames(shot.name).equals(source.frames(shot.name))
        assert rows(made.lists(shot.name)) == rows(source.lists(shot.name))
    assert told(made) == told(source)
    assert made.span_ns == source.span_ns
    if source.segments:
        assert made.segments[-1].probes == source.segments[-1].probes


def told(trace: Trace) -> Any:
    """The manifest, but for where its files are and that it was converted."""
    shots = [replace(shot, parts=[]) for shot in trace.manifest.snapshots]
    return replace(trace.manifest, snapshots=shots, converted=None)


def codings(path: Path, file: str = "events/00000.parquet") -> dict[str, tuple[str, str]]:
    """Per column its codec and, of those that tell, its encoding."""
    group = pq.ParquetFile(path / file).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    known = ("DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "RLE_DICTIONARY")
    return {
        c.path_in_schema: (c.compression, next((e for e in c.encodings if e in known), "PLAIN"))
        for c in columns
    }


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Samples, counters, losses, lists and a resync: everything."""
    return damage.write(tmp_path / "a.trace")


# The same trace


@pytest.mark.parametrize("target", TARGETS)
def test_everything_in_a_trace_is_there_after_converting(whole: Path, target: str) -> None:
    source = open_trace(whole)
    made = tracer.convert(whole, whole.with_name("b.trace"), target)
    assert_same(made, source)
    assert made.warnings == source.warnings == []
    assert made.manifest.converted is not None
    assert made.manifest.converted.target == target
    assert len(made.segments) == 1 < len(source.segments)
    assert f"converted for {target}" in said("info", made.path).out
    assert entries(whole.parent) == ["a.trace", "b.trace"]


def test_converting_again_and_back_changes_nothing(whole: Path) -> None:
    source, path = open_trace(whole), whole
    for name, target in (("b", "archive"), ("c", "replay"), ("d", "replay"), ("e", "archive")):
        path = tracer.convert(path, whole.with_name(f"{name}.trace"), target).path
        assert_same(open_trace(path), source)
    same = {file: (path / file).read_bytes() for file in ("events/00000.parquet", "segments.jsonl")}
    assert same == {file: (whole.with_name("b.trace") / file).read_bytes() for file in same}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(worlds())
def test_any_history_is_the_same_after_converting_whatever_the_batches(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        source = open_trace(write_world(Path(folder) / "a.trace", world))
        patch.setattr(converting, "BATCH_ROWS", 7)
        small = {target: replace(layout, group_rows=11) for target, layout in CONVERTED.items()}
        patch.setattr(converting, "CONVERTED", small)
        for target in TARGETS:
            assert_same(tracer.convert(source, Path(folder) / f"{target}.trace", target), source)


def with_owners(path: Path, *, second: bool = True) -> Path:
    """Two segments with pid and gfp; the second one may lack them."""
    writer = TraceWriter(path, small_traces.manifest(layers=["frame"]))
    rng, rows = np.random.default_rng(1), 0
    for number, ts_ns in enumerate(((10, 20, 30), (40, 50))):
        columns = small_traces.columns(ts_ns)
        if second or number == 0:
            columns |= {
                name: rng.integers(0, 1 << 20, len(ts_ns)).astype(np.uint32) for name in ("gfp", "pid")
            }
        rows += len(ts_ns)
        writer.write_segment(columns, small_traces.counted(rows))
    probes = small_traces.counted(rows)
    writer.close(small_traces.manifest(status="complete", layers=["frame"], probes=probes))
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_who_asked_for_pages_is_kept(tmp_path: Path, target: str) -> None:
    source = open_trace(with_owners(tmp_path / "a.trace"))
    made = tracer.convert(source, tmp_path / "b.trace", target)
    assert made.columns[-2:] == ["pid", "gfp"]
    assert_same(made, source)


@pytest.mark.parametrize("target", TARGETS)
def test_a_lossy_trace_stays_one(tmp_path: Path, target: str) -> None:
    source = open_trace(small_traces.write(tmp_path / "a.trace", lost=3))
    out = tmp_path / "b.trace"
    run = said("convert", source.path, out, "--for", target)
    assert run.code == ExitCode.LOSSY
    assert "3 events were lost" in run.err
    assert_same(open_trace(out), source)
    assert open_trace(out).warnings == source.warnings
    assert said("info", out).code == ExitCode.LOSSY
    assert said("convert", source.path, out, "--for", target, "--force", "--allow-loss").code == ExitCode.DONE


def test_a_recovered_trace_stays_one(tmp_path: Path) -> None:
    path = small_traces.kill(small_traces.begin(tmp_path / "a.trace"))
    source = open_trace(path)
    run = said("convert", path, tmp_path / "b.trace", "--for", "archive")
    assert run.code == ExitCode.LOSSY
    assert "the recorder was killed" in run.err
    made = open_trace(tmp_path / "b.trace")
    made.verify()
    assert events(made).equals(events(source))
    assert made.manifest.status == source.manifest.status == "recovered"
    assert made.manifest.probes == source.manifest.probes
    assert made.warnings == ["the recording ended early (killed): its tail is missing"]
    again = tracer.convert(made, tmp_path / "c.trace", "replay")
    assert again.warnings == made.warnings


def test_a_trace_without_events_is_converted(tmp_path: Path) -> None:
    source = open_trace(small_traces.write(tmp_path / "a.trace", ()))
    assert_same(tracer.convert(source, tmp_path / "b.trace", "replay"), source)


def test_what_was_listed_twice_is_told_of_where_it_is_no_more(whole: Path) -> None:
    damage.edit_index(whole, lambda lines: lines.append(lines[1]))
    source = open_trace(whole)
    assert [line for line in source.warnings if "listed twice" in line]
    made = tracer.convert(source, whole.with_name("b.trace"), "archive")
    assert events(made).equals(events(source))
    assert made.warnings == []
    (note,) = made.manifest.notes
    assert note.startswith(
        "before it was converted: segments.jsonl line 3: events/00001.parquet is listed twice"
    )


def test_segments_out_of_order_stay_so_and_are_told_of(whole: Path) -> None:
    damage.edit_index(whole, lambda lines: lines.reverse())
    source = open_trace(whole)
    made = tracer.convert(source, whole.with_name("b.trace"), "archive")
    assert events(made).equals(events(source))
    for warnings in (source.warnings, made.warnings):
        assert "ends before the one before it began" in warnings[0]
        assert warnings[1:] == ["time goes back at 2 events; manifest.json counts 0"]


def test_a_slice_of_a_converted_trace_is_no_converted_one(tmp_path: Path) -> None:
    made = tracer.convert(DATABASE, tmp_path / "b.trace", "archive")
    run = said("slice", made.path, tmp_path / "c.trace", "--from", "0s", "--to", "1s")
    assert run.code == ExitCode.DONE, run.err
    assert open_trace(tmp_path / "c.trace").manifest.converted is None


@pytest.mark.parametrize("target", TARGETS)
def test_a_replay_of_the_shipped_trace_gives_the_same_numbers(tmp_path: Path, target: str) -> None:
    made = tracer.convert(DATABASE, tmp_path / "b.trace", target)
    assert_same(made, open_trace(DATABASE))
    answers = []
    for path in (DATABASE, made.path):
        run = said("replay", path, "--policy", "upstream", "--policy", "oracle:order=0", "--json")
        answers.append({key: json.loads(run.out)[key] for key in ("results", "fidelity")})
    assert answers[0] == answers[1]


def test_the_shipped_trace_is_smaller_in_an_archive_and_larger_for_replay(tmp_path: Path) -> None:
    made = {target: tracer.convert(DATABASE, tmp_path / f"{target}.trace", target) for target in TARGETS}
    recorded_bytes = sum(segment.size_bytes for segment in open_trace(DATABASE).segments)
    sizes = {name: sum(segment.size_bytes for segment in trace.segments) for name, trace in made.items()}
    assert sizes["archive"] < 0.85 * recorded_bytes
    assert sizes["replay"] < 1.5 * recorded_bytes


# Layouts


def test_columns_are_written_as_their_layout_says(whole: Path) -> None:
    small = codings(tracer.convert(whole, whole.with_name("b.trace"), "archive").path)
    fast = codings(tracer.convert(whole, whole.with_name("c.trace"), "replay").path)
    assert codings(whole)["pfn"] == ("ZSTD", "DELTA_BINARY_PACKED")
    assert small["pfn"] == ("ZSTD", "BYTE_STREAM_SPLIT")
    assert (small["ts_ns"], small["op"]) == (("ZSTD", "DELTA_BINARY_PACKED"), ("ZSTD", "RLE_DICTIONARY"))
    assert (fast["ts_ns"], fast["pfn"]) == (
        ("UNCOMPRESSED", "DELTA_BINARY_PACKED"),
        ("LZ4", "DELTA_BINARY_PACKED"),
    )
    assert fast["cpu"] == ("LZ4", "RLE_DICTIONARY")


def test_of_a_recording_only_the_events_of_the_frame_layer_are_split(tmp_path: Path) -> None:
    assert (recorded(["buddy"]), recorded(["frame"]), recorded(["buddy", "frame"])) == (BUDDY, FRAME, FRAME)
    path = with_owners(tmp_path / "a.trace")
    assert codings(path)["pfn"] == ("ZSTD", "BYTE_STREAM_SPLIT")
    whole = damage.write(tmp_path / "b.trace")
    made = tracer.convert(whole, tmp_path / "c.trace", "archive").path
    assert codings(made)["pfn"] == ("ZSTD", "BYTE_STREAM_SPLIT")
    assert codings(made, "frames/start.parquet") == codings(whole, "frames/start.parquet")


def test_pages_hold_as_many_rows_as_the_layout_says(tmp_path: Path) -> None:
    rows = 300_000
    path = small_traces.write(tmp_path / "a.trace", [range(2_000_000, 2_000_000 + rows)])
    made = tracer.convert(path, tmp_path / "b.trace", "archive").path
    sizes = [
        pq.ParquetFile(each / "events/00000.parquet").metadata.row_group(0).column(4).total_uncompressed_size
        for each in (path, made)
    ]
    pages = -(-rows // BUDDY.page_rows)
    assert sizes[0] - sizes[1] >= 10 * (pages - 1)  # a header for each page


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip"])
def test_a_trace_in_any_other_layout_is_converted_too(whole: Path, codec: str) -> None:
    for name in (damage.EVENTS, damage.SAMPLES, damage.FRAMES_FILE):
        table = pq.read_table(whole / name)
        pq.write_table(table, whole / name, compression=codec, row_group_size=2, data_page_version="2.0")
        damage.agree(whole, name)
    source = open_trace(whole)
    assert_same(tracer.convert(source, whole.with_name("b.trace"), "replay"), source)


# Bounded


def many(path: Path, segments: int, rows: int, step_ns: int = 1000) -> Path:
    """Many segments of so many rows, without gaps."""
    at = range(2_000_000, 2_000_000 + segments * rows * step_ns, step_ns)
    return small_traces.write(path, [at[k * rows : (k + 1) * rows] for k in range(segments)])


def test_no_more_than_a_row_group_waits_however_many_segments_there_are(
    tmp_path: Path, monkeypatch: Any
) -> None:
    source = open_trace(many(tmp_path / "a.trace", 60, 37))
    layout = replace(CONVERTED[Target.ARCHIVE], group_rows=100)
    monkeypatch.setattr(converting, "CONVERTED", {Target.ARCHIVE: layout})
    monkeypatch.setattr(converting, "BATCH_ROWS", 30)
    held, copied, append = [], converting._Segments._copy, PartFile.append

    def copy(self: Any, segment: Any) -> None:
        copied(self, segment)
        held.append(sum(batch.num_rows for batch in self._waiting))

    appended: list[int] = []

    def written(self: PartFile, table: pa.Table) -> None:
        appended.append(table.num_rows)
        append(self, table)

    monkeypatch.setattr(converting._Segments, "_copy", copy)
    monkeypatch.setattr(PartFile, "append", written)
    made = tracer.convert(source, tmp_path / "b.trace", "archive")
    assert_same(made, source)
    assert len(held) == 60
    assert max(held) < 100
    assert max(rows for rows in appended if rows != 4) == 100
    groups = pq.ParquetFile(made.path / made.segments[0].file).metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [100] * 22 + [20]


def test_files_become_fewer_but_not_larger_than_merged_ones(tmp_path: Path, monkeypatch: Any) -> None:
    times = 2_000_000 + np.cumsum(np.random.default_rng(1).integers(1, 5000, (20, 4000))).reshape(20, 4000)
    source = open_trace(small_traces.write(tmp_path / "a.trace", times.tolist()))
    monkeypatch.setattr(
        converting, "CONVERTED", {Target.REPLAY: replace(CONVERTED[Target.REPLAY], group_rows=4000)}
    )
    each = source.segments[0].size_bytes
    monkeypatch.setattr(converting, "MAX_BYTES", 5 * each)
    made = tracer.convert(source, tmp_path / "b.trace", "replay")
    assert_same(made, source)
    assert 2 <= len(made.segments) < 20
    assert max(segment.size_bytes for segment in made.segments) <= 6 * each
    assert [segment.file for segment in made.segments[:2]] == ["events/00000.parquet", "events/00001.parquet"]


def test_a_file_spans_an_hour_at_most(tmp_path: Path) -> None:
    source = open_trace(many(tmp_path / "a.trace", 10, 2, HOUR_NS // 6))
    made = tracer.convert(source, tmp_path / "b.trace", "archive")
    assert_same(made, source)
    spans = [segment.last_ts_ns - segment.first_ts_ns for segment in made.segments]
    assert len(spans) == 4
    assert max(spans) <= HOUR_NS


def test_late_events_do_not_keep_segments_apart(tmp_path: Path) -> None:
    path = small_traces.write(
        tmp_path / "a.trace", [(2_000_000, 4_000_000), (3_000_000, 5_000_000)], late_events=1
    )
    made = tracer.convert(path, tmp_path / "b.trace", "archive")
    assert_same(made, open_trace(path))
    assert len(made.segments) == 1


def test_what_is_done_is_told_as_it_goes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(converting, "BATCH_ROWS", 10)
    heard: list[int] = []
    tracer.convert(many(tmp_path / "a.trace", 4, 25), tmp_path / "b.trace", "replay", tell=heard.append)
    assert heard == [10, 10, 5] * 4


# The command


def test_the_command_says_what_it_made(whole: Path) -> None:
    out = whole.with_name("b.trace")
    run = said("convert", whole, out, "--for", "archive", "--json")
    assert run.code == ExitCode.DONE
    answer = json.loads(run.out)
    assert (answer["events"], answer["for"], answer["segments"]) == (5, "archive", 1)
    assert answer["size_bytes"] == open_trace(out).size_bytes
    assert answer["source_size_bytes"] == open_trace(whole).size_bytes
    run = said("convert", whole, out, "--for", "replay", "--force")
    assert (run.code, run.err) == (ExitCode.DONE, "")
    assert run.out.startswith(f"wrote {out} for replay: 5 events, ")


# What is refused


def nth_fails(nth: int, error: BaseException) -> Callable[..., None]:
    """Does nothing, and fails when called so often."""
    calls = iter(range(1, nth + 1))

    def work(*_: Any) -> None:
        if next(calls) == nth:
            raise error

    return work


def refused(what: str, code: int, *words: Any) -> damage.Said:
    run = said("convert", *words)
    assert (run.code, run.out) == (code, "")
    assert what in run.err
    assert len(run.err.splitlines()) == 3
    return run


def test_no_target_or_another_is_refused(whole: Path) -> None:
    out = whole.with_name("b.trace")
    refused("missing option '--for'", ExitCode.USAGE, whole, out)
    refused("no trace is converted for 'speed'", ExitCode.USAGE, whole, out, "--for", "speed")
    with pytest.raises(Fault, match="no trace is converted for"):
        tracer.convert(whole, out, "Archive")
    assert entries(whole.parent) == ["a.trace"]


def test_a_place_that_cannot_be_is_refused(whole: Path) -> None:
    folder = whole.parent
    (folder / "link.trace").symlink_to(whole)
    (folder / "holds.trace").mkdir()
    whole.rename(folder / "holds.trace/a.trace")
    inner = folder / "holds.trace/a.trace"
    (folder / "holds.trace/manifest.json").write_text("{}")
    for out, what in (
        (inner, "is the trace that is being converted"),
        (folder / "holds.trace", "is the trace that is being converted"),
        (inner / "b.trace", "lies inside the trace that is being converted"),
        (inner / "events/b.trace", "lies inside the trace that is being converted"),
        (folder / "b.parquet", "a trace is a folder NAME.trace"),
        (folder / "none/b.trace", "there is no folder"),
    ):
        refused(what, ExitCode.USAGE, inner, out, "--for", "archive", "--force")
    open_trace(inner).verify()
    assert entries(folder) == ["holds.trace", "link.trace"]


def test_what_was_there_is_replaced_only_when_asked_and_when_the_new_one_is_whole(
    whole: Path, monkeypatch: Any
) -> None:
    out = whole.with_name("b.trace")
    first = tracer.convert(whole, out, "archive")
    refused("exists already", ExitCode.USAGE, whole, out, "--for", "replay")

    for work in ("tracer.parquet.pq.ParquetWriter.write_table", "os.fsync"):
        for nth in (1, 3, 6):
            with monkeypatch.context() as patch:
                patch.setattr(work, nth_fails(nth, OSError(28, "No space left on device")))
                run = refused(f"{out} cannot be written", 2, whole, out, "--for", "replay", "--force")
                assert "No space left on device" in run.err
            assert entries(whole.parent) == ["a.trace", "b.trace"]
            assert open_trace(out).manifest == first.manifest
    again = tracer.convert(whole, out, "replay", force=True)
    assert again.manifest.converted != first.manifest.converted
    assert entries(whole.parent) == ["a.trace", "b.trace"]


def test_nothing_is_left_of_a_conversion_that_was_interrupted(whole: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tracer.parquet.pq.ParquetWriter.write_table", nth_fails(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        tracer.convert(whole, whole.with_name("b.trace"), "replay")
    assert entries(whole.parent) == ["a.trace"]


@pytest.mark.parametrize(
    "file", [damage.EVENTS, damage.SAMPLES, damage.COUNTERS, damage.FRAMES_FILE, damage.LISTS]
)
def test_a_damaged_file_is_named_and_nothing_is_written(whole: Path, file: str) -> None:
    damage.flip(whole, file, 9, 3)
    run = refused("is damaged", ExitCode.USAGE, whole, whole.with_name("b.trace"), "--for", "archive")
    assert file in run.err
    assert entries(whole.parent) == ["a.trace"]


def test_a_row_that_cannot_be_is_named_and_nothing_is_written(whole: Path) -> None:
    damage.rewrite(whole, damage.EVENTS, damage.cell("ts_ns", 0, 1))
    run = refused("is damaged", ExitCode.USAGE, whole, whole.with_name("b.trace"), "--for", "archive")
    assert f"{damage.EVENTS} row 0" in run.err
    assert entries(whole.parent) == ["a.trace"]


@pytest.mark.parametrize("file", [damage.EVENTS, damage.SAMPLES, damage.FRAMES_FILE])
def test_a_column_of_a_later_version_is_not_lost_in_silence(whole: Path, file: str) -> None:
    table = pq.read_table(whole / file)
    damage.store(whole, file, table.append_column("node", pa.array([0] * table.num_rows, pa.uint8())))
    run = refused("would lose a column", ExitCode.USAGE, whole, whole.with_name("b.trace"), "--for", "replay")
    assert f"{file} has node" in run.err
    assert entries(whole.parent) == ["a.trace"]


def test_a_column_that_only_some_segments_have_is_not_lost_either(tmp_path: Path) -> None:
    path = with_owners(tmp_path / "a.trace", second=False)
    with pytest.raises(Fault, match="has no column pid"):
        tracer.convert(path, tmp_path / "b.trace", "replay")
    damage.edit_index(path, lambda lines: lines.reverse())
    with pytest.raises(Fault, match="would lose a column"):
        tracer.convert(path, tmp_path / "b.trace", "replay")
    assert entries(tmp_path) == ["a.trace"]


def test_a_trace_under_way_is_refused(tmp_path: Path) -> None:
    writer = small_traces.begin(tmp_path / "a.trace")
    refused("is still being recorded", 1, writer.path, tmp_path / "b.trace", "--for", "archive")
    writer.release()
    assert tracer.convert(writer.path, tmp_path / "b.trace", "archive").rows == 5


def test_losses_of_joined_segments_are_kept_in_order(tmp_path: Path) -> None:
    writer = small_traces.begin(tmp_path / "a.trace", [])
    for number in range(3):
        at = 2_000_000 + 1000 * number
        columns = event_columns([(at, False, 4096 + number, 0)])
        writer.write_segment(columns, small_traces.counted(number + 1, number + 1), [Loss(at - 5, at, 1)])
    probes = small_traces.counted(3, 3)
    writer.close(small_traces.manifest(status="complete", probes=probes))
    source = open_trace(writer.path)
    made = tracer.convert(source, tmp_path / "b.trace", "archive")
    assert [loss.end_ns for loss in made.losses] == [2_000_000, 2_001_000, 2_002_000]
    assert_same(made, source)

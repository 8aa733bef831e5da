"""Traces in an S3 store: the same answers as from a folder, only needed columns travel, one fault for each
failure.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay import findings, survey
from replay.api import replay
from replay.main import run
from replay.report.making import is_results, named_after
from replay.validation import validate
from tests.pure import small_traces
from tests.pure.loopback_s3 import (  # noqa: F401 - fixtures
    BUCKET,
    KEY,
    SECRET,
    SHORT,
    SILENT,
    _moto,
    data_requests,
    front,
    put_folder,
    store,
)
from tracer import open_trace, stores
from tracer.describe import facts
from tracer.faults import ExitCode, Fault
from tracer.format import EVENT_COLUMNS, Segment
from tracer.parquet import checksum
from tracer.places import Place
from tracer.stores import Missing
from tracer.writer import index_line

SHIPPED = Path(__file__).parents[2] / "data/database.trace"
HERE = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def stored(_moto) -> str:  # noqa: F811 - the fixture
    """A shipped trace of many segments, in the store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*_moto))
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        return str(put_folder(SHIPPED, Place.of(f"{HERE}/fleet/database.trace")))


@pytest.fixture
def small(store, tmp_path) -> Place:  # noqa: F811 - the fixture
    """A small trace, put anew."""
    place = Place.of(f"{HERE}/{tmp_path.name}/a.trace")
    return put_folder(small_traces.write(tmp_path / "a.trace"), place)


def fault_of(call, code: ExitCode = ExitCode.ENVIRONMENT) -> Fault:
    """The one fault that a call comes to: three lines, and nothing in it that is nobody's business."""
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == code, str(caught.value)
    told = str(caught.value)
    assert len(told.splitlines()) == 3
    assert KEY not in told and SECRET not in told and "Request ID" not in told
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)
    return caught.value


# The same as from a folder


@pytest.fixture
def both(store, stored) -> Any:  # noqa: F811 - the fixture
    return open_trace(SHIPPED), open_trace(stored)


def test_a_trace_in_a_store_is_what_it_is_in_a_folder(both):
    here, there = both
    assert (there.manifest, there.segments, there.warnings) == (here.manifest, here.segments, here.warnings)
    assert there.size_bytes == here.size_bytes and there.columns == here.columns
    assert facts(there) == facts(here) | {"trace": str(there.place)}
    assert there.frames().equals(here.frames())
    assert there.samples.equals(here.samples) and there.counters.equals(here.counters)
    there.verify()


def test_events_are_the_same_rows_in_the_same_order(both):
    _, there = both
    tables = [pa.Table.from_batches(each.batches(list(EVENT_COLUMNS), 50_000)) for each in both]
    assert tables[0].combine_chunks().equals(tables[1].combine_chunks())
    assert max(batch.num_rows for batch in there.batches(["ts_ns"], 1000)) == 1000
    for name in ("ts_ns", "pfn"):
        here, again = (np.concatenate([some[name] for some in each.arrays([name, "op"])]) for each in both)
        assert np.array_equal(here, again)


def test_lazy_events_are_the_same(both):
    asked: list[Callable[[pl.LazyFrame], pl.LazyFrame]] = [
        lambda events: events.select(pl.len()),
        lambda events: events.filter(pl.col("order") > 3).group_by("op").agg(pl.col("pfn").sum()).sort("op"),
        lambda events: events.head(1000),
        lambda events: events.select("ts_ns").slice(130_000, 5),
    ]
    for ask in asked:
        here, there = (ask(trace.events).collect() for trace in both)
        assert here.equals(there)


def test_a_replay_of_it_comes_to_the_same(both):
    here, there = (replay(trace, ["upstream", "hints"]) for trace in both)
    assert [result.summary for result in there.results] == [result.summary for result in here.results]
    assert there.fidelity == here.fidelity


def test_a_verdict_on_it_is_the_same(both):
    here, there = (validate(trace).to_json() for trace in both)
    assert there == here | {"trace": str(both[1].place)}


def test_its_identity_changes_with_any_file(small, tmp_path):
    before = open_trace(small).identity
    assert open_trace(str(small)).identity == before
    assert open_trace(put_folder(tmp_path / "a.trace", small.parent / "b.trace")).identity != before
    content = (small / "manifest.json").read_bytes()
    (small / "manifest.json").put(content + b" ")
    assert open_trace(small).identity != before


def test_a_trace_cut_off_while_it_was_copied_is_recovered(small, tmp_path):
    small_traces.edit_manifest(tmp_path / "a.trace", lambda data: data.update(status="recording"))
    (small / "manifest.json").put(tmp_path / "a.trace/manifest.json")
    assert open_trace(small).manifest.status == "recovered"


# What travels


def with_pids(folder: Path, rows: int = 100_000) -> Path:
    """A trace whose pid and gfp, that no replay reads, take most of its bytes."""
    small_traces.write(folder)
    rng = np.random.default_rng(1)
    columns = small_traces.columns(list(range(rows)))
    columns["ts_ns"] = np.arange(rows, dtype=np.int64) + small_traces.START_NS
    columns["pfn"] = rng.integers(0, small_traces.FRAMES, rows).astype(np.uint64)
    more = {name: rng.integers(0, 2**32, rows).astype(np.uint32) for name in ("pid", "gfp")}
    file = folder / "events/00000.parquet"
    pq.write_table(pa.table(columns | more), file, row_group_size=40_000)
    times = int(columns["ts_ns"][0]), int(columns["ts_ns"][-1])
    size, probes = file.stat().st_size, small_traces.counted(rows)
    segment = Segment("events/00000.parquet", rows, *times, size, checksum(file), probes)
    (folder / "segments.jsonl").write_bytes(index_line(segment))
    for other in folder.glob("events/0*[1-9].parquet"):
        other.unlink()
    small_traces.edit_manifest(folder, lambda data: data["probes"][0].update(hits=rows, kept=rows))
    return folder


def test_only_columns_that_are_asked_for_travel(front, tmp_path):  # noqa: F811 - the fixture
    folder = with_pids(tmp_path / "a.trace")
    place = put_folder(folder, Place.of(f"{HERE}/{tmp_path.name}/pids.trace"))
    front.forget()
    there = open_trace(place)
    assert {"pid", "gfp"} <= set(there.columns_of("events/00000.parquet"))
    replay(there, ["upstream"])
    everything = 2 * sum(path.stat().st_size for path in folder.rglob("*.parquet"))  # events are read twice
    metadata = pq.read_metadata(folder / "events/00000.parquet")
    needless = sum(
        metadata.row_group(group).column(at).total_compressed_size
        for group in range(metadata.num_row_groups)
        for at in range(metadata.num_columns)
        if metadata.row_group(group).column(at).path_in_schema in {"pid", "gfp"}
    )
    assert needless > 700_000
    assert front.sent_bytes < everything - 2 * needless + 200_000
    front.forget()
    there.events.select(pl.col("order").sum()).collect()
    assert 0 < front.sent_bytes < needless // 10


def test_what_was_found_out_about_one_is_kept(front, stored, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(findings, "FOLDER", tmp_path)
    monkeypatch.setattr(survey, "LONG_ROWS", 1)
    sent_bytes, summaries = [], []
    for _ in range(2):
        front.forget()
        summaries.append(replay(stored, ["upstream"]).results[0].summary)
        sent_bytes.append(front.sent_bytes)
    assert summaries[0] == summaries[1]
    assert sent_bytes[1] < 0.7 * sent_bytes[0]


def test_a_footer_travels_once(front, stored):  # noqa: F811 - the fixture
    trace = open_trace(stored)
    front.forget()
    for _ in trace.batches(["ts_ns"]):
        pass
    first = len(data_requests(front))
    front.forget()
    for _ in trace.batches(["ts_ns"]):
        pass
    assert len(data_requests(front)) == first - len(trace.segments)
    assert not [path for method, path in front.asked if method == "HEAD"]


def test_a_trace_in_a_store_travels_between_processes(store, stored):  # noqa: F811 - the fixture
    trace = open_trace(stored)
    rows = [each["pfn"].sum() for each in trace.arrays(["pfn"])]
    again = pickle.loads(pickle.dumps(trace))
    assert [each["pfn"].sum() for each in again.arrays(["pfn"])] == rows


def test_opening_one_asks_for_few_things(front, stored):  # noqa: F811 - the fixture
    open_trace(stored)
    assert len(front.asked) <= 5  # manifest and index, by size and content, and one listing
    assert not data_requests(front)


# What fails


def test_a_trace_that_is_not_there(store):  # noqa: F811 - the fixture
    for address in (f"{HERE}/no.trace", "s3://no-such-bucket/a.trace"):
        fault = fault_of(lambda address=address: open_trace(address), ExitCode.USAGE)
        assert fault.what.startswith("there is no ") and address in fault.what
    assert "bucket" in fault.what
    with pytest.raises(Missing):
        Place.of(f"{HERE}/nothing").read_bytes()


def test_a_prefix_that_is_no_trace(small):
    fault = fault_of(lambda: open_trace(small.parent), ExitCode.USAGE)
    assert fault.what == f"{small.parent} is not a trace"


@pytest.mark.parametrize("status", [401, 403])
def test_access_is_denied(front, stored, status):  # noqa: F811 - the fixture
    front.fate = lambda _method, _path: status
    fault = fault_of(lambda: open_trace(stored))
    assert fault.what.startswith(f"access to {stored}") and "AWS_PROFILE" in fault.fix


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_answers_with_errors_is_asked_a_few_times(front, stored, status):  # noqa: F811
    front.fate = lambda _method, _path: status
    fault = fault_of(lambda: open_trace(stored))
    assert "does not work" in fault.what and f"{stores.ATTEMPTS} times" in fault.how
    assert len(front.asked) == stores.ATTEMPTS


def test_one_error_is_overcome(front, stored):  # noqa: F811 - the fixture
    once = iter([500])
    front.fate = lambda _method, _path: next(once, None)
    assert open_trace(stored).rows > 0


def test_a_silent_store_is_not_waited_for_for_ever(front, stored, monkeypatch):  # noqa: F811
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    monkeypatch.setattr(stores, "REQUEST_TIMEOUT_S", 1.0)
    front.fate = lambda _method, _path: SILENT
    fault = fault_of(lambda: open_trace(stored))
    assert "cannot be reached" in fault.what and "no answer came in time" in fault.how


def test_nobody_listens(store, monkeypatch):  # noqa: F811 - the fixture
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    fault = fault_of(lambda: open_trace(f"{HERE}/a.trace"))
    assert "cannot be reached" in fault.what and "nothing listens" in fault.how


@pytest.mark.parametrize("fate", [403, 500, SHORT])
def test_rows_that_do_not_come_are_no_damage_of_the_trace(front, stored, fate):  # noqa: F811
    trace = open_trace(stored)
    front.fate = lambda method, path: fate if "events" in path and method == "GET" else None
    for read in (lambda: list(trace.batches(["ts_ns"])), lambda: list(trace.arrays(["ts_ns"]))):
        assert "damaged" not in str(fault_of(read))


def test_a_fault_of_the_store_comes_out_of_a_lazy_query(front, stored):  # noqa: F811
    events = open_trace(stored).events
    front.fate = lambda _method, _path: 403
    assert "denied" in fault_of(lambda: events.select(pl.len()).collect()).what


def test_an_object_that_is_shorter_than_the_trace_says(small):
    file = small / "events/00000.parquet"
    file.put(file.read_bytes()[:-1])
    fault = fault_of(lambda: open_trace(small), ExitCode.USAGE)
    assert f"{small} is truncated or changed at events/00000.parquet" in fault.what


def test_an_object_whose_content_is_changed(small):
    file = small / "events/00000.parquet"
    content = bytearray(file.read_bytes())
    content[4:100] = bytes(96)
    file.put(bytes(content))
    trace = open_trace(small)
    fault = fault_of(trace.verify, ExitCode.USAGE)
    assert fault.what == f"the trace {small} is damaged at events/00000.parquet"
    assert fault_of(lambda: list(trace.batches(list(EVENT_COLUMNS))), ExitCode.USAGE).what == fault.what


def test_an_object_that_is_gone(small):
    (small / "events/00001.parquet").remove()
    fault = fault_of(lambda: open_trace(small), ExitCode.USAGE)
    assert f"{small} lacks events/00001.parquet" in fault.what


@pytest.mark.parametrize(
    "name", ["../b.trace/events/00000.parquet", "/etc/passwd", "s3://other/x", "events//0"]
)
def test_a_name_in_the_index_leads_nowhere_else(small, tmp_path, name):
    put_folder(tmp_path / "a.trace", small.parent / "b.trace")
    segment = open_trace(small).segments[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracer.index.check_segment", lambda *_: None)  # whatever else looks at names
        (small / "segments.jsonl").put(index_line(Segment(**vars(segment) | {"file": name})))
        fault_of(lambda: open_trace(small), ExitCode.USAGE)


def test_what_cannot_be_put_leaves_what_was_there(front, tmp_path):  # noqa: F811 - the fixture
    place = Place.of(f"{HERE}/{tmp_path.name}/results.json")
    place.put(b"old")
    for fate, what in ((500, "does not work"), (403, "denied")):
        front.fate = lambda method, _path, fate=fate: fate if method in {"PUT", "POST"} else None
        assert what in fault_of(lambda: place.put(b"new")).what
    front.fate = lambda _method, _path: None
    assert place.read_bytes() == b"old"


def test_a_large_object_is_put_whole_or_not_at_all(front, tmp_path):  # noqa: F811 - the fixture
    place = Place.of(f"{HERE}/{tmp_path.name}/results.parquet")
    front.fate = lambda _method, path: 403 if "partNumber=2" in path else None
    assert "denied" in fault_of(lambda: place.put(bytes(20_000_000))).what
    assert any("partNumber=2" in path for _, path in front.asked)
    front.fate = lambda _method, _path: None
    assert not place.exists()
    place.put(bytes(20_000_000))
    assert place.size_bytes == 20_000_000


def test_a_place_in_a_store_is_written_listed_and_removed(store, tmp_path):  # noqa: F811 - the fixture
    base = Place.of(f"{HERE}/{tmp_path.name}")
    names = ["a.trace/m", "b.trace/m", "deep/er/c.trace/m"]
    for name in names:
        (base / name).put(b"12")
    assert [(entry.name, entry.size_bytes) for entry in base.below()] == [(name, 2) for name in names]
    assert base.children() == [base / "a.trace", base / "b.trace", base / "deep"]
    assert Place.of(f"{base}/*.trace").glob() == [base / "a.trace", base / "b.trace"]
    assert Place.of(f"{base}/**/*.trace").glob() == [base / name[:-2] for name in names]
    assert Place.of(f"{base}/no/*").glob() == [] and Place.of(f"{base}/no").children() == []
    file = base / "a.trace/m"
    assert (file.exists(), file.size_bytes, (base / "a.trace").exists()) == (True, 2, True)
    file.remove()
    file.remove()
    assert not file.exists()
    with pytest.raises(Missing):
        _ = file.size_bytes


# The command


def test_commands_read_from_a_store(store, stored, capsys):  # noqa: F811 - the fixture
    assert run(["info", stored]) == 0
    assert stored in capsys.readouterr().out
    assert run(["replay", stored, "--policy", "upstream", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    assert run(["replay", str(SHIPPED), "--policy", "upstream", "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    assert there["results"] == here["results"]
    assert there["trace"] == here["trace"] | {"path": stored}


def test_a_sweep_and_a_page_read_from_a_store(store, stored, capsys):  # noqa: F811 - the fixture
    assert run(["sweep", stored, "--policy", "upstream", "--set", "delay=1s,2s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trace"]["path"] == stored
    assert named_after(stored) == Path("database.html") and not is_results(stored)


def test_a_slice_of_one_is_made_here(store, stored, tmp_path, capsys):  # noqa: F811 - the fixture
    out = tmp_path / "a.trace"
    assert run(["slice", stored, str(out), "--from", "0s", "--to", "2s"]) == 0
    assert open_trace(out).rows > 0
    assert run(["slice", stored, "--from", "0s", "--to", "2s"]) == ExitCode.USAGE
    assert run(["convert", stored, "--for", "archive"]) == ExitCode.USAGE
    assert "name an output of this machine" in capsys.readouterr().err


def test_a_command_says_in_three_lines_why_not(front, stored, capsys):  # noqa: F811 - the fixture
    front.fate = lambda _method, _path: 403
    assert run(["replay", stored]) == ExitCode.ENVIRONMENT
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 3 and SECRET not in told and KEY not in told


def test_a_program_that_read_from_a_store_ends_in_peace(store, small):  # noqa: F811 - the fixture
    said = (
        "import sys; from tracer import open_trace; trace = open_trace(sys.argv[1]);"
        "print(sum(len(each['pfn']) for each in trace.arrays(['pfn'])))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", said, str(small)], capture_output=True, check=False
        )
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"5\n")

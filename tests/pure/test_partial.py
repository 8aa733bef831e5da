"""A trace that cannot be read to its end: what comes before is replayed, and called partial."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import replay
from replay.main import run
from replay.survey import Survey, Unreadable
from tests.golden.regenerate import TRACE
from tests.pure import small_traces
from tracer import Fault, open_trace
from tracer.faults import ExitCode

POLICIES = ["upstream", "oracle"]


def flip(path: Path, column: str = "pfn", group: int = -1) -> None:
    """Damage a page of the last row group."""
    groups = pq.read_metadata(path)
    row_group = groups.row_group(group % groups.num_row_groups)
    chunk = row_group.column(row_group.to_dict()["columns"].index(_named(row_group, column)))
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(content)


def _named(row_group: Any, column: str) -> Any:
    return next(each for each in row_group.to_dict()["columns"] if each["path_in_schema"] == column)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The shipped trace, with its middle segment damaged."""
    path = tmp_path / "damaged.trace"
    shutil.copytree(TRACE, path)
    segments = open_trace(path).segments
    flip(path / segments[len(segments) // 2].file)
    return path


@pytest.fixture
def shorter(tmp_path: Path) -> Path:
    """The shipped trace as it would be had its recorder been killed before the middle segment's end."""
    path = tmp_path / "shorter.trace"
    shutil.copytree(TRACE, path)
    lines = (path / "segments.jsonl").read_text().splitlines(keepends=True)
    (path / "segments.jsonl").write_text("".join(lines[: len(lines) // 2]))
    small_traces.edit_manifest(
        path, lambda data: data.update(status="recording", snapshots=data["snapshots"][:1])
    )
    return path


def summaries(path: Path) -> list[dict[str, Any]]:
    return [result.summary for result in replay.replay(path, POLICIES).results]


def test_events_before_the_damage_give_what_a_trace_of_them_gives(damaged, shorter):
    assert summaries(damaged) == summaries(shorter)


def test_the_answer_names_the_place_and_is_called_partial(damaged, capsys):
    assert run(["replay", str(damaged), "--policy", "upstream", "--json"]) == ExitCode.LOSSY
    said = capsys.readouterr()
    told = json.loads(said.out)["trace"]
    middle = open_trace(damaged).segments
    place = middle[len(middle) // 2].file
    assert told["status"] == "partial"
    assert place in told["partial"]["what"]
    assert any(place in line and f"{told['events']:,}" in line for line in told["warnings"])
    assert place in said.err
    assert told["events"] == sum(segment.rows for segment in middle[: len(middle) // 2])


def test_the_table_says_partial_first(damaged, capsys):
    assert run(["replay", str(damaged), "--policy", "upstream", "--allow-loss"]) == ExitCode.DONE
    assert "PARTIAL" in capsys.readouterr().out


def test_a_whole_trace_is_not_called_partial(capsys):
    assert run(["replay", str(TRACE), "--policy", "never", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["trace"]["partial"] is None


def test_a_trace_of_which_nothing_can_be_read_is_refused(tmp_path):
    path = small_traces.write(tmp_path / "a.trace")
    file = path / open_trace(path).segments[0].file
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes(len(content) - 8) + content[-4:])
    with pytest.raises(Fault) as caught:
        replay.replay(path, POLICIES)
    assert not isinstance(caught.value, Unreadable)
    assert "events/00000.parquet" in caught.value.what


def test_a_trace_cut_at_any_event_has_the_events_before_it(tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace"))
    every = [at for batch in trace.batches(["ts_ns"]) for at in batch["ts_ns"].to_pylist()]
    for rows in range(1, trace.rows + 1):
        cut = trace.until(rows, every[rows - 1], Fault("it ends", "here", "read no more"))
        assert cut.rows == rows
        assert not cut.complete
        assert [at for batch in cut.batches(["ts_ns"]) for at in batch["ts_ns"].to_pylist()] == every[:rows]
        assert [at for part in cut.arrays(["ts_ns"]) for at in part["ts_ns"].tolist()] == every[:rows]
        assert cut.span_ns[1] == max(every[rows - 1], cut.span_ns[0])
    assert trace.rows == len(every)


def test_a_stream_that_ends_early_is_never_taken_for_the_whole(monkeypatch, tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace"))
    for batches in ([], [{"ts_ns": np.zeros(trace.rows - 1)}]):
        monkeypatch.setattr("tracer.reader.decoded", lambda *_, those=batches: iter(those))
        with pytest.raises(Fault) as caught:
            list(trace.arrays(["ts_ns"]))
        assert "was not read to its end" in caught.value.what


def test_slicing_and_validating_refuse_a_damaged_trace(damaged, tmp_path):
    with pytest.raises(Unreadable):
        replay.validate(open_trace(damaged))
    assert (
        run(["slice", str(damaged), str(tmp_path / "s.trace"), "--from", "0s", "--to", "70s"])
        == ExitCode.USAGE
    )
    assert not (tmp_path / "s.trace").exists()


def test_the_survey_of_a_damaged_trace_is_not_kept(damaged):
    from replay.buddy.ops import meaning_of
    from replay.geometry import Geometry

    trace = open_trace(damaged)
    for _ in range(2):
        with pytest.raises(Unreadable):
            Survey.of(trace, Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace))

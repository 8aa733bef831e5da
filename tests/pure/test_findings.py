"""What a replay keeps of a trace for the next one changes nothing, and is found again where it is no use."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import replay
from replay import findings, survey
from replay.findings import Findings
from tests.golden.regenerate import TRACE
from tracer import open_trace


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(findings, "FOLDER", tmp_path)
    return tmp_path


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "found").iterdir()) if (folder / "found").exists() else []


def summary(path: Path) -> object:
    done = replay.replay(path, ["upstream"])
    return done.results[0].summary, done.fidelity, done.trace.warnings


def refuse(*_: object) -> None:
    raise AssertionError("the trace was read twice")


def test_the_second_replay_reads_once_and_answers_the_same(folder, monkeypatch):
    first = summary(TRACE)
    assert len(stored(folder)) == 1
    monkeypatch.setattr(survey, "event_columns", refuse)
    assert summary(TRACE) == first


def test_a_trace_that_was_touched_is_read_again(folder, tmp_path):
    path = tmp_path / "a.trace"
    shutil.copytree(TRACE, path)
    before = open_trace(path).identity
    assert open_trace(path).identity == before
    file = path / open_trace(path).segments[0].file
    os.utime(file, ns=(1, 1))
    assert open_trace(path).identity != before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"x" * 5000])
def test_what_cannot_be_read_is_found_again(folder, content):
    first = summary(TRACE)
    stored(folder)[0].write_bytes(content)
    assert summary(TRACE) == first
    assert len(stored(folder)[0].read_bytes()) > len(content)


def test_arrays_and_lines_come_back(folder):
    place = Findings("a", np.arange(3))
    assert place.load("x") is None
    place.store({"x": np.arange(5)}, ["one", "zwei\x1b"])
    (x,), lines = place.load("x") or ([], [])
    assert (x.tolist(), lines) == ([0, 1, 2, 3, 4], ["one", "zwei\x1b"])
    assert place.load("y") is None
    assert Findings("a", np.arange(4)).load("x") is None


def test_only_the_latest_are_kept(folder, monkeypatch):
    monkeypatch.setattr(findings, "MOST", 3)
    for number in range(6):
        Findings(number).store({}, [])
        os.utime(Findings(number)._path, ns=(number, number))
    Findings(6).store({}, [])
    assert [Findings(number).load() is not None for number in range(7)] == [False] * 4 + [True] * 3


def test_a_folder_that_cannot_be_written_is_no_fault(folder, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(findings, "FOLDER", tmp_path / "file")
    Findings("a").store({}, [])
    assert Findings("a").load() is None


def test_short_traces_are_not_worth_it(folder, tmp_path):
    from tests.pure import small_traces

    replay.replay(small_traces.write(tmp_path / "a.trace"), ["upstream"])
    assert stored(folder) == []

"""Outputs that nobody named are named after their input, lie beside it, and overwrite nothing unasked."""

import json
from pathlib import Path

import pytest

from replay import main
from tests.pure import small_traces
from tests.pure.test_terminal import EVENTS
from tracer import Fault, open_trace
from tracer.faults import ExitCode
from tracer.naming import trace_after, trace_of_file


@pytest.mark.parametrize(
    ("trace", "done", "named"),
    [
        ("a.trace", ["archive"], "a-archive.trace"),
        ("data/a.trace/", ["1s", "2.5 s"], "data/a-1s-2.5s.trace"),
        ("a.b.trace", ["replay"], "a.b-replay.trace"),
        ("a", ["replay"], "a-replay.trace"),
    ],
)
def test_a_trace_is_named_after_what_it_was_and_what_was_done(trace, done, named):
    assert trace_after(Path(trace), *done) == Path(named)


def test_a_trace_without_a_name_of_its_own_is_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "a.trace").mkdir()
    monkeypatch.chdir(tmp_path / "a.trace")
    assert trace_after(Path(), "archive") == tmp_path / "a-archive.trace"


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("perf.data", "perf.trace"),
        ("in/trace.txt.gz", "in/trace.trace"),
        ("trace_pipe", "trace_pipe.trace"),
        ("a.gz", "a.trace"),
    ],
)
def test_an_import_is_named_after_its_file(file, named):
    assert trace_of_file(file) == Path(named)


@pytest.mark.parametrize("file", ["-", "", "..", "/"])
def test_what_has_no_name_must_be_given_one(file):
    with pytest.raises(Fault, match="the trace has no name"):
        trace_of_file(file)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a trace and a file to import, from which commands run."""
    small_traces.write(tmp_path / "a.trace")
    (tmp_path / "said.txt").write_text(EVENTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ["--memory", "64MiB", "--duration", "1s", "--warmup", "0s"]
WRITES = {
    "convert": (["convert", "a.trace", "--for", "archive"], "a-archive.trace"),
    "slice": (["slice", "a.trace", "--from", "0s", "--to", "5ms"], "a-0s-5ms.trace"),
    "import": (["import", "perf", "said.txt", "--allow-loss"], "said.trace"),
    "generate": (["generate", "--preset", "burst", "--seed", "3", *SMALL], "burst-3.trace"),
}


@pytest.mark.parametrize("verb", WRITES)
def test_each_says_what_it_wrote_and_how_large_and_replaces_it_only_when_told(here, capsys, verb):
    line, name = WRITES[verb]
    assert main.run(line) == ExitCode.DONE
    said = capsys.readouterr().out
    assert name in said.splitlines()[0]
    assert "iB" in said.splitlines()[0] or " B" in said.splitlines()[0]
    assert open_trace(here / name).rows
    assert main.run(line) == ExitCode.USAGE
    assert f"{name} exists already" in capsys.readouterr().err
    assert main.run([*line, "--force", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["trace"] == name


def test_a_target_that_is_none_names_nothing(here, capsys):
    assert main.run(["convert", "a.trace", "--for", "../x"]) == ExitCode.USAGE
    assert "no trace is converted for '../x'" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.trace", "said.txt"]

"""What holds of every verb: `--json` is one object on stdout and nothing else, no colours in a file."""

import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from replay import main
from tests.pure import small_traces
from tests.pure.test_command_line import REPO, START, pagetide
from tests.pure.test_terminal import EVENTS
from tracer.faults import ExitCode

COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[0-9;]*m")
SMALL = ["--memory", "64MiB", "--duration", "1s", "--warmup", "0s"]
# A line of each verb that tells something, in a folder with a.trace and said.txt. `record` is in tests/live.
LINES = {
    "doctor": ["doctor"],
    "convert": ["convert", "a.trace", "--for", "replay", "--force"],
    "import": ["import", "perf", "said.txt", "--allow-loss", "--force"],
    "generate": ["generate", *SMALL, "--force"],
    "info": ["info", "a.trace"],
    "policies": ["policies"],
    "report": ["report", "a.trace", "--policy", "upstream", "--force"],
    "replay": ["replay", "a.trace", "--policy", "upstream"],
    "sweep": ["sweep", "a.trace", "--policy", "upstream", "--set", "delay=100ms,2s"],
    "batch": ["batch", "a.trace", "-o", "dataset", "--policy", "upstream", "--workers", "1"],
    "slice": ["slice", "a.trace", "--from", "0s", "--to", "5ms", "--force"],
    "validate": ["validate", "a.trace"],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_traces.write(tmp_path / "a.trace")
    (tmp_path / "said.txt").write_text(EVENTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_verb_is_tried():
    assert {*LINES, "record"} == set(main.VERBS)


@pytest.mark.parametrize("verb", LINES)
def test_json_is_one_object_and_nothing_else(verb, capfd):
    code = main.run([*LINES[verb], "--json"])
    assert code in ({ExitCode.DONE, ExitCode.ENVIRONMENT} if verb == "doctor" else {ExitCode.DONE})
    out = capfd.readouterr().out
    assert isinstance(json.loads(out), dict)
    assert "\x1b" not in out


@pytest.mark.parametrize("verb", LINES)
def test_a_file_gets_no_escapes_and_80_columns(verb, capfd):
    main.run(LINES[verb])
    out = capfd.readouterr().out
    assert out.strip()
    assert "\x1b" not in out
    assert [line for line in out.splitlines() if len(line.rstrip()) > 80] == []


@pytest.mark.parametrize("verb", ["replay", "validate", "policies", "info"])
def test_an_ascii_terminal_gets_ascii(verb, here):
    done = pagetide(*LINES[verb], prelude="import sys; sys.stdout.reconfigure(encoding='ascii')", cwd=here)
    assert (done.returncode, done.stderr.count("Traceback")) == (ExitCode.DONE, 0)
    assert done.stdout.isascii()


def in_terminal(line: list[str], **more: str) -> str:
    """What a terminal gets of a command."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm-256color", "PYTHONPATH": str(REPO), **more})
        os.execv(sys.executable, [sys.executable, "-c", START, *line])
    said = b""
    try:
        while some := os.read(terminal, 1 << 16):
            said += some
    except OSError:  # Linux's way to say that the other side has closed it
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    return said.decode()


@pytest.mark.parametrize("verb", ["replay", "policies", "info"])
def test_no_color_is_obeyed_in_a_terminal(verb):
    assert not COLOUR.search(in_terminal(LINES[verb], NO_COLOR="1"))


def test_a_terminal_without_no_color_may_get_bold_names():
    assert "\x1b[1m" in in_terminal(LINES["policies"])


def test_a_name_that_the_encoding_lacks_is_escaped(tmp_path):
    (tmp_path / "a.trace").rename(tmp_path / "\u00e9.trace")
    for verb in ("info", "validate"):
        done = pagetide(
            verb, "\u00e9.trace", cwd=tmp_path, prelude="import sys; sys.stdout.reconfigure(encoding='ascii')"
        )
        assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
        assert r"\xe9.trace" in done.stdout

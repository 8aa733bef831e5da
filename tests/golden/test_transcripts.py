"""What the pages show of a command's output is what the command says."""

import re
import shlex
from pathlib import Path

import pytest

from replay.main import run

REPO = Path(__file__).parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
# A command with its output in one block; `...` or … stands for what is left out.
SHOWN = re.compile(r"^```\n\$ pagetide ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CASES = [
    pytest.param(command, shown, id=f"{page.name}: {command.split()[0]}")
    for page in PAGES
    for command, shown in SHOWN.findall(page.read_text())
]


def parts(shown: str) -> list[str]:
    """What is to be found in the output, in this order, word by word."""
    return [
        part.strip("\n") for part in re.split(r"^(?:\.\.\.|…)$", shown, flags=re.MULTILINE) if part.strip()
    ]


def elsewhere(words: list[str], folder: Path) -> list[str]:
    """The command, whose output (`-o NAME`) goes into a folder of the test's."""
    return [
        str(folder / word) if before == "-o" else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def in_order(found: list[str], output: str) -> list[str]:
    """Of the parts, those that do not follow in the output."""
    lacking = []
    for part in found:
        before, there, after = output.partition(part)
        output = after if there else before
        lacking += [] if there else [part]
    return lacking


@pytest.mark.parametrize(("command", "shown"), CASES)
def test_a_page_shows_what_the_command_prints(
    command: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(REPO)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(elsewhere(shlex.split(command), tmp_path)) == 0
    output = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert in_order(parts(shown), output) == []


def test_some_are_shown_and_a_number_that_differs_is_found() -> None:
    assert len(CASES) >= 2
    assert parts("a 1\nb 2\n...\nd 4\n") == ["a 1\nb 2", "d 4"]
    assert in_order(["a 1\nb 2", "d 4"], "a 1\nb 2\nc 3\nd 4") == []
    assert in_order(["a 1\nb 3"], "a 1\nb 2\nc 3\nd 4") == ["a 1\nb 3"]
    assert in_order(["d 4", "a 1"], "a 1\nd 4") == ["a 1"]

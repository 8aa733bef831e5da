"""Tab: the command, asked as each shell asks it, says what fits; the shells' own scripts pass that on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay import main
from replay.completing import policies
from replay.generating.presets import PRESETS
from replay.policies import registry
from replay.reference.words import SHELLS
from tests.pure import small_traces
from tests.pure.test_command_line import REPO, START
from tracer.completing import traces_offered

SHARE = REPO / "share"
SCRIPTS = {
    "bash": SHARE / "bash-completion/completions/pagetide",
    "zsh": SHARE / "zsh/site-functions/_pagetide",
    "fish": SHARE / "fish/vendor_completions.d/pagetide.fish",
}


def asked(line: str, **more: str) -> list[str]:
    """What bash is told for the word at the end of a line."""
    place = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=REPO, text=True, capture_output=True, check=True,
        env=os.environ | {"_PAGETIDE_COMPLETE": "complete_bash"} | place | more,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_verbs_are_offered():
    assert asked("pagetide ") == list(main.VERBS)
    assert asked("pagetide sl") == ["slice"]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("pagetide replay --", {"--policy", "--json", "--out", "--force"}),
        ("pagetide record --r", {"--ring", "--resync"}),
        ("pagetide convert a.trace --for ", {"archive", "replay"}),
        ("pagetide replay --backing ", {"4k", "2m", "thp"}),
        ("pagetide import ", {"perf", "ftrace"}),
    ],
)
def test_options_and_their_words_are_offered(line, some):
    assert some <= set(asked(line))


@pytest.mark.parametrize("verb", ["replay", "sweep", "validate"])
def test_policies_are_offered_behind_policy(verb):
    assert set(asked(f"pagetide {verb} a.trace --policy ")) == set(registry())
    assert asked(f"pagetide {verb} --policy up") == ["upstream"]


def test_parameters_are_offered_behind_a_policy():
    assert policies("upstream:del") == ["upstream:delay="]
    offered = policies("upstream:delay=2s,")
    assert "upstream:delay=2s,order=" in offered
    assert "upstream:delay=2s,delay=" not in offered
    assert policies("nonsense:") == []


def test_presets_are_those_that_there_are():
    assert set(asked("pagetide generate --preset ")) == {*PRESETS, "none"}


@pytest.mark.parametrize("verb", ["info", "replay", "validate", "slice", "convert", "sweep"])
def test_traces_are_offered(tmp_path, verb):
    small_traces.write(tmp_path / "one.trace")
    small_traces.write(tmp_path / "two.trace")
    (tmp_path / "other").mkdir()
    assert asked(f"pagetide {verb} {tmp_path}/") == [f"{tmp_path}/one.trace", f"{tmp_path}/two.trace"]
    assert asked(f"pagetide {verb} {tmp_path}/tw") == [f"{tmp_path}/two.trace"]
    assert asked(f"pagetide {verb} {tmp_path}/x") == []


def test_a_trace_of_this_folder_is_offered_as_it_is_typed(tmp_path, monkeypatch):
    small_traces.write(tmp_path / "one.trace")
    monkeypatch.chdir(tmp_path)
    assert traces_offered("") == traces_offered("o") == ["one.trace"]
    assert traces_offered("./o") == ["./one.trace"]
    assert traces_offered("nowhere/") == []


@pytest.fixture
def path(tmp_path: Path) -> str:
    """PATH with a `pagetide` of this checkout first."""
    command = tmp_path / "bin/pagetide"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nPYTHONPATH='{REPO}' exec '{sys.executable}' -c '{START}' \"$@\"\n")
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


def shell(name: str, script: str, path: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    done: Any = subprocess.run(
        [name, *quiet, "-c", script], env=os.environ | {"PATH": path}, cwd=REPO, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return str(done.stdout)


# A stand-in for the line editor: it calls the function as Tab does, and prints what came of it.
BASH = """
COMP_WORDS=(pagetide replay a.trace --policy bo) COMP_CWORD=4
{function} pagetide
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
words=(pagetide replay a.trace --policy bo) CURRENT=5
_arguments() {{ print -r -- "$@" }}
compdef() {{ }}
{script}
"""
FISH_LINE = "complete --do-complete 'pagetide replay a.trace --policy bo'"


def test_bash_gets_it_from_the_script_that_is_installed(path):
    script = f"source {SCRIPTS['bash']}\n{BASH.format(function='_pagetide')}"
    assert shell("bash", script, path).split() == ["boundary"]


def test_zsh_gets_it_from_the_script_that_is_installed(path):
    assert '"boundary"' in shell("zsh", ZSH.format(script=SCRIPTS["zsh"].read_text()), path)


def test_fish_gets_it_from_the_script_that_is_installed(path):
    assert shell("fish", f"source {SCRIPTS['fish']}\n{FISH_LINE}", path).split() == ["boundary"]


def test_the_line_for_bash_in_the_docs_works(path):
    script = f"{SHELLS['bash']}\n{BASH.format(function='_pagetide_completion')}"
    assert shell("bash", script, path).split() == ["boundary"]


def test_the_line_for_zsh_in_the_docs_works(path):
    script = ZSH.format(script=f"{SHELLS['zsh']}\n_pagetide_completion")
    assert '"boundary"' in shell("zsh", script, path)


def test_the_line_for_fish_in_the_docs_works(path):
    assert shell("fish", f"{SHELLS['fish']}\n{FISH_LINE}", path).split() == ["boundary"]


def test_bash_installs_it_into_its_start_file(tmp_path, path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert "bash completion installed" in shell("bash", "pagetide --install-completion; true", path)
    assert "_PAGETIDE_COMPLETE=complete_bash" in (tmp_path / "home/.bash_completions/pagetide.sh").read_text()
    assert ".bash_completions/pagetide.sh" in (tmp_path / "home/.bashrc").read_text()

"""The example of docs/policies.md is installed and run as it stands there."""

import json
import re
import tomllib
from importlib import import_module
from typing import Any

import pytest

from replay.capabilities import MEANINGS
from tests.pure.installing import REPO, install, pagetide

TEXT = (REPO / "docs/policies.md").read_text()


def block(language: str, first_line: str) -> str:
    found = re.findall(rf"```{language}\n{re.escape(first_line)}\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Any:
    """What the example's command says, as JSON, by policy and delay."""
    project = tomllib.loads(block("toml", "# pyproject.toml"))["project"]
    entries = project["entry-points"]["pagetide.policies"]
    modules = {"patient": block("python", "# patient.py")}
    folder = install(tmp_path_factory.mktemp("site"), project["name"], modules, entries)
    (command,) = re.findall(r"^\$ pagetide (replay .*)$", TEXT, re.MULTILINE)
    done = pagetide(folder, *command.split(), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)["results"]
    return {(result["policy"], result["params"]["delay"]): result for result in said}


def test_the_example_reports_after_its_delay_and_not_before(results) -> None:
    for delay, least_s in (("10s", 10), ("1s", 1)):
        result = results["patient", delay]
        assert result["reports"]["blocks"] > 0
        assert least_s <= result["latency_s"]["p50"] < least_s + 1
        assert result["notes"] == []


def test_who_waits_longer_reclaims_less_and_refaults_less(results) -> None:
    slow, fast = results["patient", "10s"], results["patient", "1s"]
    assert slow["refaults"]["bytes"] < fast["refaults"]["bytes"]
    assert slow["reclaimed"]["mean_bytes"] < fast["reclaimed"]["mean_bytes"]


def test_every_file_and_helper_that_the_text_names_is_there() -> None:
    files = re.findall(r"`((?:tests|replay)/[\w/]+\.py)`", TEXT)
    assert len(files) > 1
    assert [name for name in files if not (REPO / name).is_file()] == []
    for module, said in re.findall(r"^\| `(replay\.\S+)` \| (.*) \|$", TEXT, re.MULTILINE):
        names = re.findall(r"`(\w+)\(", said)
        assert names
        assert [name for name in names if not hasattr(import_module(module), name)] == []
    words = dict(re.findall(r"^\| `(\w+)` \| (when|on|the) ", TEXT, re.MULTILINE))
    assert set(words) == set(MEANINGS)

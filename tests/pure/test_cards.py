"""Cards: what they measure, and what they say of a trace that is not fit to be shipped."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from data import cards, record
from data.workloads import NAMES, Workload, load

FIT = cards.read("database")


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    cards.write(FIT, tmp_path)
    assert (tmp_path / "database.json").read_bytes() == (cards.CARDS / "database.json").read_bytes()


def test_the_checksum_is_what_its_page_says_how_to_make(tmp_path: Path) -> None:
    for name in ("b.parquet", "events/a.parquet", "events-b"):
        path = tmp_path / "a.trace" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (line,) = [
        each for each in (cards.HERE / "README.md").read_text().splitlines() if "xargs sha256sum" in each
    ]
    command = line.strip("`.")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path / "a.trace", capture_output=True, check=True)
    assert done.stdout.split()[0].decode() == cards.checksum(tmp_path / "a.trace")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (replace(FIT, lost=3), "3 events are lost"),
        (replace(FIT, size_bytes=9 << 20), "9.0 MiB are too large"),
    ],
)
def test_what_keeps_a_trace_from_being_shipped_is_said(card: cards.Card, said: str) -> None:
    assert FIT.faults == []
    (fault,) = card.faults
    assert fault.startswith(said)


def test_a_model_that_is_less_right_is_a_blemish_but_no_fault() -> None:
    right = replace(FIT.fidelity, frames_changed=1000, frames_wrong=1, steps=10_000, impossible=2)
    assert replace(FIT, fidelity=right).blemishes == []
    less = replace(FIT, fidelity=replace(right, frames_wrong=2, impossible=3))
    assert less.blemishes == ["0.20% of the changed frames are wrong", "0.030% of the steps are impossible"]
    assert less.faults == []


def test_a_changed_trace_has_another_card(tmp_path: Path) -> None:
    path = tmp_path / "database.trace"
    shutil.copytree(cards.HERE / "database.trace", path)
    (path / "more").write_text("x")
    assert cards.measured(load("database"), path).sha256 != FIT.sha256


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_says_what_it_is_and_why(name: str) -> None:
    workload = load(name)
    assert workload.what
    assert len(workload.why) > 100
    assert workload.layer in ("buddy", "both")
    assert bool(workload.record) != (workload.run.__module__ != "data.workloads")


def test_a_step_that_fails_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(workload: Workload, out: Path) -> cards.Card:
        record.run("sh", "-c", "exit 3")
        return FIT

    monkeypatch.setattr(record, "record", fails)
    monkeypatch.setattr("sys.argv", ["record", "idle", "--out", str(tmp_path)])
    assert record.main() == 2
    assert capsys.readouterr().err == "idle was not recorded: sh -c 'exit 3' ended with 3\n"
    assert list(tmp_path.iterdir()) == []

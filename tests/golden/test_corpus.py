"""The shipped traces: each is what its card says, and fit to be shipped."""

import subprocess
import sys

import pytest

from data import cards
from data.workloads import NAMES, load
from replay.truth.accuracy import accuracy
from tracer import open_trace

SHIPPED = cards.shipped()


def test_every_workload_has_its_trace_and_every_trace_its_workload_and_card() -> None:
    traces = {path.stem for path in cards.HERE.glob("*.trace")}
    assert traces == set(NAMES) == {path.stem for path in cards.CARDS.glob("*.json")}
    assert len(traces) >= 12


@pytest.mark.parametrize("name", SHIPPED)
def test_a_trace_is_what_its_card_says(name: str) -> None:
    """Measured anew: every count, the checksum, how right the model is."""
    card = cards.measured(load(name), cards.HERE / f"{name}.trace")
    assert card == cards.read(name), f"python -m data.cards {name} writes it anew"
    assert card.faults == []
    assert card.fidelity.wrong_share < 0.004
    assert card.fidelity.impossible_share < 0.007


def test_the_model_is_right_about_most_of_them() -> None:
    right = [card.fidelity.wrong_share <= cards.MOST_WRONG for card in map(cards.read, SHIPPED)]
    assert sum(right) >= len(right) / 2


@pytest.mark.parametrize("name", SHIPPED)
def test_a_trace_tells_nothing_of_who_recorded_it(name: str) -> None:
    """The program's name is kept, and no path of its machine."""
    manifest = open_trace(cards.HERE / f"{name}.trace").manifest
    assert not [word for word in manifest.command_line if "/" in word]


def test_the_page_is_made_of_the_cards() -> None:
    assert cards.page([cards.read(name) for name in SHIPPED]) in (cards.HERE / "README.md").read_text()


def test_all_together_they_can_be_cloned() -> None:
    assert sum(cards.read(name).size_bytes for name in SHIPPED) <= cards.MOST_TOTAL_BYTES


def test_two_of_them_have_both_layers() -> None:
    assert sum(cards.read(name).layers == ("buddy", "frame") for name in SHIPPED) >= 2


def test_the_stock_guest_reported_what_the_model_says() -> None:
    found = accuracy(open_trace(cards.HERE / "stock.trace"), cards.HERE / "stock.truth.parquet")
    assert found.reports.truth > 100
    for same in (found.reports, found.frames, found.passes, found.batches):
        assert same.recall == same.precision == 1


def test_another_name_is_refused_with_those_there_are() -> None:
    asked = [sys.executable, "-m", "data.record", "nosuch"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=cards.HERE.parent)
    assert done.returncode
    assert "page-cache" in done.stderr

"""Grids: every right one is a product of settings, every wrong one a fault that says what is wrong."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.sweeping.grid import MOST_SETTINGS, Grid, parse_sets
from tests.pure.small_traces import GUEST
from tracer import Fault


def settings(policy: str, **values: Any) -> list[dict[str, Any]]:
    return [setting.written for setting in Grid.of(policy, values, GUEST).settings]


def refusal(policy: str, values: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        Grid.of(policy, values, GUEST)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.partition(": ")[2].strip() for line in lines[1:])
    return caught.value


def test_a_grid_is_the_product_with_the_last_key_changing_fastest():
    found = settings("upstream:capacity=512", order=["9", "10"], delay=["100ms", "2s"])
    told = [(each["order"], each["delay"], each["capacity"]) for each in found]
    assert told == [(9, "100ms", 512), (9, "2s", 512), (10, "100ms", 512), (10, "2s", 512)]


def test_text_and_python_values_are_the_same_grid():
    text = settings("upstream", order=["0", "9"], delay=["100ms"], gate=["on", "off"])
    assert text == settings("upstream", order=range(0, 10, 9), delay=(100_000_000,), gate=[True, False])


def test_a_preset_comes_with_the_value_that_has_one():
    assert [each["putback"] for each in settings("upstream", kernel=["5.7", "5.10"])] == ["head", "tail"]


def test_what_was_written_is_told_as_it_is_written():
    grid = Grid.of("upstream", {"delay": ["2000ms", "1s"], "gate": ["on"]}, GUEST)
    assert grid.written == {"delay": ["2s", "1s"], "gate": [True]}


def test_sets_are_parsed_into_lists():
    assert parse_sets(["order=0,9", "delay=1s"]) == {"order": ["0", "9"], "delay": ["1s"]}


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (["order"], "'order' is not key=v1,v2,..."),
        (["=9"], "'=9' is not key=v1,v2,..."),
        ([""], "'' is not key=v1,v2,..."),
        (["order=9", "order=10"], "order is given twice"),
    ],
)
def test_a_wrong_set_is_one_fault(texts, what):
    with pytest.raises(Fault, match="--set") as caught:
        Grid.of("upstream", parse_sets(texts), GUEST)
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("policy", "values", "what"),
    [
        ("upstream", {}, "nothing is swept"),
        ("upstream", None, "nothing is swept"),
        ("upstream", {"speed": ["1"]}, "no parameter speed"),
        ("upstream", {"start": ["cold"]}, "no parameter start"),
        ("nonsense", {"order": ["9"]}, "no policy 'nonsense'"),
        (9, {"order": ["9"]}, "no policy 9"),
        ("upstream", {"order": []}, "order has no values"),
        ("upstream", parse_sets(["order="]), "order has no values"),
        ("upstream", parse_sets(["order=9,"]), "order= is not possible"),
        ("upstream", {"order": ["9", "many"]}, "order=many is not possible"),
        ("upstream", {"delay": ["1s", "5"]}, "'5' is not a duration"),
        ("upstream", {"order": "9"}, "order='9' is no list"),
        ("upstream", {"order": 9}, "order=9 is no list"),
        ("upstream", {"order": [9, "9"]}, "order=9 comes twice"),
        ("upstream", {"delay": ["2s", "2000ms"]}, "delay=2s comes twice"),
        ("upstream", {"gate": ["on", "on"]}, "gate=on comes twice"),
        ("upstream:order=9", {"order": ["9", "10"]}, "order is given twice"),
        ("upstream:speed=9", {"order": ["9"]}, "no parameter speed"),
        ("upstream:order", {"delay": ["1s"]}, "'order' is not key=value"),
    ],
)
def test_a_wrong_grid_is_one_fault(policy, values, what):
    assert what in refusal(policy, values).what


def test_a_grid_that_nobody_waits_for_is_refused_with_its_size():
    values = {"capacity": range(1, 201), "budget": range(1, 201)}
    said = refusal("upstream", values)
    assert said.what == "a grid of 40,000 settings is too large"
    assert said.how == f"it is 200 x 200; at most {MOST_SETTINGS:,} are replayed"


def test_values_without_an_end_are_refused_too():
    assert "is too large" in refusal("upstream", {"delay": count(1_000_000, 1_000_000)}).what


@given(st.lists(st.text("ordelay=,0159s", max_size=12), max_size=4))
def test_no_text_is_anything_but_a_grid_or_a_fault(texts):
    try:
        grid = Grid.of("upstream", parse_sets(texts), GUEST)
    except Fault:
        return
    names = [setting.named for setting in grid.settings]
    assert len(set(names)) == len(names) > 0

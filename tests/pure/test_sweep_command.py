"""`pagetide sweep` as a user meets it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import main, sizing
from replay.available import Available
from replay.engine import Options, sizes_of
from replay.policies import ceiling, parse
from replay.sizing import Sizes
from replay.sweeping import sweep
from replay.sweeping.cli import plan_line
from replay.sweeping.passes import Plan
from replay.sweeping.table import MOST_ROWS, sweep_table
from tests.pure import small_traces
from tests.pure.installing import REPO, pagetide
from tests.pure.test_command_line import assert_three_lines
from tracer import human_bytes, open_trace
from tracer.faults import ExitCode

TRACE = REPO / "data/database.trace"


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    return small_traces.write(tmp_path_factory.mktemp("traces") / "a.trace")


def swept(trace: Path, *arguments: Any) -> int:
    return main.run(["sweep", str(trace), "--policy", "upstream", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "nothing is swept"),
        (["--set", "order"], "'order' is not key=v1,v2,..."),
        (["--set", "order=9", "--set", "order=10"], "order is given twice"),
        (["--set", "order="], "order has no values"),
        (["--set", "order=9,9"], "order=9 comes twice"),
        (["--set", "speed=9"], "no parameter speed"),
        (["--set", "start=cold,steady"], "no parameter start"),
        (["--set", "order=9,11"], "reporting order 11 is not possible"),
        (["--set", "delay=5"], "'5' is not a duration"),
        (["--set", "order=9", "--policy", "bitmap"], "bitmap cannot be swept together with upstream"),
        (["--set", "order=9", "--start", "warm"], "--start warm is not possible"),
        (["--set", "order=9", "--backing", "8k"], "--backing 8k is not possible"),
        (["--set", "order=9", "--device", "call=fast"], "'fast' is not a duration"),
        (["--set", "order=9", "--host", "discard=never"], "discard=never is not possible"),
        (["--set", "order=9", "-o", "/no/such/folder/out"], "there is no folder /no/such/folder"),
        (["--set", "order=9", "-o", "."], "exists already, and holds no sweep"),
        (["--set", "order=9", "-o", ".", "--force"], "exists already, and holds no sweep"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_command_is_three_lines(trace, capsys, arguments, what):
    assert swept(trace, *arguments, "--json") == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert_three_lines(said.err, what)


def test_without_a_policy_it_says_so(trace, capsys):
    assert main.run(["sweep", str(trace), "--set", "order=9"]) == ExitCode.USAGE
    assert_three_lines(capsys.readouterr().err, "--policy")


def test_a_policy_that_the_trace_has_nothing_for_is_refused(tmp_path, capsys):
    path = small_traces.write(tmp_path / "a.trace", filters={"orders": [9, 10], "pfns": None, "zones": []})
    code = swept(path, "--set", "order=9,10")
    assert code == ExitCode.USAGE
    assert_three_lines(capsys.readouterr().err, "replay")


def test_json_is_one_object_and_the_plan_is_on_stderr(trace):
    done = pagetide(Path(), "sweep", trace, "--policy", "upstream", "--set", "order=9,10", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert list(told) == [
        "trace", "fidelity", "options", "policy", "grid", "objectives", "pareto", "settings",
    ]  # fmt: skip
    assert told["grid"] == {"order": [9, 10]}
    assert [each["params"]["order"] for each in told["settings"]] == [9, 10]
    size = r"[\d.]+ \wiB"
    line = (
        f"pagetide: 2 settings; 1 pass over the trace, with at most {size} of the {size} of memory there is"
    )
    assert re.fullmatch(line, done.stderr.strip())


def test_what_is_in_the_json_is_what_replay_says(trace, capsys):
    assert swept(trace, "--set", "order=9,10", "--backing", "thp", "--start", "cold", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    command = ["--policy", "upstream", "--policy", "upstream:order=10", "--backing", "thp", "--start", "cold"]
    assert main.run(["replay", str(trace), *command, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert told["trace"] == alone["trace"]
    assert told["fidelity"] == alone["fidelity"]
    for each, result in zip(told["settings"], alone["results"], strict=True):
        assert {name: each[name] for name in result} == result


@pytest.mark.parametrize(("option", "code"), [([], ExitCode.LOSSY), (["--allow-loss"], ExitCode.DONE)])
def test_a_lossy_trace_is_swept_and_said_to_be_lossy(tmp_path, capsys, option, code):
    path = small_traces.write(tmp_path / "a.trace", lost=3)
    assert swept(path, "--set", "order=9", *option, "--json") == code
    said = capsys.readouterr()
    assert json.loads(said.out)["trace"]["lost_events"] == 3
    assert "3 events were lost" in said.err


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (
            Plan(1, 0, 1, 1 << 30, 2 << 30),
            "1 setting; 1 pass over the trace, with at most 1 GiB of the 2 GiB",
        ),
        (Plan(64, 12, 3, 1 << 30, 2 << 30), "64 settings, 12 are there already; 3 passes over the trace"),
        (Plan(64, 64, 0, 0, 2 << 30), "64 settings: all are there already"),
    ],
)
def test_the_plan_says_settings_passes_and_memory(plan, line):
    assert plan_line(plan).startswith(line)


# Memory


def fake(monkeypatch: Any, size_bytes: int) -> None:
    there = Available(size_bytes, "somebody says so")
    for module in (sizing, sweep):
        monkeypatch.setattr(module, "available", lambda: there)


def test_one_setting_that_does_not_fit_is_refused_before_anything_is_done(
    trace, tmp_path, monkeypatch, capsys
):
    opened = open_trace(trace)
    sizes, guest = sizes_of(opened, Options()), opened.manifest.guest
    least, most = (
        sizes.of([parse(f"upstream:order={order}", guest), ceiling(guest, order)]) for order in (9, 0)
    )
    room = (least + most) // 2
    fake(monkeypatch, room)
    monkeypatch.setattr("tracer.reader.Trace.batches", None)
    assert swept(trace, "--set", "order=0,9", "-o", tmp_path / "out", "--json") == ExitCode.ENVIRONMENT
    said = capsys.readouterr()
    assert_three_lines(said.err, "MiB, more than the memory there is")
    assert f"{human_bytes(room)} are available (somebody says so)" in said.err
    assert (said.out, list(tmp_path.iterdir())) == ("", [])


def test_what_does_not_fit_in_one_pass_is_done_in_several_with_the_same_numbers(trace, monkeypatch, capsys):
    sets = ["--set", "order=3,9", "--set", "budget=1,2,3,4", "--json"]
    assert swept(trace, *sets) == 0
    whole = capsys.readouterr()
    assert "8 settings; 1 pass over" in whole.err
    sizes: list[Sizes] = []
    really = sizes_of

    def seen(*told: Any) -> Sizes:
        sizes.append(really(*told))
        return sizes[-1]

    monkeypatch.setattr(sweep, "sizes_of", seen)
    fake(monkeypatch, 1 << 40)
    assert swept(trace, *sets) == 0
    room = sizes[0].of([parse(f"upstream:order=3,budget={k}", small_traces.GUEST) for k in (1, 2, 3)])
    capsys.readouterr()
    fake(monkeypatch, int(room / 0.75))
    assert swept(trace, *sets) == 0
    parts = capsys.readouterr()
    passes = int(re.search(r"8 settings; (\d) passes", parts.err)[1])  # type: ignore[index]
    assert 3 <= passes <= 8
    assert parts.out == whole.out


# The table


def table(done: Any, capsys: Any) -> list[str]:
    capsys.readouterr()
    sweep_table(done)
    return str(capsys.readouterr().out).splitlines()


def test_the_table_fits_80_columns_and_the_front_comes_first_by_latency(capsys):
    done = replay.sweep(TRACE, "upstream", {"order": [9, 6], "delay": ["100ms", "2s"], "budget": [1, 16]})
    lines = table(done, capsys)
    assert max(map(len, lines[1:])) <= 80  # the first one has the path, as it is
    head = next(k for k, line in enumerate(lines) if line.split()[:3] == ["order", "delay", "budget"])
    rows = lines[head + 1 : head + 9]
    marks = [row.startswith("*") for row in rows]
    assert sum(marks) == sum(done.pareto)
    assert marks == sorted(marks, reverse=True)
    by_name = {}
    for setting, summary in zip(done.grid.settings, done.summaries, strict=True):
        told = setting.written
        by_name[(str(told["order"]), told["delay"], str(told["budget"]))] = summary["latency_s"]["mean"]
    means = [by_name[tuple(row.removeprefix("*").split()[:3])] for row in rows]  # type: ignore[index]
    front = sum(marks)
    assert means == sorted(means[:front]) + sorted(means[front:])
    assert any("all have kernel=5.10, capacity=32" in line for line in lines)


def test_settings_that_do_not_fit_are_numbered_and_told_below(trace, capsys):
    grid: dict[str, Any] = {
        "order": [9, 10], "delay": ["100ms", "123456789ns"], "capacity": [32, 1 << 20], "gate": ["on", "off"],
        "rounding": ["wheel", "none"], "budget": [1, 1 << 20],
    }  # fmt: skip
    lines = table(replay.sweep(trace, "upstream", grid), capsys)
    assert max(map(len, lines[1:])) <= 80  # the first one has the path, as it is
    assert any(line.split()[:2] == ["#", "mean"] for line in lines)
    assert any(line.startswith("#63: order=10, ") for line in lines)


def test_a_long_table_is_cut_but_never_the_front(trace, capsys):
    done = replay.sweep(trace, "upstream", {"budget": range(1, MOST_ROWS + 11)})
    assert all(done.pareto)  # they all do nothing
    assert sum(line.startswith("* ") for line in table(done, capsys)) == MOST_ROWS + 10
    object.__setattr__(done, "pareto", [True] + [False] * (MOST_ROWS + 9))
    lines = table(done, capsys)
    assert "... and 10 more: -o DIR or --json has them all" in lines
    assert sum(line.startswith("* ") for line in lines) == 1


def test_what_reported_nothing_has_no_latency(trace, capsys):
    lines = table(replay.sweep(trace, "never", {"order": [9, 10]}), capsys)
    assert any(re.match(r"\* +9 +- +- ", line) for line in lines)

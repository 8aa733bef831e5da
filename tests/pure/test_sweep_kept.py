"""What an interrupted sweep has finished is kept, and the same command goes on; nothing is ever mixed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import replay
from replay import main
from replay.costs import Costs
from replay.device import Device
from replay.engine import Options
from replay.policies import parse
from replay.sweeping import kept, sweep
from replay.sweeping.kept import key_of
from tests.pure import small_traces
from tests.pure.installing import REPO, install, pagetide
from tests.pure.test_partial import flip
from tests.pure.test_sweep import one_at_a_time
from tracer import Fault, open_trace
from tracer.faults import ExitCode

TRACE = REPO / "data/database.trace"
SETS = ["--policy", "upstream", "--set", "order=9,8", "--set", "budget=1,4,16"]
GRID = {"order": [9, 10], "budget": [1, 2]}
# One setting in each pass, as in a sweep that takes long.
SLOW = """
from replay.sweeping import passes
passes.FEWEST, passes.FIRST_EVENTS, passes.PASS_S = 1, 1, 0.0
from replay.main import main
main()
"""


@pytest.fixture
def trace(tmp_path) -> Path:
    return small_traces.write(tmp_path / "a.trace")


def tables(out: Path) -> tuple[pl.DataFrame, Any]:
    return pl.read_parquet(out / "sweep.parquet"), json.loads((out / "sweep.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Any:
    out = tmp_path_factory.mktemp("out") / "whole"
    assert main.run(["sweep", str(TRACE), *SETS, "-o", str(out)]) == 0
    assert [file.name for file in (out / "passes").iterdir()] == ["00000.json"]
    return tables(out)


def interrupt(out: Path, how: signal.Signals) -> tuple[int, str]:
    """A sweep in a process of its own, hit when two passes are done; its exit code, and what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "sweep", TRACE, *SETS, "-o", out], cwd=REPO, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(REPO)},
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 300
            while not (out / "passes/00001.json").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(how)
            said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said[0] == ""
    return process.returncode, said[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_after_an_interrupt_the_same_command_goes_on_to_the_same_table(tmp_path, capsys, undisturbed, how):
    out = tmp_path / "out"
    code, said = interrupt(out, how)
    finished = sorted((out / "passes").glob("*.json"))
    assert 2 <= len(finished) < 6
    assert not (out / "sweep.parquet").exists()
    assert "6 settings; 6 passes over the trace" in said
    if how == signal.SIGINT:
        assert code == main.INTERRUPTED
        assert f"{len(finished)} of 6 settings are kept in {out}; the same command goes on" in said
        assert said.endswith("pagetide: interrupted\n")
        assert "Traceback" not in said
        assert list(out.rglob(".*")) == []
    before = [file.read_bytes() for file in finished]
    assert main.run(["sweep", str(TRACE), *SETS, "-o", str(out), "--json"]) == 0
    told = capsys.readouterr()
    assert f"6 settings, {len(finished)} are there already; 1 pass over the trace" in told.err
    frame, answer = tables(out)
    assert frame.equals(undisturbed[0])
    assert answer == undisturbed[1] == json.loads(told.out)
    assert [file.read_bytes() for file in finished] == before


def test_a_finished_sweep_is_told_again_without_a_pass(trace, tmp_path, monkeypatch, capsys):
    command = ["sweep", str(trace), *SETS, "-o", str(tmp_path / "out")]
    assert main.run(command) == 0
    first = capsys.readouterr()
    monkeypatch.setattr(sweep, "run_readable", None)
    assert main.run(command) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err == "pagetide: 6 settings: all are there already\n"


def test_a_larger_grid_goes_on_with_a_smaller_one(trace, tmp_path, monkeypatch):
    plans: list[Any] = []
    replay.sweep(trace, "upstream", {"budget": [1, 2]}, out=tmp_path / "out")
    larger = {"budget": [2, 3, 1], "order": [9, 10]}
    done = replay.sweep(trace, "upstream", larger, out=tmp_path / "out", announce=plans.append)
    assert plans[0].kept == 2
    assert done.frame.equals(replay.sweep(trace, "upstream", larger).frame)
    other = replay.sweep(trace, "never", {"order": [9]}, out=tmp_path / "out")
    assert other.frame["policy"].to_list() == ["never"]
    monkeypatch.setattr(sweep, "run_readable", None)
    assert replay.sweep(trace, "upstream", larger, out=tmp_path / "out").frame.equals(done.frame)


def test_a_trace_that_moved_is_the_same_trace(trace, tmp_path, monkeypatch):
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    moved = trace.rename(tmp_path / "b.trace")
    monkeypatch.setattr(sweep, "run_readable", None)
    assert replay.sweep(moved, "upstream", GRID, out=tmp_path / "out").to_json()["trace"]["path"] == str(
        moved
    )


# Never mixed

OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "start": ({"options": Options("cold")}, "start is steady there, cold here"),
    "backing": ({"options": Options(backing="thp")}, "backing is 4k there, thp here"),
    "inhibit": ({"options": Options(inhibit=True)}, "inhibit is False there, True here"),
    "device": ({"options": Options(device=Device(call_ns=7))}, "device.call_ns is 600000 there, 7 here"),
    "registered": (
        {"options": Options(device=Device(registered_ns=((5, 9),)))},
        "device.registered_ns is [[0, None]] there, [[5, 9]] here",
    ),
    "costs": ({"costs": Costs(discard="free")}, "costs.discard is dontneed there, free here"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_results_of_other_options_are_not_mixed_in(trace, tmp_path, other):
    given, difference = OTHERS[other]
    out = tmp_path / "out"
    replay.sweep(trace, "upstream", GRID, out=out)
    before = {file: file.read_bytes() for file in out.rglob("*.*")}
    with pytest.raises(Fault) as caught:
        replay.sweep(trace, "upstream", GRID, out=out, **given)
    assert caught.value.what == f"{out} holds the sweep of something else"
    assert caught.value.how == difference
    assert "--force" in caught.value.fix
    assert {file: file.read_bytes() for file in out.rglob("*.*")} == before
    done = replay.sweep(trace, "upstream", GRID, out=out, force=True, **given)
    assert done.frame.equals(replay.sweep(trace, "upstream", GRID, **given).frame)
    assert tables(out)[0].equals(done.frame)
    assert len(list((out / "passes").iterdir())) == 1
    assert sorted(tmp_path.iterdir()) == [trace, out]


def test_results_of_another_trace_are_not_mixed_in(trace, tmp_path):
    other = small_traces.write(tmp_path / "b.trace", [(2_000_000, 3_000_000)])
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    with pytest.raises(Fault, match="something else") as caught:
        replay.sweep(other, "upstream", GRID, out=tmp_path / "out")
    assert caught.value.how.startswith("its trace is another one: 5 events over ")
    assert "; 2 events over " in caught.value.how


def test_a_trace_of_the_same_size_with_other_events_is_another_one(trace, tmp_path):
    events = [tuple(ts + 1 for ts in part) for part in small_traces.SEGMENTS]
    other = small_traces.write(tmp_path / "b.trace", events)
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    with pytest.raises(Fault, match="something else"):
        replay.sweep(other, "upstream", GRID, out=tmp_path / "out")


def test_results_of_another_version_are_not_mixed_in(trace, tmp_path, monkeypatch):
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    monkeypatch.setattr(kept, "digest_of_sources", lambda: "other")
    with pytest.raises(Fault, match="something else") as caught:
        replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    assert caught.value.how == "its results are of another version of pagetide"


def test_force_goes_on_where_nothing_differs(trace, tmp_path, monkeypatch):
    done = replay.sweep(trace, "upstream", GRID, out=tmp_path / "out", force=True)
    monkeypatch.setattr(sweep, "run_readable", None)
    again = replay.sweep(trace, "upstream", GRID, out=tmp_path / "out", force=True)
    assert again.frame.equals(done.frame)


def test_of_a_policy_of_ones_own_the_sources_count(tmp_path):
    example = (
        (REPO / "docs/policies.md").read_text().partition("```python\n# patient.py\n")[2].partition("```")[0]
    )
    entries = {"patient": "patient:POLICY"}
    folder = install(tmp_path, "patient", {"patient": example}, entries)
    command = [
        "sweep",
        TRACE,
        "--policy",
        "patient",
        "--set",
        "delay=1s,2s",
        "-o",
        tmp_path / "out",
        "--json",
    ]
    assert "2 settings; 1 pass" in pagetide(folder, *command).stderr
    assert "all are there already" in pagetide(folder, *command).stderr
    changed = next(folder.rglob("patient.py"))
    changed.write_text(changed.read_text() + "# another thought\n")
    assert "2 settings; 1 pass" in pagetide(folder, *command).stderr


def test_of_our_own_policies_the_engines_identity_is_enough():
    setting = parse("upstream", small_traces.GUEST)
    assert key_of(setting) == setting.named


def test_what_could_only_be_read_in_part_is_read_again(trace, tmp_path):
    """A file that was damaged may be whole again."""
    out, plans = tmp_path / "out", list[Any]()
    replay.sweep(trace, "upstream", GRID, out=out)
    file = out / "passes/00000.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "events": told["events"] - 1}))
    replay.sweep(trace, "upstream", GRID, out=out, announce=plans.append)
    assert plans[0].kept == 0
    replay.sweep(trace, "upstream", GRID, out=out, announce=plans.append)
    assert plans[-1].passes == 0


def test_passes_that_read_another_trace_are_not_one_table(trace, tmp_path):
    out = tmp_path / "out"
    replay.sweep(trace, "upstream", {"order": [9]}, out=out)
    file = out / "passes/00000.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "trace": {**told["trace"], "warnings": ["rows were unreadable"]}}))
    with pytest.raises(Fault, match="does not read the same in each pass") as caught:
        replay.sweep(trace, "upstream", GRID, out=out)
    assert "rows were unreadable" in caught.value.how


def test_what_reading_said_of_a_trace_is_said_again_without_reading(tmp_path, capsys):
    path = small_traces.write(tmp_path / "a.trace", lost=3)
    command = ["sweep", str(path), "--policy", "never", "--set", "order=9", "-o", str(tmp_path / "out")]
    for _ in range(2):
        assert main.run(command) == ExitCode.LOSSY
        assert "3 events were lost" in capsys.readouterr().err
    assert main.run([*command, "--allow-loss"]) == 0


# Folders that are no sweep's, damaged, in use


def refused(trace: Path, out: Path, *, force: bool = True) -> Fault:
    with pytest.raises(Fault) as caught:
        replay.sweep(trace, "upstream", GRID, out=out, force=force)
    return caught.value


def test_nothing_but_a_sweep_is_ever_replaced(trace, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/all.tex").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "thesis", tmp_path / "file", trace):
        assert refused(trace, out).what == f"{out} exists already, and holds no sweep"
    assert (tmp_path / "thesis/all.tex").read_text() == "years of work"


def test_an_empty_folder_is_as_good_as_none(trace, tmp_path):
    (tmp_path / "out").mkdir()
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "identity.json", "passes", "sweep.json", "sweep.parquet",
    ]  # fmt: skip


def test_a_folder_is_not_made_in_one_that_is_not_there(trace, tmp_path):
    assert refused(trace, tmp_path / "no/out").what == f"there is no folder {tmp_path / 'no'}"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"events": 5}', "\0"])
def test_a_damaged_pass_is_named(trace, tmp_path, text):
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    file = tmp_path / "out/passes/00000.json"
    file.write_text(text)
    said = refused(trace, tmp_path / "out")
    assert said.what == f"{file} is damaged"
    assert "replayed again" in said.fix
    file.unlink()
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")


def test_a_damaged_identity_is_named(trace, tmp_path):
    replay.sweep(trace, "upstream", GRID, out=tmp_path / "out")
    (tmp_path / "out/identity.json").write_text("{")
    assert refused(trace, tmp_path / "out").what == f"{tmp_path}/out/identity.json is damaged"


def test_two_sweeps_do_not_write_to_one_folder(trace, tmp_path):
    out, said = tmp_path / "out", list[Fault]()

    def meanwhile(_plan: Any) -> None:
        said.append(refused(trace, out))

    replay.sweep(trace, "upstream", GRID, out=out, announce=meanwhile)
    assert said[0].what == f"{out} is being written by another sweep"
    replay.sweep(trace, "upstream", GRID, out=out)


def test_a_full_disk_is_a_fault_and_leaves_what_was_finished(trace, tmp_path, monkeypatch):
    one_at_a_time(monkeypatch)
    out = tmp_path / "out"
    really, written = Path.write_text, []

    def full(path: Path, text: str, *more: Any) -> int:
        if path.parent.name == "passes":
            written.append(path)
            if len(written) == 3:
                really(path, text[:100])
                raise OSError(28, "No space left on device")
        return really(path, text, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        said = refused(trace, out)
    assert said.code == ExitCode.ENVIRONMENT
    assert "No space left" in said.how
    assert sorted(file.name for file in (out / "passes").iterdir()) == ["00000.json", "00001.json"]
    assert replay.sweep(trace, "upstream", GRID, out=out).frame.equals(
        replay.sweep(trace, "upstream", GRID).frame
    )


def test_the_identity_is_of_the_trace_and_not_of_its_place(trace, tmp_path):
    opened = open_trace(trace)
    told = kept.identity_of(opened, Options(), Costs())
    moved = open_trace(trace.rename(tmp_path / "b.trace"))
    assert kept.identity_of(moved, Options(logging=True, fragmentation=True), Costs()) == told
    assert kept.differences(told, told) == []


def test_a_trace_that_cannot_be_read_to_its_end_is_swept_up_to_there_and_never_kept(
    tmp_path, monkeypatch, capsys
):
    one_at_a_time(monkeypatch)
    path, out = tmp_path / "a.trace", tmp_path / "out"
    shutil.copytree(TRACE, path)
    file = path / open_trace(path).segments[-1].file
    whole = file.read_bytes()
    flip(file)
    command = ["sweep", str(path), "--policy", "upstream", "--set", "order=9,10", "-o", str(out), "--json"]
    for _ in range(2):  # what was read in part is read again
        assert main.run(command) == ExitCode.LOSSY
        said = capsys.readouterr()
        assert "2 settings; 2 passes" in said.err
        assert "events before that are used" in said.err
        told = json.loads(said.out)
        alone = replay.replay(path, [each["setting"] for each in told["settings"]])
        assert told["trace"] == alone.trace_section(Options())
        assert told["trace"]["partial"] is not None
        for each, result in zip(told["settings"], alone.results, strict=True):
            assert {name: each[name] for name in result.summary} == result.summary
    file.write_bytes(whole)
    assert main.run(command) == 0
    assert json.loads(capsys.readouterr().out)["trace"]["partial"] is None

"""`pagetide generate` as a user meets it: what it prints, what it refuses, and what it leaves behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import replay
from replay import main
from replay.generating.presets import PRESETS, preset
from tests.pure.test_command_line import REPO, START
from tests.pure.test_imports import HEAVY, loaded
from tracer import Fault, Trace, open_trace
from tracer.faults import ExitCode

SMALL = ("--memory", "256MiB", "--duration", "1s", "--warmup", "0s", "--preset", "churn")


def run(capsys, *words: object) -> tuple[int, str, str]:
    code = main.run(["generate", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_it_says_what_it_made_and_that_it_is_synthetic(capsys, tmp_path):
    out = tmp_path / "a.trace"
    code, told, errors = run(capsys, out, *SMALL)
    assert (code, errors) == (0, "")
    trace = open_trace(out)
    first, *kinds = told.splitlines()
    assert first.startswith(f"wrote {out}: {trace.rows:,} events over 1.0 s, ")
    assert first.endswith("; synthetic, seed 1")
    assert [line.split(":")[0].strip() for line in kinds] == ["buffers", "files", "slab", "dentries"]


def test_its_json_is_one_object(capsys, tmp_path):
    code, told, errors = run(capsys, tmp_path / "a.trace", *SMALL, "--json", "--seed", 9)
    answer = json.loads(told)
    assert (code, errors) == (0, "")
    assert (answer["seed"], answer["given_up"], answer["notes"]) == (9, 0, [])
    assert answer["events"] == open_trace(tmp_path / "a.trace").rows
    assert [kind["name"] for kind in answer["kinds"]] == ["buffers", "files", "slab", "dentries"]


def test_what_went_otherwise_than_asked_is_said(capsys, tmp_path):
    words = ["--preset", "none", "--kind", "hog:rate=100,size=64MiB,lifetime=forever"]
    code, _, errors = run(capsys, tmp_path / "a.trace", *SMALL, *words)
    assert code == 0
    assert errors.startswith("pagetide: memory ran out: ")


def test_every_view_of_a_generated_trace_calls_it_synthetic(capsys, tmp_path):
    out = str(tmp_path / "a.trace")
    run(capsys, out, *SMALL)
    for words in (["info", out], ["replay", out, "--policy", "never"], ["validate", out]):
        assert main.run(words) == 0
        assert "synthetic: made by pagetide generate" in capsys.readouterr().out
    for words in (["replay", out, "--policy", "never", "--json"], ["validate", out, "--json"]):
        assert main.run(words) == 0
        assert "synthetic: made by pagetide generate" in capsys.readouterr().out
    main.run(["info", out])
    told = capsys.readouterr().out
    assert "guest: synthetic, no kernel ran, 4 CPUs" in told
    assert "rung: generated" in told
    assert "Linux" not in told.split("note:")[0]


def test_python_makes_the_same_as_the_command_does(capsys, tmp_path):
    run(capsys, tmp_path / "a.trace", *SMALL)
    recipe = preset("churn", memory_bytes=256 << 20, duration_ns=10**9, warmup_ns=0)
    trace: Trace = replay.generate(tmp_path / "b.trace", recipe).trace
    assert trace.events.collect().equals(open_trace(tmp_path / "a.trace").events.collect())


REFUSED = [
    (["--memory", "1"], "'1' is not a size"),
    (["--memory", "0B"], "--memory 0 is not possible"),
    (["--memory", "9000000GiB"], "--memory 9663676416000000 is not possible"),
    (["--page-size", "8KiB"], "--page-size 8192B is not possible"),
    (
        ["--page-size", "5000B", "--max-order", "9", "--pageblock-order", "9"],
        "--page-size 5000B is not possible",
    ),
    (["--max-order", "16"], "--max-order 16 is not possible"),
    (["--pageblock-order", "11"], "--pageblock-order 11 is not possible"),
    (["--duration", "0s"], "--duration 0 is not possible"),
    (["--duration", "60"], "'60' is not a duration"),
    (["--warmup", "31000h"], "--warmup "),
    (["--seed", "-1"], "--seed -1 is not possible"),
    (["--used", "1.5"], "--used 1.5 is not possible"),
    (["--used", "nan"], "--used nan is not possible"),
    (["--pinned", "-0.1"], "--pinned -0.1 is not possible"),
    (["--holes", "1"], "--holes 1.0 is not possible"),
    (["--holes", "0.5", "--hole-size", "1GiB"], "--holes 0.5 of 1GiB is not possible"),
    (["--hole-size", "1KiB"], "--hole-size 1024 is not possible"),
    (["--nodes", "0"], "--nodes 0 is not possible"),
    (["--cpus", "0"], "--cpus 0 is not possible"),
    (["--zone", "DMA"], "--zone DMA is not possible"),
    (["--zone", "Normal=64MiB"], "--zone Normal is not possible"),
    (["--zone", "DMA=256MiB"], "a guest with such zones is not possible"),
    (["--preset", "calm"], "there is no preset 'calm'"),
    (["--preset", "none"], "a trace of these kinds is not possible"),
    (["--kind", "a b:rate=1"], "the name 'a b' is not possible"),
    (["--kind", "a:rate"], "'rate' is not key=value"),
    (["--kind", "a:speed=1"], "a kind of objects has no 'speed'"),
    (["--kind", "a:rate=1,rate=2"], "rate is given twice"),
    (["--kind", "a:rate=-1"], "'-1' is not a number"),
    (["--kind", "a:rate=1e99"], "a: rate 1e+99 is not possible"),
    (["--kind", "a:size=3"], "'3' is not a size"),
    (["--kind", "a:size=1GiB"], "a: size=1GiB is not possible"),
    (["--kind", "a:size-sigma=5"], "a: size-sigma 5.0 is not possible"),
    (["--kind", "a:order=11"], "a: order 11 is not possible"),
    (["--kind", "a:order=x"], "'x' is not a whole number"),
    (["--kind", "a:lifetime=0s"], "lifetime=0 is not possible"),
    (["--kind", "a:ages=young"], "a: ages=young is not possible"),
    (["--kind", "a:type=isolate"], "a: type=isolate is not possible"),
    (["--kind", "a:wave=round"], "a: wave=round is not possible"),
    (["--kind", "a:period=1ns"], "a: period 1 is not possible"),
    (["--kind", "a:duty=2"], "a: duty 2.0 is not possible"),
    (["--duration", "1us"], "a trace without any event is not possible"),
]


@pytest.mark.parametrize(("words", "what"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_is_one_fault_and_leaves_nothing(capsys, tmp_path, words, what):
    code, told, errors = run(capsys, tmp_path / "a.trace", *SMALL, *words)
    lines = errors.splitlines()
    assert (code, told, len(lines)) == (ExitCode.USAGE, "", 3), errors
    assert lines[0].startswith(f"pagetide: {what}")
    assert all(line.partition(": ")[2].strip() for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_same_is_refused_in_python():
    with pytest.raises(Fault, match="a whole number"):
        preset("steady", memory_bytes=1.5e9)
    with pytest.raises(Fault, match="a recipe has no 'size'"):
        preset("steady", size=3)


def test_a_guest_that_this_machine_cannot_hold_is_refused(capsys, tmp_path, monkeypatch):
    from replay.available import Available

    monkeypatch.setattr("replay.generating.machine.available", lambda: Available(1 << 20, "a test"))
    code, _, errors = run(capsys, tmp_path / "a.trace", *SMALL)
    assert code == ExitCode.ENVIRONMENT
    assert errors.startswith("pagetide: a guest of 65,536 frames cannot be generated on this machine")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_trace_is_replaced_only_when_forced(capsys, tmp_path):
    out = tmp_path / "a.trace"
    run(capsys, out, *SMALL)
    before = (out / "manifest.json").read_bytes()
    code, _, errors = run(capsys, out, *SMALL, "--seed", "2")
    assert code == ExitCode.USAGE
    assert f"{out} exists already" in errors
    assert (out / "manifest.json").read_bytes() == before
    assert run(capsys, out, *SMALL, "--seed", "2", "--force")[0] == 0
    assert (out / "manifest.json").read_bytes() != before


def leaves_nothing(tmp_path: Path, out: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    open_trace(out).verify()


def test_a_full_disk_leaves_what_was_there(capsys, tmp_path, monkeypatch):
    out = tmp_path / "a.trace"
    run(capsys, out, *SMALL)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    code, _, errors = run(capsys, out, *SMALL, "--force")
    assert code == ExitCode.ENVIRONMENT
    assert "No space left on device" in errors
    leaves_nothing(tmp_path, out)


def test_ctrl_c_leaves_what_was_there(tmp_path, capsys):
    out = tmp_path / "a.trace"
    run(capsys, out, *SMALL)
    words = [
        str(out),
        "--force",
        "--memory",
        "4GiB",
        "--preset",
        "churn",
        "--duration",
        "10h",
        "--warmup",
        "0s",
    ]
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{heard}\n{START}", "generate", *words],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        while running.poll() is None and len(list(tmp_path.glob(".*/events/.*"))) == 0:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (main.INTERRUPTED, "pagetide: interrupted\n")
    leaves_nothing(tmp_path, out)


def test_help_imports_nothing_heavy_and_names_every_preset(capsys):
    code = "sys.argv = ['pagetide', 'generate', '--help']; from replay.main import main; main()"
    assert loaded(code).isdisjoint({*HEAVY, "replay.generating.recipe"})
    _, told, _ = run(capsys, "--help")
    assert all(name in told for name in PRESETS)

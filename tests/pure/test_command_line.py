"""The command as a user meets it: exit codes, three lines for a fault, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay import main
from tests.pure import small_traces
from tracer.faults import ExitCode

REPO = Path(__file__).parents[2]
START = "from replay.main import main; main()"


def pagetide(*arguments, prelude="", cwd=None, **more) -> Any:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(
        [sys.executable, "-c", f"{prelude}\n{START}", *map(str, arguments)],
        cwd=cwd or REPO, env=os.environ | {"PYTHONPATH": str(REPO)}, stdin=subprocess.DEVNULL, text=True,
        check=False, timeout=300, **streams,
    )  # fmt: skip


def assert_three_lines(stderr, what) -> None:
    assert "Traceback" not in stderr
    lines = stderr.splitlines()
    assert len(lines) == 3, stderr
    assert lines[0].startswith("pagetide: ")
    assert what in lines[0]
    assert lines[1].startswith("  how we know: ")
    assert lines[2].startswith("  what to do:  ")
    assert all(line.partition(": ")[2].strip() for line in lines)


def assert_fault(done, what, code=ExitCode.USAGE) -> None:
    assert_three_lines(done.stderr, what)
    assert done.returncode == code
    assert done.stdout == ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Any:
    return small_traces.write(tmp_path_factory.mktemp("traces") / "a.trace")


@pytest.fixture
def mine(tmp_path) -> Any:
    return small_traces.write(tmp_path / "a.trace")


def test_help_lists_every_verb_with_its_line():
    done = pagetide("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb, (_, _, summary) in main.VERBS.items():
        assert any(verb in line and summary[:40] in line for line in done.stdout.splitlines()), verb


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_has_its_own_help(verb):
    done = pagetide(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"pagetide {verb}" in done.stdout


HELP = {
    "record": ("5s or more", "40s or more", "a power of two", "twice that to begin", "the end included",
               "the end not included"),
    "import": ("only with --show-lost-events",),
}  # fmt: skip


@pytest.mark.parametrize("verb", HELP)
def test_the_help_tells_bounds_before_they_are_met(verb):
    told = "".join(pagetide(verb, "--help").stdout.split())  # it breaks lines at hyphens too
    assert [words for words in HELP[verb] if words.replace(" ", "") not in told] == []


def test_the_version_is_told():
    assert pagetide("--version").stdout == "pagetide 0.1.0\n"


# Wrong use


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["info"], "TRACE"),
        (["record"], "OUT.trace"),
        (["replay", "--nonsense", "a.trace"], "--nonsense"),
        (["info", "a.trace", "b.trace"], "b.trace"),
        (["validate", "a.trace", "--max-wrong", "few"], "--max-wrong"),
        (["replay", "a.trace", "--policy"], "--policy"),
    ],
)
def test_a_wrong_command_line_is_three_lines(arguments, what):
    assert_fault(pagetide(*arguments), what)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["info"], ["validate", "a.trace", "--max-wrong", "few"], ["replay", "--nonsense"]],
)
def test_a_wrong_command_line_ends_with_1(arguments):
    done = pagetide(*arguments)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--duration", "5"], "'5' is not a duration"),
        (["--duration", "5MiB"], "'5MiB' is not a duration"),
        (["--duration", "-5s"], "'-5s' is not a duration"),
        (["--segment", "fast"], "'fast' is not a duration"),
        (["--segment", "1ms"], "--segment 1ms is too short"),
        (["--ring", "64"], "'64' is not a size"),
        (["--ring", "64M"], "'64M' is not a size"),
        (["--ring", "3MiB"], "--ring 3MiB is not possible"),
        (["--ring", "1KiB"], "--ring 1KiB is not possible"),
        (["--", "/no/such/program"], "command not found: /no/such/program"),
    ],
)
def test_record_refuses_bad_options_before_it_makes_anything(tmp_path, options, what):
    done = pagetide("record", tmp_path / "a.trace", *options)
    assert_fault(done, what, code=127 if "/no/such/program" in options else ExitCode.USAGE)
    assert list(tmp_path.iterdir()) == []


def test_record_keeps_an_output_that_exists(mine):
    assert_fault(pagetide("record", mine, "--duration", "1s", prelude=FAKES), "exists already")
    assert pagetide("info", mine).returncode == ExitCode.DONE


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ("nonsense", "no policy 'nonsense'"),
        ("nonsense:order=9", "no policy 'nonsense'"),
        ("", "no policy ''"),
        ("upstream:speed=9", "no parameter speed"),
        ("never:delay=1s", "no parameter delay"),
        ("upstream:delay", "'delay' is not key=value"),
        ("upstream:delay=5", "'5' is not a duration"),
        ("upstream:delay=", "'' is not a duration"),
        ("upstream:delay=5MiB", "'5MiB' is not a duration"),
        ("upstream:capacity=many", "capacity=many is not possible"),
        ("upstream:capacity=0", "capacity=0 is not possible"),
        ("upstream:capacity=1.5", "capacity=1.5 is not possible"),
        ("upstream:gate=yes", "gate=yes is not possible"),
        ("upstream:rounding=up", "rounding=up is not possible"),
        ("upstream:order=-1", "order=-1 is not possible"),
        ("upstream:order=11", "order 11 is not possible"),
        ("upstream:delay=9999999h", "delay"),
        ("upstream:capacity=99999999999999999999", "capacity"),
        ("upstream:capacity=1000000000000", "capacity"),
        ("upstream:budget=99999999999999999999", "budget"),
    ],
)
def test_a_bad_policy_is_three_lines(whole, capsys, policy, what):
    code = main.run(["replay", str(whole), "--policy", policy])
    said = capsys.readouterr()
    assert_three_lines(said.err, what)
    assert (code, said.out) == (ExitCode.USAGE, "")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--policy", "nonsense"], "no policy 'nonsense'"),
        (["--start", "warm"], "--start warm is not possible"),
        (["--backing", "8k"], "--backing 8k is not possible"),
        (["--policy", "upstream", "--policy", "upstream:delay=5"], "'5' is not a duration"),
        (["-o", "/no/such/folder/out"], "there is no folder"),
        (["-o", "."], "exists already"),
        (["-o", ".", "--force"], "holds no results"),
    ],
)
def test_replay_refuses_bad_options(whole, options, what):
    assert_fault(pagetide("replay", whole, *options, "--json"), what)


# Wrong input

READERS = (["info"], ["replay", "--policy", "never"], ["validate"])
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (lambda path: path.rename(path.with_name("b.trace")), "there is no trace"),
    "not a trace": (lambda path: (path / "manifest.json").unlink(), "is not a trace"),
    "empty manifest": (lambda path: (path / "manifest.json").write_text(""), "is damaged"),
    "newer": (lambda path: small_traces.edit_manifest(path, lambda data: data.update(format=2)), "format 2"),
    "key missing": (lambda path: small_traces.edit_manifest(path, lambda data: data.pop("guest")), "guest"),
    "truncated": (lambda path: os.truncate(path / "events/00000.parquet", 100), "is truncated"),
    "index": (lambda path: (path / "segments.jsonl").write_text("x\ny\n"), "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("verb", READERS, ids=lambda verb: verb[0])
def test_a_bad_trace_is_three_lines_for_every_verb(mine, capsys, verb, damage):
    make, what = DAMAGE[damage]
    make(mine)
    code = main.run([*verb, "--json", str(mine)])
    said = capsys.readouterr()
    assert_three_lines(said.err, what)
    assert (code, said.out) == (ExitCode.USAGE, "")


@pytest.mark.parametrize("damage", ["not there", "not a trace", "newer", "truncated"])
def test_a_bad_trace_is_three_lines_in_a_process_of_its_own(mine, damage):
    make, what = DAMAGE[damage]
    make(mine)
    assert_fault(pagetide("info", mine), what)


@pytest.mark.parametrize("verb", [["replay", "--policy", "never"], ["validate"]], ids=lambda verb: verb[0])
def test_a_damaged_page_is_three_lines(mine, capsys, verb):
    file = mine / "events/00000.parquet"
    file.write_bytes(b"x" * file.stat().st_size)
    code = main.run([*verb, str(mine)])
    assert_three_lines(capsys.readouterr().err, "damaged at events/00000.parquet")
    assert code == ExitCode.USAGE


def test_info_of_a_trace_with_an_op_of_tomorrow(mine):
    small_traces.edit_manifest(mine, lambda data: data["probes"][0].update(op=99))
    done = pagetide("info", mine)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


@pytest.mark.parametrize("verb", READERS, ids=lambda verb: verb[0])
def test_an_empty_trace_is_no_error_and_has_nothing_to_say(tmp_path, capsys, verb):
    path = small_traces.write(tmp_path / "a.trace", [])
    assert main.run([*verb, "--json", str(path)]) == ExitCode.DONE
    said = capsys.readouterr()
    assert said.err == ""
    assert "NaN" not in said.out
    answer = json.loads(said.out)
    if verb[0] == "replay":
        assert answer["results"][0]["latency_s"] == dict.fromkeys(["p50", "p90", "p99", "max", "mean"]) | {
            "samples": 0
        }


@pytest.mark.parametrize("verb", READERS[:2], ids=lambda verb: verb[0])
def test_a_recovered_trace_is_used_and_ends_with_3(tmp_path, capsys, verb):
    path = small_traces.kill(small_traces.begin(tmp_path / "a.trace"))
    assert main.run([*verb, "--json", str(path)]) == ExitCode.LOSSY
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("option", "code"), [([], ExitCode.LOSSY), (["--allow-loss"], ExitCode.DONE)])
def test_a_lossy_trace_is_replayed_whole_and_said_to_be_lossy(tmp_path, capsys, option, code):
    path = small_traces.write(tmp_path / "a.trace", lost=3)
    assert main.run(["replay", "--policy", "never", "--json", *option, str(path)]) == code
    said = capsys.readouterr()
    assert json.loads(said.out)["trace"]["lost_events"] == 3
    assert "3 events were lost" in said.err


# JSON


@pytest.mark.parametrize("verb", [*READERS, ["policies"]], ids=lambda verb: verb[0])
def test_json_is_one_object_and_nothing_else(whole, verb):
    done = pagetide(*verb, "--json", *([] if verb == ["policies"] else [whole]))
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), dict)


def test_defaults_in_policies_json_can_be_given_back(whole, capsys):
    assert main.run(["policies", "--json"]) == 0
    for policy in json.loads(capsys.readouterr().out)["policies"]:
        for parameter in policy["parameters"]:
            default = parameter["default"]
            if default is None or isinstance(default, bool):
                continue
            setting = f"{policy['name']}:{parameter['name']}={default}"
            assert main.run(["replay", str(whole), "--json", "--policy", setting]) == 0, setting
            capsys.readouterr()


def test_results_are_written_as_a_whole_and_replaced_only_by_force(whole, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["replay", str(whole), "--policy", "never", "-o", str(out)]
    assert main.run(command) == 0
    names = ["address_map", "composition", "fragmentation", "latency", "reports", "timeline"]
    files = sorted(file.name for file in out.iterdir())
    assert files == sorted(["results.json", *(f"{name}.parquet" for name in names)])
    assert main.run(command) == ExitCode.USAGE
    assert main.run([*command, "--force"]) == 0
    assert list(tmp_path.iterdir()) == [out]
    capsys.readouterr()


# The environment. Nothing is mounted, loaded or recorded: what would be is replaced first. `FAKES` has the
# doctor say yes, so that what comes after it is met; the others leave it out or make it say no.

FAKES = """
import tracer.probes.tracefs as tracefs, tracer.probes.attachment as kernel, tracer.probes.library as library
import tracer.probes.ladder as ladder
import types
tracefs.subprocess = types.SimpleNamespace(run=lambda *_, **__: None)
kernel.ensure_mounted = lambda: True
kernel.points.available = lambda points, *_: list(points)
kernel.source = lambda *_, **__: ""
kernel.climb = lambda: ladder.Ladder("tracepoints", None)
class BPF:
    def __init__(self, text):
        raise Exception(REFUSAL)
library.load = lambda: types.SimpleNamespace(BPF=BPF)
import tracer.doctor as doctor
ensure_recordable = doctor.ensure_recordable
doctor.ensure_recordable = lambda: None
"""
NO_TRACEPOINTS = FAKES + "kernel.points.available = lambda points, *_: []\n"
NO_BCC = (
    FAKES
    + """
from pathlib import Path
def load():
    return library.locate()
library.load = load
library.DIST_PACKAGES = Path("/no/such/folder")
library.importlib.util.find_spec = lambda name: WRONG
"""
)
ASK_DOCTOR = """
doctor._privileges = lambda: doctor.Check("privileges", "ok", "faked")
doctor.ensure_mounted = lambda: True
doctor.ensure_recordable = ensure_recordable
"""
# What a user without root meets: the mount point is there, and may not be looked into.
NO_ROOT = """
import os, types
import tracer.probes.tracefs as tracefs
tracefs.subprocess = types.SimpleNamespace(run=lambda *_, **__: None)
import tracer.doctor as doctor
doctor._privileges = lambda: doctor.Check("privileges", "missing", "no CAP_SYS_ADMIN", "run it with sudo")
stat = os.stat
def denied(path, *args, **more):
    if str(path).startswith("/sys/kernel/tracing/"):
        raise PermissionError(13, "Permission denied", str(path))
    return stat(path, *args, **more)
os.stat = denied
import io
really = io.open
def closed(path, *args, **more):
    if str(path).startswith("/sys/kernel/tracing/"):
        raise PermissionError(13, "Permission denied", str(path))
    return really(path, *args, **more)
io.open = closed
"""


def refused(tmp_path, prelude) -> Any:
    done = pagetide("record", tmp_path / "a.trace", "--duration", "1s", "--json", prelude=prelude)
    assert list(tmp_path.iterdir()) == []
    return done


@pytest.mark.parametrize(
    "refusal", ["Failed to load BPF program b'x': Operation not permitted", "bpf: Operation not permitted"]
)
def test_a_kernel_that_refuses_bpf(tmp_path, refusal):
    done = refused(tmp_path, FAKES.replace("REFUSAL", repr(refusal)))
    assert_fault(done, "the kernel refuses to load BPF programs", ExitCode.ENVIRONMENT)
    assert "Operation not permitted" in done.stderr
    assert "CAP_BPF" in done.stderr


def test_a_program_that_does_not_compile(tmp_path):
    done = refused(tmp_path, FAKES.replace("REFUSAL", repr("Failed to compile BPF module <text>")))
    assert_fault(done, "does not compile or attach", ExitCode.ENVIRONMENT)


def test_a_refusal_of_many_lines_is_told_in_one(tmp_path):
    done = refused(tmp_path, FAKES.replace("REFUSAL", repr("could not attach\nbecause of\nmany things")))
    assert_fault(done, "does not compile or attach", ExitCode.ENVIRONMENT)


def test_a_kernel_without_tracepoints(tmp_path):
    done = refused(tmp_path, NO_TRACEPOINTS)
    assert_fault(done, "kmem:mm_page_alloc_zone_locked", ExitCode.ENVIRONMENT)
    assert "mount -t tracefs" in done.stderr


@pytest.mark.parametrize("asked", [True, False], ids=["the doctor", "the loader"])
def test_no_bcc(tmp_path, asked):
    done = refused(tmp_path, NO_BCC.replace("WRONG", "None") + ASK_DOCTOR * asked)
    assert_fault(done, "BCC", ExitCode.ENVIRONMENT)
    assert "python3-bpfcc" in done.stderr


@pytest.mark.parametrize("asked", [True, False], ids=["the doctor", "the loader"])
def test_pypis_bcc(tmp_path, asked):
    spec = "types.SimpleNamespace(origin='/venv/bcc/__init__.py', submodule_search_locations=['/venv/bcc'])"
    done = refused(tmp_path, NO_BCC.replace("WRONG", spec) + ASK_DOCTOR * asked)
    assert_fault(done, "", ExitCode.ENVIRONMENT)
    assert "/venv/bcc/__init__.py has no libbcc" in done.stderr
    assert "pip uninstall bcc" in done.stderr


def test_no_root(tmp_path):
    done = refused(tmp_path, NO_ROOT)
    assert_fault(done, "privileges", ExitCode.ENVIRONMENT)
    assert "sudo" in done.stderr


def test_the_doctor_without_root_says_what_is_missing():
    done = pagetide("doctor", "--json", prelude=NO_ROOT)
    assert "Traceback" not in done.stderr
    assert done.returncode == ExitCode.ENVIRONMENT
    assert json.loads(done.stdout)["ready"] is False


# Leaving early


@pytest.mark.parametrize("arguments", [["policies", "--json"], ["policies"], ["--help"]])
def test_a_reader_that_left_is_no_failure(arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = pagetide(*arguments, stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_ctrl_c_is_told_as_a_shell_does(monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("replay.policies.registry", interrupt)
    assert main.run(["policies"]) == 130
    assert "Traceback" not in capsys.readouterr().err

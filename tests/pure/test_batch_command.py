"""`pagetide batch` as a command, interrupted, beside another one, and where nothing can be written."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pure.small_fleets import guests_in
from tests.pure.test_command_line import assert_three_lines

SHIPPED = Path(__file__).parents[2] / "data" / "idle.trace"
RUN = "import sys; from replay.main import run; sys.exit(run(sys.argv[1:]))"
TRACES = 12
WAIT_S = 60.0


@pytest.fixture
def guests(tmp_path) -> Path:
    folder: Path = tmp_path / "guests"
    folder.mkdir()
    for number in range(TRACES):
        shutil.copytree(SHIPPED, folder / f"{number}.trace")
    return folder


def begun(guests: Path, out: Path, *more: str, **how: Any) -> subprocess.Popen[str]:
    """The command on its way, in a process group of its own."""
    told = ["batch", str(guests), "-o", str(out), "--policy", "upstream", "--json", *more]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *told],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        **how,
    )


def until(true: Callable[[], Any]) -> None:
    """Wait for it."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """Its child processes."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def results(out: Path) -> list[Path]:
    return list(out.glob("results/*/*/results.parquet"))


def assert_the_rest_is_done(guests: Path, out: Path, before: int) -> None:
    """The same command does only what is missing, and then nothing is there twice."""
    with begun(guests, out) as again:
        told, said = again.communicate()
    assert again.returncode == 0, said
    tasks = json.loads(told)["tasks"]
    assert tasks["unchanged"] == before and tasks["done"] == TRACES - before
    assert len(results(out)) == TRACES
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_it_and_the_same_command_goes_on(guests, tmp_path, times):
    """Also for who presses it again while it ends."""
    out = tmp_path / "out"
    with begun(guests, out, "--workers", "2") as process:
        until(lambda: results(out))
        workers = workers_of(process.pid)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.02)
        told, said = process.communicate()
    assert process.returncode == 130 and told == "", said
    assert "Traceback" not in said and "the same command goes on with the others" in said
    until(lambda: not any(map(runs, workers)))
    there = len(results(out))
    assert 0 < there < TRACES
    assert_the_rest_is_done(guests, out, there)


def test_a_command_that_is_killed_leaves_whole_results_and_no_lock(guests, tmp_path):
    out = tmp_path / "out"
    with begun(guests, out, "--workers", "2") as process:
        until(lambda: results(out))
        workers = workers_of(process.pid)
        process.kill()
        process.communicate()
    until(lambda: not any(map(runs, workers)))
    assert_the_rest_is_done(guests, out, len(results(out)))


def test_of_two_at_once_one_is_refused_and_the_other_does_all(guests, tmp_path):
    out = tmp_path / "out"
    with begun(guests, out, "--workers", "1") as one:
        until(lambda: results(out))
        with begun(guests, out) as other:
            _, said = other.communicate()
            assert other.returncode == 1
            assert_three_lines(said, "is being written by another batch")
        one.communicate()
    assert one.returncode == 0 and len(results(out)) == TRACES


def test_a_full_disk_ends_it_and_keeps_what_is_there(tmp_path):
    """No file may be larger than some bytes: the system says EFBIG where a full disk says ENOSPC."""
    guests, out = guests_in(tmp_path / "guests", "a", "b"), tmp_path / "out"
    with begun(guests / "a.trace", out) as first:
        assert first.communicate() and first.returncode == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with begun(guests, out, preexec_fn=limited) as process:
        told, said = process.communicate()
    assert process.returncode == 2 and told == "" and "Traceback" not in said
    note, reason = said.split("\n", 1)
    assert note.startswith("pagetide: 1 of 2 traces are done")
    assert_three_lines(reason, "results.parquet cannot be written")
    del before[out / "manifest.jsonl"]
    assert {path: path.read_bytes() for path in before} == before
    with begun(guests, out) as again:
        tasks = json.loads(again.communicate()[0])["tasks"]
    assert (tasks["done"], tasks["unchanged"]) == (1, 1)

"""The command line in a process of its own, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tracer.format import Segment
from tracer.recording.merger import rank

REPO = Path(__file__).parents[2]
PAGETIDE = [sys.executable, "-c", "from replay.main import main; main()"]
WORKLOAD = [sys.executable, str(Path(__file__).parent / "workload.py")]
# Allocates and frees 64 MiB so many times, its last argument: some 30,000 events each time.
_MUCH = """import mmap, sys
for _ in range(int(sys.argv[1])): mmap.mmap(-1, 1 << 26, mmap.MAP_PRIVATE | mmap.MAP_POPULATE).close()
"""
MUCH = [sys.executable, "-c", _MUCH]
TIMEOUT_S = 600  # a last net: what takes long on a busy machine is waited for


def pagetide(*args: object, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run one command line to its end."""
    with started(*args, prefix=prefix) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextmanager
def started(*args: object, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A command line that runs meanwhile; whatever it started is gone afterwards."""
    with _started([*prefix, *PAGETIDE, *map(str, args)]) as process:
        yield process


@contextmanager
def bounded_started(
    trace: Path, settings: dict[str, Any], *command: object, prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A recording of a command with settings that the command line does not offer."""
    script = [sys.executable, str(Path(__file__).parent / "bounded.py")]
    with _started([*prefix, *script, str(trace), json.dumps(settings), *map(str, command)]) as process:
        yield process


@contextmanager
def _started(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answer(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert done.returncode == code, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def fault(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The fault's three lines on stderr, behind at most the one that says what is recorded."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    if lines[0].startswith("pagetide: recording /"):
        lines = lines[1:]
    assert len(lines) == 3, done.stderr
    assert lines[0].startswith("pagetide: ")
    assert lines[1].startswith("  how we know: ")
    assert lines[2].startswith("  what to do:  ")
    return done.stderr


def manifest_of(trace: Path) -> dict[str, Any]:
    """The manifest as it is on disk."""
    value: dict[str, Any] = json.loads((trace / "manifest.json").read_text())
    return value


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something that must come, while the process that is to bring it runs."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def stored_rows(trace: Path) -> int:
    """Events in the closed segments of a recording that goes on that end after its start snapshot."""
    begun_ns = manifest_of(trace)["snapshots"][0]["end_ns"]
    lines = (trace / "segments.jsonl").read_text().splitlines(keepends=True)
    closed = [json.loads(line)["line"] for line in lines if line.endswith("\n")]
    return sum(segment["rows"] for segment in closed if segment["last_ts_ns"] > begun_ns)


def wait_for_start(trace: Path) -> None:
    """Wait until the start snapshot is on disk."""
    wait_until((trace / "manifest.json").is_file)
    wait_until(lambda: manifest_of(trace)["snapshots"])


def assert_spans(segment: Segment, ts_ns: Any) -> None:
    """Its times are those of its first and last row; merged with one that has no row, they reach further."""
    assert segment.first_ts_ns <= ts_ns[0] <= ts_ns[-1] <= segment.last_ts_ns
    if rank(segment) == 1:
        assert (segment.first_ts_ns, segment.last_ts_ns) == (ts_ns[0], ts_ns[-1])


def packets(order: int, blocks: int, times: int = 1) -> list[str]:
    """A command that allocates and frees a known number of blocks of an order."""
    script = Path(__file__).parent / "packets.py"
    return [sys.executable, str(script), str(order), str(blocks), str(times)]


def bounded(trace: Path, settings: dict[str, Any], *command: object) -> subprocess.CompletedProcess[str]:
    """Record a command to its end with settings that the command line does not offer."""
    with bounded_started(trace, settings, *command) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)

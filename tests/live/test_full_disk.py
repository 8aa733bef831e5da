"""A disk that fills up ends the recording; what was written is a trace."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.running import (
    TIMEOUT_S,
    WORKLOAD,
    answer,
    fault,
    pagetide,
    started,
    stored_rows,
    wait_for_start,
    wait_until,
)
from tracer import open_trace

PAGE_BYTES = 4096
SOAK = bool(os.environ.get("PAGETIDE_SOAK"))
Mount = Callable[[int], Path]


@pytest.fixture
def disk_of(live: None, tmp_path: Path) -> Iterator[Mount]:
    """Mounts a disk (a tmpfs) of so many pages."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def mount(pages: int) -> Path:
        options = f"size={pages * PAGE_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
        mounted.append(disk)
        return disk

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def start_pages(live: None, tmp_path_factory: pytest.TempPathFactory) -> int:
    """What a trace needs up to its start snapshot, with the manifest that does not name it yet."""
    path = tmp_path_factory.mktemp("sizes") / "a.trace"
    assert pagetide("record", path, "--duration", "10ms").returncode == 0
    return -(-(path / "frames/start.parquet").stat().st_size // PAGE_BYTES) + 1


def test_a_disk_too_full_to_begin_is_refused_and_nothing_is_left(disk_of: Mount) -> None:
    path = disk_of(1024) / "full.trace"
    text = fault(pagetide("record", path, "--min-free", "3MiB", "--", "true"), 2)
    assert "too full to record" in text
    assert "4 MiB are free; it takes 6 MiB to begin" in text
    assert not list(path.parent.iterdir())


def test_a_disk_that_becomes_full_ends_the_recording_in_good_order(disk_of: Mount, start_pages: int) -> None:
    """The recording fills it itself: it keeps room for three more snapshots, and for what waits to be
    written; how much that is, others could not know who filled it meanwhile.
    """
    path = disk_of(4 * start_pages + 1024) / "full.trace"
    flags = ["--segment", "200ms", "--min-free", "2MiB"]
    done = pagetide("record", path, *flags, "--", *WORKLOAD, 600)
    text = fault(done, 2)
    assert "nearly full" in text
    trace = open_trace(path)
    assert trace.complete, trace.warnings
    assert trace.manifest.ended_by == "disk"
    assert trace.manifest.snapshot("end") is not None
    assert trace.rows > 10_000
    assert free_bytes(path.parent) > 0
    assert pagetide("info", path, "--verify").returncode == 0


def free_bytes(disk: Path) -> int:
    told = os.statvfs(disk)
    return told.f_bavail * told.f_frsize


def test_a_disk_that_others_fill_ends_the_recording_and_the_command(disk_of: Mount, tmp_path: Path) -> None:
    path, pid = disk_of(4096) / "full.trace", tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ >{pid}; exec {shlex.join(WORKLOAD)} 600"]
    flags = ["--segment", "200ms", "--min-free", "4KiB"]
    with started("record", path, *flags, "--", *command) as recorder:
        wait_for_start(path)
        wait_until(pid.exists, recorder)
        wait_until(lambda: stored_rows(path) > 200_000, recorder)
        fill(path.parent)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
        text = fault(subprocess.CompletedProcess([], recorder.returncode, "", err), 2)
        assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert_what_was_written_is_usable(path)
    assert "recording stopped early" in text


@pytest.mark.parametrize("spare_pages", [-2, 0, 1, 2, 3] if SOAK else [0, 2])
def test_a_disk_too_small_for_the_start_is_a_fault(
    disk_of: Mount, tmp_path: Path, start_pages: int, spare_pages: int
) -> None:
    path = disk_of(start_pages + spare_pages) / "tiny.trace"
    fault(pagetide("record", path, "--min-free", "4KiB", "--", "sleep", "600"), 2)


def test_the_command_is_not_started_when_the_start_cannot_be_written(disk_of: Mount, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    fault(pagetide("record", disk_of(16) / "tiny.trace", "--min-free", "4KiB", "--", "touch", touched), 2)
    assert not touched.exists()


def fill(disk: Path) -> None:
    """Take every byte that is left, for a second."""
    end = time.monotonic() + 1
    with (disk / "filler").open("wb", buffering=0) as file:
        while time.monotonic() < end:
            with suppress(OSError):
                while True:
                    file.write(bytes(PAGE_BYTES))
            time.sleep(0.001)


def assert_what_was_written_is_usable(path: Path) -> None:
    assert open_trace(path).rows > 0
    info = pagetide("info", path, "--verify")
    assert info.returncode == 3, info.stderr
    replayed = answer(pagetide("replay", path, "--policy", "upstream", "--json"), 3)
    assert replayed["fidelity"]["steps"] > 0
    # Losses are counted, unless there was no room left to write the count.
    assert replayed["trace"]["lost_events"] > 0 or replayed["trace"]["status"] == "recovered"

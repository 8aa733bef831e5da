"""What the machine does not allow, and what it loses, is said and never hidden."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.running import (
    REPO,
    WORKLOAD,
    answer,
    fault,
    manifest_of,
    pagetide,
    started,
    wait_until,
)
from tracer import open_trace

NOBODY = 65534
CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF")
# Show paths that lie in a closed home directory to everybody, in a mount namespace of its own.
OPEN_UP = """
set -e
closed=$1; shift
stash=/mnt; mount -t tmpfs tmpfs "$stash"
while [ "$1" != -- ]; do
    mkdir -p "$stash$1"; mount --rbind "$1" "$stash$1"; paths="$paths $1"; shift
done
shift
mount -t tmpfs -o mode=755 tmpfs "$closed"
for path in $paths; do mkdir -p "$path"; mount --rbind "$stash$path" "$path"; done
exec "$@"
"""


def as_nobody() -> tuple[str, ...]:
    """What makes a command run as a user without any privilege, in any interpreter."""
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    needed = {Path(place) for place in (sys.base_prefix, sys.prefix, REPO)}
    closed = {top for path in needed for top in [path, *path.parents] if not top.stat().st_mode & 1}
    for top in sorted(closed, key=lambda path: len(path.parts))[:1]:
        inside = [str(path) for path in sorted(needed) if path.is_relative_to(top)]
        return ("unshare", "--mount", "sh", "-c", OPEN_UP, "sh", str(top), *inside, "--", *prefix)
    return prefix


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everybody may write to; pytest's own is closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="pagetide-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_an_unprivileged_user_cannot_record(open_folder: Path) -> None:
    done = pagetide("record", open_folder / "a.trace", "--duration", "1s", prefix=as_nobody())
    fault(done, 2)
    assert not list(open_folder.iterdir())


def test_an_unprivileged_user_leaves_nothing_in_a_folder_that_is_not_theirs(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    done = pagetide("record", open_folder / "a.trace", "--duration", "1s", prefix=as_nobody())
    fault(done, 2)
    assert not list(open_folder.iterdir())


def test_doctor_names_what_an_unprivileged_user_lacks_and_the_fix() -> None:
    verdict = answer(pagetide("doctor", "--json", prefix=as_nobody()), 2)
    assert not verdict["ready"]
    privileges = next(check for check in verdict["checks"] if check["name"] == "privileges")
    assert privileges["state"] == "missing"
    assert all(name in privileges["how"] for name in CAPABILITIES)
    assert "sudo" in privileges["fix"]


def test_a_read_only_folder_is_no_output(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
    try:
        done = pagetide("record", tmp_path / "a.trace", "--duration", "1s")
        assert f"{tmp_path} is not writable" in fault(done, 2)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_root_without_capabilities_cannot_record(tmp_path: Path) -> None:
    dropped = ",".join(name.lower() for name in CAPABILITIES)
    prefix = ("capsh", f"--drop={dropped}", "--shell=/usr/bin/env", "--")
    fault(pagetide("record", tmp_path / "a.trace", "--duration", "1s", prefix=prefix), 2)
    assert not list(tmp_path.iterdir())
    verdict = answer(pagetide("doctor", "--json", prefix=prefix), 2)
    assert not verdict["ready"]
    assert all(name in str(verdict["checks"]) for name in CAPABILITIES)


def test_two_recorders_at_once_both_complete(tmp_path: Path) -> None:
    one, two = tmp_path / "one.trace", tmp_path / "two.trace"
    with (
        started("record", one, "--duration", "4s") as first,
        started("record", two, "--", *WORKLOAD, 4) as second,
    ):
        for recorder in (first, second):
            _, err = recorder.communicate(timeout=60)
            assert recorder.returncode == 0, err
    for path in (one, two):
        assert open_trace(path).complete
        assert open_trace(path).rows > 10_000


def test_a_living_recording_cannot_be_replaced_and_is_not_called_lossy(tmp_path: Path) -> None:
    out = tmp_path / "a.trace"
    index = out / "segments.jsonl"
    with started("record", out, "--segment", "500ms") as first:
        wait_until(lambda: index.is_file() and index.stat().st_size)
        second = pagetide("record", out, "--force", "--", "true")
        info = pagetide("info", out)
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 0
    assert "is being recorded" in fault(second, 1)
    assert "still being recorded" in info.stderr
    assert "lost" not in info.stderr
    assert pagetide("validate", out).returncode == 0

"""Who may record, as whom it is done, and whose the trace is."""

import re
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.running import REPO, TIMEOUT_S, answer, fault, pagetide, started, wait_for_start, wait_until
from tracer import open_trace

NOBODY = 65534
NONE = "0" * 16
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


def test_root_without_capabilities_cannot_record(tmp_path: Path) -> None:
    dropped = ",".join(name.lower() for name in CAPABILITIES)
    prefix = ("capsh", f"--drop={dropped}", "--shell=/usr/bin/env", "--")
    fault(pagetide("record", tmp_path / "a.trace", "--duration", "1s", prefix=prefix), 2)
    assert not list(tmp_path.iterdir())
    verdict = answer(pagetide("doctor", "--json", prefix=prefix), 2)
    assert not verdict["ready"]
    assert all(name in str(verdict["checks"]) for name in CAPABILITIES)


def status_of(process: int | str) -> dict[str, str]:
    """/proc/PID/status, by name."""
    text = Path(f"/proc/{process}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def privileges_of_all_threads(process: int) -> set[tuple[str, ...]]:
    """Users, effective, permitted and inheritable capabilities."""
    tasks = [f"{process}/task/{task.name}" for task in Path(f"/proc/{process}/task").iterdir()]
    assert len(tasks) > 3
    return {
        tuple(status_of(task)[name] for name in ("Uid", "Gid", "CapEff", "CapPrm", "CapInh"))
        for task in tasks
    }


def users(uid: int) -> str:
    """As /proc shows the real, effective, saved and filesystem user."""
    return "\t".join([str(uid)] * 4)


def owners_and_modes(trace: Path) -> set[tuple[bool, int, int, int]]:
    told = [(path, path.lstat()) for path in (trace, *trace.rglob("*"))]
    return {(path.is_dir(), s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)) for path, s in told}


def test_under_sudo_all_is_the_users_but_the_command_is_roots(open_folder: Path) -> None:
    path, told = open_folder / "a.trace", open_folder / "told"
    sudo = ("env", f"SUDO_UID={NOBODY}", f"SUDO_GID={NOBODY}")
    script = f"cp /proc/self/status {told}.new; env >{told}.env; mv {told}.new {told}; exec sleep 600"
    command = ["sh", "-c", script]
    flags = ["--segment", "200ms", "--mode", "0640"]
    with started("record", path, *flags, "--", *command, prefix=sudo) as recorder:
        wait_for_start(path)
        wait_until(told.exists, recorder)
        assert privileges_of_all_threads(recorder.pid) == {(users(NOBODY), users(NOBODY), *[NONE] * 3)}
        assert status_of(recorder.pid)["Groups"].split() == [str(NOBODY)]
        assert owners_and_modes(path) == {(True, NOBODY, NOBODY, 0o750), (False, NOBODY, NOBODY, 0o640)}
        recorder.send_signal(signal.SIGINT)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 128 + signal.SIGINT, err

    trace = open_trace(path)
    assert trace.complete
    assert trace.manifest.ended_by == "SIGINT"
    assert owners_and_modes(path) == {(True, NOBODY, NOBODY, 0o750), (False, NOBODY, NOBODY, 0o640)}
    mine = told.read_text()
    assert f"Uid:\t{users(0)}" in mine
    assert f"CapEff:\t{status_of('self')['CapEff']}" in mine
    environment = Path(f"{told}.env").read_text()
    assert f"SUDO_UID={NOBODY}\n" in environment
    assert "NUMPY" not in environment


def test_plain_root_keeps_no_capability_and_the_trace_private(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    with started("record", path, "--segment", "200ms") as recorder:
        wait_for_start(path)
        assert privileges_of_all_threads(recorder.pid) == {(users(0), users(0), *[NONE] * 3)}
        recorder.send_signal(signal.SIGINT)
        _, err = recorder.communicate(timeout=TIMEOUT_S)
    assert recorder.returncode == 0, err
    assert owners_and_modes(path) == {(True, 0, 0, 0o700), (False, 0, 0, 0o600)}


def test_the_umask_does_not_open_or_close_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    prefix = ("sh", "-c", 'umask 0277; exec "$@"', "sh")
    done = pagetide("record", path, "--duration", "10ms", "--mode", "0644", prefix=prefix)
    assert done.returncode == 0, done.stderr
    assert owners_and_modes(path) == {(True, 0, 0, 0o755), (False, 0, 0, 0o644)}

"""Where a trace is going to be: checked before anything is done, made aside, put in its place whole."""

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
from pathlib import Path

from tracer.faults import Fault, environment
from tracer.format import LOCK, MANIFEST


def is_being_recorded(path: Path) -> bool:
    """Does a living recorder hold this trace?"""
    try:
        with (path / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that exists or cannot be made, before anything else is done.

    Raises:
        Fault: saying which and why.
    """
    if path.name in {"", "..", ".trace"}:
        raise Fault(
            f"a trace is a folder NAME.trace, not {path}",
            "it has no name of its own",
            "write guest.trace, say",
        )
    if path.suffix != ".trace":
        raise Fault(
            f"a trace is a folder NAME.trace, not {path.name}",
            "the name has another ending",
            f"write {path.name}.trace",
        )
    try:
        path.exists()
    except OSError as error:
        raise output_fault(path, error) from error
    if path.is_symlink():
        raise Fault(f"{path} is a link", "a trace is never written through one", "name the folder itself")
    if path.exists() and not force:
        raise Fault(
            f"{path} exists already",
            "nothing is overwritten unasked",
            "name another, or add --force",
        )
    if path.exists() and not (path / MANIFEST).is_file():
        raise Fault(
            f"{path} is not a trace: --force replaces traces only",
            f"it has no {MANIFEST}",
            "name another output",
        )
    if is_being_recorded(path):
        raise Fault(
            f"{path} is being recorded", "its recorder holds its lock", "end that one, or name another"
        )
    _check_parent(path.absolute().parent)


def _check_parent(parent: Path) -> None:
    if not parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(parent))}"
        raise Fault(f"there is no folder {parent}", "it does not exist", fix)
    if not os.access(parent, os.W_OK):
        raise environment(
            f"{parent} is not writable",
            "the kernel says so (access(2))",
            "name another output folder",
        )


def put_in_place(parent_fd: int, new: str, name: str) -> None:
    """Rename a finished folder; what it replaces is removed only when the new one is there."""
    old = f".{name}.replaced"
    remove_tree(parent_fd, old)
    try:
        os.rename(name, old, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
    except FileNotFoundError:
        os.rename(new, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        return
    try:
        os.rename(new, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
    except OSError:
        os.rename(old, name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        raise
    remove_tree(parent_fd, old)


def remove_tree(parent_fd: int, name: str) -> None:
    """Remove a folder if it is there; links in it are not followed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(name, dir_fd=parent_fd)


def output_fault(path: Path, error: OSError) -> Fault:
    """A fault for an output that cannot be written."""
    if error.errno == errno.ENOSPC:
        fix = "free some space or use another disk"
    else:
        fix = "name another output folder"
    return environment(f"{path} cannot be written", f"{error.strerror} (errno {error.errno})", fix)

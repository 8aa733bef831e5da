"""Where results are going to be: checked before anything is done, written aside, put in place whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracer import Fault, output_fault
from tracer.faults import ExitCode


def check_parent(out: Path) -> None:
    """Refuse a folder for results that cannot be made.

    Raises:
        Fault: when what it would be in is not there, or not writable.
    """
    parent = out.absolute().parent
    if parent.is_dir() and not os.access(parent, os.W_OK):
        how = "the kernel says so (access(2))"
        raise Fault(f"{parent} is not writable", how, "name another folder", ExitCode.ENVIRONMENT)
    if not parent.is_dir():
        raise Fault(f"there is no folder {parent}", "it does not exist", "make it, or name another")


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Where to write a file: at the end it is synced and put in its place, or gone without a trace.

    Raises:
        Fault: when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise output_fault(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)

"""One batch at a time writes to a dataset."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracer import Fault, Place, output_fault

LOCK = "lock.json"


@contextmanager
def held(out: Place) -> Iterator[None]:
    """Keep other batches out. On this machine's file systems a lock that ends with the process; on an object
    store, which has none, an object that says who is at work.

    Raises:
        Fault: when another batch is at work there.
    """
    with _flock(out.path) if out.local else _object(out / LOCK, out):
        yield


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise output_fault(folder, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise _busy(
            folder, "another process holds its lock", "wait for it, or name another folder"
        ) from error
    finally:
        os.close(fd)


@contextmanager
def _object(lock: Place, out: Place) -> Iterator[None]:
    """Written and read back: of two at the same instant at most one finds its own."""
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)})
    fix = f"wait for it; if it is dead, remove {lock}"
    if lock.exists():
        raise _busy(out, f"{lock.name} says {_who(lock.read_bytes())}", fix)
    lock.put(mine.encode())
    if lock.read_bytes() != mine.encode():
        raise _busy(out, "another one came at the same moment", fix)
    try:
        yield
    finally:
        lock.remove()


def _who(told: bytes) -> str:
    try:
        who = json.loads(told)
        return f"process {int(who['pid'])} on {str(who['host'])[:64]}"
    except (ValueError, KeyError, TypeError):
        return "something else"


def _busy(out: "Place | Path", how: str, fix: str) -> Fault:
    return Fault(f"{out} is being written by another batch", how, fix)

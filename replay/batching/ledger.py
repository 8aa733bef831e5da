"""Memory of one machine, shared by workers that know nothing of each other: a file says who has what.

A cluster may have several workers on a machine. Each looks into the same file, locked meanwhile, in the
folder for temporary files; what dead ones had there is free again.
"""

import contextlib
import fcntl
import json
import os
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from replay.available import Available, available
from replay.batching.room import Room, anonymous_bytes, too_much
from tracer.faults import environment

POLL_S = 0.2
_MOST_BYTES = 1 << 20  # of the file: some thousand workers

_numbers = iter(range(1 << 62))
_counting = threading.Lock()


class Holder(NamedTuple):
    """A task on this machine: its process, when that began, a number in it, what it held before the task."""

    pid: int
    began: int
    number: int
    base_bytes: int


def ledger() -> Path:
    """The file of this user."""
    return Path(tempfile.gettempdir()) / f"pagetide-memory-{os.geteuid()}.json"


class Share:
    """What one task gets of the machine's memory."""

    def __init__(self, path: Path | None = None, measure: Callable[[], Available] = available) -> None:
        self._path, self._measure = path or ledger(), measure
        self._me: Holder | None = None

    def admit(self, need_bytes: int) -> None:
        """Wait until there is room for so much.

        Raises:
            Fault: when there never will be; when the file cannot be used.
        """
        me = self._me = self._me or _this_task()
        with self._opened() as room:
            room.ask(me, need_bytes)
        while True:
            with self._opened() as room:
                first = bool(room.waiting) and room.waiting[0][0] == me
                decision = next(room.decide([*room.granted, me]), None) if first else None
                if me not in room.granted and all(who != me for who, _ in room.waiting) and not decision:
                    room.ask(me, need_bytes)  # somebody removed the file
            if decision and decision.refused:
                raise too_much(need_bytes, decision.refused)
            if decision:
                return
            time.sleep(POLL_S)

    def leave(self) -> None:
        """The task is over."""
        if self._me:
            with self._opened() as room:
                room.leave(self._me)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Room[Holder]]:
        """What the file says, of those that live; it is written again afterwards."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise environment(
                "who has how much memory here cannot be noted",
                f"{self._path}: {error.strerror}",
                "remove it, or set TMPDIR for the workers to a folder that they can write",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            room = _read(os.pread(fd, _MOST_BYTES, 0), self._measure)
            yield room
            told = {"granted": list(room.granted.items()), "waiting": list(room.waiting)}
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(told).encode(), 0)
        finally:
            os.close(fd)


def _this_task() -> Holder:
    pid = os.getpid()
    with _counting:
        number = next(_numbers)
    return Holder(pid, _began(pid), number, anonymous_bytes(pid))


def _began(pid: int) -> int:
    """When a process began, in clock ticks; 0 when it is gone, or has ended."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if told[0] in "ZX" else int(told[19])


def _read(text: bytes, measure: Callable[[], Available]) -> Room[Holder]:
    """What a ledger says of those that live; nothing, when it was cut short."""
    granted, waiting = list[tuple[Holder, int]](), list[tuple[Holder, int]]()
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        told = json.loads(text or b"{}")
        granted, waiting = ([_entry(each) for each in told.get(name, [])] for name in ("granted", "waiting"))
    alive = {pid: _began(pid) for pid in {who.pid for who, _ in [*granted, *waiting]}}
    granted, waiting = (
        [entry for entry in some if alive[entry[0].pid] == entry[0].began] for some in (granted, waiting)
    )
    tasks = Counter(who.pid for who, _ in granted)

    def held(who: Holder) -> int:
        return max(anonymous_bytes(who.pid) - who.base_bytes, 0) // max(tasks[who.pid], 1)

    return Room(held, measure, dict(granted), deque(waiting))


def _entry(told: list[object]) -> tuple[Holder, int]:
    """Raises: ValueError, TypeError: when it is none."""
    who, size = told
    return Holder(*map(int, who)), int(size)  # type: ignore[call-overload] # else: TypeError

"""Things for workers to do that take no trace: what a batch's tests hand out."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

WAIT_S = 60.0  # for what must happen; nothing is measured with it
Admit = Callable[[int], None]


class Lost(NamedTuple):
    """A task that took its workers with it."""

    task: object
    why: str


class Span(NamedTuple):
    """When a task had how much memory."""

    size_bytes: int
    begin_ns: int
    end_ns: int


def twice(number: int, _admit: Admit) -> int:
    return 2 * number


def text_of(number: int, _admit: Admit) -> str:
    return f"{number:010000}"


def who(_number: int, _admit: Admit) -> int:
    time.sleep(0.01)  # so that others get some, too
    return os.getpid()


def fails(number: int, _admit: Admit) -> int:
    """Raises for number 0, in two lines."""
    if number == 0:
        raise ValueError("no such\nnumber")
    return number


def leaves(_number: int, _admit: Admit) -> int:
    sys.exit(3)


def unsendable(_number: int, _admit: Admit) -> Callable[[], None]:
    return lambda: None


def prints(number: int, _admit: Admit) -> int:
    os.write(1, b"to stdout\n")
    os.write(2, b"to stderr\n")
    return number


def variable(name: str, _admit: Admit) -> str | None:
    return os.environ.get(name)


def note(folder: str, number: int) -> int:
    """Note that a worker begins with a number; how often that has happened."""
    with (Path(folder) / str(number)).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len((Path(folder) / str(number)).read_text().splitlines())


def dies_once(task: tuple[str, int], _admit: Admit) -> int:
    """Number 3 takes its first worker with it."""
    folder, number = task
    if note(folder, number) == 1 and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies(task: tuple[str, int], _admit: Admit) -> int:
    """Number 3 takes all its workers with it."""
    folder, number = task
    note(folder, number)
    if number == 3:
        os.write(2, b"cannot go on\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def naps(number: int, _admit: Admit) -> int:
    time.sleep(0.1)
    return number


def takes(size_bytes: int, admit: Admit) -> Span:
    """Has some memory for a moment."""
    admit(size_bytes)
    begin_ns = time.monotonic_ns()
    time.sleep(0.02)
    return Span(size_bytes, begin_ns, time.monotonic_ns())


def takes_beside(task: tuple[str, int, float], admit: Admit) -> int:
    """Has some memory until one that wants a lot (2 TiB or more) has asked for it, and a moment longer."""
    folder, size_bytes, moment_s = task
    wanted = Path(folder) / "wanted"
    if size_bytes >> 41:
        wanted.touch()
    admit(size_bytes)
    until(wanted.exists)
    time.sleep(moment_s)
    return size_bytes


def takes_again(sizes_bytes: tuple[int, ...], admit: Admit) -> int:
    """Has some memory, gives it back, has some more."""
    for size_bytes in sizes_bytes:
        admit(size_bytes)
    return len(sizes_bytes)


def waits(task: tuple[str, int], _admit: Admit) -> int:
    """Notes its process, and is busy until it is ended; says on its way out that it cleaned up."""
    folder, number = task
    note(folder, number)
    try:
        time.sleep(WAIT_S)
    finally:
        (Path(folder) / f"{number}.cleaned").touch()
    return number


def waits_unless_quick(task: tuple[str, int], admit: Admit) -> int:
    """As `waits`, but for number 0, which is done when another one is busy."""
    folder, number = task
    if number:
        return waits(task, admit)
    until(lambda: any(Path(folder).parent.glob("[1-9]")))
    return 0


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, "this never comes true"
        time.sleep(0.02)


def pids(folder: Path, count: int) -> list[int]:
    """Of the workers that `note` noted, when there are so many."""

    def noted() -> list[int]:
        files = [path for path in folder.iterdir() if path.name.isdigit()]
        return [int(line) for path in files for line in path.read_text().splitlines()]

    until(lambda: len(noted()) >= count)
    return noted()


def is_there(pid: int) -> bool:
    """Is there such a process, and has it not ended?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

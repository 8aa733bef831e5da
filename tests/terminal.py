"""A command in a terminal of its own: what it shows there."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def in_terminal(argv: Sequence[str], folder: Path | None = None, **more: str) -> tuple[int, str]:
    """The exit code of a command in a terminal of 80 columns, and all that it wrote there.

    `folder`: where it runs; by default here. `more`: variables of its environment, beside what there is.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        _become(argv, folder, more)
    said = b""
    try:
        while some := os.read(terminal, 1 << 16):
            said += some
    except OSError:  # Linux's way to say that the other side has closed it
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


def _become(argv: Sequence[str], folder: Path | None, more: Mapping[str, str]) -> None:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    if folder:
        os.chdir(folder)
    os.environ.update(more)
    os.execv(argv[0], list(argv))

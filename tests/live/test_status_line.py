"""The status line of `record` in a terminal of 80 columns, and its absence elsewhere."""

import fcntl
import os
import pty
import re
import struct
import termios
from pathlib import Path

from tests.live.running import MUCH, PAGETIDE, REPO, pagetide

LINE = re.compile(
    r"recording \d+:\d\d: [\d.kMG]+ events, [\d.kMG]+/s, lost [\d.kMG]+, ring \d+%, "
    r"[\d.]+[KMGT]?i?B, CPU [\d.]+%"
)


def in_terminal(*arguments: object) -> tuple[int, list[str]]:
    """The exit code, and everything that was ever in a line of a terminal of 80 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.chdir(REPO)
        os.execv(PAGETIDE[0], [*PAGETIDE, *map(str, arguments)])
    said = b""
    try:
        while some := os.read(terminal, 1 << 16):
            said += some
    except OSError:  # Linux's way to say that the other side has closed it
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), re.split(r"[\r\n]+", said.decode())


def test_a_terminal_of_80_columns_shows_one_line_that_fits(tmp_path: Path) -> None:
    code, said = in_terminal("record", tmp_path / "a.trace", "--duration", "3s", "--", *MUCH, 400)
    assert code == 0, said
    assert any(LINE.fullmatch(line.rstrip()) for line in said), said
    shown = [line for line in said if " events, " in line and "/s, " in line]
    assert max(map(len, shown)) < 80


def test_no_terminal_no_status_line(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--duration", "1s")
    assert done.returncode == 0, done.stderr
    assert "ring 0%" not in done.stderr
    assert len(done.stderr.splitlines()) == 1

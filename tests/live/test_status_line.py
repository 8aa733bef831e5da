"""The status line of `record` in a terminal of 80 columns, and its absence elsewhere."""

import re
from pathlib import Path

from tests.live.running import MUCH, PAGETIDE, REPO, pagetide
from tests.terminal import in_terminal

LINE = re.compile(
    r"recording \d+:\d\d: [\d.kMG]+ events, [\d.kMG]+/s, lost [\d.kMG]+, ring \d+%, "
    r"[\d.]+[KMGT]?i?B, CPU [\d.]+%"
)


def test_a_terminal_of_80_columns_shows_one_line_that_fits(tmp_path: Path) -> None:
    words = map(str, ("record", tmp_path / "a.trace", "--duration", "3s", "--", *MUCH, 400))
    code, text = in_terminal([*PAGETIDE, *words], REPO)
    assert code == 0, text
    said = re.split(r"[\r\n]+", text)
    assert any(LINE.fullmatch(line.rstrip()) for line in said), said
    shown = [line for line in said if " events, " in line and "/s, " in line]
    assert max(map(len, shown)) < 80


def test_no_terminal_no_status_line(tmp_path: Path) -> None:
    done = pagetide("record", tmp_path / "a.trace", "--duration", "1s")
    assert done.returncode == 0, done.stderr
    assert "ring 0%" not in done.stderr
    assert len(done.stderr.splitlines()) == 1

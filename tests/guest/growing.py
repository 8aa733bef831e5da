"""Waits until the guest manages more memory than it did, uses some of it, and gives it back.

Usage: python growing.py READY_FILE MIB: it makes the file when memory may be added, and waits for so much.
"""

import mmap
import re
import sys
import time
from pathlib import Path


def managed_mib() -> int:
    text = Path("/proc/zoneinfo").read_text()
    return sum(map(int, re.findall(r"^ +managed +(\d+)$", text, re.MULTILINE))) * mmap.PAGESIZE >> 20


def main(ready: Path, mib: int) -> None:
    before, deadline = managed_mib(), time.monotonic() + 300
    ready.touch()
    while managed_mib() < before + mib:
        assert time.monotonic() < deadline, f"{managed_mib() - before} MiB came of {mib}"
        time.sleep(0.1)
    time.sleep(3)  # nobody used them yet, and the guest may report them
    piece = mmap.mmap(-1, mib // 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.madvise(23)  # MADV_POPULATE_WRITE
    piece.close()
    time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""Takes memory until the guest manages more than it did, then gives it back.

Usage: python growing.py MOST_MIB. It says by how many frames the guest grew, 0 where it did not.
"""

import mmap
import re
import sys
import time
from pathlib import Path

CHUNK_MIB = 256


def managed_frames() -> int:
    """Of all zones, now."""
    text = Path("/proc/zoneinfo").read_text()
    return sum(map(int, re.findall(r"^ +managed +(\d+)$", text, re.MULTILINE)))


def grow(most_mib: int) -> int:
    before = managed_frames()
    held: list[mmap.mmap] = []
    while managed_frames() == before and (len(held) + 1) * CHUNK_MIB <= most_mib:
        held.append(mmap.mmap(-1, CHUNK_MIB << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        held[-1].madvise(23)  # MADV_POPULATE_WRITE
    for piece in held:
        piece.close()
    time.sleep(3)  # for the guest's samples, and a replay's reports
    return managed_frames() - before


if __name__ == "__main__":
    print(grow(int(sys.argv[1])))

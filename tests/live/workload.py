"""A memory-hungry workload: allocates and frees pieces of 1-120 MiB, and runs programs in between.

Usage: python workload.py SECONDS [FILE]: so long, and until there is that file, when one is named. The same
seed, so the same sizes in the same order, every time.
"""

import mmap
import random
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
ALWAYS_THERE = Path("/")
MAX_LIVE_BYTES = 3 << 30
PROGRAMS = (["true"], ["sh", "-c", "ls -lR /usr/lib >/dev/null 2>&1"], ["sh", "-c", ": | sort"])


def allocate(size_bytes: int) -> mmap.mmap:
    return mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)


def work(seconds: float, enough: Path = ALWAYS_THERE, seed: int = 1) -> None:
    dice = random.Random(seed)
    end = time.monotonic() + seconds
    pieces: list[mmap.mmap] = []
    live_bytes = 0
    while time.monotonic() < end or not enough.exists():
        size_bytes = dice.randint(1, 120) * MIB
        while pieces and (live_bytes + size_bytes > MAX_LIVE_BYTES or dice.random() < 0.4):
            piece = pieces.pop(dice.randrange(len(pieces)))
            live_bytes -= len(piece)
            piece.close()
        pieces.append(allocate(size_bytes))
        live_bytes += size_bytes
        if dice.random() < 0.2:
            subprocess.run(dice.choice(PROGRAMS), check=False)


if __name__ == "__main__":
    work(float(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else ALWAYS_THERE)
    print("worked")

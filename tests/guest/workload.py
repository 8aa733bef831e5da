"""Memory taken and given back in every way the buddy sees, in a machine of 2 GiB: small pages with
holes, huge pages, programs and, when asked for, at the end memory full of small holes of which huge
pages are wanted, and compaction of all of it.

Usage: python workload.py ROUNDS [compact]. The same steps each time, however long they take.
"""

import mmap
import random
import subprocess
import sys
from pathlib import Path

MIB = 1 << 20
MAX_LIVE_BYTES = 600 * MIB
CHUNK_BYTES = 64 * mmap.PAGESIZE
COMPACT = Path("/proc/sys/vm/compact_memory")


def allocate(dice: random.Random) -> mmap.mmap:
    """A filled piece, of huge pages or of small ones."""
    piece = mmap.mmap(-1, dice.randint(1, 80) * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.madvise(dice.choice([mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE]))
    piece.madvise(23)  # MADV_POPULATE_WRITE
    return piece


def punch_holes(piece: mmap.mmap, dice: random.Random, size_bytes: int = CHUNK_BYTES) -> None:
    """Give half of a piece back, in places."""
    for start in range(0, len(piece) - size_bytes, size_bytes):
        if dice.random() < 0.5:
            piece.madvise(mmap.MADV_DONTNEED, start, size_bytes)


def work(rounds: int, seed: int = 1) -> None:
    dice = random.Random(seed)
    pieces: list[mmap.mmap] = []
    for _ in range(rounds):
        while pieces and (sum(map(len, pieces)) > MAX_LIVE_BYTES or dice.random() < 0.4):
            pieces.pop(dice.randrange(len(pieces))).close()
        pieces.append(allocate(dice))
        if dice.random() < 0.3:
            punch_holes(dice.choice(pieces), dice)
        if dice.random() < 0.1:
            subprocess.run(["sh", "-c", "ls -lR /usr/lib/python3 | sort >/dev/null"], check=False)


def provoke_compaction(seed: int = 2) -> None:
    """Small pages with small holes between them, then huge pages, then compaction of all memory."""
    dice = random.Random(seed)
    piece = mmap.mmap(-1, 160 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.madvise(mmap.MADV_NOHUGEPAGE)
    piece.madvise(23)  # MADV_POPULATE_WRITE
    punch_holes(piece, dice, 4 * mmap.PAGESIZE)
    huge = mmap.mmap(-1, 64 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge.madvise(mmap.MADV_HUGEPAGE)
    huge.madvise(23)
    COMPACT.write_text("1")


if __name__ == "__main__":
    work(int(sys.argv[1]))
    if sys.argv[2:] == ["compact"]:
        provoke_compaction()
    print("worked")

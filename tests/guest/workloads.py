"""What the lab's machines do while they are recorded: the same steps, with the same sizes, each time.

Usage: python workloads.py NAME. Each one exercises what the others do not; their docstrings say what.
"""

import mmap
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
PAGE = mmap.PAGESIZE
POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, which this Python has no name for
COMPACT = Path("/proc/sys/vm/compact_memory")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRATCH = Path("/tmp/workload")  # a tmpfs of the machine's own
LIBRARY, LIBRARIES = Path("/usr/lib/python3.11"), Path("/usr/lib/x86_64-linux-gnu")

Pieces = list[mmap.mmap]


def piece(mib: int, *, huge: bool) -> mmap.mmap:
    """Filled anonymous memory, of huge pages where the system allows, or of small ones."""
    made = mmap.mmap(-1, mib * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    made.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    try:
        made.madvise(POPULATE_WRITE)
    except OSError:  # Linux before 5.14
        made[::PAGE] = bytes(len(made) // PAGE)
    return made


def hog(mib: int, *, huge: bool, hold_s: float) -> None:
    """A process that takes so much, holds it, and gives it all back by its end."""
    child = os.fork()
    if not child:
        piece(mib, huge=huge)
        time.sleep(hold_s)
        os._exit(0)
    os.waitpid(child, 0)


def punch(where: mmap.mmap, dice: random.Random, most_pages: int, share: float = 0.5) -> None:
    """Give a share of it back in runs of 1 to `most_pages` pages."""
    at, end = 0, len(where) // PAGE - most_pages
    while at < end:
        pages = dice.randint(1, most_pages)
        if dice.random() < share:
            where.madvise(mmap.MADV_DONTNEED, at * PAGE, pages * PAGE)
        at += pages


def free_mib() -> dict[str, int]:
    """MemFree and MemAvailable."""
    text = Path("/proc/meminfo").read_text()
    return {name: int(kib) >> 10 for name, kib in re.findall(r"^(Mem\w+): +(\d+) kB$", text, re.MULTILINE)}


def use_up(left_mib: int, spare_mib: int, *, huge: bool = False) -> Pieces:
    """Take memory until so little is free, or so little could be had by reclaiming."""
    taken: Pieces = []
    while (left := free_mib())["MemFree"] > left_mib and left["MemAvailable"] > spare_mib:
        taken.append(piece(min(32, max(1, (left["MemFree"] - left_mib) // 2)), huge=huge))
    return taken


def programs(count: int) -> None:
    """Process churn: small programs, one after the other."""
    for _ in range(count):
        subprocess.run(["true"], check=True)


def write_files(folder: Path, count: int, mib: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with (folder / str(number)).open("wb") as file:
            for _ in range(mib):
                file.write(os.urandom(PAGE) * (MIB // PAGE))


def remove_files(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        file.unlink()


def read_tree(folder: Path, most_bytes: int) -> None:
    """Into the page cache."""
    left = most_bytes
    for path in sorted(folder.rglob("*")):
        if left <= 0 or not path.is_file():
            continue
        with path.open("rb") as file:
            while left > 0 and (got := len(file.read(MIB))):
                left -= got


def big_frees(dice: random.Random) -> None:
    """Hundreds of MiB of huge pages freed whole, some on top of what waits: > 512 free blocks of order 10."""
    for mib in (1500, 300, 700, 1100, 200, 1700, 500, 900):
        hog(mib, huge=True, hold_s=0.3)
        time.sleep(dice.choice([0.2, 1.0, 2.5, 4.0]))
    time.sleep(4)
    for _ in range(6):
        hog(dice.randint(20, 200), huge=dice.random() < 0.7, hold_s=0.1)
        time.sleep(dice.uniform(0.2, 1.5))


def churn(dice: random.Random) -> None:
    """Programs and small frees, and three times nearly no memory is free: the watermark gate is shut."""
    for _ in range(3):
        programs(60)
        taken = use_up(40, 80)
        programs(40)
        time.sleep(2.5)
        dice.shuffle(taken)
        while taken:
            taken.pop().close()
            if dice.random() < 0.3:
                time.sleep(dice.uniform(0.05, 0.4))
        programs(40)


def files(dice: random.Random) -> None:
    """The page cache: big files written, read and deleted, on tmpfs and on the overlay; a sort."""
    upper = Path("/var/tmp/workload")
    for turn in range(3):
        write_files(SCRATCH, 6, 40 + 20 * turn)
        write_files(upper, 4, 50)
        read_tree(LIBRARY, (20 + 10 * turn) * MIB)
        remove_files(SCRATCH)
        time.sleep(dice.uniform(0.5, 3))
        lines = upper / "lines"
        lines.write_text("".join(f"{dice.getrandbits(64):x}\n" for _ in range(150_000)))
        subprocess.run(["sort", "-o", upper / "sorted", lines], check=True, env={"LC_ALL": "C"})
        remove_files(upper)
        time.sleep(dice.uniform(0.5, 2))


def pressure(dice: random.Random) -> None:
    """Files in memory that cannot be dropped, and a hog, to below the watermarks, while a compiler works."""
    write_files(SCRATCH, 6, 80)
    for turn in range(3):
        taken = use_up(0, 40, huge=turn == 1)
        package = LIBRARY / ("json", "email", "asyncio")[turn]
        subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", package], check=False)
        read_tree(LIBRARIES, 120 * MIB)  # more than is free: the kernel drops what was read before
        for gone in dice.sample(taken, len(taken) // 2):
            gone.close()
        time.sleep(dice.uniform(1, 3))
        for gone in taken:
            gone.close()
    remove_files(SCRATCH)


def holes(dice: random.Random) -> None:
    """Memory full of holes, huge pages wanted of it, and all of it compacted."""
    for most_pages in (8, 64, 400):
        taken = [piece(100, huge=False) for _ in range(9)]
        for one in taken:
            punch(one, dice, most_pages)
        time.sleep(1)
        COMPACT.write_text("1")
        time.sleep(dice.uniform(2, 4))
        wanted = piece(200, huge=True)
        for one in dice.sample(taken, 5):
            one.close()
        COMPACT.write_text("1")
        time.sleep(dice.uniform(1, 3))
        for one in (wanted, *taken):
            one.close()
        time.sleep(2)


def thp_off(dice: random.Random) -> None:
    """Hogs of small pages only, whatever they ask for; some memory stays in pieces meanwhile."""
    before = re.findall(r"\[(\w+)\]", THP.read_text())[0]
    THP.write_text("never")
    kept: Pieces = []
    for mib in (500, 200, 800, 100, 400, 600):
        kept.append(piece(60, huge=True))
        hog(mib, huge=True, hold_s=0.3)
        punch(kept[-1], dice, 700)
        time.sleep(dice.uniform(0.2, 2.5))
    for one in kept:
        one.close()
        time.sleep(dice.uniform(0.1, 1))
    THP.write_text(before)


def short(dice: random.Random) -> None:
    """Some of each in a quarter of the time."""
    hog(400, huge=True, hold_s=0.2)
    time.sleep(5)  # nothing else moves while that is reported
    programs(20)
    taken = [piece(60, huge=False) for _ in range(3)]
    time.sleep(2.5)
    punch(taken[0], dice, 600)
    taken.pop().close()
    write_files(SCRATCH, 2, 50)
    time.sleep(2.5)
    remove_files(SCRATCH)
    for one in taken:
        one.close()


WORKLOADS: dict[str, Callable[[random.Random], None]] = {
    work.__name__.replace("_", "-"): work
    for work in (big_frees, churn, files, pressure, holes, thp_off, short)
}


def restless(until: Path) -> None:
    """Big frees again and again until a file is there: at no time all that is free has been reported."""
    while not until.exists():
        hog(300, huge=True, hold_s=0.1)
        time.sleep(0.2)


if __name__ == "__main__":
    # Where memory runs out, it is not a recorder that is killed.
    Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.argv[1] == "restless":
        restless(Path(sys.argv[2]))
    else:
        WORKLOADS[sys.argv[1]](random.Random(sys.argv[1]))

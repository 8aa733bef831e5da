"""Files of several GiB are written, read, copied and packed, then deleted; a tree of small ones as well.

A file server, a backup, an image builder: nearly all of memory is page cache, which no reporting gives back
while the file is there. What comes back comes at once, when files are deleted, in the places where the cache
was: large runs of large files, and the holes that small ones leave.
"""

import random
import shutil
import tarfile
import time
from pathlib import Path

ROUNDS = 2
LARGE, LARGE_MIB = 6, 512
SMALL, SMALL_MOST_KIB, FOLDERS = 12_000, 64, 200
REST_S = 8
MIB = 1 << 20


def write_large(folder: Path, dice: random.Random) -> None:
    """Files of one piece each."""
    folder.mkdir()
    piece = dice.randbytes(MIB)
    for number in range(LARGE):
        with (folder / f"{number}.bin").open("wb") as file:
            for _ in range(LARGE_MIB):
                file.write(piece)


def write_small(folder: Path, dice: random.Random) -> None:
    """A tree of small files of random sizes."""
    for number in range(SMALL):
        path = folder / str(number % FOLDERS) / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(dice.randrange(SMALL_MOST_KIB << 10)))


def read_all(folder: Path) -> int:
    """Read what is there; how much it was."""
    total = 0
    for path in folder.glob("*.bin"):
        with path.open("rb") as file:
            while piece := file.read(MIB):
                total += len(piece)
    return total


def one_round(folder: Path, dice: random.Random) -> None:
    """Fill the cache, use it, and let go of it piece by piece."""
    write_large(folder / "large", dice)
    write_small(folder / "small", dice)
    read_all(folder / "large")
    with tarfile.open(folder / "small.tar", "w") as tar:
        tar.add(folder / "small")
    time.sleep(REST_S)
    for number in range(0, LARGE, 2):
        (folder / "large" / f"{number}.bin").unlink()
    time.sleep(REST_S)
    shutil.rmtree(folder / "small")
    time.sleep(REST_S)
    shutil.rmtree(folder / "large")
    (folder / "small.tar").unlink()
    time.sleep(REST_S)


def run(folder: Path) -> None:
    """The same twice: the second time into what the first left."""
    for number in range(ROUNDS):
        one_round(folder, random.Random(number))

"""What a unit of work costs: discards and refaults as a host makes them, and the guest's own steps.

Usage: python -m benchmarks.host_costs [ROUNDS]. Interleaved rounds, CPU time of this thread; medians
with the spread of the rounds, as a Markdown table, then as one line of JSON. The defaults of
`replay.costs` are from here where no better source is published.

The host's side is this process: it maps memory as a virtual machine monitor does and gives it back with
madvise(2). No guest is running in that memory, so a fault's exit from a guest is not in it, nor is the
flush of a guest's TLBs. The guest's side is the memory accesses of each step, on records of 64 bytes
like the kernel's `struct page`, out of cache and in random order, as a pass finds them.
"""

import ctypes
import json
import mmap
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba as nb
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmarks.harness import machine, machine_line

MIB = 1 << 20
HUGE_BYTES = 2 * MIB
RANGES_BYTES = (2 * MIB, 4 * MIB)  # blocks of order 9 and 10
REGION_BYTES = 32 * MIB
TRIES = 50  # to get huge pages where free memory is in pieces
RECORDS_BYTES = 256 * MIB  # far more than a cache holds
STEPS = 100_000
WARM = 1 << 10  # records that stay in the cache
NEXT, PREVIOUS, FLAGS = range(3)
BITS_PER_SET = 256  # a sparse map: a bit in so many is set

Ns = dict[str, float]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at the first call: `replay.jit` is for the engine, whose functions allocate nothing."""
    return cast("F", cast("Any", nb.njit)(function))


_LIBC = ctypes.CDLL(None)
_madvise = _LIBC.madvise
_madvise.argtypes, _madvise.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int


@compiled
def _advise(address: int, total: int, size: int, advice: int) -> int:
    """One call for each range of `size`; returns how many failed."""
    failed = 0
    for start in range(address, address + total, size):
        failed += _madvise(start, size, advice) != 0
    return failed


@compiled
def _touch(memory: NDArray[np.uint8], step: int) -> None:
    for index in range(0, len(memory), step):
        memory[index] += 1


class Region:
    """Anonymous memory that begins on a huge page, backed by small or by huge pages."""

    def __init__(self, size_bytes: int, *, huge: bool) -> None:
        self._map = mmap.mmap(-1, size_bytes + HUGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        whole = np.frombuffer(self._map, np.uint8)
        skip = -whole.ctypes.data % HUGE_BYTES
        self.bytes = whole[skip : skip + size_bytes]
        self.page_bytes = HUGE_BYTES if huge else mmap.PAGESIZE

    @property
    def pages(self) -> int:
        """How many it has, of its size."""
        return len(self.bytes) // self.page_bytes

    def touch(self) -> float:
        """Use each page; ns a page."""
        begin = time.thread_time_ns()
        _touch(self.bytes, self.page_bytes)
        return (time.thread_time_ns() - begin) / self.pages

    def is_whole(self) -> bool:
        """Touched, has it pages of its size only? Else parts of it fault again."""
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        _touch(self.bytes, mmap.PAGESIZE)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt == before

    def advise(self, advice: int, range_bytes: int) -> float:
        """madvise(2) all of it, range by range; ns a range."""
        begin = time.thread_time_ns()
        failed = _advise(self.bytes.ctypes.data, len(self.bytes), range_bytes, advice)
        took = time.thread_time_ns() - begin
        if failed:
            raise OSError(f"madvise({advice}) failed {failed} times")
        return took * range_bytes / len(self.bytes)


def host_round(region: Region) -> Ns:
    """Each of the host's steps once; those are left out for which the kernel had no huge pages."""
    name = "THP" if region.page_bytes == HUGE_BYTES else "4 KiB pages"
    told: Ns = {}
    for word, advice in (("DONTNEED", mmap.MADV_DONTNEED), ("FREE", mmap.MADV_FREE)):
        for size in RANGES_BYTES:
            fault = region.touch()
            if region.is_whole():
                told[f"fault of a page, {name}"] = fault
                told[f"MADV_{word} of {size // MIB} MiB, {name}"] = region.advise(advice, size)
                if advice == mmap.MADV_FREE:
                    told[f"use of a page after MADV_FREE, {name}"] = region.touch()
            region.advise(mmap.MADV_DONTNEED, size)
    for size in (mmap.PAGESIZE, HUGE_BYTES):
        told[f"MADV_DONTNEED of {size >> 10} KiB that was {name}"] = region.advise(mmap.MADV_DONTNEED, size)
    return told


def _atomic(operation: str) -> Callable[..., int]:
    """A function for compiled code, (array, index, value) -> what was there before."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401 - LLVM's
        view = context.make_array(signature.args[0])(context, builder, args[0])
        of = signature.args[0]
        place = cast("Any", cgutils).get_item_pointer(context, builder, of, view, [args[1]])
        return builder.atomic_rmw(operation, place, args[2], "seq_cst")

    def typed(_context: Any, array: Any, _index: Any, _value: Any) -> Any:  # noqa: ANN401 - numba's
        return nb.int64(array, nb.intp, nb.int64), build

    return cast("Callable[..., int]", intrinsic(typed))


_exchange, _or, _add = _atomic("xchg"), _atomic("or"), _atomic("add")


@compiled
def _walk(records: NDArray[np.int64], first: int, steps: int) -> int:
    """Follow a list and look at each entry's flags, until all have been seen."""
    entry, flagged = first, 0
    for _ in range(steps):
        flagged += records[entry, FLAGS]
        entry = records[entry, NEXT]
    return entry + flagged


@compiled
def _lock(words: NDArray[np.int64], steps: int) -> int:
    """Take a lock that nobody holds and let it go."""
    taken = 0
    for _ in range(steps):
        while _exchange(words, 0, 1):
            pass
        taken += words[8]
        words[0] = 0
    return taken


@compiled
def _scan(words: NDArray[np.int64]) -> int:
    """Find all bits that are set, from the lowest."""
    total = 0
    for index in range(len(words)):
        word = words[index]
        while word:
            lowest = word & -word
            total += lowest
            word ^= lowest
    return total


@compiled
def _capture(words: NDArray[np.int64], order: NDArray[np.int64]) -> int:
    """Set a bit, and count it when it was not set."""
    for bit in order:
        mask = 1 << (bit & 63)
        if not _or(words, 1 + (bit >> 6), mask) & mask:
            _add(words, 0, 1)
    return int(words[0])


@compiled
def _unlink(records: NDArray[np.int64], entry: int) -> None:
    records[records[entry, PREVIOUS], NEXT] = records[entry, NEXT]
    records[records[entry, NEXT], PREVIOUS] = records[entry, PREVIOUS]


@compiled
def _link_before(records: NDArray[np.int64], following: int, entry: int) -> None:
    before = records[following, PREVIOUS]
    records[before, NEXT] = records[following, PREVIOUS] = entry
    records[entry, PREVIOUS], records[entry, NEXT] = before, following


@compiled
def _move(records: NDArray[np.int64], steps: int, batch: int) -> None:
    """Isolate entries as they come in the list, a batch at a time, and put them back at its tail."""
    taken = np.empty(batch, np.int64)
    for _ in range(steps // batch):
        for place in range(batch):
            entry = records[0, NEXT]
            _unlink(records, entry)
            records[entry, FLAGS] = 0
            taken[place] = entry
        for entry in taken[::-1]:
            records[entry, FLAGS] = 1 + records[entry ^ 512, FLAGS]  # its buddy of order 9
            _link_before(records, 0, entry)


@compiled
def _rotate(records: NDArray[np.int64], steps: int) -> None:
    """Let the list begin at another entry, of those that were just walked."""
    for step in range(steps):
        _unlink(records, 0)
        _link_before(records, 1 + step * 7 % (len(records) - 1), 0)


def _ring(records: NDArray[np.int64], random: np.random.Generator) -> None:
    """Make a list of them in random order; the first is its head."""
    ring = np.append(0, 1 + random.permutation(len(records) - 1))
    records[ring, NEXT], records[ring, PREVIOUS] = np.roll(ring, -1), np.roll(ring, 1)


class Guest:
    """The memory that a guest's own steps work on: lists, a lock and a bitmap."""

    def __init__(self, size_bytes: int, steps: int) -> None:
        self._region = Region(size_bytes, huge=True)
        self.records = self._region.bytes.view(np.int64).reshape(-1, 8)
        self.warm = np.zeros((WARM, 8), np.int64)
        self.steps = min(steps, len(self.records) // 4)
        random = np.random.default_rng(1)
        for records in (self.records, self.warm):
            _ring(records, random)
        self.bits = np.zeros(1 << 16, np.int64)
        self.bits[:: BITS_PER_SET // 64] = 1 << 40

    def _ns(self, act: Callable[[], object], count: int) -> float:
        begin = time.thread_time_ns()
        act()
        return (time.thread_time_ns() - begin) / count

    def round(self) -> Ns:
        """Each of the guest's steps once; ns each."""
        steps, records = self.steps, self.records
        hints, words = np.arange(steps) * 7 % (1 << 18), np.zeros(1 + (1 << 12), np.int64)
        return {
            "entry of a free list visited": self._ns(lambda: _walk(records, records[0, NEXT], steps), steps),
            "block isolated and put back": self._ns(lambda: _move(records, steps, 32), steps),
            "list rotated": self._ns(lambda: _rotate(self.warm, steps), steps),
            "lock taken and let go": self._ns(lambda: _lock(words, steps), steps),
            "hint captured": self._ns(lambda: _capture(words, hints), steps),
            "bit of a map looked at": self._ns(lambda: _scan(self.bits), 64 * len(self.bits)),
        }


@dataclass(frozen=True)
class Row:
    """A step: median, least and most of its rounds, ns."""

    median_ns: float
    least_ns: float
    most_ns: float

    @classmethod
    def of(cls, rounds: list[float]) -> "Row":
        """From each round's figure."""
        return cls(statistics.median(rounds), min(rounds), max(rounds))


def figures(rounds: list[Ns]) -> dict[str, Row]:
    """A row for each step that any round could take."""
    names = dict.fromkeys(name for told in rounds for name in told)
    return {name: Row.of([told[name] for told in rounds if name in told]) for name in names}


def constants(rows: dict[str, Row]) -> Ns:
    """What `replay.costs` wants of it, by the names there, ns each or a byte; without what was not seen.

    A discard is a call, as of a page that is not backed, and the rest by the byte. A fault is a constant
    and the rest by the byte: a small and a huge page tell both.
    """
    ns = {name: row.median_ns for name, row in rows.items()}
    told = {"call_ns": ns[f"MADV_DONTNEED of {mmap.PAGESIZE >> 10} KiB that was 4 KiB pages"]}
    for word in ("DONTNEED", "FREE"):
        for pages, key in (("4 KiB pages", "byte_ns"), ("THP", "huge_byte_ns")):
            if (took := ns.get(f"MADV_{word} of 4 MiB, {pages}")) is not None:
                told[f"{word.lower()}_{key}"] = (took - told["call_ns"]) / (4 * MIB)
    small, huge = (ns.get(f"fault of a page, {pages}") for pages in ("4 KiB pages", "THP"))
    if small is not None and huge is not None:
        told["zero_byte_ns"] = (huge - small) / (HUGE_BYTES - mmap.PAGESIZE)
        told["refault_ns"] = small - mmap.PAGESIZE * told["zero_byte_ns"]
    return told | {
        "entry_ns": ns["entry of a free list visited"],
        "bit_ns": ns["bit of a map looked at"],
        "lock_ns": ns["lock taken and let go"],
        "hint_ns": ns["hint captured"],
        "move_ns": ns["block isolated and put back"],
        "rotation_ns": ns["list rotated"],
    }


def huge_region(size_bytes: int) -> Region | None:
    """Memory in huge pages only; None where the kernel gives none, which is said."""
    region = Region(size_bytes, huge=True)
    for _ in range(TRIES):
        region.touch()
        if region.is_whole():
            return region
        region.advise(mmap.MADV_DONTNEED, HUGE_BYTES)
    print(f"no rows for THP: the kernel did not give {region.pages} huge pages in {TRIES} tries\n")
    return None


def measure(rounds: int, region_bytes: int, records_bytes: int, steps: int) -> dict[str, Row]:
    """All steps in turn, so many rounds after one that warms up."""
    huge = huge_region(region_bytes)
    parts = [Region(region_bytes, huge=False)] + ([huge] if huge else [])
    guest = Guest(records_bytes, steps)
    told: list[Ns] = []
    for _ in range(rounds + 1):
        each: Ns = {}
        for region in parts:
            each |= host_round(region)
        told.append(each | guest.round())
    return figures(told[1:])


def number(value: float) -> str:
    """Three digits of it, without an exponent."""
    return f"{float(f'{value:.3g}'):,.12g}"


def main(rounds: int) -> None:
    """The table, and the constants as JSON."""
    print(f"{machine_line(machine())}\n")
    rows = measure(rounds, REGION_BYTES, RECORDS_BYTES, STEPS)
    print(f"| step | median | spread of {rounds} rounds |")
    print("| --- | --- | --- |")
    for name, row in rows.items():
        print(f"| {name} | {number(row.median_ns)} ns | {number(row.least_ns)}-{number(row.most_ns)} |")
    print()
    print(json.dumps({name: float(f"{value:.4g}") for name, value in constants(rows).items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)

"""The loop that everything is measured on: pages are faulted in and freed as fast as one CPU can.

Usage: python -m benchmarks.faults SECONDS. Prints pages, and nanoseconds a page by the clock and of
CPU. No huge pages, and nothing else is done: one alloc and one free event a page.
"""

import mmap
import sys
import time

import numpy as np

CHUNK_BYTES = 64 << 20


def touch(size_bytes: int) -> int:
    """Map, touch each page once, unmap; returns pages."""
    with mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE]
        pages[:] = 1
        count = len(pages)
        del pages
    return count


def main(seconds: float) -> None:
    """Loop, print what it came to."""
    touch(CHUNK_BYTES)
    begin, cpu, pages = time.perf_counter(), time.thread_time(), 0
    while (took := time.perf_counter() - begin) < seconds:
        pages += touch(CHUNK_BYTES)
    print(pages, took * 1e9 / pages, (time.thread_time() - cpu) * 1e9 / pages)


if __name__ == "__main__":
    main(float(sys.argv[1]))

"""The probes' counters: an array of the kernel's, mapped into this process, so that reading is free.

One slot per program and CPU, written by that CPU alone. A program cannot interrupt itself, so plain
additions are exact; the second copy of a probe has slots of its own behind all first ones.
"""

import contextlib
import mmap
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HITS, RING_FULL, FILTERED = range(3)
WORDS = 4  # struct counter in `program`


class Counters:
    """Hits, ring-full and filtered events so far."""

    def __init__(self, map_fd: int, probes: int, cpus: int, page_size: int) -> None:
        """Map the array behind `map_fd`."""
        shape = (2, probes, cpus, WORDS)
        size = 2 * probes * cpus * WORDS * 8
        self._map = mmap.mmap(map_fd, -(-size // page_size) * page_size, prot=mmap.PROT_READ)
        self._view = np.frombuffer(self._map, np.int64, size // 8).reshape(shape)

    def read(self) -> NDArray[np.int64]:
        """Of both copies together, shape (probes, CPUs, 3): HITS, RING_FULL, FILTERED."""
        both: NDArray[np.int64] = self._view[..., :3].sum(axis=0)
        return both

    @property
    def second_hits(self) -> NDArray[np.int64]:
        """What the second copies took, shape (probes,)."""
        taken: NDArray[np.int64] = self._view[1, :, :, HITS].sum(axis=1)
        return taken

    @property
    def ring_full(self) -> int:
        """Events lost so far because the ring was full."""
        return int(self._view[..., RING_FULL].sum())

    def close(self) -> None:
        """Unmap. Whoever reads later, the sampler in its last moment, gets the last counts."""
        self._view = self._view.copy()
        with contextlib.suppress(BufferError):  # somebody is reading just now: it goes when he is done
            self._map.close()


def possible_cpus(sys: Path = Path("/sys")) -> int:
    """One more than the highest CPU number that can ever be: how many slots a probe needs."""
    text = (sys / "devices/system/cpu/possible").read_text()
    return int(re.findall(r"\d+", text)[-1]) + 1


def recursion_misses(prog_fd: int) -> int | None:
    """Times a program was not run because it was running on that CPU; None when the kernel does not say.

    Source: bpf_prog_show_fdinfo in kernel/bpf/syscall.c; only raw tracepoints and fentry count them.
    """
    try:
        text = Path(f"/proc/self/fdinfo/{prog_fd}").read_text()
    except OSError:
        return None
    found = re.search(r"^recursion_misses:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None

"""The consumer's end of a BPF ring buffer, mapped into this process and read as NumPy arrays.

Layout (kernel/bpf/ringbuf.c): one page with the consumer's position, one with the producer's, then
the data. Each record has an 8-byte header whose first word is its length, with bit 31 set while the
producer still writes it. Records are all of one size that divides the ring's, so none wraps.
"""

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD_WORDS = 3  # struct record in `program`
_STRIDE_WORDS = RECORD_WORDS + 1
STRIDE_BYTES = _STRIDE_WORDS * 8
_BUSY = np.uint32(1 << 31)


class Ring:
    """A mapped ring of fixed-size records. One consumer only."""

    def __init__(self, map_fd: int, size_bytes: int, page_size: int) -> None:
        """Map the ring behind `map_fd`.

        Raises:
            OSError: when the kernel refuses the mapping.
        """
        self.size_bytes = size_bytes
        self._consumer_map = mmap.mmap(map_fd, page_size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        # Once, not twice as the kernel offers: each mapping counts in this process's RSS.
        self._producer_map = mmap.mmap(map_fd, page_size + size_bytes, prot=mmap.PROT_READ, offset=page_size)
        self._consumer = np.frombuffer(self._consumer_map, np.uint64, 1)
        self._producer = np.frombuffer(self._producer_map, np.uint64, 1)
        self._slots = np.frombuffer(self._producer_map, np.uint64, offset=page_size).reshape(
            -1, _STRIDE_WORDS
        )

    @property
    def waiting(self) -> int:
        """Records between the consumer and the producer, finished or not."""
        return int(self._producer[0] - self._consumer[0]) // STRIDE_BYTES

    def drain_into(self, out: "NDArray[np.uint64]") -> int:
        """Move finished records to the front of `out`, shape (room, 3), words as in `struct record`.

        Returns how many. Records behind one still being written stay for the next time: order is kept.
        """
        position = int(self._consumer[0])
        waiting = min(self.waiting, len(out))
        first = position % self.size_bytes // STRIDE_BYTES
        until_wrap = len(self._slots) - first
        done = self._move(first, min(waiting, until_wrap), out)
        if done == until_wrap:
            done += self._move(0, waiting - done, out[done:])
        self._consumer[0] = np.uint64(position + done * STRIDE_BYTES)
        return done

    def _move(self, first: int, count: int, out: "NDArray[np.uint64]") -> int:
        slots = self._slots[first : first + count]
        busy = slots[:, 0].astype(np.uint32) & _BUSY
        if busy.any():
            count = int(busy.argmax())  # busy is 0 or one value: the first such record
        out[:count] = slots[:count, 1:]
        return count

    def close(self) -> None:
        """Unmap."""
        del self._consumer, self._producer, self._slots
        self._consumer_map.close()
        self._producer_map.close()

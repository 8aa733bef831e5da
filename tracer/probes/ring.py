"""The consumer's end of a BPF ring buffer, mapped into this process and read as NumPy arrays.

Layout (kernel/bpf/ringbuf.c): one page with the consumer's position, one with the producer's, then
the data, mapped twice in a row so that nothing wraps. Each record has an 8-byte header whose first
word is its length, with bit 31 set while the producer still writes it.
"""

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD_WORDS = 3  # struct record in `program`
_STRIDE_WORDS = RECORD_WORDS + 1
_STRIDE_BYTES = _STRIDE_WORDS * 8
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
        self._producer_map = mmap.mmap(
            map_fd, page_size + 2 * size_bytes, prot=mmap.PROT_READ, offset=page_size
        )
        self._consumer = np.frombuffer(self._consumer_map, np.uint64, 1)
        self._producer = np.frombuffer(self._producer_map, np.uint64, 1)
        self._data = np.frombuffer(self._producer_map, np.uint64, offset=page_size)

    @property
    def fill(self) -> float:
        """Share of the ring waiting to be drained."""
        return int(self._producer[0] - self._consumer[0]) / self.size_bytes

    def drain(self) -> "NDArray[np.uint64]":
        """Take every finished record: a copy, shape (n, 3), words as in `struct record`."""
        position = int(self._consumer[0])
        waiting = (int(self._producer[0]) - position) // _STRIDE_BYTES
        if not waiting:
            return np.empty((0, RECORD_WORDS), np.uint64)
        start = position % self.size_bytes // 8
        view = self._data[start : start + waiting * _STRIDE_WORDS].reshape(waiting, _STRIDE_WORDS)
        busy = np.flatnonzero(view[:, 0].astype(np.uint32) & _BUSY)
        # Records behind one still being written are left for the next drain: order is kept.
        ready = int(busy[0]) if len(busy) else waiting
        records = view[:ready, 1:].copy()
        self._consumer[0] = np.uint64(position + ready * _STRIDE_BYTES)
        return records

    def close(self) -> None:
        """Unmap."""
        del self._consumer, self._producer, self._data
        self._consumer_map.close()
        self._producer_map.close()


def columns(records: "NDArray[np.uint64]") -> "dict[str, NDArray[np.generic]]":
    """Records (n, 3) as the trace's event columns, in the same order."""
    block, rest = records[:, 1], records[:, 2]
    # Little-endian bytes of the packed word: pfn in 0-4, then order, migratetype, op.
    packed = np.ascontiguousarray(block).view(np.uint8).reshape(-1, 8)
    return {
        "ts_ns": records[:, 0].astype(np.int64),
        "op": packed[:, 7],
        "pfn": block & np.uint64((1 << 40) - 1),
        "order": packed[:, 5],
        "migratetype": packed[:, 6].view(np.int8),
        "cpu": (rest & np.uint64(0xFFFF)).astype(np.uint16),
        "aux": rest >> np.uint64(16),
    }

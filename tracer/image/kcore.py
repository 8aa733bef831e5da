"""/proc/kcore: the kernel's own memory by its addresses, read-only, where the kernel lets root see it."""

import os
import struct
from pathlib import Path
from typing import Protocol

KCORE = Path("/proc/kcore")
_HEADERS_BYTES = 1 << 16
_LOAD = 1


class Memory(Protocol):
    """Bytes by kernel address."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes.

        Raises:
            OSError: when there is no such memory.
        """
        ...


class Kcore:
    """The running kernel's memory. An ELF core file whose segments say which address lies where."""

    def __init__(self, path: Path = KCORE) -> None:
        """Open it.

        Raises:
            OSError: when there is none, it is closed to us, or it is no 64-bit ELF file.
        """
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise OSError(f"this kernel has no {path}") from error
        try:
            self._segments = _segments(os.pread(self._file, _HEADERS_BYTES, 0), path)
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def read(self, address: int, size: int) -> bytes:
        """As `Memory.read`."""
        for begin, end, offset in self._segments:
            if begin <= address and address + size <= end:
                data = os.pread(self._file, size, offset + address - begin)
                if len(data) == size:
                    return data
                break
        raise OSError(f"no memory at {address:#x}")


def _segments(head: bytes, path: Path) -> list[tuple[int, int, int]]:
    """(first address, end, offset in the file) of each."""
    if head[:5] != b"\x7fELF\x02":
        raise OSError(f"{path} is no 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    found = []
    for at in range(table, min(table + size * count, len(head) - size + 1), size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", head, at)
        if kind == _LOAD:
            found.append((address, address + length, offset))
    return found

"""The files of /proc that tell of the guest, opened once: while there is privilege to open them.

The kernel asks for privilege when such a file is opened, not when it is read, so a recorder may drop
its own and read on. Nothing is parsed here (`procfs`, `snapshot`, `samples`).
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from tracer.faults import Fault, environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROC = Path("/proc")

FLAGS = "kpageflags"
REQUIRED = (FLAGS, "pagetypeinfo", "zoneinfo", "buddyinfo")
OPTIONAL = ("vmstat", "timer_list")
_READ_BYTES = 1 << 16
_FLAG_BYTES = 8


class GuestFiles:
    """The open files of one /proc. Any thread may read; `close` when all have finished.

    Attributes:
        proc: the folder, for what anybody may open at any time.
    """

    def __init__(self, proc: Path = PROC) -> None:
        """Open all of them.

        Raises:
            Fault: when a required one cannot be opened; an optional one is left out.
        """
        self.proc = proc
        self._descriptors: dict[str, int] = {}
        # The kernel makes a text anew for each reader's position: two readers of one would mix it up.
        self._reading = threading.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for name in REQUIRED:
                try:
                    self._open(name)
                except OSError as error:
                    raise self._fault(name, error) from error
            for name in OPTIONAL:
                with contextlib.suppress(OSError):
                    self._open(name)
            undo.pop_all()

    def _open(self, name: str) -> None:
        self._descriptors[name] = os.open(self.proc / name, os.O_RDONLY)

    def _fault(self, name: str, error: OSError) -> Fault:
        return environment(
            f"{self.proc / name} cannot be read",
            f"{error.strerror} (errno {error.errno})",
            "run it as root, with sudo; in a container, with CAP_SYS_ADMIN and the host's /proc",
        )

    def _descriptor(self, name: str) -> int:
        if name not in self:
            how = "it was not there when this began, or is closed"
            raise environment(f"{self.proc / name} is not open", how, "mount the guest's own /proc")
        return self._descriptors[name]

    def __contains__(self, name: str) -> bool:
        """Was it there to be opened? Always so of the required ones."""
        return name in self._descriptors

    def text(self, name: str) -> str:
        """What a file says now, from its beginning.

        Raises:
            Fault: when it cannot be read, or is an optional one that is not there.
        """
        descriptor, parts, size = self._descriptor(name), [], 0
        try:
            with self._reading:
                while part := os.pread(descriptor, _READ_BYTES, size):
                    parts.append(part)
                    size += len(part)
        except OSError as error:
            raise self._fault(name, error) from error
        return b"".join(parts).decode(errors="replace")

    def optional_text(self, name: str) -> str | None:
        """What an optional file says now, or None where there is none or it cannot be read."""
        try:
            return self.text(name)
        except Fault:
            return None

    def read_flags(self, pfn: int, count: int) -> "NDArray[np.uint64]":
        """Kpageflags of `count` frames from `pfn` on; fewer where the file ends before.

        Raises:
            Fault: when it cannot be read.
        """
        descriptor, words = self._descriptor(FLAGS), np.empty(count, np.uint64)
        try:
            size = os.preadv(descriptor, [words.data], pfn * _FLAG_BYTES)
        except OSError as error:
            raise self._fault(FLAGS, error) from error
        return words[: size // _FLAG_BYTES]

    def close(self) -> None:
        """Close all of them; once is enough, twice does no harm."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

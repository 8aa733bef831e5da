"""Memory the C library holds on to: given back once, and kept from spreading over threads."""

import contextlib
import ctypes

_M_ARENA_MAX = -8  # mallopt(3)
_ARENAS = 2


def shrink() -> None:
    """Give back what starting took, and let threads share pools from now on.

    Only glibc has such pools; elsewhere nothing is done.
    """
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.malloc_trim(0)

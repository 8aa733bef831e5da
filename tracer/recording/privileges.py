"""From root to no more than is needed: the invoking user under sudo, else root without capabilities."""

import ctypes
import os
from dataclasses import dataclass

_CAPABILITY_VERSION_3 = 0x20080522
_NO_ID = (1 << 32) - 1


@dataclass(frozen=True)
class Invoker:
    """The user who called sudo."""

    uid: int
    gid: int


def invoker() -> Invoker | None:
    """Who called sudo or doas, if this is root on behalf of another user."""
    if os.geteuid() != 0:
        return None
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    # -1, also as an unsigned number, would mean: leave it as it is.
    return Invoker(uid, gid) if 0 < uid < _NO_ID and 0 <= gid < _NO_ID else None


def drop(user: Invoker | None) -> None:
    """Give up every privilege for good; call it while there is one thread only.

    Raises:
        OSError: when the kernel refuses, which it has no reason to.
    """
    if user is not None:
        os.setgroups([user.gid])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    _clear_capabilities()


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _clear_capabilities() -> None:
    """capset(2) with nothing: effective, permitted and inheritable."""
    nothing = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), nothing):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

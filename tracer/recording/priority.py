"""Who runs first: the drain before others, encoding and merging behind them."""

import contextlib
import ctypes
import os
import platform
import threading

DRAIN_NICE = -10
# ioprio_set(2) has no wrapper in the C library; its number differs by machine.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_PROCESS, _BEST_EFFORT_LOWEST = 1, (2 << 13) | 7


def raise_drain() -> bool:
    """Let this thread, and those it starts, run before ordinary ones; False where that is refused."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DRAIN_NICE)
    except PermissionError:
        return False
    return True


def lower(nice: int = 0) -> None:
    """Give this thread ordinary CPU priority (or less) and the lowest I/O priority."""
    thread = threading.get_native_id()
    with contextlib.suppress(PermissionError):
        if os.getpriority(os.PRIO_PROCESS, thread) < nice:
            os.setpriority(os.PRIO_PROCESS, thread, nice)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, thread, _BEST_EFFORT_LOWEST)

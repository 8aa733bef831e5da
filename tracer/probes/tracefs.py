"""The kernel's list of tracepoints: where it is mounted and what it says of one."""

import re
import subprocess
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
MOUNT_COMMAND = f"mount -t tracefs tracefs {TRACEFS}"


def ensure_mounted(tracefs: Path = TRACEFS) -> bool:
    """Mount tracefs where the kernel has it but nothing mounted it yet; True if it is there now."""
    if not is_mounted(tracefs) and tracefs.is_dir():
        subprocess.run(MOUNT_COMMAND.split(), check=False, capture_output=True)
    return is_mounted(tracefs)


def is_mounted(tracefs: Path = TRACEFS) -> bool:
    """Is tracefs there, and may this process look into it?"""
    try:
        return (tracefs / "events").is_dir()
    except PermissionError:
        return False


def fields(category: str, event: str, tracefs: Path = TRACEFS) -> set[str]:
    """Names of a tracepoint's fields on this kernel; empty when it has no such tracepoint."""
    try:
        text = (tracefs / "events" / category / event / "format").read_text()
    except OSError:
        return set()
    return set(re.findall(r"field:[^;]*?(\w+)(?:\[\d+\])?;", text))

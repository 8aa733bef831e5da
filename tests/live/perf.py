"""What perf counts and records of the same events: a second witness, beside the recorder."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ALLOC = "kmem:mm_page_alloc"
_LINE = re.compile(r"^\s*(\d+)\.(\d{9}):.* pfn=(0x[0-9a-f]+|\d+) .*order=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Alloc:
    """One `mm_page_alloc`. The time is the recorder's clock."""

    ts_ns: int
    pfn: int


def counting(order: int, out: Path) -> list[str]:
    """Prefix of a command: count this order's allocations of all CPUs while it runs, into a file."""
    return ["perf", "stat", "-a", "-x,", "-e", ALLOC, "--filter", f"order=={order}", "-o", str(out), "--"]


def counted(out: Path) -> int:
    """What `counting` counted."""
    (line,) = (line for line in out.read_text().splitlines() if ALLOC in line)
    return int(line.split(",")[0])


def recording(order: int, out: Path) -> list[str]:
    """Record this order's allocations of all CPUs into a file, until a command behind it ends."""
    # Buffers of 16 MiB a CPU hold all there is to see, should perf not get to read them.
    how = ["-k", "CLOCK_MONOTONIC", "-m", "4096"]
    return ["perf", "record", "-q", "-a", *how, "-e", ALLOC, "--filter", f"order=={order}", "-o", str(out)]


def recorded(out: Path) -> list[Alloc]:
    """What `recording` recorded, in time order."""
    fields = ["--ns", "-F", "time,trace", "-i", str(out)]
    text = subprocess.run(["perf", "script", *fields], check=True, capture_output=True, text=True).stdout
    return [Alloc(int(s) * 10**9 + int(ns), int(pfn, 0)) for s, ns, pfn, _ in _LINE.findall(text)]

"""A workload for the demo: buffers of 1 to 120 MiB come and go, and programs run in between.

Usage: python -m benchmarks.workload SECONDS
"""

import random
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20


def available_bytes() -> int:
    """MemAvailable now."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def main(seconds: float) -> None:
    """Run for `seconds`, never holding more than 3 GiB or a quarter of the free memory."""
    limit = min(3 << 30, available_bytes() // 4)
    choose = random.Random(1)
    held: list[bytearray] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        held.append(bytearray(choose.randint(1, 120) * MIB))
        while held and (sum(map(len, held)) > limit or choose.random() < 0.45):
            held.pop(choose.randrange(len(held)))
        if choose.random() < 0.3:
            subprocess.run([sys.executable, "-c", "import json; json.dumps([0] * 10**6)"], check=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))

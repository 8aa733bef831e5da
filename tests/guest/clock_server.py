"""Runs in the guest: answers each request on a serial line with CLOCK_MONOTONIC.

Usage: python clock_server.py LINE READY_FILE. Imports nothing of ours: it starts before all else.
"""

import os
import struct
import sys
import time
import tty
from pathlib import Path

REQUEST_BYTES = 8


def main(line: str, ready: Path) -> None:
    file = os.open(line, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(file)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    ready.touch()
    waiting = 0
    while True:
        waiting += len(os.read(file, REQUEST_BYTES - waiting))
        if waiting == REQUEST_BYTES:
            os.write(file, struct.pack("<q", time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
            waiting = 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

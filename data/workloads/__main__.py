"""Prepare or run a workload: python -m data.workloads prepare|run NAME FOLDER.

A run begins and ends with some seconds of rest, so that what the program takes is told from what
starting the recorder did, and what it gives back at its end has time to be reported.
"""

import sys
import time
from pathlib import Path

from data.workloads import NAMES, load

BEFORE_S, AFTER_S = 3.0, 12.0


def main(verb: str, name: str, folder: Path) -> None:
    """What the usage says."""
    workload = load(name)
    if verb == "prepare":
        workload.prepare(folder)
        return
    time.sleep(BEFORE_S)
    workload.run(folder)
    time.sleep(AFTER_S)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("prepare", "run") or sys.argv[2] not in NAMES:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))

"""Short-lived handlers, two a second and in bursts twelve: each starts Python, takes 30 to 250 MiB, and ends.

Functions as a service: a process for each request, arrivals at random (Poisson), most of them small and
brief. Memory is taken and given back all the time, in pieces that are too small and too short for a pass
each two seconds to catch, until a burst is over.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 120.0
QUIET_PER_S, BURST_PER_S = 2.0, 12.0
PERIOD_S, BURST_S = 30.0, 10.0
MEDIAN_MIB, SPREAD, LEAST_MIB, MOST_MIB = 60.0, 0.7, 30, 250
MEAN_HOLD_S = 0.4
AT_ONCE = 40
HANDLER = """
import json, sys, time
rows = [json.dumps({"id": i, "name": f"row {i}"}) for i in range(5000)]
held = bytearray(int(sys.argv[1]) << 20)
held[::4096] = bytes(len(range(0, len(held), 4096)))
time.sleep(float(sys.argv[2]))
"""


def arrivals(dice: random.Random) -> list[float]:
    """When each request comes, in seconds after the first moment."""
    times, at_s = [], 0.0
    while at_s < SECONDS:
        rate = BURST_PER_S if at_s % PERIOD_S >= PERIOD_S - BURST_S else QUIET_PER_S
        at_s += dice.expovariate(rate)
        times.append(at_s)
    return times


def handler(dice: random.Random) -> subprocess.Popen[bytes]:
    """One request's process: how large and how long is drawn for each."""
    mib = min(MOST_MIB, max(LEAST_MIB, int(MEDIAN_MIB * dice.lognormvariate(0, SPREAD))))
    hold_s = dice.expovariate(1 / MEAN_HOLD_S)
    return subprocess.Popen([sys.executable, "-c", HANDLER, str(mib), f"{hold_s:.3f}"])


def run(folder: Path) -> None:
    """Start a handler at each arrival, no more than so many at once."""
    dice, begin = random.Random(1), time.monotonic()
    running: list[subprocess.Popen[bytes]] = []
    for at_s in arrivals(dice):
        time.sleep(max(0.0, begin + at_s - time.monotonic()))
        running = [each for each in running if each.poll() is None]
        if len(running) >= AT_ONCE:
            running.pop(0).wait()
        running.append(handler(dice))
    for each in running:
        each.wait()

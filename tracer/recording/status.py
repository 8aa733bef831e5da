"""A recording as it stands: what the status line tells, and the line itself."""

import os
import time
from collections import deque
from dataclasses import dataclass

from tracer.units import human_bytes, short_number

RECORDING = "recording"
LOOKS = 10  # two a second: five seconds are "of late"


@dataclass(frozen=True)
class Progress:
    """A recording as it stands.

    Attributes:
        events: drained so far.
        lost: of what the kernel had to say, found no room in the ring.
        size_bytes: of the trace's files.
        ring_fill: share of the ring that waits to be drained.
        phase: what is being done.
        elapsed_s: since the recorder began to drain.
        rate: events a second, of late.
        cpu_share: of the time of all CPUs, what this process took of late.
    """

    events: int
    lost: int
    size_bytes: int
    ring_fill: float
    phase: str
    elapsed_s: float = 0.0
    rate: float = 0.0
    cpu_share: float = 0.0


class Watch:
    """Looks at the clock and at this process's CPU time, each time somebody asks how things stand."""

    def __init__(self) -> None:
        self._cpus = os.cpu_count() or 1
        self._began_s = time.monotonic()
        self._looks = deque([(self._began_s, time.process_time(), 0)], maxlen=LOOKS)

    def look(self, events: int, lost: int, size_bytes: int, ring_fill: float, phase: str) -> Progress:
        """How things stand now."""
        now_s, used_s = time.monotonic(), time.process_time()
        before_s, before_used_s, before = self._looks[0]
        self._looks.append((now_s, used_s, events))
        since_s = max(now_s - before_s, 1e-9)
        rate, share = (events - before) / since_s, (used_s - before_used_s) / since_s / self._cpus
        return Progress(events, lost, size_bytes, ring_fill, phase, now_s - self._began_s, rate, share)


def status_line(progress: Progress) -> str:
    """The line, of at most 79 columns: many terminals break a line that fills all 80."""
    size = human_bytes(progress.size_bytes).replace(" ", "")
    fields = (
        f"{short_number(progress.events)} events",
        f"{short_number(progress.rate)}/s",
        f"lost {short_number(progress.lost)}",
        f"ring {progress.ring_fill:.0%}",
        size,
        f"CPU {_percent(progress.cpu_share)}",
    )
    when = f" {_clock(progress.elapsed_s)}" if progress.phase == RECORDING else ""
    return f"{progress.phase}{when}: {', '.join(fields)}"


def _clock(elapsed_s: float) -> str:
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}:{seconds:02}"


def _percent(share: float) -> str:
    """A share with one decimal while it is small."""
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"

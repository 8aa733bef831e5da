"""How a guest's CLOCK_MONOTONIC relates to its host's: pings, and the line through the fastest of them."""

import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REQUEST = b"whattime"  # eight bytes: so many raise a serial line's interrupt at once
ANSWER = struct.Struct("<q")
WINDOW_NS = 4_000_000_000
_INTERVAL_S, _BURST = 0.1, 100


@dataclass(frozen=True)
class Ping:
    """The guest read `guest_ns` between the host's `sent_ns` and `received_ns`, all CLOCK_MONOTONIC."""

    sent_ns: int
    received_ns: int
    guest_ns: int

    @property
    def round_trip_ns(self) -> int:
        return self.received_ns - self.sent_ns

    @property
    def middle_ns(self) -> int:
        return (self.sent_ns + self.received_ns) // 2


class ClockJumped(Exception):
    """The pings do not lie around one line."""


@dataclass(frozen=True)
class GuestClock:
    """guest = guest_ns + rate * (host - host_ns).

    Attributes:
        error_ns: it cannot be further off than this: every ping was sent before the guest read its clock,
            and received after.
        pings: how many were asked.
    """

    host_ns: int
    guest_ns: int
    rate: float
    error_ns: int
    pings: int

    def of_host(self, host_ns: int) -> int:
        """The guest's time at a time of the host."""
        return self.guest_ns + round((host_ns - self.host_ns) * self.rate)


def fit(pings: list[Ping], window_ns: int = WINDOW_NS) -> GuestClock:
    """The rate from the fastest ping of each window (what was slow says little), the offset from the two
    bounds that all pings give.

    Raises:
        ValueError: when they are too few, or all of one moment.
        ClockJumped: when no line fits between what was sent and what was received.
    """
    kept = _fastest(pings, window_ns)
    if len(kept) < 2:
        raise ValueError(f"a line needs pings in two windows of {window_ns} ns, there are {len(kept)}")
    host0, guest0 = kept[0].middle_ns, kept[0].guest_ns
    # Differences, which are small: a float has no room for the ns of a clock that runs for months.
    middle, sent, received = (
        np.array([getattr(ping, name) - host0 for ping in some], np.float64)
        for name, some in (("middle_ns", kept), ("sent_ns", pings), ("received_ns", pings))
    )
    slope, _ = np.polyfit(middle, np.array([p.guest_ns - guest0 for p in kept], np.float64) - middle, 1)
    guest = np.array([p.guest_ns - guest0 for p in pings], np.float64)
    most, least = (guest - sent - slope * sent).min(), (guest - received - slope * received).max()
    if most < least:
        raise ClockJumped(f"the clocks are no line: pings contradict each other by {least - most:.0f} ns")
    offset, error = (most + least) / 2, (most - least) / 2
    return GuestClock(host0, guest0 + round(offset), 1 + float(slope), round(error), len(pings))


def _fastest(pings: list[Ping], window_ns: int) -> list[Ping]:
    """Of each window the fastest; of these, those at most twice as slow as their median."""
    windows: dict[int, Ping] = {}
    for ping in pings:
        number = ping.sent_ns // window_ns
        best = windows.get(number)
        if best is None or ping.round_trip_ns < best.round_trip_ns:
            windows[number] = ping
    limit = 2 * np.median([ping.round_trip_ns for ping in windows.values()]) if windows else 0
    return [ping for ping in windows.values() if ping.round_trip_ns <= limit]


class Pinger:
    """Asks the guest's `clock_server.py` for its time: now and then, from a thread, until closed."""

    def __init__(self, line: Path) -> None:
        """Connect to the guest's serial line, a unix socket; its server runs already."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(line))
        self._socket.settimeout(120)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ping_on, daemon=True)
        self.failure: Exception | None = None
        self.pings: list[Ping] = []
        self.burst()
        self._thread.start()

    def burst(self) -> None:
        """Many at once: where no others follow or came before, the line hangs on these."""
        for _ in range(_BURST):
            self.pings.append(self._ping())

    def close(self) -> None:
        """Stop asking; a last burst when all went well."""
        self._stop.set()
        self._thread.join()
        try:
            if self.failure is None:
                self.burst()
        finally:
            self._socket.close()

    def _ping_on(self) -> None:
        try:
            while not self._stop.wait(_INTERVAL_S):
                self.pings.append(self._ping())
        except Exception as error:  # of a thread: told where it is waited for
            self.failure = error

    def _ping(self) -> Ping:
        sent_ns = time.monotonic_ns()
        self._socket.sendall(REQUEST)
        answer = b""
        while len(answer) < ANSWER.size:
            got = self._socket.recv(ANSWER.size - len(answer))
            if not got:
                raise ConnectionError("the guest's clock server is gone")
            answer += got
        received_ns = time.monotonic_ns()
        return Ping(sent_ns, received_ns, ANSWER.unpack(answer)[0])

"""What the header lines of perf script --header, ftrace and trace-cmd say of the guest."""

import re
from dataclasses import dataclass, field

from tracer.format import Clock

_SECONDS = r"(\d+)\.(\d{1,9})"
_CPUS = re.compile(r"^(?:# nrcpus online : |cpus=|# .*#P:)(\d+)")
_RELEASE = re.compile(r"^# os release : (\S+)")
_MACHINE = re.compile(r"^# arch : (\S+)")
_EVENT = re.compile(r"^# event : name = ([\w:]+),")
_CLOCKID = re.compile(r"^# clockid: monotonic \(1\)")
_COMMAND = re.compile(
    r"^# cmdline : .* (?:-k ?|--clockid[ =])(?:CLOCK_)?mono(?:tonic)?(?= |$)", re.IGNORECASE
)
_REFERENCE = re.compile(rf"^# reference time: .* = {_SECONDS} \(TOD\) = {_SECONDS} \(monotonic\)")
_ENTRIES = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)")


@dataclass
class Headers:
    """What is known once all header lines were read; None and empty where they do not say.

    Attributes:
        events: names of the events that were switched on.
        monotonic: the time stamps are CLOCK_MONOTONIC.
        overwritten: entries that had left the buffer before it was read.
    """

    cpus: int | None = None
    release: str | None = None
    machine: str | None = None
    events: set[str] = field(default_factory=set)
    monotonic: bool = False
    clock: Clock | None = None
    overwritten: int = 0

    def read(self, line: str) -> None:
        """Take in one header line."""
        if match := _CPUS.match(line):
            self.cpus = int(match[1])
        if match := _RELEASE.match(line):
            self.release = match[1]
        if match := _MACHINE.match(line):
            self.machine = match[1]
        if match := _EVENT.match(line):
            self.events.add(match[1])
        if match := _ENTRIES.match(line):
            self.overwritten += max(int(match[2]) - int(match[1]), 0)
        if match := _REFERENCE.match(line):
            wall_ns, monotonic_ns = _ns(match[1], match[2]), _ns(match[3], match[4])
            self.clock = Clock(monotonic_ns=monotonic_ns, wall_ns=wall_ns)
        self.monotonic |= bool(_CLOCKID.match(line) or _COMMAND.match(line) or self.clock)


def _ns(seconds: str, fraction: str) -> int:
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))

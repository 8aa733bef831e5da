"""The lines beside events: losses, comments, and events that cannot be read."""

import re
from dataclasses import dataclass

import polars as pl

from tracer.importers.prefix import NAMES

# Kernel (trace, trace_pipe): LOST; trace-cmd: DROPPED, without a number where it knows none.
_LOST = re.compile(r"^CPU:(?P<cpu>\d+) \[(?:LOST(?: (?P<n>\d+))? EVENTS|(?:(?P<m>\d+) )?EVENTS DROPPED)\]")
# perf script --show-lost-events. A task's name is too short to hold it.
_PERF_LOST = re.compile(
    r"(?:\[(?P<cpu>\d+)\]\s+)?(?:(?P<s>\d+)\.(?P<f>\d{9}|\d{6}):\s+)?"
    r"PERF_RECORD_LOST(?:_SAMPLES)?:?\s+lost\s+(?P<n>\d+)"
)
_PERF_TRACE_LOST = re.compile(r"^LOST (?P<n>\d+) events")
_STARTED = re.compile(r"^##### CPU (\d+) buffer started ####")
_EVENT = re.compile(rf"\b({NAMES}):")
_MARKERS = ["LOST", "DROPPED", "lost", "buffer started", *(f"{name}:" for name in NAMES.split("|"))]


@dataclass(frozen=True)
class Mark:
    """A line that says that events are missing.

    Attributes:
        row: how many rows of the block stand before it.
        cpu: whose events; None where it does not say.
        events: how many; 0 says that a CPU's first row follows, its buffer being overwritten.
        ts_ns: when it was written; None where it does not say.
    """

    row: int
    cpu: int | None
    events: int
    ts_ns: int | None = None


def interesting(lines: pl.Series) -> pl.Series:
    """Which of the lines without a readable event are worth a look?"""
    return lines.str.contains_any(_MARKERS) | lines.str.starts_with("#") | lines.str.starts_with("cpus=")


def is_comment(line: str) -> bool:
    """A header of perf, ftrace or trace-cmd."""
    return line.startswith(("# ", "cpus="))


def named_event(line: str) -> str | None:
    """The event that a line names, read or not."""
    match = _EVENT.search(line)
    return match[1] if match else None


def loss(line: str, row: int) -> Mark | None:
    """What a line says of lost events. A loss of unknown size counts as one."""
    if match := _STARTED.match(line):
        return Mark(row, int(match[1]), 0)
    match = _LOST.match(line) or _PERF_LOST.search(line) or _PERF_TRACE_LOST.match(line)
    if match is None:
        return None
    said = match.groupdict()
    cpu = None if said.get("cpu") is None else int(said["cpu"])
    events = int(said["n"] or said.get("m") or 1)
    if said.get("s") is None:
        return Mark(row, cpu, events)
    return Mark(row, cpu, events, int(said["s"]) * 1_000_000_000 + int(said["f"].ljust(9, "0")))

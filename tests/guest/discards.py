"""What QEMU's own trace says of free page reporting: which ranges the host discarded, call by call.

A report is one element of the reporting queue: QEMU pops it (`virtqueue_pop`, with the number of ranges)
and discards each range (`ram_block_discard_range`), both under its one lock, so nothing comes between.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TRACED = ("ram_block_discard_range", "virtqueue_pop")
_STAMP = r"\d+@(?P<s>\d+)\.(?P<us>\d{6}):"
_POP = re.compile(_STAMP + r"virtqueue_pop vq (?P<queue>\S+) elem \S+ in_num (?P<ranges>\d+) out_num \d+$")
_DISCARD = re.compile(
    _STAMP + r"ram_block_discard_range \S+@(?P<address>0x[0-9a-f]+) \+ (?P<size>0x[0-9a-f]+): "
    r"madvise: \d+ fallocate: \d+ ret: (?P<ret>-?\d+)$"
)


class UnexpectedTrace(Exception):
    """QEMU's trace is not what reporting looks like; the line is in the text."""


@dataclass(frozen=True)
class Discard:
    """One range. `wall_ns`: the host's wall clock, to the µs; `address`: in QEMU; `failed`: not discarded."""

    wall_ns: int
    address: int
    size_bytes: int
    failed: bool


@dataclass(frozen=True)
class Call:
    """One report call, its ranges in the order in which the host saw them."""

    ranges: tuple[Discard, ...]


def read_calls(log: Path) -> list[Call]:
    """All report calls in a finished log.

    Raises:
        UnexpectedTrace: as `calls_of`.
    """
    with log.open() as lines:
        return list(calls_of(lines))


def calls_of(lines: Iterable[str]) -> Iterator[Call]:
    """Group the lines of a log into report calls. Other queues' elements are passed over.

    Raises:
        UnexpectedTrace: when a line cannot be read, when ranges come from two queues, or when a call has
            not as many ranges as its element.
    """
    popped: re.Match[str] | None = None  # the last element, of whichever queue
    reporting: str | None = None
    ranges: list[Discard] = []
    for line in lines:
        if (pop := _POP.match(line)) is not None:
            yield from _call(popped, reporting, ranges)
            popped, ranges = pop, []
        elif (found := _DISCARD.match(line)) is not None:
            if popped is None or reporting not in (None, popped["queue"]):
                raise UnexpectedTrace(f"a range of no report: {line.strip()}")
            reporting = popped["queue"]
            ranges.append(_discard(found))
        elif line.strip():
            raise UnexpectedTrace(f"unknown line: {line.strip()}")
    yield from _call(popped, reporting, ranges)


def _call(pop: re.Match[str] | None, reporting: str | None, ranges: list[Discard]) -> Iterator[Call]:
    if pop is None or pop["queue"] != reporting:
        return
    if len(ranges) != int(pop["ranges"]):
        raise UnexpectedTrace(f"{len(ranges)} ranges were discarded of: {pop[0]}")
    yield Call(tuple(ranges))


def _discard(found: re.Match[str]) -> Discard:
    wall_ns = int(found["s"]) * 1_000_000_000 + int(found["us"]) * 1000
    return Discard(wall_ns, int(found["address"], 16), int(found["size"], 16), found["ret"] != "0")

"""The index of a trace, segments.jsonl: its lines, checked against their own checksums and each other."""

import hashlib
import json
from collections.abc import Callable

from tracer.checks import check_segment
from tracer.faults import Fault
from tracer.format import SEGMENTS, Segment, from_json, strict_json
from tracer.places import Place
from tracer.stores import Missing

RECORD_AGAIN = "record it again, or restore it from a copy"
Warn = Callable[[str], None]


def read_index(folder: Place, warn: Warn, *, late: bool) -> list[Segment]:
    """The segments in order; a torn last line is a segment that was never closed.

    `late`: the manifest tells of events out of time order, so that segments may overlap.

    Raises:
        Fault: when it cannot be read, or a line is damaged.
    """
    try:
        lines = (folder / SEGMENTS).read_bytes().splitlines()
    except Missing:
        return []
    except Fault as fault:
        if not folder.local:
            raise
        raise Fault(f"the trace {folder} is damaged at {SEGMENTS}", fault.how, RECORD_AGAIN) from fault
    index = _Index(warn, late)
    for number, line in enumerate(lines, 1):
        segment = _parse_line(line, f"{SEGMENTS} line {number}")
        if segment is None and number == len(lines):
            warn(f"{SEGMENTS}: the last line is torn; its segment is left out")
        elif segment is None:
            raise Fault(
                f"the trace {folder} is damaged",
                f"{SEGMENTS} line {number} does not match its checksum",
                RECORD_AGAIN,
            )
        else:
            index.add(segment, f"{SEGMENTS} line {number}")
    return index.segments


class _Index:
    """The segments so far; one that is there already is told of, and read once."""

    def __init__(self, warn: Warn, late: bool) -> None:
        self.segments: list[Segment] = []
        self._warn, self._late = warn, late
        self._files: set[str] = set()
        self._contents: dict[str, str] = {}
        self._before: Segment | None = None

    def add(self, segment: Segment, where: str) -> None:
        """Take in the segment of the next line."""
        if segment.file in self._files:
            self._warn(f"{where}: {segment.file} is listed twice; read once")
            return
        check_segment(segment, where)
        same = self._contents.get(segment.checksum)
        if same is not None and segment.rows:
            self._warn(f"{where}: {segment.file} holds the same events as {same}; read once")
            return
        self._tell_overlap(segment, where)
        self._files.add(segment.file)
        self._contents[segment.checksum] = segment.file
        self.segments.append(segment)

    def _tell_overlap(self, segment: Segment, where: str) -> None:
        if not segment.rows:
            return
        before, self._before = self._before, segment
        if before and segment.last_ts_ns < before.first_ts_ns:
            self._warn(
                f"{where}: {segment.file} ends before the one before it began: lines are out of time order"
            )
        elif before and segment.first_ts_ns < before.last_ts_ns and not self._late:
            self._warn(f"{where}: {segment.file} begins before {before.file} ends: their times overlap")


def _parse_line(line: bytes, where: str) -> Segment | None:
    """A line of segments.jsonl, or None when it does not match its own checksum."""
    try:
        entry = strict_json(line)
        text = json.dumps(entry["line"], sort_keys=True)
        if hashlib.blake2b(text.encode(), digest_size=8).hexdigest() != entry["checksum"]:
            return None
        segment: Segment = from_json(Segment, entry["line"], where)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return segment

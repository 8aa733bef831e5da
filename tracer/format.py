"""The trace on disk, format 1: ops, frame states, schemas and the manifest.

`FORMAT.md` beside this file is the same contract for people. Nothing here reads or writes a trace
(`reader`, `writer`) or decides what an op means for the buddy (`replay.buddy.ops`).
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tracer.faults import Fault

FORMAT_VERSION = 1
PFN_BITS = 40
MAX_ORDER_LIMIT = 20
MAX_ZONES = 254
MANIFEST = "manifest.json"
SEGMENTS = "segments.jsonl"
LOCK = ".recording"


class Op(IntEnum):
    """Where an event comes from. What it means for the buddy is decided at replay."""

    ZONE_LOCKED = 1  # kmem:mm_page_alloc_zone_locked
    PCPU_DRAIN = 2  # kmem:mm_page_pcpu_drain
    EXTFRAG = 3  # kmem:mm_page_alloc_extfrag
    PAGE_FREE = 4  # kmem:mm_page_free
    PAGE_ALLOC = 5  # kmem:mm_page_alloc
    COMPACTION_ISOLATE = 6  # compaction:mm_compaction_isolate_freepages
    FAST_ISOLATE = 7  # compaction:mm_compaction_fast_isolate_freepages
    ISOLATE = 8  # __isolate_free_page
    PUT_BACK = 9  # __putback_isolated_page
    NOTIFY = 10  # __page_reporting_notify
    PASS_START = 11  # page_reporting_process, entry
    PASS_END = 12  # page_reporting_process, return
    REPORT = 13  # one block of one report call


class FrameState(IntEnum):
    """What a snapshot says of a frame."""

    USED = 0
    BUDDY = 1
    LIMBO = 2  # managed, but neither owned nor in the buddy: on a pcp list, or isolated
    ABSENT = 3  # a hole, reserved, or not managed yet


# Columns of events/*.parquet, in file order: name -> Arrow type name.
EVENT_COLUMNS = {
    "ts_ns": "int64",
    "op": "uint8",
    "pfn": "uint64",
    "order": "uint8",
    "migratetype": "int8",
    "cpu": "uint16",
    "aux": "uint64",
}
# A snapshot is read in aligned chunks of this many frames (0.3 ms each); runs do not cross them.
CHUNK_FRAMES = 4096
# Columns of frames/*.parquet: runs of equal state inside one chunk.
FRAME_COLUMNS = {
    "pfn": "uint64",
    "count": "uint32",
    "state": "uint8",
    "reported_head": "bool",
    "read_begin_ns": "int64",
    "read_ts_ns": "int64",
}


@dataclass(frozen=True)
class Zone:
    """One populated zone, as /proc/zoneinfo shows it. Counts are in frames."""

    node: int
    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    free: int
    min: int
    low: int
    high: int
    boost: int

    @property
    def end_pfn(self) -> int:
        """One past the zone's last frame."""
        return self.start_pfn + self.spanned


@dataclass(frozen=True)
class BuddyInfo:
    """Free blocks of one zone by order, read from /proc/buddyinfo between two instants."""

    node: int
    zone: str
    blocks: list[int]
    read_begin_ns: int
    read_end_ns: int


@dataclass(frozen=True)
class Snapshot:
    """The guest's whole memory, read while events go on: frames/NAME.parquet and these counts."""

    name: str
    begin_ns: int
    end_ns: int
    zones: list[Zone]
    buddyinfo: list[BuddyInfo]


@dataclass(frozen=True)
class Guest:
    """What does not change while recording."""

    kernel_release: str
    machine: str
    cpus: int
    page_size: int
    max_order: int  # inclusive: the largest order with a free list
    pageblock_order: int
    migratetypes: list[str]
    pcp_orders: list[int]  # orders whose frees may go to a per-CPU list
    thp_mode: str | None
    hz: int | None
    jiffies: int | None  # of the instant jiffies_monotonic_ns
    jiffies_monotonic_ns: int | None


@dataclass(frozen=True)
class Reporting:
    """The guest's own free page reporting while it was recorded."""

    order: int | None  # page_reporting_order; None when the kernel has no such parameter
    active: bool | None  # negotiated by a balloon driver; None when it cannot be known


@dataclass(frozen=True)
class Clock:
    """Where `ts_ns` (CLOCK_MONOTONIC) lies on the wall clock."""

    monotonic_ns: int
    wall_ns: int


@dataclass(frozen=True)
class Probe:
    """One probe and its loss equation: hits = kept + lost + filtered."""

    name: str
    kind: str  # tracepoint, kprobe, fentry
    op: int
    hits: int = 0
    kept: int = 0
    lost: int = 0  # the ring was full, or the recorder ended before the event was stored
    filtered: int = 0


@dataclass(frozen=True)
class Manifest:
    """manifest.json: everything about a trace that is not a row."""

    format: int
    tool: str
    status: str  # recording, complete, recovered
    guest: Guest
    zones: list[Zone]
    reporting: Reporting
    clock: Clock
    layers: list[str]
    rung: str
    probes: list[Probe]
    command_line: list[str]
    snapshots: list[Snapshot] = field(default_factory=list)
    late_events: int = 0  # stored after a later one had been: their ts_ns goes back
    ended_by: str | None = None

    @property
    def lost(self) -> int:
        """Events known to be missing."""
        return sum(probe.lost for probe in self.probes)

    def snapshot(self, name: str) -> Snapshot | None:
        """The snapshot of that name, or None when it was not taken."""
        return next((shot for shot in self.snapshots if shot.name == name), None)


@dataclass(frozen=True)
class Segment:
    """One line of segments.jsonl: a closed file of events."""

    file: str
    rows: int
    first_ts_ns: int
    last_ts_ns: int
    size_bytes: int
    checksum: str
    probes: list[Probe]  # the counters when the segment was closed


def check_values(manifest: Manifest) -> None:
    """Refuse a guest that cannot be.

    Raises:
        Fault: naming the value.
    """
    guest, start = manifest.guest, manifest.snapshot("start")
    zones = manifest.zones + (start.zones if start else [])
    limits = {
        "format": (manifest.format, 1, FORMAT_VERSION),
        "guest.page_size": (guest.page_size, 512, 1 << 30),
        "guest.max_order": (guest.max_order, 0, MAX_ORDER_LIMIT),
        "guest.pageblock_order": (guest.pageblock_order, 0, guest.max_order),
        "guest.migratetypes": (len(guest.migratetypes), 1, 64),
        "zones": (len(start.zones if start else manifest.zones), 1, MAX_ZONES),
        "zones.start_pfn": (min((zone.start_pfn for zone in zones), default=0), 0, 1 << PFN_BITS),
        "zones.spanned": (min((zone.spanned for zone in zones), default=1), 1, 1 << PFN_BITS),
        "zones' end": (max((zone.end_pfn for zone in zones), default=1), 1, 1 << PFN_BITS),
    }
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise _bad(f"{MANIFEST}.{name}", f"{value} is not in {least}..{most}")


def to_json(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """A dataclass of this module as plain JSON values."""
    return dataclasses.asdict(value)


def from_json(kind: type[Any], data: Any, where: str) -> Any:  # noqa: ANN401 - an instance of kind
    """Build a dataclass of this module from JSON; unknown keys are ignored, so formats can grow.

    Raises:
        Fault: naming the key, when one is missing or has another type.
    """
    if not isinstance(data, dict):
        raise _bad(where, f"expected an object, found {type(data).__name__}")
    hints = typing.get_type_hints(kind)
    values = {}
    for entry in dataclasses.fields(kind):
        if entry.name in data:
            values[entry.name] = _typed(hints[entry.name], data[entry.name], f"{where}.{entry.name}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise _bad(f"{where}.{entry.name}", "the key is missing")
    return kind(**values)


def _typed(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - driven by type hints
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise _bad(where, f"expected a list, found {type(value).__name__}")
        (item,) = typing.get_args(hint)
        return [_typed(item, entry, f"{where}[{k}]") for k, entry in enumerate(value)]
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        return _typed(typing.get_args(hint)[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _bad(where, f"expected {hint.__name__}, found {value!r}")
    return value


def _bad(where: str, how: str) -> Fault:
    return Fault(f"the trace is damaged at {where}", how, "record it again, or restore the file")

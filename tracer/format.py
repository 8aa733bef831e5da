"""The trace on disk, format 1: ops, frame states, schemas and the manifest.

`FORMAT.md` beside this file is the same contract for people. Nothing here reads or writes a trace
(`reader`, `writer`) or decides what an op means for the buddy (`replay.buddy.ops`).
"""

import dataclasses
import json
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
    REPORT = 13  # one report call of the guest's own reporting
    # Told apart from 8 and 9 when they are recorded, because an op alone decides what an event means.
    REPORTING_ISOLATE = 14  # __isolate_free_page by the guest's own reporting
    REPORTING_PUT_BACK = 15  # __putback_isolated_page by the guest's own reporting
    BUDDY_FREE = 16  # __free_one_page, but not from inside __putback_isolated_page


class FrameState(IntEnum):
    """What a snapshot says of a frame."""

    USED = 0  # owned by someone
    BUDDY = 1  # in a free block on the buddy's lists
    LIMBO = 2  # managed, but neither owned nor in the buddy: on a pcp list, or isolated
    ABSENT = 3  # a hole, reserved, or not managed yet
    UNKNOWN = 4  # nothing was read: an imported trace; known from its first event on


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
# Recorded only when asked for, since a trace is meant to be shared; 0 where an op has none.
OPTIONAL_COLUMNS = {"pid": "uint32", "gfp": "uint32"}
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
# Columns of frames/NAME-lists.parquet: the free lists from head to tail, where they could be read.
LIST_COLUMNS = {
    "zone": "uint8",  # index into the snapshot's zones
    "order": "uint8",
    "migratetype": "int8",
    "position": "uint32",  # 0 is the head
    "pfn": "uint64",
    "read_begin_ns": "int64",
    "read_ts_ns": "int64",
}
# Columns of samples/*.parquet: one row per zone and second. What the guest counts as a whole
# (from nr_file_pages on) stands in each of the rows of one second. Frames, unless a name says else.
SAMPLE_COLUMNS = {
    "read_begin_ns": "int64",
    "read_end_ns": "int64",
    "zone": "uint8",  # index into the manifest's zones
    "free_blocks": "list<uint32>",  # by order, as /proc/buddyinfo
    "managed": "int64",
    "free": "int64",
    "pcp": "int64",
    "min": "int64",
    "low": "int64",
    "high": "int64",
    "boost": "int64",
    "nr_file_pages": "int64",
    "nr_anon_pages": "int64",
    "nr_slab_reclaimable": "int64",
    "nr_slab_unreclaimable": "int64",
    "compact_stall": "int64",
    "compact_success": "int64",
    "compact_isolated": "int64",
    "lost_events": "int64",  # so far
}
# Columns of counters/*.parquet: so far, each second, per probe and CPU; rows only where hits grew.
COUNTER_COLUMNS = {
    "ts_ns": "int64",
    "op": "uint8",
    "cpu": "uint16",
    "hits": "int64",
    "ring_full": "int64",
    "filtered": "int64",
}


@dataclass(frozen=True)
class Zone:
    """One populated zone, as /proc/zoneinfo shows it. Counts are in frames."""

    node: int  # NUMA node
    name: str  # DMA, DMA32, Normal, Movable, Device
    start_pfn: int  # its first frame
    spanned: int  # from the first frame to the last, holes and all
    present: int  # of them, those with memory
    managed: int  # of them, those that the buddy hands out
    free: int  # on the buddy's lists
    min: int  # watermark below which only the kernel's emergencies allocate
    low: int  # watermark below which reclaim begins; a reporting pass leaves the zone out near it
    high: int  # watermark at which reclaim ends
    boost: int  # by which watermarks are raised for a while after a fallback

    @property
    def end_pfn(self) -> int:
        """One past the zone's last frame."""
        return self.start_pfn + self.spanned


@dataclass(frozen=True)
class BuddyInfo:
    """Free blocks of one zone by order, read from /proc/buddyinfo between two instants."""

    node: int  # of the zone
    zone: str  # its name
    blocks: list[int]  # by order
    read_begin_ns: int  # before the read
    read_end_ns: int  # after it


@dataclass(frozen=True)
class Part:
    """A closed file of rows, as it was when it was written."""

    file: str
    rows: int
    size_bytes: int
    checksum: str


@dataclass(frozen=True)
class PageTypes:
    """Free blocks and pageblocks of one zone by migratetype, read from /proc/pagetypeinfo between two
    instants. Migratetypes are those of `Guest.migratetypes`, in that order.
    """

    node: int  # of the zone
    zone: str  # its name
    free_blocks: list[list[int]]  # by migratetype, then order
    cut_off: list[list[int]]  # [migratetype, order]: the kernel stopped counting, there are that many or more
    pageblocks: list[int]  # by migratetype
    read_begin_ns: int  # before the read
    read_end_ns: int  # after it


@dataclass(frozen=True)
class Snapshot:
    """The guest's whole memory, read while events go on: frames/NAME.parquet and these counts."""

    name: str  # start, end, resync-N
    begin_ns: int  # before the first frame was read
    end_ns: int  # after the last one was
    zones: list[Zone]  # as they were then
    buddyinfo: list[BuddyInfo]  # free blocks by order, to hold the frames against
    lists: bool = False  # frames/NAME-lists.parquet is there
    parts: list[Part] = field(default_factory=list)  # of `files`; none in traces of older recorders
    page_types: list[PageTypes] = field(default_factory=list)  # of start and end, where it could be read

    @property
    def files(self) -> list[str]:
        """Its files: the frames, and the lists where they were read."""
        kinds = ["", "-lists"] if self.lists else [""]
        return [f"frames/{self.name}{kind}.parquet" for kind in kinds]


@dataclass(frozen=True)
class Guest:
    """What does not change while recording."""

    kernel_release: str  # uname -r
    machine: str  # uname -m
    cpus: int  # that are online
    page_size: int  # bytes
    max_order: int  # inclusive: the largest order with a free list
    pageblock_order: int  # of the blocks that have one migratetype each
    migratetypes: list[str]  # their names, in the kernel's order
    pcp_orders: list[int]  # orders whose frees may go to a per-CPU list
    thp_mode: str | None  # transparent huge pages: always, madvise, never
    hz: int | None  # timer ticks a second
    jiffies: int | None  # of the instant jiffies_monotonic_ns
    jiffies_monotonic_ns: int | None  # when `jiffies` was so


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

    name: str  # of the tracepoint or function
    kind: str  # tracepoint, raw_tracepoint, kprobe, fentry; imported, generated
    op: int  # that its events have
    hits: int = 0  # times that it ran
    kept: int = 0  # events in the trace
    lost: int = 0  # the ring was full, or `skipped`, or the recorder ended before it was stored
    filtered: int = 0  # left out in the kernel, as asked for
    # The probe was running on that CPU already. They are among the lost, or, where nearly all events
    # are filtered by their order, among the filtered. None: cannot be known.
    skipped: int | None = None


@dataclass(frozen=True)
class Loss:
    """Events known to be missing, and between which instants they happened."""

    begin_ns: int  # after it
    end_ns: int  # before it
    events: int  # how many


@dataclass(frozen=True)
class Filters:
    """What the probes were told to leave out, in the kernel. None: everything is kept."""

    orders: list[int] | None = None  # [least, most]
    pfns: list[int] | None = None  # [first, end)
    zones: list[str] | None = None  # by name


@dataclass(frozen=True)
class Converted:
    """What the rows were rewritten for since they were recorded, and by which tool."""

    target: str  # archive or replay
    tool: str


@dataclass(frozen=True)
class Manifest:
    """manifest.json: everything about a trace that is not a row."""

    format: int  # version of the format: 1
    tool: str  # that wrote it, with its version
    status: str  # recording, complete, recovered
    guest: Guest  # the machine and its kernel
    zones: list[Zone]  # as the recording began
    reporting: Reporting  # the guest's own
    clock: Clock | None  # None: ts_ns has another origin than CLOCK_MONOTONIC (imported)
    layers: list[str]  # buddy, frame, owner (imported: only who owns a page is known)
    rung: str  # tracepoints, kprobes, fentry; imported, generated
    probes: list[Probe]  # with their counters
    command_line: list[str]  # that made the trace; of COMMAND, the program's name
    snapshots: list[Snapshot] = field(default_factory=list)  # in order of time
    late_events: int = 0  # stored after a later one had been: their ts_ns goes back
    ended_by: str | None = None  # what ended the recording
    rung_reason: str | None = None  # why no higher rung was taken
    filters: Filters | None = None  # None: nothing was left out on purpose
    discarded_events: int = 0  # stored, and removed again by --keep
    notes: list[str] = field(default_factory=list)  # what is unknown about this trace, a line each
    end_ns: int | None = None  # where the trace ends, if later than its last event: of a slice
    converted: Converted | None = None  # None: written as it was recorded, imported or sliced

    @property
    def lost(self) -> int:
        """Events known to be missing."""
        return sum(probe.lost for probe in self.probes)

    def snapshot(self, name: str) -> Snapshot | None:
        """The snapshot of that name, or None when it was not taken."""
        return next((shot for shot in self.snapshots if shot.name == name), None)


@dataclass(frozen=True)
class Segment:
    """One line of segments.jsonl: a closed file of events, and what was seen beside them."""

    file: str
    rows: int
    first_ts_ns: int
    last_ts_ns: int
    size_bytes: int
    checksum: str
    probes: list[Probe]  # the counters when the segment was closed
    losses: list[Loss] = field(default_factory=list)
    samples: Part | None = None
    counters: Part | None = None

    @property
    def parts(self) -> list[Part]:
        """All its files, that of the events first."""
        events = Part(self.file, self.rows, self.size_bytes, self.checksum)
        return [part for part in (events, self.samples, self.counters) if part]


def to_json(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """A dataclass of this module as plain JSON values."""
    return dataclasses.asdict(value)


def from_json(kind: type[Any], data: Any, where: str) -> Any:  # noqa: ANN401 - an instance of kind
    """Build a dataclass of this module from JSON; unknown keys are ignored, so formats can grow.

    Raises:
        Fault: naming the key, when one is missing or has another type.
    """
    if not isinstance(data, dict):
        raise damaged(where, f"expected an object, found {type(data).__name__}")
    hints = typing.get_type_hints(kind)
    values = {}
    for entry in dataclasses.fields(kind):
        if entry.name in data:
            values[entry.name] = _typed(hints[entry.name], data[entry.name], f"{where}.{entry.name}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise damaged(f"{where}.{entry.name}", "the key is missing")
    return kind(**values)


def _typed(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - driven by type hints
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise damaged(where, f"expected a list, found {type(value).__name__}")
        (item,) = typing.get_args(hint)
        return [_typed(item, entry, f"{where}[{k}]") for k, entry in enumerate(value)]
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        return _typed(typing.get_args(hint)[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise damaged(where, f"expected {hint.__name__}, found {value!r:.80}")
    return value


def strict_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever it holds
    """The JSON value of a text; a key that is there twice, or NaN, is no JSON here.

    Raises:
        ValueError: for what is not.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return built


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def damaged(where: str, how: str) -> Fault:
    """The fault of a trace with a wrong value."""
    return Fault(f"the trace is damaged at {where}", how, "record it again, or restore the file")

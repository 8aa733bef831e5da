"""One policy's world in virtual time, as plain arrays: lists, host, device, meters and report log.

All compiled functions of step 2 take this one bundle. Everything is sized by the guest (and the
device's capacity), never by the trace.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from replay.buddy.area import AREA, Area
from replay.bundles import NUMBERS, NUMBERS_2D, Bundle, bundle_type, records
from replay.exact import BUCKETS
from replay.geometry import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max  # no deadline

# Flags of a unit.
FREE = 1  # it is wholly free
CLOCK_UNKNOWN = 2  # it was so before the trace began
IN_HANDS = 4  # and in this period in the hands of the policy or the device
TOLD = 8  # a report of it was completed in this period

# Backings: what the host discards and brings back at once.
BACKINGS = {"4k": 0, "2m": 1, "thp": 2}
BACKING_4K, BACKING_2M, BACKING_THP = BACKINGS.values()

UNIT = np.dtype(
    [
        ("since_ns", np.int64),  # when it last became wholly free
        ("epoch", np.uint32),  # number of its wholly-free period
        ("flags", np.uint8),
    ],
    align=True,
)
GRANULE = np.dtype(
    [
        (
            "reported",
            np.uint32,
        ),  # epoch of the last discard; a frame is away iff it last exited before
        (
            "in_flight",
            np.uint32,
        ),  # epoch in which it was handed to the device, 0 when it is not there
        ("away", np.uint16),  # frames reclaimed
        ("fresh", np.uint16),  # frames never used: the host has no memory for them
        ("taken", np.uint16),  # frames that exited while in flight
        ("pad", np.uint16),
    ]
)
PAGE = np.dtype([("away", np.int32), ("fresh", np.int32)])  # of a host huge page
ZONE = np.dtype(
    [
        ("min", np.int64),
        ("low", np.int64),
        ("boost", np.int64),
        ("free", np.int64),  # after the last millisecond that is over
        ("latest_free", np.int64),
        ("latest_ms", np.int64),
        ("held", np.int64),
        ("untold", np.int64),  # backed frames of units in PART_GATED or PART_WAITING
        ("refused", np.int64),  # did a watermark refuse the policy's last visit?
    ]
)
SLOT = np.dtype(
    [
        ("unit", np.int32),
        ("order", np.int8),
        ("migratetype", np.int8),
        ("state", np.int8),  # EMPTY, ISOLATED, or DISSOLVED by a recorded exit
        ("zone", np.uint8),
        ("isolated_ns", np.int64),
    ]
)
EMPTY, ISOLATED, DISSOLVED = range(3)
DEVICE = np.dtype(
    [
        ("call_ns", np.int64),
        ("byte_ns", np.float64),
        ("fail_every", np.int64),  # one call in so many fails; 0: none
        ("capacity", np.int64),  # blocks in a list
        ("per_call", np.int64),  # of them in one call
        ("forward", np.int64),  # the list is in the order of isolation, else the reverse
        ("to_tail", np.int64),  # its blocks are put back to the tail, else as any free
        ("first", np.int64),  # lowest slot in use: they fill from the highest down
        ("busy", np.int64),
        ("submit_ns", np.int64),
        ("done_ns", np.int64),
        ("failed", np.int64),  # did the last call fail?
        ("service_ns", np.int64),  # total
        ("registered", np.int64),
        ("awaited", np.int64),  # does it register when the pass under way has ended?
        ("switch", np.int64),  # how many of `switches_ns` are over
    ]
)
METERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "logged", "lists", "sweep", "sweep_ns",
            "passes", "calls", "failed_calls", "blocks", "discards", "isolations",
            "frames", "redundant", "acknowledged_only",
            "start", "refaults", "faults", "left_censored",
            "samples", "max_latency_ns", "missed_units", "missed_frames", "reported_frames",
            "collisions", "collision_frames", "broken", "broken_not_head",
            "entries_walked", "bits_scanned", "hints_captured", "hints_dropped", "rechecks_failed",
            "lock_takes", "max_entries_per_lock", "list_rotations", "boundary_resets",
            "backdated", "inconsistent", "acts",
        )
    ]
)  # fmt: skip
# A number of frames that changes over time: now, since when, at which boundary of `bins_ns` it is next
# told, and its peak.
LEVEL = np.dtype([("frames", np.int64), ("now_ns", np.int64), ("bin", np.int64), ("peak", np.int64)])
LOG = np.dtype(
    [
        ("submit_ns", np.int64),
        ("done_ns", np.int64),
        ("call", np.int64),
        ("pass", np.int64),
        ("pfn", np.int64),
        ("new_frames", np.int32),
        ("order", np.int8),
        ("zone", np.uint8),
        ("migratetype", np.int8),
        ("pad", np.uint8),
    ]
)
# Rows of the levels (see `parts`), of their timeline, and the first ones of the integrals.
RECLAIMED, NEVER_BACKED, PART_HELD, PART_KEPT, PART_GATED, PART_WAITING, LEVELS = range(7)
# The other rows of the integrals (see `exact.settle`).
HELD_FRAMES, LATENCY, INTEGRALS = range(LEVELS, LEVELS + 3)
# Rows of the histograms: frames by latency bucket.
BY_LATENCY, BY_MISS, BY_CENSORING = range(3)


@dataclass(frozen=True, eq=False)
class State(Bundle):
    """See the dtypes above. `shape`: the constants named below."""

    area: Annotated[Any, AREA]  # the free lists of orders >= R; its slots are the units
    units: Annotated[Any, records(UNIT)]
    granules: Annotated[Any, records(GRANULE)]
    pages: Annotated[Any, records(PAGE)]
    zones: Annotated[Any, records(ZONE)]
    slots: Annotated[Any, records(SLOT)]
    device: Annotated[Any, records(DEVICE)]
    meters: Annotated[Any, records(METERS)]
    levels: Annotated[Any, records(LEVEL)]
    integrals: Annotated[Any, NUMBERS_2D]
    histograms: Annotated[Any, NUMBERS_2D]
    timeline: Annotated[Any, NUMBERS_2D]  # each level's frames at each boundary of `bins_ns`
    bins_ns: Annotated[Any, NUMBERS]
    switches_ns: Annotated[Any, NUMBERS]  # when the device unregisters, registers again, and so on
    passes_ns: Annotated[Any, NUMBERS]  # when the guest's own worker began passes, where it is followed
    done_ns: Annotated[Any, NUMBERS]  # and when its report calls were over
    log: Annotated[Any, records(LOG)]
    shape: Annotated[Any, NUMBERS]


STATE = bundle_type(State)

# Indices of `State.shape`.
(
    ORDER, MAX_ORDER, GRANULE_ORDER, HOST_ORDER, MIGRATETYPES, ISOLATE_TYPE, PAGE_SIZE, BACKING,
    LOGGING, INHIBITED,
) = range(10)  # fmt: skip


def new_state(
    geometry: Geometry,
    area: Area,
    *,
    backing: str,
    inhibited: bool,
    device: "NDArray[np.void]",
    switches_ns: "NDArray[np.int64]",
    worker_ns: "tuple[NDArray[np.int64], NDArray[np.int64]]",
    bins_ns: "NDArray[np.int64]",
    log_rows: int,
    logging: bool,
) -> State:
    """An empty world: nothing free (`area` has base R), everything backed. `device`: a DEVICE row.

    `worker_ns`: instants to follow (`worker.Worker`), none where nothing is to be followed.
    """
    granules = geometry.frames >> geometry.granule_order
    pages = max(-(-geometry.frames // (1 << geometry.host_order)), 1)
    shape = np.zeros(10, np.int64)
    shape[ORDER], shape[MAX_ORDER], shape[PAGE_SIZE] = geometry.order, geometry.max_order, geometry.page_size
    shape[GRANULE_ORDER], shape[HOST_ORDER] = geometry.granule_order, geometry.host_order
    shape[MIGRATETYPES], shape[ISOLATE_TYPE] = geometry.migratetypes, geometry.isolate_type
    shape[BACKING], shape[LOGGING], shape[INHIBITED] = BACKINGS[backing], logging, inhibited
    return State(
        area=area,
        units=np.zeros(geometry.units, UNIT),
        granules=np.zeros(granules, GRANULE),
        pages=np.zeros(pages, PAGE),
        zones=_zones(geometry),
        slots=np.zeros(int(device["capacity"][0]), SLOT),
        device=device,
        meters=np.zeros(1, METERS),
        levels=np.zeros(LEVELS, LEVEL),
        integrals=np.zeros((INTEGRALS, 2), np.int64),
        histograms=np.zeros((3, BUCKETS), np.int64),
        timeline=np.zeros((LEVELS, len(bins_ns)), np.int64),
        bins_ns=bins_ns,
        switches_ns=switches_ns,
        passes_ns=worker_ns[0],
        done_ns=worker_ns[1],
        log=np.zeros(log_rows, LOG),
        shape=shape,
    )


def _zones(geometry: Geometry) -> "NDArray[np.void]":
    zones = np.zeros(len(geometry.zones), ZONE)
    for row, zone in zip(zones, geometry.zones, strict=True):
        row["min"], row["low"], row["boost"] = zone.min, zone.low, zone.boost
        row["latest_ms"] = -1
    return zones

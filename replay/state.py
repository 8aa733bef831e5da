"""One policy's world in virtual time, as plain arrays: lists, host, device, meters and report log.

All compiled functions of step 2 take this one tuple. Everything is sized by the guest (and the
device's capacity), never by the trace.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numba as nb
import numpy as np

from replay.exact import BUCKETS
from replay.geometry import MOVABLE, Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOBODY = -1  # no block, no neighbour on a list
NEVER = np.iinfo(np.int64).max  # no deadline

# Flags of a unit.
REPORTED = 1  # on a listed block's head: PG_reported
HELD = 2  # on a block's head: isolated by the policy
FREE = 4  # the unit is wholly free
CLOCK_UNKNOWN = 8  # it was so before the trace began

# Backings: what the host discards and brings back at once.
BACKINGS = {"4k": 0, "2m": 1, "thp": 2}
BACKING_4K, BACKING_2M, BACKING_THP = BACKINGS.values()

UNIT = np.dtype(
    [
        ("next", np.int32),  # towards the tail; of a held block: its slot in the batch
        ("prev", np.int32),
        ("since_ns", np.int64),  # when it last became wholly free
        ("epoch", np.uint32),  # number of its wholly-free period
        ("told", np.uint32),  # epoch of the last completed report of it
        ("order", np.int8),  # of the listed or held block it heads, else -1
        ("migratetype", np.int8),  # of the list that block is on
        ("flags", np.uint8),
        ("zone", np.uint8),
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
LIST = np.dtype([("head", np.int32), ("tail", np.int32)])
ZONE = np.dtype(
    [
        ("start_unit", np.int64),
        ("end_unit", np.int64),
        ("min", np.int64),
        ("low", np.int64),
        ("boost", np.int64),
        ("free", np.int64),  # after the last millisecond that is over
        ("latest_free", np.int64),
        ("latest_ms", np.int64),
        ("held", np.int64),
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
        ("capacity", np.int64),
        ("first", np.int64),  # lowest slot in use: they fill from the highest down
        ("busy", np.int64),
        ("submit_ns", np.int64),
        ("done_ns", np.int64),
        ("service_ns", np.int64),  # total
    ]
)
METERS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "now_ns", "logged", "bin", "sweep", "sweep_ns",
            "passes", "calls", "blocks", "frames", "redundant", "acknowledged_only",
            "reclaimed", "peak", "start", "refaults", "left_censored",
            "samples", "max_latency_ns", "missed_units", "missed_frames", "reported_frames",
            "collisions", "collision_frames", "broken", "broken_not_head",
            "entries_walked", "bits_scanned", "hints_captured", "hints_dropped", "rechecks_failed",
            "lock_takes", "max_entries_per_lock", "list_rotations", "boundary_resets", "tail_redirects",
            "inconsistent",
        )
    ]
)  # fmt: skip
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
# Rows of the integrals (see `exact.settle`).
RECLAIMED, HELD_FRAMES, LATENCY = range(3)
# Rows of the histograms: frames by latency bucket.
BY_LATENCY, BY_MISS, BY_CENSORING = range(3)


class State(NamedTuple):
    """See the dtypes above. `shape`: the constants named below."""

    units: Any
    granules: Any
    pages: Any
    lists: Any  # (zones, orders, migratetypes)
    nr_free: Any  # (zones, orders): listed blocks, all types
    types: Any  # migratetype of each pageblock
    zones: Any
    slots: Any
    device: Any
    meters: Any
    integrals: Any
    histograms: Any
    timeline: Any  # reclaimed frames at each boundary of `bins_ns`
    bins_ns: Any
    log: Any
    shape: Any


# Indices of `State.shape`.
(
    ORDER, MAX_ORDER, PAGEBLOCK_ORDER, GRANULE_ORDER, HOST_ORDER, MIGRATETYPES, ISOLATE_TYPE, PAGE_SIZE,
    BACKING, TO_TAIL, LOGGING,
) = range(11)  # fmt: skip


def _records(dtype: np.dtype[Any], dimensions: int = 1) -> Any:  # noqa: ANN401 - a numba type
    return nb.types.Array(nb.from_dtype(dtype), dimensions, "C")


STATE = nb.types.NamedTuple(
    [
        _records(UNIT),
        _records(GRANULE),
        _records(PAGE),
        _records(LIST, 3),
        nb.int64[:, ::1],
        nb.int8[::1],
        _records(ZONE),
        _records(SLOT),
        _records(DEVICE),
        _records(METERS),
        nb.int64[:, ::1],
        nb.int64[:, ::1],
        nb.int64[::1],
        nb.int64[::1],
        _records(LOG),
        nb.int64[::1],
    ],
    State,
)


def new_state(
    geometry: Geometry,
    *,
    backing: str,
    capacity: int,
    call_ns: int,
    byte_ns: float,
    bins_ns: "NDArray[np.int64]",
    log_rows: int,
    logging: bool,
    to_tail: bool,
) -> State:
    """An empty world: nothing free, everything backed."""
    granules = geometry.frames >> geometry.granule_order
    pages = max(-(-geometry.frames // (1 << geometry.host_order)), 1)
    orders = geometry.max_order + 1
    shape = np.zeros(11, np.int64)
    shape[ORDER], shape[MAX_ORDER] = geometry.order, geometry.max_order
    shape[PAGEBLOCK_ORDER], shape[PAGE_SIZE] = geometry.pageblock_order, geometry.page_size
    shape[GRANULE_ORDER], shape[HOST_ORDER] = geometry.granule_order, geometry.host_order
    shape[MIGRATETYPES], shape[ISOLATE_TYPE] = geometry.migratetypes, geometry.isolate_type
    shape[BACKING], shape[TO_TAIL], shape[LOGGING] = BACKINGS[backing], to_tail, logging
    lists = np.zeros((len(geometry.zones), orders, geometry.migratetypes), LIST)
    lists["head"] = lists["tail"] = NOBODY
    units = np.zeros(geometry.units, UNIT)
    units["order"] = -1
    for index, zone in enumerate(geometry.zones):
        units["zone"][-(-zone.start_pfn // (1 << geometry.order)) : zone.end_pfn >> geometry.order] = index
    device = np.zeros(1, DEVICE)
    device["call_ns"], device["byte_ns"] = call_ns, byte_ns
    device["capacity"] = device["first"] = capacity
    return State(
        units=units,
        granules=np.zeros(granules, GRANULE),
        pages=np.zeros(pages, PAGE),
        lists=lists,
        nr_free=np.zeros((len(geometry.zones), orders), np.int64),
        types=np.full((geometry.frames >> geometry.pageblock_order) + 1, MOVABLE, np.int8),
        zones=_zones(geometry),
        slots=np.zeros(capacity, SLOT),
        device=device,
        meters=np.zeros(1, METERS),
        integrals=np.zeros((3, 2), np.int64),
        histograms=np.zeros((3, BUCKETS), np.int64),
        timeline=np.zeros(len(bins_ns), np.int64),
        bins_ns=bins_ns,
        log=np.zeros(log_rows, LOG),
        shape=shape,
    )


def _zones(geometry: Geometry) -> "NDArray[np.void]":
    zones = np.zeros(len(geometry.zones), ZONE)
    for row, zone in zip(zones, geometry.zones, strict=True):
        row["start_unit"] = -(-zone.start_pfn // (1 << geometry.order))
        row["end_unit"] = zone.end_pfn >> geometry.order
        row["min"], row["low"], row["boost"] = zone.min, zone.low, zone.boost
        row["latest_ms"] = -1
    return zones

"""What the kernel says of its memory as a whole, second by second: `SAMPLE_COLUMNS`.

A sample costs a few small reads of /proc, and nothing it meets may end a recording: one that cannot
be read or understood is counted and left out.
"""

import threading
from typing import Any

import pyarrow as pa

from tracer.faults import Fault, environment
from tracer.format import SAMPLE_COLUMNS, Zone
from tracer.guest.files import GuestFiles
from tracer.guest.procfs import parse_vmstat, read_buddyinfo, read_zones, zone_counts
from tracer.parquet import arrow_schema

SAMPLE_SCHEMA = arrow_schema(SAMPLE_COLUMNS)

# Columns of `Trace.samples` that are of a zone, in frames; `pcp` is on per-CPU lists, the rest as in
# /proc/zoneinfo.
ZONE_COUNTS = ("managed", "free", "pcp", "min", "low", "high", "boost")
# Columns of `Trace.samples` that are of the guest as a whole, as in /proc/vmstat: pages, and events so far.
GUEST_COUNTS = (
    "nr_file_pages",
    "nr_anon_pages",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "compact_stall",
    "compact_success",
    "compact_isolated",
)
NEEDED = ("managed", "free", "min", "low", "high")
NOT_SHOWN = -1

Row = tuple[Any, ...]  # the values of SAMPLE_COLUMNS


def take(files: GuestFiles, zones: list[Zone], lost_events: int) -> list[Row]:
    """One sample now: a row per zone, in the order of `zones`, the manifest's.

    A value this kernel does not show is -1: `boost` before zoneinfo had it, compaction's counters
    where it is not built in, all of vmstat's where there is none. A zone that has lost all its memory
    is no longer in buddyinfo and has no row; nor has one that got its first after `zones` was read
    (see `appeared`).

    Raises:
        Fault: when one of the files cannot be read, or has another form than any known kernel's.
    """
    blocks = {(info.node, info.zone): info for info in read_buddyinfo(files)}
    counts = zone_counts(files.text("zoneinfo"))
    vmstat = parse_vmstat(files.text("vmstat") if "vmstat" in files else "", GUEST_COUNTS)
    guest = [vmstat.get(name, NOT_SHOWN) for name in GUEST_COUNTS]
    rows = []
    for index, zone in enumerate(zones):
        info, shown = blocks.get((zone.node, zone.name)), counts.get((zone.node, zone.name), {})
        if info is None:
            continue
        if lacking := [name for name in NEEDED if name not in shown]:
            raise _unusual(f"zoneinfo shows no {lacking[0]} of zone {zone.name}")
        if max(info.blocks) >> 32:
            raise _unusual(f"buddyinfo counts {max(info.blocks)} blocks in zone {zone.name}")
        own = [shown.get(name, NOT_SHOWN) for name in ZONE_COUNTS]
        instants = (info.read_begin_ns, info.read_end_ns)
        rows.append((*instants, index, info.blocks, *own, *guest, lost_events))
    if not rows:
        raise _unusual("buddyinfo names none of the guest's zones")
    return rows


def _unusual(how: str) -> Fault:
    return environment(
        "the kernel's counts have another form than any known kernel's", how, "report this kernel"
    )


def appeared(files: GuestFiles, zones: list[Zone], names: list[str] | None) -> list[Zone]:
    """Zones that have got their first memory since `zones` were read; of those names, if any are told.

    Raises:
        Fault: as `take`.
    """
    known = {(zone.node, zone.name) for zone in zones}
    if all((info.node, info.zone) in known for info in read_buddyinfo(files)):
        return []
    new = [zone for zone in read_zones(files) if (zone.node, zone.name) not in known]
    return [zone for zone in new if names is None or zone.name in names]


class Sampler:
    """Collects samples until a segment takes them. Any thread may sample or take.

    Attributes:
        zones: those that rows name by their index: the ones given, and behind them what appeared.
        failures: samples left out because something could not be read or understood.
        first_failure: why the first of them was.
    """

    def __init__(self, files: GuestFiles, zones: list[Zone], names: list[str] | None = None) -> None:
        """`names`: of the zones that are recorded; None: all."""
        self.failures = 0
        self.first_failure: str | None = None
        self.zones = list(zones)
        self._files, self._names = files, names
        self._rows: list[Row] = []
        self._lock = threading.Lock()

    def sample(self, lost_events: int) -> None:
        """Take one now; never raises."""
        try:
            with self._lock:
                self.zones += appeared(self._files, self.zones, self._names)
            rows, failure = take(self._files, self.zones, lost_events), None
        except Fault as fault:
            rows, failure = [], f"{fault.what}: {fault.how}"
        except ValueError as error:  # a number of thousands of digits
            rows, failure = [], str(error)
        with self._lock:
            self._rows += rows
            if failure:
                self.failures += 1
                self.first_failure = self.first_failure or failure

    def take_table(self) -> pa.Table:
        """The samples since the last call (`SAMPLE_COLUMNS`), in the order they were taken."""
        with self._lock:
            rows, self._rows = self._rows, []
        columns = zip(*rows, strict=True) if rows else [[]] * len(SAMPLE_SCHEMA)
        return pa.table(list(map(list, columns)), schema=SAMPLE_SCHEMA)

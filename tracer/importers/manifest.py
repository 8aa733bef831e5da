"""The manifest of an imported trace: what is known, and honest values for what is not."""

from tracer import __version__
from tracer.format import FORMAT_VERSION, Guest, Manifest, Op, Probe, Reporting, Zone
from tracer.importers import notes
from tracer.importers.events import BY_OP
from tracer.importers.frames_seen import FramesSeen
from tracer.importers.said import GuestSaid
from tracer.importers.summary import Summary

# What x86-64 guests are made of, unless they were configured otherwise.
PAGE_SIZE, MAX_ORDER, PAGEBLOCK_ORDER, PCP_ORDERS = 4096, 10, 9, (0, 1, 2, 3, 9)
# In the order of enum migratetype; what comes after them depends on the kernel's configuration.
MIGRATETYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic")
ANY_EVENT = "any event of the file"


def guest_of(summary: Summary, said: GuestSaid) -> Guest:
    """The guest as far as it is known; `notes.assumed` says what is not."""
    headers = summary.headers
    max_order = said.max_order or max(MAX_ORDER, summary.order)
    pageblock_order = said.pageblock_order or summary.pageblock_order or PAGEBLOCK_ORDER
    more = range(len(MIGRATETYPES), min(summary.migratetype, 63) + 1)
    return Guest(
        kernel_release=headers.release or "unknown",
        machine=headers.machine or "unknown",
        cpus=max(headers.cpus or 1, summary.cpu + 1),
        page_size=said.page_size or PAGE_SIZE,
        max_order=max_order,
        pageblock_order=min(pageblock_order, max_order),
        migratetypes=[*MIGRATETYPES, *(f"type {number}" for number in more)],
        pcp_orders=list(PCP_ORDERS if said.pcp_orders is None else said.pcp_orders),
        thp_mode=None,
        hz=None,
        jiffies=None,
        jiffies_monotonic_ns=None,
    )


def zone_of(frames: FramesSeen, max_order: int) -> Zone:
    """One zone over all frames up to the highest one seen; what is unknown is 0."""
    block = 1 << max_order
    seen = len(frames)
    spanned = max(-(-frames.end_pfn // block), 1) * block
    return Zone(
        node=0,
        name="unknown",
        start_pfn=0,
        spanned=spanned,
        present=seen,
        managed=seen,
        free=0,
        min=0,
        low=0,
        high=0,
        boost=0,
    )


def probes_of(summary: Summary, lost: int) -> list[Probe]:
    """A probe per event that was recorded, and one for losses, of which nobody knows whose they are.

    `lost`: all lost events, bad lines among them.
    """
    probes = []
    for op in sorted(summary.recorded | {Op(op) for op in summary.bad} | {Op(op) for op in summary.no_page}):
        kept, bad, filtered = summary.kept[op], summary.bad[op], summary.no_page[op]
        hits = kept + bad + filtered
        probes.append(Probe(BY_OP[op].name, "imported", op, hits, kept, lost=bad, filtered=filtered))
    unknown = lost - summary.bad.total()
    return [*probes, Probe(ANY_EVENT, "imported", 0, unknown, lost=unknown)] if unknown else probes


def manifest_of(
    summary: Summary,
    said: GuestSaid,
    *,
    layers: list[str],
    status: str,
    lost: int,
    late: int,
    command_line: list[str],
    perf_text: bool = False,
) -> Manifest:
    """The manifest as things stand. `lost`: all lost events; `late`: those stored after a later one.
    `perf_text`: as `importing.Wanted`.
    """
    guest = guest_of(summary, said)
    return Manifest(
        format=FORMAT_VERSION,
        tool=f"pagetide {__version__}",
        status=status,
        guest=guest,
        zones=[zone_of(summary.frames, guest.max_order)],
        reporting=Reporting(order=None, active=None),
        clock=summary.headers.clock,
        layers=layers,
        rung="imported",
        probes=probes_of(summary, lost),
        command_line=command_line,
        late_events=late,
        ended_by="end of file",
        notes=[
            *notes.unknown(summary, layers),
            notes.assumed(summary, said, guest),
            *notes.dirt(summary, lost, late),
            *notes.silent(summary, perf_text=perf_text),
        ],
    )

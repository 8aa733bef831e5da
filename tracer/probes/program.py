"""The BPF program: one small unit per tracepoint, all writing one fixed-size record into one ring.

A probe that this kernel does not have is left out; the others do not notice. Every program returns
1, because 0 would hide the event from perf's own users of the tracepoint.
"""

from dataclasses import dataclass
from pathlib import Path

from tracer.format import Op
from tracer.probes.tracefs import TRACEFS, fields


@dataclass(frozen=True)
class Tracepoint:
    """One probe: where it hooks in, and the C expressions of its record.

    Attributes:
        op: what its events are called in the trace.
        name: category:event.
        pfn, order, migratetype, aux: C expressions over `args`; layouts of aux are in FORMAT.md.
        unless: C condition under which an event is counted as filtered instead of kept.
        needs, aux_without: a field that aux reads, and the aux of kernels without that field.
    """

    op: Op
    name: str
    pfn: str = "args->pfn"
    order: str = "args->order"
    migratetype: str = "-1"
    aux: str = "0"
    unless: str = "0"
    needs: str | None = None
    aux_without: str = "0"

    @property
    def category(self) -> str:
        """The tracepoint's subsystem."""
        return self.name.partition(":")[0]

    @property
    def event(self) -> str:
        """The tracepoint's name inside its subsystem."""
        return self.name.partition(":")[2]


_ISOLATED = {
    "pfn": "args->start_pfn",
    "order": "0",
    "aux": "u16_cap(args->end_pfn - args->start_pfn) | u16_cap(args->nr_scanned) << 16"
    " | u16_cap(args->nr_taken) << 32",
}

# Events at which pages leave or enter the buddy lists, as far as stock tracepoints show them.
BUDDY_LAYER = (
    Tracepoint(
        Op.ZONE_LOCKED,
        "kmem:mm_page_alloc_zone_locked",
        migratetype="args->migratetype",
        needs="percpu_refill",
        aux="args->percpu_refill != 0",
        aux_without="2",
    ),
    Tracepoint(Op.PCPU_DRAIN, "kmem:mm_page_pcpu_drain", migratetype="args->migratetype"),
    Tracepoint(
        Op.EXTFRAG,
        "kmem:mm_page_alloc_extfrag",
        order="args->alloc_order",
        migratetype="args->alloc_migratetype",
        aux="(u64)(u8)args->fallback_order | (u64)(u8)args->alloc_migratetype << 8"
        " | (u64)(u8)args->fallback_migratetype << 16 | (u64)(args->change_ownership != 0) << 24",
    ),
    Tracepoint(Op.PAGE_FREE, "kmem:mm_page_free", unless="args->order == 0"),
    Tracepoint(Op.COMPACTION_ISOLATE, "compaction:mm_compaction_isolate_freepages", **_ISOLATED),
    Tracepoint(Op.FAST_ISOLATE, "compaction:mm_compaction_fast_isolate_freepages", **_ISOLATED),
)
# Without these the buddy cannot be followed at all.
REQUIRED = (Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE)

_PROLOGUE = """
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

struct record { u64 ts_ns; u64 block; u64 rest; };
struct counter { u64 hits; u64 lost; u64 filtered; };

BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_PERCPU_ARRAY(counters, struct counter, PROBES);

static __always_inline u64 u16_cap(u64 n) { return n > 0xffff ? 0xffff : n; }

static __always_inline int keep(u32 probe, int skip, u64 op, u64 pfn, u64 order, u64 type, u64 aux)
{
    struct counter *counter = counters.lookup(&probe);
    if (!counter)
        return 1;
    counter->hits++;
    if (skip) {
        counter->filtered++;
        return 1;
    }
    struct record *record = events.ringbuf_reserve(sizeof(*record));
    if (!record) {
        counter->lost++;
        return 1;
    }
    record->ts_ns = bpf_ktime_get_ns();
    record->block = pfn & 0xffffffffffULL | (order & 0xff) << 40 | (type & 0xff) << 48 | op << 56;
    record->rest = (u64)(bpf_get_smp_processor_id() & 0xffff) | aux << 16;
    events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    return 1;
}
"""

_PROBE = """
TRACEPOINT_PROBE({category}, {event})
{{
    return keep({index}, {unless}, {op}, {pfn}, {order}, (u64)(s64)({migratetype}), {aux});
}}
"""


def available(probes: tuple[Tracepoint, ...] = BUDDY_LAYER, tracefs: Path = TRACEFS) -> list[Tracepoint]:
    """The probes that this kernel has."""
    return [probe for probe in probes if fields(probe.category, probe.event, tracefs)]


def source(probes: list[Tracepoint], ring_bytes: int, page_size: int, tracefs: Path = TRACEFS) -> str:
    """C text of the program. `ring_bytes`: a power of two, at least a page."""
    head = _PROLOGUE.replace("RING_PAGES", str(ring_bytes // page_size)).replace("PROBES", str(len(probes)))
    return head + "".join(_unit(index, probe, tracefs) for index, probe in enumerate(probes))


def _unit(index: int, probe: Tracepoint, tracefs: Path) -> str:
    complete = probe.needs is None or probe.needs in fields(probe.category, probe.event, tracefs)
    return _PROBE.format(
        category=probe.category,
        event=probe.event,
        index=index,
        unless=probe.unless,
        op=int(probe.op),
        pfn=probe.pfn,
        order=probe.order,
        migratetype=probe.migratetype,
        aux=probe.aux if complete else probe.aux_without,
    )

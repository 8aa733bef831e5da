"""The BPF program: one small unit per probe, all writing one fixed-size record into one ring.

Every tracepoint program returns 1, because 0 would hide the event from perf's own users of it.
A tracepoint that fires for every page has a raw form, too, which costs half as much but is handed a
`struct page *`. Where both are attached for a moment, their pairs tell how a page becomes a pfn
(`calibration`); from then on only the raw form stays attached.

The kernel does not run a program on a CPU that is in the middle of it: an interrupt that frees pages
while the program looks at another one would go unseen, some ten times a second on a busy guest. So
where every event counts a raw form is attached twice. The first copy notes what it has taken, the
second takes what is not noted; only where an interrupt is itself interrupted in the second copy an
event escapes both, and the kernel's count of skipped runs tells (`KernelProbes.counters`).

A page freed by a softirq that interrupted a holder of the pcp lock goes straight into the buddy, and no
event of the buddy says so (mm/page_alloc.c, __free_frozen_pages: the trylock fails). So each CPU notes
whether it serves softirqs, and the buddy layer keeps the order-0 frees of those, a few per cent of all.
"""

from dataclasses import dataclass
from pathlib import Path

from tracer.format import Op
from tracer.probes.points import Tracepoint
from tracer.probes.tracefs import TRACEFS, fields

PAIR = 255  # op of a calibration record: ts_ns is the page, the rest as the tracepoint says
MISMATCH = 254  # the raw form's arguments are not the tracepoint's fields

# pid (thread group) and gfp share aux in records of the frame layer.
GFP_BITS, PID_BITS = 28, 22
CPU_BITS = 14

_PROLOGUE = """
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define UNWANTED(order) (@UNWANTED@)
#define OUTSIDE(pfn) (@OUTSIDE@)

struct record { u64 ts_ns; u64 block; u64 rest; };
struct counter { u64 hits; u64 ring_full; u64 filtered; u64 reserved; };
struct pages { u64 base; u64 size; u64 shift; u64 known; };
struct seen { u64 pfn; u64 order; u64 type; u64 gfp; u64 valid; };
struct taken { u64 depth; u64 page[4]; };

BPF_RINGBUF_OUTPUT(events, @RING_PAGES@);
BPF_F_TABLE("array", u32, struct counter, counters, @SLOTS@, BPF_F_MMAPABLE);
BPF_ARRAY(pages, struct pages, 1);
BPF_PERCPU_ARRAY(pairing, struct seen, @PROBES@);
BPF_PERCPU_ARRAY(taken_by_first, struct taken, @PROBES@);
BPF_PERCPU_ARRAY(softirq, u32, 1);

static __always_inline u64 u16_cap(u64 n) { return n > 0xffff ? 0xffff : n; }

static __always_inline struct counter *hit(u32 probe)
{
    u32 slot = probe * @CPUS@ + bpf_get_smp_processor_id();
    struct counter *counter = counters.lookup(&slot);
    if (counter)
        counter->hits++;
    return counter;
}

static __always_inline int in_softirq(void)
{
    u32 zero = 0, *serving = softirq.lookup(&zero);
    return serving && *serving;
}

static __always_inline int serve_softirq(u32 serving)
{
    u32 zero = 0;
    softirq.update(&zero, &serving);
    return 0;
}

static __always_inline int skipped(u32 probe)
{
    struct counter *counter = hit(probe);
    if (counter)
        counter->filtered++;
    return 1;
}

static __always_inline struct record *reserve(u64 op, u64 pfn, u64 order, u64 type, u64 aux)
{
    struct record *record = events.ringbuf_reserve(sizeof(*record));
    if (!record)
        return 0;
    record->ts_ns = bpf_ktime_get_ns();
    record->block = pfn & 0xffffffffffULL | (order & 0xff) << 40 | (type & 0xff) << 48 | op << 56;
    record->rest = (u64)(bpf_get_smp_processor_id() & 0x3fff) | aux << 14;
    return record;
}

static __always_inline int keep(u32 probe, int skip, u64 op, u64 pfn, u64 order, u64 type, u64 aux)
{
    struct counter *counter = hit(probe);
    if (!counter)
        return 1;
    if (skip || OUTSIDE(pfn)) {
        counter->filtered++;
        return 1;
    }
    struct record *record = reserve(op, pfn, order, type, aux);
    if (record)
        events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    else
        counter->ring_full++;
    return 1;
}

static __always_inline u64 owner(u64 gfp)
{
    return @OWNER@;
}
"""

_RAW_PROLOGUE = """
static __always_inline u64 pfn_of(u64 page)
{
    u32 zero = 0;
    struct pages *p = pages.lookup(&zero);
    if (!p)
        return 0;
    return p->shift ? (page - p->base) >> p->shift : (page - p->base) / (p->size | 1);
}
#define PAGE_TO_PFN(page) pfn_of((u64)(page))

int enter_softirq(struct bpf_raw_tracepoint_args *ctx) { return serve_softirq(1); }
int leave_softirq(struct bpf_raw_tracepoint_args *ctx) { return serve_softirq(0); }

static __always_inline struct seen *uncalibrated(u32 probe)
{
    u32 zero = 0;
    struct pages *p = pages.lookup(&zero);
    return p && !p->known ? pairing.lookup(&probe) : 0;
}

static __always_inline void note_taken(u32 probe, u64 page)
{
    struct taken *taken = taken_by_first.lookup(&probe);
    if (!taken)
        return;
    u64 depth = taken->depth < 3 ? taken->depth : 3;
    taken->page[depth & 3] = page;
    taken->depth = depth + 1;
}

static __always_inline int was_taken(u32 probe, u64 page)
{
    struct taken *taken = taken_by_first.lookup(&probe);
    if (!taken)
        return 1;
#pragma unroll
    for (int k = 3; k >= 0; k--) {
        if (k < taken->depth && taken->page[k] == page) {
            taken->depth = k;
            return 1;
        }
    }
    return 0;
}
"""

_PROBE = """
TRACEPOINT_PROBE({category}, {event})
{{
    u64 order = {order};
{calibrating}    int skip = ({unless}) || UNWANTED(order);
    return keep({index}, skip, {op}, {pfn}, order, (u64)(s64)({migratetype}), {aux});
}}
"""

_NOTE_SEEN = """    struct seen *seen = uncalibrated({index});
    if (seen) {{
        seen->pfn = {pfn};
        seen->order = order;
        seen->type = (u8)({migratetype});
        seen->gfp = (u32)({gfp});
        seen->valid = 1;
        return 1;
    }}
"""

_RAW_PROBE = """
int {pair}(struct bpf_raw_tracepoint_args *ctx)
{{
    u64 order = (u32)ctx->args[{order}];
    struct seen *seen = uncalibrated({index});
    if (!seen || !seen->valid)
        return 0;
    int same = seen->order == order && seen->type == (u8)({migratetype}) && seen->gfp == (u32)({gfp});
    struct record *record = reserve(same ? {pair_op} : {mismatch_op}, seen->pfn, order, {index}, 0);
    seen->valid = 0;
    if (record) {{
        record->ts_ns = ctx->args[{page}];
        events.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    }}
    return 0;
}}

int {first}(struct bpf_raw_tracepoint_args *ctx)
{{
    u64 order = (u32)ctx->args[{order}];
    if (({unless}) || UNWANTED(order))
        return skipped({index});
    note_taken({index}, ctx->args[{page}]);
    return keep({index}, 0, {op}, PAGE_TO_PFN(ctx->args[{page}]), order, (u64)(s64)({migratetype}), {aux});
}}

int {second}(struct bpf_raw_tracepoint_args *ctx)
{{
    u64 order = (u32)ctx->args[{order}];
    if (({unless}) || UNWANTED(order) || was_taken({index}, ctx->args[{page}]))
        return 0;
    return keep({index} + {probes}, 0, {op}, PAGE_TO_PFN(ctx->args[{page}]), order,
                (u64)(s64)({migratetype}), {aux});
}}
"""


@dataclass(frozen=True)
class Options:
    """What the program is built for.

    Attributes:
        ring_bytes: a power of two, at least a page.
        cpus: possible CPUs.
        filters: what the probes leave out; its zones are pfn ranges by now.
        ranges: [first, end) pfn ranges to keep; empty: all.
        with_pid, with_gfp: record who asked for a page, and how.
    """

    ring_bytes: int
    cpus: int
    page_size: int
    orders: tuple[int, int] | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    with_pid: bool = False
    with_gfp: bool = False


def pair_function(point: Tracepoint) -> str:
    """Name of the C function that pairs a probe's raw form with its tracepoint."""
    return f"pair_{point.event}"


def raw_functions(point: Tracepoint) -> list[str]:
    """Names of the C functions of a probe's raw form, in the order to attach them.

    The second copy pays where every event is kept. Where nearly all are left out by their order (the
    buddy layer's order-0 frees) it would double the cost to save hardly an event.
    """
    first, second = f"first_{point.event}", f"second_{point.event}"
    return [first, second] if point.unless == "0" else [first]


def source(
    points: list[Tracepoint], options: Options, tracefs: Path = TRACEFS, *, others: int = 0, extra: str = ""
) -> str:
    """C text of the program. `others`: probes of other kinds behind these, whose text is `extra`."""
    unwanted, outside, probes = "0", "0", len(points) + others
    if options.orders:
        unwanted = f"(order) < {options.orders[0]} || (order) > {options.orders[1]}"
    if options.ranges:
        inside = (f"((pfn) >= {first}ULL && (pfn) < {end}ULL)" for first, end in options.ranges)
        outside = f"!({' || '.join(inside)})"
    owner = ["gfp & 0xfffffff"] if options.with_gfp else []
    if options.with_pid:
        owner.append(f"((bpf_get_current_pid_tgid() >> 32) & 0x3fffff) << {GFP_BITS}")
    words = {
        "UNWANTED": unwanted,
        "OUTSIDE": outside,
        "RING_PAGES": str(options.ring_bytes // options.page_size),
        "CPUS": str(options.cpus),
        "SLOTS": str(2 * probes * options.cpus),
        "PROBES": str(probes),
        "OWNER": " | ".join(owner) or "0",
    }
    text = _PROLOGUE
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text + _RAW_PROLOGUE + "".join(_unit(i, p, probes, tracefs) for i, p in enumerate(points)) + extra


def _unit(index: int, point: Tracepoint, probes: int, tracefs: Path) -> str:
    complete = point.needs is None or point.needs in fields(point.category, point.event, tracefs)
    owned = point.op in (Op.PAGE_ALLOC, Op.PAGE_FREE)
    aux = f"owner({point.gfp})" if owned else point.aux if complete else point.aux_without
    common: dict[str, int | str] = {
        "index": index,
        "op": int(point.op),
        "unless": point.unless if point.blocks else "0",
    }
    text = _PROBE.format(
        category=point.category,
        event=point.event,
        order=point.order,
        pfn=point.pfn,
        migratetype=point.migratetype,
        aux=aux,
        calibrating=_NOTE_SEEN.format(
            index=index, pfn=point.pfn, migratetype=point.migratetype, gfp=point.gfp
        )
        if point.raw
        else "",
        **common,
    )
    if not point.blocks:
        text = text.replace(" || UNWANTED(order)", "")
    return text + (_raw_unit(point, probes, common) if point.raw else "")


def _raw_unit(point: Tracepoint, probes: int, common: dict[str, int | str]) -> str:
    raw = point.raw
    assert raw is not None  # noqa: S101 - for the type checker; the caller looks
    gfp = "0" if raw.gfp is None else f"(u32)ctx->args[{raw.gfp}]"
    return _RAW_PROBE.format(
        pair=pair_function(point),
        first=f"first_{point.event}",
        second=f"second_{point.event}",
        probes=probes,
        page=raw.page,
        order=raw.order,
        migratetype="-1" if raw.migratetype is None else f"(s64)(int)ctx->args[{raw.migratetype}]",
        gfp=gfp,
        aux=f"owner({gfp})",
        pair_op=PAIR,
        mismatch_op=MISMATCH,
        **common,
    )

"""The probes on tracepoints, as data: where each hooks in, and what it records.

A probe that this kernel does not have is left out; the others do not notice.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tracer.format import Op
from tracer.probes.tracefs import TRACEFS, fields

BUDDY, FRAME = "buddy", "frame"
LAYERS = {"buddy": (BUDDY,), "frame": (FRAME,), "both": (BUDDY, FRAME)}


@dataclass(frozen=True)
class Raw:
    """The raw form of a tracepoint: cheaper, and its arguments are the kernel's own (a page, not a pfn).

    Attributes:
        page, order, migratetype, gfp: index of the argument (TP_PROTO in include/trace/events), or None.
    """

    page: int
    order: int
    migratetype: int | None = None
    gfp: int | None = None


@dataclass(frozen=True)
class Tracepoint:
    """One probe: where it hooks in, and the C expressions of its record.

    Attributes:
        op: what its events are called in the trace.
        name: category:event.
        layers: the layers it belongs to.
        pfn, order, migratetype, aux: C expressions over `args`; layouts of aux are in FORMAT.md.
        unless: C condition on `order` under which an event is counted as filtered instead of kept.
        needs, aux_without: a field that aux reads, and the aux of kernels without that field.
        gfp: C expression of the flags, where the tracepoint has them.
        raw: its raw form, where it fires so often that the cost matters.
        blocks: `order` is a block's, so that a filter of orders applies.
    """

    op: Op
    name: str
    layers: tuple[str, ...] = (BUDDY,)
    pfn: str = "args->pfn"
    order: str = "args->order"
    migratetype: str = "-1"
    aux: str = "0"
    unless: str = "0"
    needs: str | None = None
    aux_without: str = "0"
    gfp: str = "0"
    raw: Raw | None = None
    blocks: bool = True

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
    "blocks": False,
}

TRACEPOINTS = (
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
    Tracepoint(Op.PAGE_FREE, "kmem:mm_page_free", layers=(BUDDY, FRAME), raw=Raw(page=0, order=1)),
    Tracepoint(
        Op.PAGE_ALLOC,
        "kmem:mm_page_alloc",
        layers=(FRAME,),
        migratetype="args->migratetype",
        gfp="args->gfp_flags",
        raw=Raw(page=0, order=1, gfp=2, migratetype=3),
    ),
    Tracepoint(Op.COMPACTION_ISOLATE, "compaction:mm_compaction_isolate_freepages", **_ISOLATED),  # type: ignore[arg-type]
    Tracepoint(Op.FAST_ISOLATE, "compaction:mm_compaction_fast_isolate_freepages", **_ISOLATED),  # type: ignore[arg-type]
)
# Of the frees of single pages, the buddy layer keeps those that may go past the per-CPU lists.
TO_PCP_LISTS = "order == 0 && !in_softirq()"
# Tracepoints between which a CPU serves softirqs, and the C functions for them. They make no events.
SOFTIRQ = (("softirq_exit", "leave_softirq"), ("softirq_entry", "enter_softirq"))
# Without these a layer cannot be followed at all.
REQUIRED = {
    BUDDY: (Op.ZONE_LOCKED, Op.PCPU_DRAIN, Op.PAGE_FREE),
    FRAME: (Op.PAGE_ALLOC, Op.PAGE_FREE),
}


def chosen(layers: Iterable[str]) -> list[Tracepoint]:
    """The probes of some layers.

    Frees of order 0 go to the per-CPU lists, so the buddy layer alone leaves them out; but in a softirq
    they may find the lists locked by what it interrupted, and go straight into the buddy.
    """
    layers = set(layers)
    points = [point for point in TRACEPOINTS if layers & set(point.layers)]
    if FRAME in layers:
        return points
    return [replace(p, unless=TO_PCP_LISTS) if p.op is Op.PAGE_FREE else p for p in points]


def needless(ops: Collection[Op], layers: Iterable[str]) -> set[Op]:
    """Tracepoints of these layers that would tell again what the functions behind `ops` tell.

    Every entry into the buddy passes __free_one_page, unless it is put back.
    """
    if Op.BUDDY_FREE not in ops or Op.PUT_BACK not in ops:
        return set()
    return {Op.PCPU_DRAIN} if FRAME in layers else {Op.PCPU_DRAIN, Op.PAGE_FREE}


def available(points: Iterable[Tracepoint], tracefs: Path = TRACEFS) -> list[Tracepoint]:
    """Those that this kernel has."""
    return [point for point in points if fields(point.category, point.event, tracefs)]


def missing(layers: Iterable[str], tracefs: Path = TRACEFS) -> list[str]:
    """Names of required tracepoints that this kernel does not have."""
    have = {point.op for point in available(TRACEPOINTS, tracefs)}
    ops = {op for layer in layers for op in REQUIRED[layer]}
    return [point.name for point in TRACEPOINTS if point.op in ops - have]

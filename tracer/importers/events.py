"""The events an import reads, and how the kernel prints the fields of each.

Print formats: TP_printk in include/trace/events/kmem.h and compaction.h. Fields are found by name
and not by place, because kernels add some, and because perf prints an event whose format it cannot
evaluate as `[FAILED TO PARSE] name=value …`.
"""

from dataclasses import dataclass, field

import polars as pl

from tracer.format import MAX_ORDER_LIMIT, PFN_BITS, Op

TAIL = pl.col("tail")  # a line from its time stamp on
# What is printed for an allocation that got no page: 0, or ~0 where perf prints the raw field.
NO_PAGE = (0, (1 << 64) - 1)
U16 = 0xFFFF


def text_of(key: str) -> pl.Expr:
    """A field's value: what stands between `key=` and the next space."""
    return TAIL.str.extract(rf"[ (]{key}=([^ ~)\r\n]+)")


def _signed(key: str, least: int = -(1 << 31), most: int = (1 << 31) - 1) -> pl.Expr:
    value = pl.col(key).cast(pl.Int64, strict=False)
    return pl.when(value.is_between(least, most)).then(value)


def _unsigned(key: str) -> pl.Expr:
    """A number as %lu or 0x%lx print it."""
    text = pl.col(key)
    in_hex = text.str.strip_prefix("0x").str.to_integer(base=16, dtype=pl.UInt64, strict=False)
    return pl.when(text.str.starts_with("0x")).then(in_hex).otherwise(text.cast(pl.UInt64, strict=False))


def _pfn(key: str = "pfn") -> pl.Expr:
    value = _unsigned(key)
    return pl.when((value < 1 << PFN_BITS) | (value == NO_PAGE[1])).then(value)


def _order(key: str = "order") -> pl.Expr:
    return _signed(key, 0, MAX_ORDER_LIMIT)


def _migratetype(key: str = "migratetype") -> pl.Expr:
    return _signed(key, -128, 127)


def _capped(value: pl.Expr) -> pl.Expr:
    """At most 16 bits; what would be negative is the largest, as in the recorder's unsigned numbers."""
    return pl.when(value.is_between(0, U16)).then(value).when(value.is_not_null()).then(U16)


NOTHING, NO_TYPE = pl.lit(0, pl.Int64), pl.lit(-1, pl.Int64)


@dataclass(frozen=True)
class Event:
    """One tracepoint: its op, and the columns of the trace as expressions over its texts.

    Attributes:
        name: category:event.
        texts: its fields as text, null where the line has none: name -> expression over `TAIL`.
        pfn, order, migratetype, aux: expressions over `texts`, null for what cannot be; layouts of
            aux are in FORMAT.md.
        may_fail: it also fires for an allocation that got no page.
    """

    op: Op
    name: str
    texts: dict[str, pl.Expr]
    pfn: pl.Expr = field(default_factory=_pfn)
    order: pl.Expr = field(default_factory=_order)
    migratetype: pl.Expr = NO_TYPE
    aux: pl.Expr = NOTHING
    may_fail: bool = False

    @property
    def event(self) -> str:
        """Its name inside its category, which is all that ftrace prints."""
        return self.name.partition(":")[2]

    @property
    def columns(self) -> dict[str, pl.Expr]:
        """The columns that depend on the event."""
        columns = {"order": self.order, "migratetype": self.migratetype, "aux": self.aux}
        return {"pfn": self.pfn} | {name: value.cast(pl.Int64) for name, value in columns.items()}


def _texts(*keys: str) -> dict[str, pl.Expr]:
    return {key: text_of(key) for key in keys}


_REFILL = pl.col("percpu_refill")
_FALLBACK = ("alloc_order", "fallback_order", "alloc_migratetype", "fallback_migratetype", "change_ownership")


def _isolated(op: Op, name: str) -> Event:
    texts = {
        "start_pfn": TAIL.str.extract(r"(?:range=\(|start_pfn=)(0x[0-9a-f]+|[0-9]+)"),
        "end_pfn": TAIL.str.extract(r"(?:~ |end_pfn=)(0x[0-9a-f]+|[0-9]+)"),
    }
    numbers = [_unsigned(key).cast(pl.Int64, strict=False) for key in ("nr_scanned", "nr_taken")]
    scanned_over = _pfn("end_pfn").cast(pl.Int64, strict=False) - _pfn("start_pfn").cast(
        pl.Int64, strict=False
    )
    aux = _capped(scanned_over) + _capped(numbers[0]) * (1 << 16) + _capped(numbers[1]) * (1 << 32)
    return Event(
        op, name, texts | _texts("nr_scanned", "nr_taken"), pfn=_pfn("start_pfn"), order=NOTHING, aux=aux
    )


EVENTS = (
    Event(
        Op.ZONE_LOCKED,
        "kmem:mm_page_alloc_zone_locked",
        _texts("pfn", "order", "migratetype", "percpu_refill"),
        migratetype=_migratetype(),
        aux=pl.when(_REFILL.is_null()).then(2).otherwise((_signed("percpu_refill") != 0).cast(pl.Int64)),
        may_fail=True,
    ),
    Event(
        Op.PCPU_DRAIN,
        "kmem:mm_page_pcpu_drain",
        _texts("pfn", "order", "migratetype"),
        migratetype=_migratetype(),
    ),
    Event(
        Op.EXTFRAG,
        "kmem:mm_page_alloc_extfrag",
        _texts("pfn", *_FALLBACK),
        order=_order("alloc_order"),
        migratetype=_migratetype("alloc_migratetype"),
        aux=_order("fallback_order")
        + (_migratetype("alloc_migratetype") & 0xFF) * (1 << 8)
        + (_migratetype("fallback_migratetype") & 0xFF) * (1 << 16)
        + (_signed("change_ownership") != 0).cast(pl.Int64) * (1 << 24),
    ),
    Event(Op.PAGE_FREE, "kmem:mm_page_free", _texts("pfn", "order")),
    Event(
        Op.PAGE_ALLOC,
        "kmem:mm_page_alloc",
        _texts("pfn", "order", "migratetype"),
        migratetype=_migratetype(),
        may_fail=True,
    ),
    _isolated(Op.COMPACTION_ISOLATE, "compaction:mm_compaction_isolate_freepages"),
    _isolated(Op.FAST_ISOLATE, "compaction:mm_compaction_fast_isolate_freepages"),
)
BY_EVENT = {event.event: event for event in EVENTS}
BY_OP = {event.op: event for event in EVENTS}

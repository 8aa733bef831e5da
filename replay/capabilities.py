"""What traces may have to tell, and what one has."""

from typing import TYPE_CHECKING

from tracer import Op, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable

BUDDY, CPU, COMPACTION, WATERMARKS = "buddy", "cpu", "compaction", "watermarks"
MEANINGS = {
    BUDDY: "when frames enter and leave the buddy lists",
    CPU: "on which CPU",
    COMPACTION: "when compaction searches the free lists",
    WATERMARKS: "the zones' watermarks",
}


def capabilities(trace: Trace) -> frozenset[str]:
    """Those of `MEANINGS` that a trace has."""
    recorded = {probe.op for probe in trace.manifest.probes}
    found = {CPU}  # a column of format 1
    if not trace.owners_only:
        found.add(BUDDY)
    if recorded & {Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE}:
        found.add(COMPACTION)
    if any(zone.low for zone in trace.zones):
        found.add(WATERMARKS)
    return frozenset(found)


def in_words(wanted: "Iterable[str]") -> str:
    """Capabilities as people read them."""
    return " and ".join(MEANINGS[each] for each in sorted(wanted))

"""What a trace has to tell, and what a policy asks of it."""

from typing import TYPE_CHECKING

from tracer import Fault, Op, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replay.policies.protocol import Setting

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


def unfit(trace: Trace, setting: "Setting") -> Fault | None:
    """Why a policy cannot be replayed on a trace: it asks for what the trace has not."""
    lacking = sorted(setting.policy.requires - capabilities(trace))
    if not lacking:
        return None
    return Fault(
        f"policy {setting.policy.name} cannot be replayed on {trace.path}",
        f"it needs to know {in_words(lacking)}, which the trace does not tell",
        "choose another policy, or record a trace that tells it",
    )


def refuse_unfit(trace: Trace, settings: "Iterable[Setting]") -> None:
    """Refuse a policy that asks for what the trace has not.

    Raises:
        Fault: naming both.
    """
    for setting in settings:
        if fault := unfit(trace, setting):
            raise fault


def in_words(wanted: "Iterable[str]") -> str:
    """Capabilities as people read them."""
    return " and ".join(MEANINGS[each] for each in sorted(wanted))


def notes(trace: Trace, setting: "Setting") -> "Iterator[str]":
    """What a policy's result does not show, since the trace does not tell it."""
    for missing in sorted(setting.policy.without.keys() - capabilities(trace)):
        yield setting.policy.without[missing]

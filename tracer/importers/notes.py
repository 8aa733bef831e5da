"""What is unknown about an imported trace, in words: a line each, for its manifest."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracer.format import Guest, Op
from tracer.importers.events import BY_OP

if TYPE_CHECKING:
    from tracer.importers.said import GuestSaid
    from tracer.importers.summary import Summary

# Events whose absence leaves something out, and what.
_WITHOUT = {
    Op.PAGE_FREE: "blocks that are freed past the per-CPU lists enter the buddy unseen",
    Op.EXTFRAG: "on Linux 6.10 and later, blocks stolen from another migratetype leave the buddy unseen",
    Op.COMPACTION_ISOLATE: "what compaction isolates leaves the buddy unseen",
}


def unknown(summary: "Summary", layers: list[str]) -> Iterator[str]:
    """What no file of this kind tells, and what this one does not."""
    yield (
        "no start state: nothing is known of a frame before its first event, nor of memory that no event "
        "names; the one zone reaches to the highest frame seen, and what it manages are the frames seen"
    )
    if layers == ["owner"]:
        yield (
            "only owners are known: a page's alloc and free stand for its leaving and entering the buddy; "
            "per-CPU lists are not seen, and latency counts from the owner's free"
        )
        for op, other in ((Op.ZONE_LOCKED, Op.PCPU_DRAIN), (Op.PCPU_DRAIN, Op.ZONE_LOCKED)):
            if op in summary.recorded:
                yield f"{BY_OP[op].event} events without {BY_OP[other].event}: of no use for the buddy"
    else:
        absent = [op for op in _WITHOUT if op not in summary.recorded]
        yield from (f"no {BY_OP[op].event} events: {_WITHOUT[op]}" for op in absent)
    if summary.headers.clock is None and summary.headers.monotonic:
        yield "times are CLOCK_MONOTONIC; where they lie on the wall clock is unknown"
    elif summary.headers.clock is None:
        yield "the clock of the times is unknown: they cannot be laid beside other records of the guest"


def assumed(summary: "Summary", said: "GuestSaid", guest: Guest) -> str:
    """What of the guest neither the file nor the user said."""
    values = []
    if said.page_size is None:
        values.append(f"pages of {guest.page_size} bytes")
    if said.max_order is None:
        values.append(f"max order {guest.max_order}")
    if said.pageblock_order is None and summary.pageblock_order is None:
        values.append(f"pageblock order {guest.pageblock_order}")
    if said.pcp_orders is None:
        values.append(f"per-CPU lists of orders {', '.join(map(str, guest.pcp_orders))}")
    values.append("the usual names of the migratetypes")
    return "assumed, as the file does not say: " + "; ".join(values)


def dirt(summary: "Summary", lost: int, late: int) -> Iterator[str]:
    """What is wrong with this file. No line of it is quoted: they name tasks."""
    bad = summary.bad.total()
    if bad:
        yield f"lines that name a page alloc/free event but cannot be read, counted as lost: {bad}"
    if lost > bad:
        yield f"lost events of any kind that was recorded, also of kinds not imported: {lost - bad}"
    if summary.no_page:
        yield f"allocations that got no page, counted as filtered: {summary.no_page.total()}"
    if late:
        yield f"events that stand in the file long after later ones, so that time goes back: {late}"
    if summary.microseconds:
        yield "times are whole microseconds: events within one keep the order of the file"
    if summary.no_cpu:
        yield f"events that do not say their CPU, for which 0 stands: {summary.no_cpu}"
    if summary.threads:
        yield f"events whose pid may be a thread's, as the file names no process: {summary.threads}"
    if summary.unknown_flags:
        yield f"allocation flags without a number, left out: {', '.join(sorted(summary.unknown_flags))}"


def silent(summary: "Summary", *, perf_text: bool) -> Iterator[str]:
    """What may be missing without a word: perf leaves its lines on losses out unless asked for them."""
    if perf_text and not summary.tells_losses:
        yield "perf script tells of lost events only with --show-lost-events"

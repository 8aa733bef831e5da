"""What a trace contains, for people (lines) and programs (facts)."""

import shlex
import textwrap
from collections.abc import Iterator
from typing import Any

from tracer.display import Shown
from tracer.format import OPTIONAL_COLUMNS
from tracer.reader import Trace
from tracer.terminal import plain
from tracer.units import human_bytes

MOST_LOSSES = 5
WIDTH = 80


def facts(trace: Trace) -> dict[str, Any]:
    """The trace in numbers, without its manifest."""
    first_ns, last_ns = trace.span_ns
    return {
        "trace": str(trace.place),
        "status": trace.manifest.status,
        "events": trace.rows,
        "duration_s": (last_ns - first_ns) / 1e9,
        "segments": len(trace.segments),
        "size_bytes": trace.size_bytes,
        "lost_events": trace.manifest.lost,
        "losses": [
            {
                "begin_s": (loss.begin_ns - first_ns) / 1e9,
                "end_s": (loss.end_ns - first_ns) / 1e9,
                "events": loss.events,
            }
            for loss in trace.losses
        ],
        "warnings": trace.warnings,
    }


def lines(trace: Trace) -> Iterator[str]:
    """The trace and its guest, line by line; all that it tells about the guest is here.

    Lines fit a terminal and hold nothing that drives one, whatever the manifest says.
    """
    yield plain(f"{trace.place}: {trace.manifest.status}, written by {trace.manifest.tool}")
    for line in (*_guest(trace), *_seen(trace)):
        yield from wrapped(line)
    yield from map(plain, _probes(trace))
    for note in trace.manifest.notes:
        yield from wrapped(f"note: {note}")


def shown(trace: Trace) -> Shown:
    """The trace in a notebook: a row for each line about the guest that has a name."""
    events, *told = _guest(trace)
    named = (line.partition(": ") for line in (*told, *_seen(trace)))
    rows = [("recorded", events), ("lost events", f"{trace.manifest.lost:,}")]
    rows += [(name, value) for name, colon, value in named if colon]
    heading = f"{trace.place}: {trace.manifest.status}, written by {trace.manifest.tool}"
    return Shown(heading, (), rows, [*trace.manifest.notes, *trace.warnings])


def wrapped(line: str) -> list[str]:
    """A line of any length and content in lines of a terminal, hanging."""
    return textwrap.wrap(
        plain(line),
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _guest(trace: Trace) -> Iterator[str]:
    """The guest, and how it was recorded."""
    manifest, guest = trace.manifest, trace.manifest.guest
    first_ns, last_ns = trace.span_ns
    managed = sum(zone.managed for zone in trace.zones) * guest.page_size
    yield f"{trace.rows:,} events over {(last_ns - first_ns) / 1e9:.1f} s, {human_bytes(trace.size_bytes)}"
    kernel = f"Linux {guest.kernel_release} {guest.machine}"
    if manifest.rung == "generated":
        kernel = "synthetic, no kernel ran"
    yield f"guest: {kernel}, {guest.cpus} CPUs"
    pages = f"pages of {guest.page_size} bytes"
    yield f"memory: {human_bytes(managed)} managed, {pages}, THP {_known(guest.thp_mode)}"
    yield f"max order {guest.max_order}, pageblock order {guest.pageblock_order}, HZ {_known(guest.hz)}"
    active = {True: "active", False: "not active", None: "unknown"}[manifest.reporting.active]
    yield f"own reporting: {active}, order {_known(manifest.reporting.order)}"
    yield f"layers: {', '.join(manifest.layers)}; rung: {manifest.rung}"
    yield f"ended by: {_known(manifest.ended_by)}"
    if manifest.converted:
        yield f"converted for {manifest.converted.target} by {manifest.converted.tool}"
    if manifest.rung_reason:
        yield f"no higher rung: {manifest.rung_reason}"
    yield f"command line: {shlex.join(manifest.command_line)}"
    if manifest.filters:
        kept = {name: value for name, value in vars(manifest.filters).items() if value}
        yield f"kept only: {', '.join(f'{name} {value}' for name, value in kept.items())}"
    owners = [name for name in OPTIONAL_COLUMNS if f"--with-{name}" in manifest.command_line]
    yield f"names who asked for pages: {', '.join(owners) or 'no'}"
    for zone in trace.zones:
        pfns = f"pfn {zone.start_pfn}..{zone.end_pfn}"
        yield f"zone {zone.node}/{zone.name}: {pfns}, {zone.managed:,} frames managed"


def _known(value: object) -> object:
    """Imports do not know all of their guest."""
    return "unknown" if value is None else value


def _seen(trace: Trace) -> Iterator[str]:
    """Snapshots and samples, and when something was lost."""
    first_ns = trace.span_ns[0]
    names = [shot.name for shot in trace.manifest.snapshots]
    rows = sum(segment.samples.rows for segment in trace.segments if segment.samples)
    samples = -(-rows // max(len(trace.manifest.zones), 1))  # a row for each zone
    yield f"snapshots: {', '.join(names) or 'none'}; {samples:,} samples"
    if trace.manifest.discarded_events:
        yield f"removed as it went (--keep): {trace.manifest.discarded_events:,} events"
    for loss in trace.losses[:MOST_LOSSES]:
        since, until = ((ns - first_ns) / 1e9 for ns in (loss.begin_ns, loss.end_ns))
        healed = next((s.name for s in trace.resyncs if s.begin_ns >= loss.end_ns), None)
        after = f"right again after {healed}" if healed else "not healed by a later snapshot"
        yield f"lost {loss.events:,} events between {since:.3f} s and {until:.3f} s; {after}"
    if len(trace.losses) > MOST_LOSSES:
        yield f"... and {len(trace.losses) - MOST_LOSSES} more such gaps"


def _probes(trace: Trace) -> Iterator[str]:
    yield f"  {'probe':<33} {'hits':>11} {'kept':>11} {'lost':>7} {'filtered':>11}"
    for probe in trace.manifest.probes:
        counts = f"{probe.hits:>11,} {probe.kept:>11,} {probe.lost:>7,} {probe.filtered:>11,}"
        name = (probe.name.partition(":")[2] or probe.name).removeprefix("mm_")
        yield f"  {name:<33} {counts}"

"""Recording: a live guest's page alloc/free events into a trace, and the trace read back.

The public trace API, all that `replay` uses of this package: `open_trace`, `Trace`, `TraceWriter`, the
format's types, `Fault` and the units. Names are imported when first used, so that `import tracer` is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.completing import traces_offered, words_offered
    from tracer.converting import convert
    from tracer.decoding import ahead
    from tracer.display import Displayed, Shown
    from tracer.faults import Fault
    from tracer.finished import TraceOutput, refuse_itself
    from tracer.format import (
        CHUNK_FRAMES,
        BuddyInfo,
        FrameState,
        Guest,
        Loss,
        Manifest,
        Op,
        PageTypes,
        Probe,
        Reporting,
        Snapshot,
        Zone,
    )
    from tracer.guest.samples import GUEST_COUNTS, ZONE_COUNTS
    from tracer.naming import trace_after
    from tracer.output import check_output, output_fault, put_in_place, remove_tree
    from tracer.places import Place
    from tracer.reader import Trace, open_trace
    from tracer.sparklines import averages, can_show, heights, sparkline
    from tracer.terminal import plain
    from tracer.units import duration_ns, human_bytes, short_duration, size_bytes, write_duration
    from tracer.writer import TraceWriter, segment_of
    from tracer.zones import over_time, overlaps

__version__ = "0.1.0"
__all__ = [
    "CHUNK_FRAMES",
    "GUEST_COUNTS",
    "ZONE_COUNTS",
    "BuddyInfo",
    "Displayed",
    "Fault",
    "FrameState",
    "Guest",
    "Loss",
    "Manifest",
    "Op",
    "PageTypes",
    "Place",
    "Probe",
    "Reporting",
    "Shown",
    "Snapshot",
    "Trace",
    "TraceOutput",
    "TraceWriter",
    "Zone",
    "ahead",
    "averages",
    "can_show",
    "check_output",
    "convert",
    "duration_ns",
    "heights",
    "human_bytes",
    "open_trace",
    "output_fault",
    "over_time",
    "overlaps",
    "plain",
    "put_in_place",
    "refuse_itself",
    "remove_tree",
    "segment_of",
    "short_duration",
    "size_bytes",
    "sparkline",
    "trace_after",
    "traces_offered",
    "words_offered",
    "write_duration",
]

_HOMES = {
    "BuddyInfo": "format",
    "CHUNK_FRAMES": "format",
    "Displayed": "display",
    "Fault": "faults",
    "FrameState": "format",
    "Guest": "format",
    "GUEST_COUNTS": "guest.samples",
    "Loss": "format",
    "Manifest": "format",
    "Op": "format",
    "PageTypes": "format",
    "Place": "places",
    "Probe": "format",
    "Reporting": "format",
    "Shown": "display",
    "Snapshot": "format",
    "Trace": "reader",
    "TraceOutput": "finished",
    "TraceWriter": "writer",
    "Zone": "format",
    "ZONE_COUNTS": "guest.samples",
    "ahead": "decoding",
    "averages": "sparklines",
    "can_show": "sparklines",
    "check_output": "output",
    "convert": "converting",
    "duration_ns": "units",
    "short_duration": "units",
    "heights": "sparklines",
    "human_bytes": "units",
    "open_trace": "reader",
    "output_fault": "output",
    "over_time": "zones",
    "overlaps": "zones",
    "plain": "terminal",
    "put_in_place": "output",
    "refuse_itself": "finished",
    "remove_tree": "output",
    "segment_of": "writer",
    "size_bytes": "units",
    "sparkline": "sparklines",
    "trace_after": "naming",
    "traces_offered": "completing",
    "words_offered": "completing",
    "write_duration": "units",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has the type declared above
    """Import a public name from its home module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tracer' has no attribute {name!r}")
    return getattr(import_module(f"tracer.{_HOMES[name]}"), name)

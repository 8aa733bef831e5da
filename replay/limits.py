"""What a trace cannot tell, in words: said with every answer that comes from it."""

from tracer import Trace, Zone, overlaps

OWNERS = (
    "entries and exits are the owners': the buddy's own were not recorded, so memory on per-CPU lists "
    "counts as free"
)


def limits(trace: Trace, unknown_frames: int = 0, contradicted: int = 0) -> list[str]:
    """A line for each thing that limits what can be made of the trace.

    `unknown_frames`: of which nothing is known when the replay starts. `contradicted`: blocks on the lists
    that the start snapshot does not have.
    """
    lines = []
    if unknown_frames:
        lines.append(
            f"unknown start: nothing is known of {unknown_frames:,} frames until their first event; "
            "units that hold one are not reportable"
        )
    if contradicted:
        lines.append(
            f"{contradicted:,} blocks were on the free lists that are not free in the start snapshot: "
            "they are left out"
        )
    if trace.owners_only:
        lines.append(OWNERS)
    for first, second in overlaps(trace.zones):
        end = min(first.end_pfn, second.end_pfn)
        lines.append(
            f"zones {_named(first)} and {_named(second)} share pfns {second.start_pfn:,} to {end - 1:,}: "
            "whose those frames are is not recorded, so they are counted for the former, and free memory "
            "zone by zone is not exact"
        )
    return lines + trace.manifest.notes


def _named(zone: Zone) -> str:
    return f"{zone.name} of node {zone.node}"

"""What the user asked to leave out, as the probes understand it."""

from tracer.faults import Fault
from tracer.format import Filters, Zone


def filtered_zones(zones: list[Zone], filters: Filters | None) -> list[Zone]:
    """The zones that are recorded.

    Raises:
        Fault: when this guest has no zone of such a name.
    """
    if filters is None or filters.zones is None:
        return zones
    have = {zone.name for zone in zones}
    if unknown := [name for name in filters.zones if name not in have]:
        raise Fault(
            f"this guest has no zone {', '.join(unknown)}",
            f"/proc/zoneinfo shows {', '.join(sorted(have))}",
            "name one of these",
        )
    return [zone for zone in zones if zone.name in filters.zones]


def pfn_ranges(zones: list[Zone], filters: Filters | None) -> tuple[tuple[int, int], ...]:
    """[first, end) ranges to keep; empty where everything is. `zones`: the recorded ones."""
    if filters is None or (filters.zones is None and filters.pfns is None):
        return ()
    first, end = filters.pfns or (0, 1 << 40)
    spans = [(zone.start_pfn, zone.end_pfn) for zone in zones] if filters.zones else [(0, 1 << 40)]
    ranges = [(max(first, a), min(end, b)) for a, b in spans if max(first, a) < min(end, b)]
    if not ranges:
        raise Fault(
            "nothing would be recorded",
            f"no zone has frames in {first}..{end}",
            "choose zones and pfns that meet",
        )
    return tuple(ranges)

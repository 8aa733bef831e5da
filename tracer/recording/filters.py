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


def check_orders(filters: Filters | None, max_order: int) -> None:
    """Refuse orders that this guest does not have.

    Raises:
        Fault: when one is above `max_order`.
    """
    if filters is None or filters.orders is None or filters.orders[1] <= max_order:
        return
    raise Fault(
        f"this guest has no order {filters.orders[1]}",
        f"/proc/buddyinfo shows orders 0 to {max_order}",
        f"--orders from 0 to {max_order}",
    )


def pfn_ranges(zones: list[Zone], filters: Filters | None) -> tuple[tuple[int, int], ...]:
    """[first, end) ranges to keep; empty where everything is. `zones`: the recorded ones.

    Raises:
        Fault: when no frame of them would be kept.
    """
    if filters is None or (filters.zones is None and filters.pfns is None):
        return ()
    first, end = filters.pfns or (0, 1 << 40)
    spans = [(zone.start_pfn, zone.end_pfn) for zone in zones]
    ranges = [(max(first, a), min(end, b)) for a, b in spans if max(first, a) < min(end, b)]
    if not ranges:
        raise Fault(
            "nothing would be recorded",
            f"no zone has frames in {first:#x}..{end:#x}: {_spans(zones)}",
            "choose zones and pfns that meet",
        )
    return tuple(ranges) if filters.zones else ((first, end),)


def outgrown(zones: list[Zone], later: list[Zone], filters: Filters | None) -> list[str]:
    """A note for each zone of which frames that came `later` are not kept: the probes know the pfns
    that zones chosen by name had when they were attached.
    """
    if filters is None or filters.zones is None:
        return []
    known = {(zone.node, zone.name): zone for zone in zones}
    return [
        f"zone {zone.name} of node {zone.node} was {_spans([known[place]]) if place in known else 'empty'} "
        f"when recording began and grew to {_spans([zone])}: events of the frames it gained were not kept"
        for zone in later
        if (place := (zone.node, zone.name)) not in known
        or zone.start_pfn < known[place].start_pfn
        or zone.end_pfn > known[place].end_pfn
    ]


def _spans(zones: list[Zone]) -> str:
    return ", ".join(f"{zone.name} {zone.start_pfn:#x}..{zone.end_pfn:#x}" for zone in zones)

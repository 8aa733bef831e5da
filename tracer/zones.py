"""The zones of a recording in which memory appeared: they grow, and there may be more of them."""

from collections.abc import Iterable
from dataclasses import replace

from tracer.format import Zone


def over_time(first: list[Zone], later: Iterable[list[Zone]]) -> list[Zone]:
    """The zones of `first`, in their order, with spans that cover those they ever had; behind them
    those that came `later`, of which nothing was there at first: no frame present, managed or free.

    Memory that is added at run time makes its zone longer, or gives a zone its first memory
    (mm/memory_hotplug.c resize_zone_range).
    """
    known = {(zone.node, zone.name): zone for zone in first}
    for zones in later:
        for zone in zones:
            place = (zone.node, zone.name)
            known[place] = _covering(known[place], zone) if place in known else _empty(zone)
    return list(known.values())


def _covering(zone: Zone, later: Zone) -> Zone:
    start = min(zone.start_pfn, later.start_pfn)
    return replace(zone, start_pfn=start, spanned=max(zone.end_pfn, later.end_pfn) - start)


def _empty(zone: Zone) -> Zone:
    return replace(zone, present=0, managed=0, free=0)


def overlaps(zones: list[Zone]) -> list[tuple[Zone, Zone]]:
    """Neighbours, by pfn, whose spans share frames: nodes can be interleaved."""
    in_order = sorted(zones, key=lambda zone: (zone.start_pfn, zone.end_pfn))
    longest, found = in_order[:1], []
    for zone in in_order[1:]:
        if zone.start_pfn < longest[0].end_pfn:
            found.append((longest[0], zone))
        longest = [max(longest[0], zone, key=lambda each: each.end_pfn)]
    return found

"""A toy guest for hand-computed scenarios of the oracle: times in ms, blocks that one can draw.

4 frames make a host page and a pageblock (page size 512 KiB, pageblock order 2); max order 3,
reporting order 2. ``spaced`` blocks of order 2 have a used neighbour, so they cannot merge.
"""

from typing import Any

from tests.oracle.model import Event, Guest, Outcome, Zone, simulate

MS = 1_000_000
PAGE = 524_288


def guest_of(*ranges: tuple[int, int], **over: Any) -> Guest:
    """Zones with ``wm`` = (min, low, boost) and ``names``; by default min never refuses an isolation."""
    wm = over.pop("wm", (-1000, 0, 0))
    names = over.pop("names", [f"z{i}" for i in range(len(ranges))])
    zones = tuple(Zone(name, a, b, *wm) for name, (a, b) in zip(names, ranges, strict=True))
    fields: dict[str, Any] = {"max_order": 3, "pageblock_order": 2, "hz": None, "page_size": PAGE}
    return Guest(zones=zones, **{**fields, **over})


def state_of(guest: Guest, *free: tuple[int, int]) -> dict[int, str]:
    """All frames used, except the free [start, end) ranges."""
    state = {p: "used" for z in guest.zones for p in range(z.start_pfn, z.end_pfn)}
    for start, end in free:
        state.update(dict.fromkeys(range(start, end), "free"))
    return state


def enter(ms: float, pfn: int, order: int = 2, migratetype: int = -1) -> Event:
    return (round(ms * MS), "enter", pfn, order, migratetype)


def leave(ms: float, pfn: int, order: int = 2) -> Event:
    return (round(ms * MS), "exit", pfn, order, -1)


def reshuffle(ms: float, pfn: int) -> Event:
    return (round(ms * MS), "reshuffle", pfn, 0, -1)


def spaced(n: int, first: int = 0) -> list[int]:
    """Heads of ``n`` order-2 blocks whose buddies stay in use."""
    return [first + 8 * i for i in range(n)]


def play(guest: Guest, events: list[Event], policy: str, end_ms: float = 1000, **over: Any) -> Outcome:
    """Replay from all used, steady, 4k; a call takes 1 ms."""
    return simulate(
        guest,
        over.pop("state", state_of(guest)),
        over.pop("heads", set()),
        0,
        round(end_ms * MS),
        events,
        policy,
        {"order": 2, **over.pop("params", {})},
        over.pop("start", "steady"),
        over.pop("backing", "4k"),
        over.pop("call_ns", MS),
        **over,
    )


def rows(outcome: Outcome) -> list[tuple[float, int, int, int]]:
    """(done in ms, call, pfn, order) of every block reported."""
    return [(r[1] / MS, r[2], r[4], r[5]) for r in outcome.reports]


def pfns(outcome: Outcome) -> list[int]:
    return [row[4] for row in outcome.reports]

"""The arguments of one replay."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.oracle.guest import Guest

if TYPE_CHECKING:
    from tests.oracle.replay import Replay

Event = tuple[int, str, int, int, int]
"""(ts_ns, 'enter' | 'exit' | 'reshuffle' | 'claim', pfn, order, migratetype or -1 when unknown).

A reshuffle is compaction's search of the free lists of the zone of ``pfn``; its order is 0.
A claim gives the pageblocks of a block a type, and what is free in them moves along.
"""

Correction = tuple[int, dict[int, str]]
"""(ts_ns, frame -> 'used' | 'free'): what a snapshot says at that instant, after the events up to it."""


@dataclass(frozen=True)
class Setup:
    """The arguments of one replay."""

    guest: Guest
    state: dict[int, str] | bytes
    reported_heads: set[int]
    t0_ns: int
    end_ns: int
    events: list[Event]
    params: dict[str, Any]
    start: str
    backing: str
    call_ns: int
    byte_ns: float
    observer: "Callable[[Replay], None] | None" = None
    corrections: list[Correction] = field(default_factory=list)
    listed: list[tuple[int, int, int]] = field(default_factory=list)
    bins_ns: list[int] = field(default_factory=list)
    cpus: list[int] = field(default_factory=list)
    fail_every: int = 0
    switches: list[int] = field(default_factory=list)
    types: dict[int, int] = field(default_factory=dict)

    @property
    def reporting_order(self) -> int:
        """R: the order of a unit."""
        order: int = self.params.get("order", self.guest.pageblock_order)
        return order

    def check(self) -> None:
        """Refuse what cannot be replayed."""
        if self.start not in ("steady", "cold", "recorded"):
            raise ValueError(f"unknown start {self.start!r}")
        if not 0 <= self.reporting_order <= self.guest.max_order:
            raise ValueError("the reporting order is out of range")
        if self.end_ns < self.t0_ns or self.fail_every < 0:
            raise ValueError("the replay ends before it starts, or fail_every is negative")
        for times in ([event[0] for event in self.events], self.switches):
            if times != sorted(times) or (times and times[0] < self.t0_ns):
                raise ValueError("events and switches must be ordered in time and not before t0")
        if self.cpus and len(self.cpus) != len(self.events):
            raise ValueError("cpus are as many as events, or none")
        for _, kind, _, _, migratetype in self.events:
            if (
                kind not in ("enter", "exit", "reshuffle", "claim")
                or migratetype >= self.guest.n_migratetypes
            ):
                raise ValueError(f"bad event kind {kind!r} or migratetype {migratetype}")

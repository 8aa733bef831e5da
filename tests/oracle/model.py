"""A slow, plain oracle for replaying Linux free page reporting over a trace of buddy events.

Everything is kept per page frame in sets, dicts and lists, so that each rule can be checked by
reading it.  Nothing here is fast and nothing here is clever.

The rooms, from the bottom up:

* ``guest``, ``meaning``  the guest and arithmetic on its frames; what an op of a trace means;
* ``frames``              which frames are free (occupancy), from the recorded events alone;
* ``pageblocks``          the migratetype of every pageblock;
* ``lists``               the buddy free lists of orders >= R, with the kernel's head and tail rules;
* ``host``                per frame: backed, reclaimed (given up because of a report) or fresh;
* ``setup``, ``outcome``  what goes into one replay, and what comes out of it;
* ``recorded``            the same of a recorded trace;
* ``world``, ``events``, ``replay``  one replay: its state, what happens to it, whose turn it is;
* ``reporting``           isolation, report and way back, for the policies that have a device;
* ``scanning``, ``containers``  going over captured hints, and what they are kept in;
* ``policies``            one file a policy;
* ``model``               the entry point ``simulate``, which returns an ``Outcome``.

A *unit* is an aligned run of 2**R frames wholly inside one zone, R being the reporting order.
Time is in nanoseconds, memory in frames unless a name says bytes.
"""

from collections.abc import Callable
from typing import Any

from tests.oracle.frames import FrameModel
from tests.oracle.guest import MERGEABLE, MOVABLE, NS_PER_MS, NS_PER_S, RECLAIMABLE, UNMOVABLE, Guest, Zone
from tests.oracle.host import BACKED, FRESH, RECLAIMED, Host
from tests.oracle.lists import FreeLists, ListKey, split_toward
from tests.oracle.meaning import meaning_of
from tests.oracle.outcome import PARTS, Composition, Outcome, ReportRow, Work
from tests.oracle.pageblocks import PageblockTypes
from tests.oracle.params import wheel_timer
from tests.oracle.policies.balloon_hinting import BalloonHintingReplay
from tests.oracle.policies.bitmap import BitmapReplay
from tests.oracle.policies.boundary import BoundaryReplay
from tests.oracle.policies.clairvoyant import ClairvoyantReplay
from tests.oracle.policies.hints import HintsReplay
from tests.oracle.policies.never import NeverReplay
from tests.oracle.policies.oracle import OracleReplay
from tests.oracle.policies.upstream import UpstreamReplay
from tests.oracle.replay import Replay
from tests.oracle.setup import Correction, Event, Setup

__all__ = [
    "BACKED",
    "FRESH",
    "MERGEABLE",
    "MOVABLE",
    "NS_PER_MS",
    "NS_PER_S",
    "PARTS",
    "POLICIES",
    "RECLAIMABLE",
    "RECLAIMED",
    "UNMOVABLE",
    "Composition",
    "Correction",
    "Event",
    "FrameModel",
    "FreeLists",
    "Guest",
    "Host",
    "ListKey",
    "NeverReplay",
    "OracleReplay",
    "Outcome",
    "PageblockTypes",
    "Replay",
    "ReportRow",
    "Setup",
    "UpstreamReplay",
    "Work",
    "Zone",
    "meaning_of",
    "simulate",
    "split_toward",
    "wheel_timer",
]


POLICIES: dict[str, type[Replay]] = {
    "never": NeverReplay,
    "oracle": OracleReplay,
    "upstream": UpstreamReplay,
    "boundary": BoundaryReplay,
    "bitmap": BitmapReplay,
    "hints": HintsReplay,
    "balloon-hinting": BalloonHintingReplay,
    "clairvoyant": ClairvoyantReplay,
}


def simulate(
    guest: Guest,
    state: dict[int, str] | bytes,
    reported_heads: set[int],
    t0_ns: int,
    end_ns: int,
    events: list[Event],
    policy: str,
    params: dict[str, Any],
    start: str,
    backing: str,
    call_ns: int = 600_000,
    byte_ns: float = 0,
    observer: Callable[[Replay], None] | None = None,
    corrections: list[Correction] | None = None,
    listed: list[tuple[int, int, int]] | None = None,
    bins_ns: list[int] | None = None,
    cpus: list[int] | None = None,
    fail_every: int = 0,
    switches: list[int] | None = None,
    types: dict[int, int] | None = None,
) -> Outcome:
    """Replay the events of [t0_ns, end_ns] under one policy.

    Policies and their parameters beside ``order``: ``never``, ``oracle``; ``upstream`` (kernel, delay_ns,
    capacity, budget, gate, rounding 'none' | 'wheel', putback 'tail' | 'head', jiffies0, mono0_ns);
    ``boundary`` (high_water, delay_ns, capacity, rounding, jiffies0, mono0_ns); ``bitmap`` (threshold,
    capacity); ``hints`` (container 'set' | 'ring' | 'array', size, delay_ns, capacity); ``balloon-hinting``
    (first_ns, every_ns, capacity, hold_ns); ``clairvoyant`` (horizon_ns).

    ``observer`` sees the replay after the start, every event and every completed report.
    ``corrections`` are snapshots in between; ``listed``, as (pfn, order, migratetype), the free lists
    that were read at the start, each from head to tail. ``bins_ns``: instants at which the outcome
    tells what managed memory was made of. ``cpus``: of each event. Every ``fail_every``-th report to the
    device fails; at the ``switches`` it unregisters, registers, and so on.
    ``types``: of pageblocks at the start, by number; the others are MOVABLE.
    """
    setup = Setup(
        guest,
        state,
        reported_heads,
        t0_ns,
        end_ns,
        events,
        params,
        start,
        backing,
        call_ns,
        byte_ns,
        observer,
        corrections or [],
        listed or [],
        bins_ns or [],
        cpus or [],
        fail_every,
        switches or [],
        types or {},
    )
    return POLICIES[policy](setup).run()

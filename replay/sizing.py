"""How much memory a replay takes, told before it begins.

Nothing here repeats a shape: the real arrays are made for two guests of a few megabytes, and what the
larger one has more is taken for each such piece of the real one. All arrays grow with the frames.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from replay.available import available
from replay.buddy.area import new_area
from replay.buddy.full import FullModel
from replay.buddy.occupancy import Occupancy
from replay.buddy.rules import rules_of
from replay.bundles import Bundle
from replay.device import Device
from replay.geometry import Geometry
from replay.policies.building import build
from replay.policies.protocol import Setting
from replay.state import new_state
from tracer import FrameState, Guest, Zone, human_bytes
from tracer.faults import environment

# While a snapshot is brought to its end, at most: its frames' states three times, what they have seen
# twice, which are free, and how these pair up to blocks. The survey before takes less.
PASSING_BYTES = 10  # of a frame
READING_BYTES = 192 << 20  # decoded and encoded events on their way, whatever the trace


@dataclass(frozen=True)
class Sizes:
    """Bytes that replays of one guest take, at most.

    Attributes:
        meaning: see `buddy.ops`.
        bins: instants at which timelines are told.
        log_rows: room for so many rows of each setting's log.
        fragmentation: is there a model of all orders beside?
    """

    guest: Guest
    zones: list[Zone]
    meaning: np.ndarray[Any, np.dtype[np.uint8]]
    bins: int
    log_rows: int = 0
    fragmentation: bool = False
    _known: dict[Any, int] = field(default_factory=dict, compare=False)

    def of(self, settings: Iterable[Setting]) -> int:
        """All these settings in one pass.

        Raises:
            Fault: for an order that this guest does not have, a policy that cannot be built, or frames'
                states that no memory here holds.
        """
        asked = list(settings)
        return self.shared + sum(map(self.order, {s.order for s in asked})) + sum(map(self.setting, asked))

    @property
    def shared(self) -> int:
        """What any pass takes: events on their way, snapshots, and the model of all orders."""
        return self._once("shared", self._shared)

    def order(self, order: int) -> int:
        """Step 1 at a reporting order, whatever the number of policies on it."""
        return self._once(order, lambda: self._order(order))

    def setting(self, setting: Setting) -> int:
        """A policy's own world."""
        return self._once(setting.named, lambda: self._setting(setting))

    def _once(self, key: object, reckon: Callable[[], int]) -> int:
        if key not in self._known:
            self._known[key] = reckon()
        return self._known[key]

    def _shared(self) -> int:
        whole, rules = Geometry.of(self.guest, self.zones), rules_of(self.guest)
        size_bytes = READING_BYTES + PASSING_BYTES * whole.frames
        if self.fragmentation:
            size_bytes += grown(
                lambda small: FullModel(self.meaning, small, rules, _nothing(small)).full, whole
            )
        return size_bytes

    def _order(self, order: int) -> int:
        rules, bins_ns = rules_of(self.guest), np.zeros(self.bins, np.int64)

        def make(small: Geometry) -> object:
            return vars(Occupancy(self.meaning, small, rules, _nothing(small), 0, bins_ns))

        return grown(make, Geometry.of(self.guest, self.zones, order))

    def _setting(self, setting: Setting) -> int:
        geometry, rules = Geometry.of(self.guest, self.zones, setting.order), rules_of(self.guest)
        program = build(setting, self.guest, geometry)
        capacity, bins_ns = program.capacity, np.zeros(self.bins, np.int64)
        device = Device().row(capacity, capacity, forward=False, to_tail=True)

        def make(small: Geometry) -> object:
            return new_state(
                small,
                new_area(small, small.order, rules),
                backing="4k",
                inhibited=False,
                device=device,
                switches_ns=bins_ns[:0],
                worker_ns=(bins_ns[:0], bins_ns[:0]),
                bins_ns=bins_ns,
                log_rows=self.log_rows + capacity if self.log_rows else 1,
                logging=bool(self.log_rows),
            )

        return grown(make, geometry) + program.memory.nbytes


def grown(make: Callable[[Geometry], object], geometry: Geometry) -> int:
    """Bytes of the arrays that `make` would make for `geometry`. It is called for two small guests of
    the same shape.
    """
    piece = 1 << max(geometry.max_order, geometry.pageblock_order, geometry.host_order, 6)
    one, two = (array_bytes(make(_small(geometry, count * piece))) for count in (1, 2))
    return one + (two - one) * (-(-geometry.frames // piece) - 1)


def _small(geometry: Geometry, frames: int) -> Geometry:
    """The same zones, all of them empty but the last one, which has so many frames."""
    empty = [replace(zone, start_pfn=0, spanned=0) for zone in geometry.zones]
    return replace(geometry, zones=(*empty[:-1], replace(empty[-1], spanned=frames)))


def _nothing(geometry: Geometry) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full(geometry.frames, FrameState.USED, np.uint8)


def array_bytes(thing: object) -> int:
    """Bytes of the arrays in something: a bundle, tuple, list or mapping of such, or an array."""
    return sum({id(array): array.nbytes for array in _arrays(thing)}.values())


def _arrays(thing: object) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(thing, np.ndarray):
        yield thing if thing.base is None or not isinstance(thing.base, np.ndarray) else thing.base
    elif isinstance(thing, Mapping):
        for each in thing.values():
            yield from _arrays(each)
    elif isinstance(thing, Bundle):
        yield from _arrays(vars(thing))
    elif isinstance(thing, tuple | list):
        for each in thing:
            yield from _arrays(each)


def refuse_larger(sizes: Sizes, settings: list[Setting], subject: str) -> None:
    """Refuse a replay that this machine has no memory for, before it begins.

    Raises:
        Fault: with both numbers (exit code 2).
    """
    there, needed, counted = available(), sizes.shared, settings[:0]
    for some in (settings[:1], settings):  # the first one alone, so that not all are built in vain
        if needed <= there.size_bytes:
            needed, counted = sizes.of(some), some
    if needed > there.size_bytes:
        frames = max(zone.end_pfn for zone in sizes.zones)
        raise environment(
            f"to replay {subject} takes {human_bytes(needed)}, more than the memory there is",
            f"the state of {frames:,} frames{_under(counted)}; {human_bytes(there.size_bytes)} are "
            f"available ({there.source})",
            "replay fewer policies at once, at a higher order, or on a larger machine",
        )


def _under(settings: list[Setting]) -> str:
    others = f" and {len(settings) - 1:,} more" if len(settings) > 1 else ""
    return f" under {settings[0].named}{others}" if settings else ""

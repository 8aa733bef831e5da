"""How many settings go into one pass over the trace.

What settings share (decoding, step 1 of each order) is done once a pass, so one pass of all is fastest. Two
things speak against it: the memory there is, and, where results are kept, the work that an interrupt
loses, which is the pass under way. So with a folder a pass is meant to last `PASS_S`, judged by the one
before; the first by the number of events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.policies.protocol import Setting
from replay.sizing import Sizes

SHARE = 0.75  # of the memory there is: the rest is for what cannot be told before
PASS_S = 300.0
FEWEST = 4  # with fewer, reading the trace again and again would be most of the work
FIRST_EVENTS = 2_000_000_000  # times settings: some minutes where each event costs a policy 100 ns


@dataclass(frozen=True)
class Plan:
    """What is going to be done.

    Attributes:
        settings: asked for.
        kept: of them, those that an earlier run has finished.
        passes: how many are still needed, as far as can be told now.
        size_bytes: what the largest of them takes, at most.
        available_bytes: the memory there is.
    """

    settings: int
    kept: int
    passes: int
    size_bytes: int
    available_bytes: int


@dataclass(frozen=True)
class Packing:
    """Settings into passes, in the order given.

    Attributes:
        ceiling: of an order, which goes with the first setting at it.
        limit_bytes: of a pass; one of a single setting may take more.
    """

    sizes: Sizes
    ceiling: Callable[[int], Setting]
    limit_bytes: float

    def split(self, settings: Sequence[Setting], most: int) -> list[list[Setting]]:
        """Passes of at most so many settings."""
        passes: list[list[Setting]] = []
        size_bytes = 0
        for setting in settings:
            alone = self._on_top(setting, [])
            more = self._on_top(setting, passes[-1]) if passes else alone
            if not passes or len(passes[-1]) >= most or size_bytes + more > self.limit_bytes:
                passes.append([])
                size_bytes, more = self.sizes.shared, alone
            passes[-1].append(setting)
            size_bytes += more
        return passes

    def size_bytes(self, one: Sequence[Setting]) -> int:
        """What a pass takes."""
        return self.sizes.of([*one, *(self.ceiling(order) for order in sorted({s.order for s in one}))])

    def _on_top(self, setting: Setting, others: list[Setting]) -> int:
        """What one more setting takes. Settings come by order, so that of the last one is looked at."""
        size_bytes = self.sizes.setting(setting)
        if not others or others[-1].order != setting.order:
            size_bytes += self.sizes.order(setting.order) + self.sizes.setting(self.ceiling(setting.order))
        return size_bytes


def first_most(events: int) -> int:
    """How many settings the first pass has, at most, where its results are going to be kept."""
    return max(FEWEST, FIRST_EVENTS // max(events, 1))


def next_most(settings: int, seconds: float) -> int:
    """How many the next one has, after a pass of so many settings lasted so long."""
    return max(FEWEST, int(settings * PASS_S / max(seconds, 0.001)))

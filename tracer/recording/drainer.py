"""Moving records from the ring into blocks, and noticing when some were lost."""

import time
from typing import TYPE_CHECKING, Protocol

from tracer.format import Loss
from tracer.probes.ring import STRIDE_BYTES
from tracer.recording.blocks import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

MIN_PAUSE_S = 0.005
MAX_PAUSE_S = 0.05
# What both CPUs of a small guest make at most; a small ring is looked at before that could fill half of it.
_FAST_EVENTS_PER_S = 2_000_000
# Of one CPU, however fast events come: after each drain it pauses three times as long as that took.
CPU_CAP = 0.25
# Losses closer together than this are told as one.
_MERGE_NS = 100_000_000


def longest_pause_s(ring_bytes: int) -> float:
    """How long a ring of this size may be left alone while little comes."""
    half_full_s = ring_bytes / STRIDE_BYTES / 2 / _FAST_EVENTS_PER_S
    return min(max(half_full_s, MIN_PAUSE_S), MAX_PAUSE_S)


class Source(Protocol):
    """What is drained: the kernel probes."""

    def drain_into(self, out: "NDArray[np.uint64]") -> int:
        """Move finished records to the front of `out`; returns how many."""
        ...

    @property
    def waiting(self) -> int:
        """Records that can be drained now."""
        ...

    @property
    def fill(self) -> float:
        """Share of the ring in use."""
        ...

    @property
    def ring_full(self) -> int:
        """Events lost so far because the ring was full."""
        ...


class Drainer:
    """Drains a source into blocks and hands full ones on.

    Attributes:
        events: records drained so far.
        losses: those noticed since they were last taken, in order.
        last_loss_ns: when a loss was last noticed, or None.
    """

    def __init__(
        self,
        source: Source,
        blocks: Blocks,
        hand_over: "Callable[[NDArray[np.uint64], int], None]",
        since_ns: int,
        calm_s: float = MAX_PAUSE_S,
    ) -> None:
        """`hand_over(block, rows)` gets each full block; the encoder gives it back to `blocks`.

        `since_ns`: before the source's first event; what was lost between that and now is a loss too.
        `calm_s`: the longest pause, when little comes.
        """
        self.events = 0
        self.losses: list[Loss] = []
        self.last_loss_ns: int | None = None
        self._source, self._blocks, self._hand_over = source, blocks, hand_over
        self._block: NDArray[np.uint64] | None = None
        self._used = 0
        self._known_lost = 0
        self._turn_ns = since_ns
        self._pause_s, self._calm_s = MIN_PAUSE_S, calm_s

    def pause(self) -> None:
        """Sleep until the next turn is due."""
        time.sleep(self._pause_s)

    def turn(self) -> None:
        """Move what was in the ring when this began."""
        begin_ns = time.monotonic_ns()
        fill = self._source.fill
        newest_ns = self._move(self._source.waiting)
        self._notice_losses(newest_ns, begin_ns)
        self._turn_ns = begin_ns
        took_s = (time.monotonic_ns() - begin_ns) / 1e9
        # Rarely when little comes, often when the ring fills, and never above the cap.
        calm = self._calm_s if fill < 0.01 else MIN_PAUSE_S
        self._pause_s = max(min(calm, 2 * self._pause_s), took_s * (1 / CPU_CAP - 1))

    def finish(self, going: "Callable[[], bool]") -> None:
        """Move all there is: nothing new comes any more. Waits for blocks while `going()`."""
        while self._source.waiting and going():
            if self._move(self._source.waiting) is None:
                time.sleep(MIN_PAUSE_S)
        self._notice_losses(None, time.monotonic_ns())
        self.flush()

    def flush(self) -> None:
        """Hand over the block in hand, full or not."""
        if self._block is not None:
            self._hand_over(self._block, self._used)
            self._block, self._used = None, 0

    def take_losses(self) -> list[Loss]:
        """Losses noticed since the last call."""
        losses, self.losses = self.losses, []
        return losses

    def _move(self, waiting: int) -> int | None:
        """Move so many records; returns the time of the last one, None if none was moved."""
        newest_ns = None
        while waiting > 0:
            if self._block is None:
                self._block = self._blocks.take()
                if self._block is None:
                    return newest_ns
            moved = self._source.drain_into(self._block[self._used : self._used + waiting])
            if not moved:
                return newest_ns
            waiting -= moved
            self._used += moved
            self.events += moved
            newest_ns = int(self._block[self._used - 1, 0])
            if self._used == len(self._block):
                self.flush()
        return newest_ns

    def _notice_losses(self, newest_ns: int | None, now_ns: int) -> None:
        """Between two turns nobody makes room, so what was lost came after what was in the ring."""
        lost = self._source.ring_full - self._known_lost
        if not lost:
            return
        self._known_lost += lost
        end_ns = time.monotonic_ns()
        begin_ns = max(self._turn_ns, min(newest_ns or 0, now_ns))
        self.last_loss_ns = end_ns
        if self.losses and begin_ns - self.losses[-1].end_ns < _MERGE_NS:
            last = self.losses.pop()
            self.losses.append(Loss(last.begin_ns, end_ns, last.events + lost))
        else:
            self.losses.append(Loss(begin_ns, end_ns, lost))

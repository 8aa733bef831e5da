"""When to take another snapshot, so that replay is right again from there."""

LOSS_QUIET_NS = 1_000_000_000
MAX_WAIT_NS = 30_000_000_000


class Healing:
    """Decides on resyncs: each interval if one is asked for, and after a loss.

    A snapshot that overlaps a loss heals nothing, so it waits until no event was lost for a second;
    where losses do not end it tries all the same, every half minute.
    """

    def __init__(self, interval_ns: int | None) -> None:
        self._interval_ns = interval_ns
        self._last_begin_ns = 0

    def began(self, now_ns: int) -> None:
        """A snapshot begins now."""
        self._last_begin_ns = now_ns

    def is_due(self, now_ns: int, last_loss_ns: int | None) -> bool:
        """Is it time for another one? `last_loss_ns`: when a loss was last noticed."""
        since_ns = now_ns - self._last_begin_ns
        if self._interval_ns is not None and since_ns >= self._interval_ns:
            return True
        if last_loss_ns is None or last_loss_ns < self._last_begin_ns:
            return False
        return now_ns - last_loss_ns >= LOSS_QUIET_NS or since_ns >= MAX_WAIT_NS

"""From rows in the order of a file to segments in the order of time."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]

SEGMENT_ROWS = 2_000_000
# The latest rows of a segment wait for the next one: perf and ftrace put the events of several CPUs
# into order but for small swaps. Rows and not time, so that one absurd time stamp makes no other late.
HELD_ROWS = 200_000


class Ordering:
    """Collects rows and gives them back in time order, a segment at a time.

    Attributes:
        late: rows given although a later one had been given before.
    """

    def __init__(self) -> None:
        self.late = 0
        self._waiting: list[Rows] = []
        self._rows = 0
        self._last_ns: int | None = None

    def add(self, rows: "Rows") -> None:
        """Take in rows in the order of the file."""
        if len(rows["ts_ns"]):
            self._waiting.append(rows)
            self._rows += len(rows["ts_ns"])

    @property
    def full(self) -> bool:
        """Are there enough rows for a segment?"""
        return self._rows >= SEGMENT_ROWS + HELD_ROWS

    def take(self, *, final: bool = False) -> "Rows | None":
        """The rows of the next segment, sorted; None when there are none."""
        if not self._waiting:
            return None
        rows = {name: np.concatenate([part[name] for part in self._waiting]) for name in self._waiting[0]}
        rows = _in_time_order(rows)
        held = 0 if final else min(HELD_ROWS, self._rows)
        count = self._rows - held
        self._waiting = [{name: values[count:] for name, values in rows.items()}] if held else []
        self._rows = held
        return self._given({name: values[:count] for name, values in rows.items()})

    def _given(self, rows: "Rows") -> "Rows | None":
        ts_ns = rows["ts_ns"]
        if not len(ts_ns):
            return None
        if self._last_ns is not None:
            self.late += int(np.searchsorted(ts_ns, self._last_ns))
        self._last_ns = max(self._last_ns or 0, int(ts_ns[-1]))
        return rows


def _in_time_order(rows: "Rows") -> "Rows":
    """Sorted by time; equal times keep the order of the file."""
    ts_ns = rows["ts_ns"]
    if bool((ts_ns[1:] >= ts_ns[:-1]).all()):
        return rows
    order = np.argsort(ts_ns, kind="stable")
    return {name: values[order] for name, values in rows.items()}

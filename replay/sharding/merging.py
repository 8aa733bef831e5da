"""The shards' streams as the one that there would be without shards, in bounded memory.

Reduced events are merged by the event that each comes of, zone counts by time. All is done for many rows at
once: of each stream, those up to where the first of them was read.
"""

from collections.abc import Iterable, Iterator, Sequence

import numba as nb
import numpy as np
from numpy.typing import NDArray

from replay.buddy.reduced import COUNT_DTYPE, REDUCED_DTYPE, Reduced
from replay.jit import Words, compiled
from replay.sharding.files import Rows


class _Stream:
    """One stream, as far as it was read and not taken."""

    def __init__(self, batches: Iterator[Rows], dtype: "np.dtype[np.void]") -> None:
        self._batches, self._none = batches, Rows(np.empty(0, np.int64), np.empty(0, dtype))
        self.rows = self._none

    def fill(self) -> bool:
        """Read on if nothing is left of what was read; is anything?"""
        while not len(self.rows.keys):
            read = next(self._batches, None)
            if read is None:
                return False
            self.rows = read
        return True

    def take(self, until: int, *, with_it: bool) -> Rows:
        """Rows before a key, or up to it."""
        count = int(self.rows.keys.searchsorted(until, "right" if with_it else "left"))
        keys, rows = self.rows
        self.rows = Rows(keys[count:], rows[count:])
        return Rows(keys[:count], rows[:count])


def merged(streams: Sequence[Iterator[Rows]], dtype: "np.dtype[np.void]") -> Iterator[Rows]:
    """All streams, each ascending, as one; of equal keys those of the first stream come first."""
    left = [_Stream(batches, dtype) for batches in streams]
    while ends := [(int(each.rows.keys[-1]), place) for place, each in enumerate(left) if each.fill()]:
        until, which = min(ends)
        parts = [each.take(until, with_it=place <= which) for place, each in enumerate(left)]
        while len(parts) > 1:  # of two each, those of the first stream first
            pairs = zip(parts[::2], [*parts[1::2], parts[-1]], strict=False)
            parts = [one if one is other else _merged_two(one, other) for one, other in pairs]
        yield parts[0]


def _merged_two(one: Rows, other: Rows) -> Rows:
    """Two streams' rows as one, all of which are there."""
    if not (len(one.keys) and len(other.keys)):
        return one if len(one.keys) else other
    keys = np.empty(len(one.keys) + len(other.keys), np.int64)
    rows = np.empty(len(keys), one.rows.dtype)
    _interleave(one.keys, _words(one.rows), other.keys, _words(other.rows), keys, _words(rows))
    return Rows(keys, rows)


def _words(rows: "NDArray[np.void]") -> NDArray[np.int64]:
    """The same memory as whole numbers, shape (rows, words of a row)."""
    return rows.view(np.int64).reshape(len(rows), -1)


_KEYS, _WORDS = nb.types.Array(nb.int64, 1, "C", readonly=True), nb.int64[:, ::1]


@compiled(nb.void(_KEYS, _WORDS, _KEYS, _WORDS, nb.int64[::1], _WORDS))
def _interleave(
    keys: Words, rows: Words, other_keys: Words, other_rows: Words, all_keys: Words, all_rows: Words
) -> None:
    """Merge two streams by key; of equal keys those of the first one come first."""
    i, j, words = np.uint64(0), np.uint64(0), np.uint64(rows.shape[1])
    for k in range(np.uint64(len(all_keys))):
        if j == np.uint64(len(other_keys)) or (i < np.uint64(len(keys)) and keys[i] <= other_keys[j]):
            all_keys[k] = keys[i]
            for word in range(words):
                all_rows[k, word] = rows[i, word]
            i += np.uint64(1)
        else:
            all_keys[k] = other_keys[j]
            for word in range(words):
                all_rows[k, word] = other_rows[j, word]
            j += np.uint64(1)


def by_time(batches: Iterable[Rows]) -> Iterator[Rows]:
    """Reduced events with their times as keys."""
    for _, events in batches:
        yield Rows(np.ascontiguousarray(events["ts_ns"]), events)


def totals(streams: Sequence[Iterator[Rows]], begin_free: NDArray[np.int64]) -> Iterator[Rows]:
    """Zone counts of the whole, by time. `begin_free`: when the replay begins, shape (shards, zones)."""
    changes = [changed(batches, free.copy()) for batches, free in zip(streams, begin_free, strict=True)]
    free = begin_free.sum(axis=0)
    for keys, rows in merged(changes, COUNT_DTYPE):
        for zone in np.unique(rows["zone"]).tolist():
            mine = rows["zone"] == zone
            told = free[zone] + np.cumsum(rows["free"][mine])
            rows["free"][mine] = told
            free[zone] = told[-1]
        yield Rows(keys, rows)


def changed(batches: Iterable[Rows], free: NDArray[np.int64]) -> Iterator[Rows]:
    """Zone counts of one shard, each less the one before. `free`: the ones at the begin; it is written to."""
    for keys, rows in batches:
        for zone in np.unique(rows["zone"]).tolist():
            mine = rows["zone"] == zone
            told = rows["free"][mine]
            rows["free"][mine] = np.diff(told, prepend=free[zone])
            free[zone] = told[-1]
        yield Rows(keys, rows)


def together(events: Iterator[Rows], counts: Iterator[Rows]) -> Iterator[tuple[Reduced, int]]:
    """Events and counts, both by time: parts of both up to an instant, and that instant."""
    streams = [_Stream(events, REDUCED_DTYPE), _Stream(counts, COUNT_DTYPE)]
    while ends := [int(each.rows.keys[-1]) for each in streams if each.fill()]:
        until_ns = min(ends)
        parts = [each.take(until_ns, with_it=True).rows for each in streams]
        yield Reduced(*parts), until_ns

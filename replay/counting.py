"""The full model beside the kernel's own counts: /proc/buddyinfo, read second by second.

The kernel counts a zone's blocks under its lock, at one instant between two that were noted. A
reading of a zone is right iff all its orders agree with the model at some instant in between; the
model is never corrected by it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.full import FullModel
from replay.buddy.steps import Columns
from tracer import Op, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = "sample"


@dataclass(frozen=True)
class Reading:
    """Free blocks by order, per zone (index), as the kernel counted them between two instants.

    Attributes:
        name: of the snapshot it belongs to, or SAMPLE.
        held: frames that may be on no list then, though the model has them free (limbo, int64): they were
            seen so about that time. It is tried with them and, from then on, without.
    """

    name: str
    begin_ns: int
    end_ns: int
    blocks: "dict[int, NDArray[np.int64]]"
    held: "NDArray[np.int64]" = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True)
class Counted:
    """One zone of one reading.

    Attributes:
        model: blocks by order at the instant that fits best; kernel: as it counted.
        steps, impossible: of the model in this zone since the reading before.
        isolations: scans of compaction that took free pages of this zone since then.
    """

    reading: Reading
    zone: int
    model: "NDArray[np.int64]"
    kernel: "NDArray[np.int64]"
    steps: int
    impossible: int
    isolations: int

    @property
    def difference(self) -> "NDArray[np.int64]":
        """Blocks by order that the model has too many (below zero: too few)."""
        return self.model - self.kernel

    @property
    def wrong(self) -> int:
        """Orders whose counts differ."""
        return int(np.count_nonzero(self.difference))


class Counting:
    """A full model fed with pieces (`stretches.pieces`, cut at its readings' instants)."""

    def __init__(self, model: FullModel, readings: Iterable[Reading]) -> None:
        self.model = model
        self._left = deque(sorted(readings, key=lambda reading: reading.begin_ns))
        self._open: list[_Best] = []
        self._steps = model.full.zone_steps.copy()
        self._isolations = np.zeros(len(model.nr_free), np.int64)
        self.counted: list[Counted] = []

    def feed(self, until_ns: int, columns: Columns, scanned_first: "NDArray[np.int64]") -> None:
        """Hear a piece of the events, the one that belongs to the instant `until_ns`. `scanned_first`:
        the first frames of the ranges in it that compaction took pages from (`scanned`).
        """
        self._turn(until_ns)
        self._note_isolations(scanned_first)
        done, rows = 0, len(columns["op"])
        while done < rows and any(not best.right for best in self._open):
            self.model.play(columns, done, done + 1)
            self._look()
            done += 1
        self.model.play(columns, done)

    def finish(self) -> list[Counted]:
        """What came of all readings, in order."""
        while self._left or self._open:
            last_ns = max(best.reading.end_ns for best in self._open) if self._open else 0
            self._turn(max(last_ns, self._left[0].begin_ns if self._left else last_ns) + 1)
        return self.counted

    def _turn(self, until_ns: int) -> None:
        """Close the readings that are over before `until_ns`, open those that have begun."""
        while self._left and self._left[0].begin_ns < until_ns:
            reading = self._left.popleft()
            self._open.append(_Best(reading, {}))
            self._look()
            if len(reading.held):
                self.model.remove(reading.held)
                self._look()
        for best in [best for best in self._open if best.reading.end_ns < until_ns]:
            self._open.remove(best)
            self._close(best)

    def _look(self) -> None:
        for best in self._open:
            best.look(self.model.nr_free)

    def _close(self, best: "_Best") -> None:
        now = self.model.full.zone_steps
        since = now - self._steps
        for zone, kernel in best.reading.blocks.items():
            isolations = int(self._isolations[zone])
            steps, impossible = (int(number) for number in since[zone])
            told = (zone, best.model[zone], kernel, steps, impossible, isolations)
            self.counted.append(Counted(best.reading, *told))
        self._steps = now.copy()
        self._isolations[:] = 0

    def _note_isolations(self, first: "NDArray[np.int64]") -> None:
        for zone, (start, end) in enumerate(self.model.full.area.bounds):
            self._isolations[zone] += int(((first >= start) & (first < end)).sum())


@dataclass
class _Best:
    """A reading that is open: per zone the model's counts at the instant that fitted best."""

    reading: Reading
    model: "dict[int, NDArray[np.int64]]"
    right: bool = False

    def look(self, nr_free: "NDArray[np.int64]") -> None:
        for zone, kernel in self.reading.blocks.items():
            if zone not in self.model or _distance(nr_free[zone], kernel) < _distance(
                self.model[zone], kernel
            ):
                self.model[zone] = nr_free[zone].copy()
        self.right = all(
            np.array_equal(self.model[zone], kernel) for zone, kernel in self.reading.blocks.items()
        )


def _distance(model: "NDArray[np.int64]", kernel: "NDArray[np.int64]") -> tuple[int, int]:
    """Orders that differ, and by how many blocks in all."""
    difference = np.abs(model - kernel)
    return int(np.count_nonzero(difference)), int(difference.sum())


def scanned(columns: Columns) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """(first frame, frames) of the ranges in which compaction isolated free pages.

    mm/compaction.c: isolate_freepages_block and fast_isolate_freepages tell ranges, not blocks.
    """
    some = np.isin(columns["op"], (Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE))
    aux = columns["aux"][some]
    taken = (aux >> np.uint64(32)) & np.uint64(0xFFFF) != 0
    return columns["pfn"][some][taken].astype(np.int64), (aux[taken] & np.uint64(0xFFFF)).astype(np.int64)


def sample_readings(trace: Trace) -> Iterator[Reading]:
    """The trace's samples, second by second.

    Raises:
        Fault: when one cannot be read.
    """
    rows = trace.samples
    begin, end, zone = (rows[name].to_numpy() for name in ("read_begin_ns", "read_end_ns", "zone"))
    names = [(zone.node, zone.name) for zone in trace.zones]
    recorded = [(zone.node, zone.name) for zone in trace.manifest.zones]
    places = [names.index(name) if name in names else -1 for name in recorded]
    for instant_ns in np.unique(begin):
        at = np.flatnonzero(begin == instant_ns)
        blocks = {
            places[zone[row]]: np.array(rows["free_blocks"][int(row)].as_py(), np.int64)
            for row in at
            if places[zone[row]] >= 0
        }
        yield Reading(SAMPLE, int(instant_ns), int(end[at].max()), blocks)

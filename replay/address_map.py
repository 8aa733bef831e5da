"""The guest's memory by block of frames and instant: used, free, reclaimed, refaulted."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.exact import SECOND_NS
from replay.state import HOST_ORDER
from replay.stretches import first_after
from tracer import FrameState

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from replay.buddy.occupancy import Occupancy
    from replay.buddy.steps import Columns
    from replay.geometry import Geometry
    from replay.schedule import Schedule
    from replay.start import Start

MAX_ROWS, MAX_COLUMNS = 128, 200
WORD_ORDER = 6  # frames in a word of a bitmap
_KNOWN = (FrameState.USED, FrameState.BUDDY, FrameState.LIMBO)


class AddressMap:
    """What one group of policies did where. It looks on from outside, between batches: nothing in the engine
    knows of it, and it changes nothing. A column tells of its instant's last event.

    Attributes:
        order: a row is an aligned block of 2^order frames, never smaller than a host huge page or the
            buddy's largest block.
        instants_ns: of the columns.
        free: frames in the buddy, int64, shape (columns, rows).
        managed: frames that the guest had, likewise.
        reclaimed: of each policy, shape (policies, columns, rows).
    """

    def __init__(
        self, geometry: "Geometry", start: "Start", bins_ns: "NDArray[np.int64]", policies: int
    ) -> None:
        self.order = max(geometry.max_order, geometry.host_order, WORD_ORDER)
        while -(-geometry.frames >> self.order) > MAX_ROWS:
            self.order += 1
        self.instants_ns = bins_ns[:: -(-len(bins_ns) // MAX_COLUMNS)] if len(bins_ns) else bins_ns
        self.instants_ns = np.union1d(self.instants_ns, bins_ns[-1:])
        self._start_ns, self._told = start.now_ns, 0
        self._known = np.isin(start.state[: geometry.frames], _KNOWN)
        self._managed, self._managed_frames = self._by_row(self._known, 0), int(self._known.sum())
        shape = len(self.instants_ns), len(self._managed)
        self._logged = np.zeros((policies, shape[0]), np.int64)  # rows of the log, so far
        self.free, self.managed = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.reclaimed = np.zeros((policies, *shape), np.int64)

    def parts(self, columns: "Columns") -> "Iterator[tuple[Columns, int | None]]":
        """A batch cut at the instants: each part, and the time of the event behind it, None at its end.

        `look` is called before the next part is asked for.
        """
        done, ts_ns = 0, columns["ts_ns"]
        while done < len(ts_ns) and self._told < len(self.instants_ns):
            until = done + first_after(ts_ns[done:], int(self.instants_ns[self._told]))
            yield (
                {name: column[done:until] for name, column in columns.items()},
                (int(ts_ns[until]) if until < len(ts_ns) else None),
            )
            done = until
        if done < len(ts_ns):
            yield {name: column[done:] for name, column in columns.items()}, None

    def look(self, occupancy: "Occupancy", schedules: "Sequence[Schedule]", until_ns: int) -> None:
        """Note what there is for all instants before `until_ns`, the next event's."""
        until = int(np.searchsorted(self.instants_ns, until_ns))
        if until <= self._told:
            return
        columns = slice(self._told, until)
        self.managed[columns] = self._managed_now(occupancy)
        self.free[columns] = self._by_row(np.bitwise_count(occupancy.free_words), WORD_ORDER)
        for index, schedule in enumerate(schedules):
            away, order = schedule.state.pages["away"], int(schedule.state.shape[HOST_ORDER])
            self.reclaimed[index, columns] = self._by_row(away, order)
            self._logged[index, columns] = schedule.logged
        self._told = until

    def finish(self, occupancy: "Occupancy", schedules: "Sequence[Schedule]") -> None:
        """The trace is over: so are all instants."""
        self._told = min(self._told, len(self.instants_ns) - 1)
        self.look(occupancy, schedules, int(self.instants_ns[-1]) + 1)
        self._known = self._known[:0]

    def frame(self, index: int, log: "NDArray[np.void]") -> "pl.DataFrame":
        """Of one policy: `time_s`, `pfn` (the first of a block), `frames` (the block's), and of them
        `managed_frames`, `free_frames`, `reclaimed_frames`; `refaulted_frames`: since the column before, of
        what had been reclaimed. No blocks without memory.

        `log`: of its reports; where none was kept, refaults are less what was reclaimed meanwhile.
        """
        import polars as pl

        columns, rows = self.free.shape
        away = self.reclaimed[index]
        told = {"managed": self.managed, "free": self.free, "reclaimed": away}
        told["refaulted"] = np.maximum(
            self._reported(index, log) - np.diff(away, axis=0, prepend=away[:1]), 0
        )
        frame = pl.DataFrame(
            {
                "time_s": np.repeat((self.instants_ns - self._start_ns) / SECOND_NS, rows),
                "pfn": np.tile(np.arange(rows, dtype=np.int64) << self.order, columns),
                **{f"{name}_frames": of.ravel() for name, of in told.items()},
            }
        )
        size = pl.lit(1 << self.order, pl.Int64).alias("frames")
        return frame.select("time_s", "pfn", size, pl.all().exclude("time_s", "pfn")).filter(
            pl.col("managed_frames").max().over("pfn") > 0
        )

    def _managed_now(self, occupancy: "Occupancy") -> "NDArray[np.int64]":
        """By row; counted anew where frames joined the guest since it was last counted."""
        frames = int(occupancy.totals["managed"][0])
        if frames != self._managed_frames:
            self._managed_frames = frames
            self._managed = self._by_row(self._known | occupancy.seen(), 0)
        return self._managed

    def _reported(self, index: int, log: "NDArray[np.void]") -> "NDArray[np.int64]":
        """Frames newly reclaimed since the column before, shape (columns, rows)."""
        column = np.searchsorted(self._logged[index], np.arange(len(log)), "right")
        found = np.zeros(self.free.shape, np.int64)
        np.add.at(found, (column, log["pfn"] >> self.order), log["new_frames"].astype(np.int64))
        return found

    def _by_row(self, counts: "NDArray[Any]", order: int) -> "NDArray[np.int64]":
        """Sums of the counts of runs of 2^order frames, by row."""
        per_row = 1 << (self.order - order)
        return np.add.reduceat(counts, np.arange(0, len(counts), per_row), dtype=np.int64)

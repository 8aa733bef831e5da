"""What a worker does for one shard: all events in, its own ones reduced, out to the scratch folder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.batching.task import Admit
from replay.buddy.ops import meaning_of
from replay.buddy.reduced import COUNT_DTYPE, REDUCED_DTYPE
from replay.buddy.rules import rules_of
from replay.engine import bins
from replay.geometry import Geometry
from replay.sharding.files import (
    COUNTS,
    TOLD,
    RowsFile,
    digest_of,
    events_name,
    shard_folder,
    shard_place,
    write_told,
)
from replay.sharding.part import Part
from replay.sharding.picking import MEANS_ITSELF, SEEN, Picker
from replay.sharding.surveyed import load_survey
from replay.sharding.task import ShardDone, ShardTask
from replay.start import Start, start_of
from replay.stretches import Brought, stretches
from tracer import Fault, output_fault

if TYPE_CHECKING:
    from replay.buddy.steps import Columns


def reduce_shard(task: ShardTask, admit: Admit) -> ShardDone:
    """Do a shard; what is foreseeable to go wrong is in what comes back."""
    began = time.perf_counter()
    try:
        admit(task.need_bytes)
        with shard_folder(Path(task.folder), task.index) as aside:
            write_told(aside, Reducer(task, aside).told())
        digest = digest_of(shard_place(Path(task.folder), task.index) / TOLD)
    except (Fault, OSError) as error:
        fault = error if isinstance(error, Fault) else output_fault(Path(task.folder), error)
        reason = fault.what, fault.how, fault.fix, int(fault.code)
        return ShardDone(task.index, time.perf_counter() - began, reason=reason)
    return ShardDone(task.index, time.perf_counter() - began, digest)


class Reducer:
    """A shard on its way."""

    def __init__(self, task: ShardTask, aside: Path) -> None:
        """Raises:
        Fault: when the trace, or what the survey found, cannot be read.
        """
        self._task, self._aside, self._trace = task, aside, task.open()
        guest, zones = self._trace.manifest.guest, self._trace.zones
        whole, meaning = Geometry.of(guest, zones), meaning_of(self._trace)
        survey = load_survey(Path(task.folder), self._trace)
        self._stretches = stretches(self._trace, survey.batches(cpus=task.cpus), whole, meaning)
        start = start_of(self._trace, whole, self._stretches)
        self._picker = Picker(meaning, whole, task.own, start.now_ns)
        self._counts = RowsFile(aside / COUNTS, COUNT_DTYPE)
        self._files = [
            RowsFile(aside / events_name(order), REDUCED_DTYPE, numbered=True) for order in task.orders
        ]
        self._parts = self._begin(start)
        self._begin_free = self._parts[0].zone_free().tolist()
        self._zones, self._sequence = len(zones), 0

    def _begin(self, start: Start) -> list[Part]:
        guest, zones, own = self._trace.manifest.guest, self._trace.zones, self._task.own
        end_ns = self._trace.span_ns[1]
        bins_ns, state = bins(start.now_ns, end_ns), start.state[own.first : own.end]
        parts = []
        for index, (order, file) in enumerate(zip(self._task.orders, self._files, strict=True)):
            geometry = own.geometry(Geometry.of(guest, zones, order))
            part = Part(MEANS_ITSELF, geometry, rules_of(guest), state, start.now_ns, bins_ns)
            parts.append(part.goes_to(file, None if index else self._counts, own.first))
        return parts

    def told(self) -> dict[str, Any]:
        """Go through all events; what the shard comes to.

        Raises:
            Fault: when the trace cannot be read.
        """
        for each in self._stretches:
            if isinstance(each, Brought):
                self._correct(each)
            else:
                self._live(each)
        for file in (*self._files, self._counts):
            file.close()
        return {
            "seen": {"sequence": self._sequence}
            | dict(zip(SEEN, self._picker.seen[: len(SEEN)].tolist(), strict=True)),
            "begin_free": self._begin_free,
            "warnings": self._trace.warnings,
            "orders": {
                str(order): self._told_of(part)
                for order, part in zip(self._task.orders, self._parts, strict=True)
            },
        }

    def _live(self, columns: "Columns") -> None:
        picked = self._picker.pick(columns)
        for part in self._parts:
            part.live(picked, self._sequence)
        self._sequence += len(columns["ts_ns"])

    def _correct(self, brought: Brought) -> None:
        now_ns, own = self._picker.wait(brought.shot.end_ns), self._task.own
        state = brought.model.settled[own.first : own.end]
        for part in self._parts:
            part.put_right(state, now_ns, self._sequence)
        self._sequence += self._zones

    def _told_of(self, part: Part) -> dict[str, Any]:
        part.finish(self._trace.span_ns[1])
        totals = part.totals[0]
        return {
            "totals": {name: int(totals[name]) for name in totals.dtype.names or ()},
            "integrals": part.integrals.tolist(),
            "series": part.series.tolist(),
            "zone_free": part.zone_free().tolist(),
            "counted_free": part.free_frames(),
        }

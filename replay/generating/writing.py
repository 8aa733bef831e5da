"""A synthetic trace, written as a recording is: events in segments, samples each second, two snapshots."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from replay.generating.machine import Columns, Machine
from replay.generating.reading import sample, snapshot, zones_now
from replay.generating.recipe import Recipe
from tracer import (
    Fault,
    Manifest,
    Op,
    Probe,
    Reporting,
    Trace,
    TraceOutput,
    __version__,
    check_output,
    open_trace,
    short_duration,
)

SEGMENT_ROWS = 4_000_000
SECOND_NS = 10**9
_TOLD_LATE_NS = 100_000_000  # an arrival later than this is told
_PROBES = {
    Op.ZONE_LOCKED: "kmem:mm_page_alloc_zone_locked",
    Op.EXTFRAG: "kmem:mm_page_alloc_extfrag",
    Op.PCPU_DRAIN: "kmem:mm_page_pcpu_drain",
    Op.PAGE_FREE: "kmem:mm_page_free",
}
NOTES = (
    "synthetic: made by pagetide generate from what its command line says; no guest was recorded",
    "its pages are placed by the rules of Linux 6.10 and later, without per-CPU lists, compaction or reclaim",
)


@dataclass(frozen=True)
class Made:
    """What became of a kind of objects: how many were whole, their blocks, and how many found no memory."""

    name: str
    objects: int
    blocks: int
    given_up: int


@dataclass(frozen=True)
class Generated:
    """A trace that was made.

    Attributes:
        trace: it, opened.
        seed: with which it was made.
        made: for each kind, its `name`, whole `objects`, their `blocks`, and objects `given_up`.
        late_ns: how much later than drawn an object came, at most.
        notes: what went otherwise than asked, a line each; the trace says so, too.
    """

    trace: Trace
    seed: int
    made: list[Made]
    late_ns: int
    notes: list[str]

    @property
    def given_up(self) -> int:
        """Objects that found no memory."""
        return sum(each.given_up for each in self.made)


class _Segments:
    """The events and samples of a trace on their way into its segments."""

    def __init__(self, output: TraceOutput, tell: Callable[[int], None]) -> None:
        self._output, self._tell = output, tell
        self._kept = np.zeros(256, np.int64)
        self._rows, self._span = 0, (0, 0)
        self._samples: list[pa.Table] = []
        self._part: Any = None

    def add(self, columns: Columns) -> None:
        """Write events."""
        rows = len(columns["ts_ns"])
        self._tell(rows)
        if not rows:
            return
        table = pa.table(dict(columns))
        if self._part is None:
            self._part = self._output.open_events(table.schema)
        self._part.append(table)
        self._kept += np.bincount(columns["op"], minlength=256)
        first_ns = self._span[0] if self._rows else int(columns["ts_ns"][0])
        self._span, self._rows = (first_ns, int(columns["ts_ns"][-1])), self._rows + rows

    def note(self, samples: pa.Table) -> None:
        """Keep the samples of a second; it is time for a new segment when this one is large."""
        self._samples.append(samples)
        self._tell(0)
        if self._rows >= SEGMENT_ROWS:
            self.close()

    def close(self) -> None:
        """Close the segment, if it has any event."""
        if self._part is not None:
            samples = pa.concat_tables(self._samples) if self._samples else None
            self._output.close_segment(self._span, self.probes, (), samples=samples)
            self._part, self._samples, self._rows = None, [], 0

    @property
    def probes(self) -> list[Probe]:
        """What each event would have been seen by, and how often it was."""
        counts = {op: int(self._kept[op]) for op in _PROBES}
        return [Probe(name, "generated", op, counts[op], counts[op]) for op, name in _PROBES.items()]

    @property
    def empty(self) -> bool:
        """Was there no event at all?"""
        return not self._kept.any()


def generate(
    out: Path | str,
    recipe: Recipe,
    *,
    force: bool = False,
    tell: Callable[[int], None] = lambda _rows: None,
) -> Generated:
    """Make the trace of a recipe.

    Args:
        out: where to.
        recipe: of what (`preset` makes one).
        force: replace what is at `out`.
        tell: hears how many more events were made, and may raise to end it all.

    Raises:
        Fault: when `out` cannot be written, the guest cannot be, or nothing happens in it.
    """
    out = Path(out)
    check_output(out, force=force)
    machine = Machine(recipe)
    machine.live(machine.begin_ns, lambda columns: tell(len(columns["ts_ns"])))
    machine.forget()
    manifest = _manifest(machine)
    with TraceOutput(out, manifest, force=force) as output:
        shots = [output.write_snapshot(*snapshot(machine, "start", machine.begin_ns))]
        segments = _Segments(output, tell)
        end_ns = machine.begin_ns + recipe.duration_ns
        _record(machine, segments, end_ns)
        if segments.empty:
            what, how = "a trace without any event is not possible", "no object came or went in its duration"
            raise Fault(what, how, "make --duration longer, or rates higher")
        shots.append(output.write_snapshot(*snapshot(machine, "end", end_ns + 1)))
        done = replace(manifest, status="complete", snapshots=shots, probes=segments.probes)
        output.close(replace(done, notes=[*done.notes, *_happened(machine)]))
    late_ns = int(machine.world.now[0]["late_ns"])
    return Generated(open_trace(out), recipe.seed, _made(machine), late_ns, _happened(machine))


def _record(machine: Machine, segments: _Segments, end_ns: int) -> None:
    """Let the guest live to the end of the trace, and look at it each second."""
    now_ns = machine.begin_ns
    while now_ns < end_ns:
        now_ns = min(now_ns + SECOND_NS, end_ns)
        machine.live(now_ns, segments.add)
        segments.note(sample(machine, now_ns))
    segments.add(machine.events())
    segments.close()


def _manifest(machine: Machine) -> Manifest:
    return Manifest(
        format=1,
        tool=f"pagetide {__version__}",
        status="recording",
        guest=machine.guest,
        zones=zones_now(machine),
        reporting=Reporting(None, active=False),
        clock=None,
        layers=["buddy"],
        rung="generated",
        probes=[Probe(name, "generated", op) for op, name in _PROBES.items()],
        command_line=machine.recipe.command_line,
        ended_by="duration",
        notes=list(NOTES),
    )


def _made(machine: Machine) -> list[Made]:
    names = [kind.name for kind in machine.recipe.kinds if kind.rate]
    rows = machine.world.kinds
    return [
        Made(name, int(row["objects"]), int(row["taken"]), int(row["given_up"]))
        for name, row in zip(names, rows, strict=True)
    ]


def _happened(machine: Machine) -> list[str]:
    """What a reader should know of this very trace."""
    notes, late_ns = [], int(machine.world.now[0]["late_ns"])
    for each in _made(machine):
        if each.given_up:
            came = each.objects + each.given_up
            notes.append(f"memory ran out: {each.given_up:,} of {came:,} {each.name} were given up half made")
    if late_ns > _TOLD_LATE_NS:
        late = short_duration(late_ns)
        notes.append(f"objects came up to {late} later than drawn: a block takes 100 ns, one at a time")
    return notes

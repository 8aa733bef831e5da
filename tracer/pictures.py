"""A trace in a few lines of marks: events and free memory over time, free memory by address."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracer.describe import wrapped
from tracer.faults import Fault
from tracer.format import FrameState, Zone
from tracer.reader import Trace
from tracer.sparklines import averages, sparkline, stretch_of, sums_of
from tracer.terminal import plain
from tracer.units import human_bytes, short_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARKS = 44
NAME = 10  # columns of a line's name


def pictures(trace: Trace) -> Iterator[str]:
    """Lines of at most 80 columns; none of what the trace does not hold, a reason where it is damaged."""
    for picture in (_events, _free, _by_address):
        try:
            yield from picture(trace)
        except Fault as fault:
            yield from wrapped(f"no picture: {fault.what}")


def _line(name: str, marks: str, scale: str) -> str:
    return f"  {plain(name)[:NAME]:<{NAME}} {marks:<{MARKS}} {scale}".rstrip()


def _seconds(trace: Trace) -> float:
    first_ns, last_ns = trace.span_ns
    return (last_ns - first_ns) / 1e9


def _events(trace: Trace) -> Iterator[str]:
    """Events a second, by the probes' counters: those of the trace's files would all have to be read."""
    counted = _counted(trace)
    if counted is None:
        return
    at, events = counted
    marks = min(MARKS, max(int(_seconds(trace)), 1))  # they are read each second
    rates = sums_of(stretch_of(at, trace.span_ns, marks), marks, events) * marks / _seconds(trace)
    most = float(rates.max())
    yield _line("events/s", sparkline(rates.tolist(), 0, most), f"0 to {short_number(most)}/s")


def _counted(trace: Trace) -> "tuple[NDArray[np.int64], NDArray[np.int64]] | None":
    """When counters were read, and the events since the reading before it of that probe and CPU."""
    import numpy as np

    read = trace.counters
    if not read.num_rows or not _seconds(trace):
        return None
    read = read.sort_by([(name, "ascending") for name in ("op", "cpu", "ts_ns")])
    at, op, cpu, hits, lost, filtered = (
        read[name].to_numpy().astype(np.int64)
        for name in ("ts_ns", "op", "cpu", "hits", "ring_full", "filtered")
    )
    again = (np.diff(op) == 0) & (np.diff(cpu) == 0)
    return (at[1:][again], np.diff(hits - lost - filtered)[again]) if again.any() else None


def _free(trace: Trace) -> Iterator[str]:
    """Free memory, by the samples."""
    import numpy as np

    samples, page = trace.samples, trace.manifest.guest.page_size
    if not samples.num_rows:
        return
    at, zone, free = (samples[name].to_numpy().astype(np.int64) for name in ("read_begin_ns", "zone", "free"))
    marks = min(MARKS, int((zone == zone[0]).sum()))
    means = [averages(at[zone == each], free[zone == each], trace.span_ns, marks) for each in np.unique(zone)]
    sums = [None if None in parts else sum(filter(None, parts)) for parts in zip(*means, strict=True)]
    known = [value * page for value in sums if value is not None] or [0]
    line = sparkline([None if v is None else v * page for v in sums], min(known), max(known))
    yield _line("free", line, f"{_tight(min(known))} to {_tight(max(known))}")


def _by_address(trace: Trace) -> Iterator[str]:
    """Of each stretch of a zone's pfns the share that is free, in the first snapshot and the last."""
    names = [shot.name for shot in trace.manifest.snapshots]
    if not names:
        return
    shown = names if len(names) == 1 else [names[0], names[-1]]
    runs = {name: _runs(trace, name) for name in shown}
    yield "  free share by address (a low mark: none, a high one: all; blank: no memory)"
    for zone in trace.zones:
        marks = max(1, min(MARKS, zone.spanned >> trace.manifest.guest.pageblock_order))
        size = _tight(zone.spanned / marks * trace.manifest.guest.page_size)
        for index, (name, (pfn, count, state)) in enumerate(runs.items()):
            line = sparkline(_shares(zone, marks, pfn, count, state), 0, 1)
            told = f"{size} a mark, {name}" if index == 0 else name
            yield _line("" if index else f"{zone.node}/{zone.name}", line, plain(told)[:22])


def _runs(trace: Trace, name: str) -> "tuple[NDArray[np.int64], ...]":
    table = trace.frames(name)
    return tuple(table[column].to_numpy().astype("int64") for column in ("pfn", "count", "state"))


def _shares(
    zone: Zone, marks: int, pfn: "NDArray[np.int64]", count: "NDArray[np.int64]", state: "NDArray[np.int64]"
) -> list[float | None]:
    """The free share of what is managed in each stretch; None where nothing is, or nothing is known."""
    import numpy as np

    edges = np.linspace(zone.start_pfn, zone.end_pfn, marks + 1)

    def frames(of: "NDArray[np.bool_]") -> "NDArray[np.float64]":
        """How many frames of these runs are in each stretch."""
        if not of.any():
            return np.zeros(marks)
        ends = np.stack((pfn[of], pfn[of] + count[of]), axis=1).ravel()
        before = np.cumsum(count[of])
        upto = np.stack((before - count[of], before), axis=1).ravel()
        return np.diff(np.interp(edges, ends, upto))

    managed = frames((state != FrameState.ABSENT) & (state != FrameState.UNKNOWN))
    free = frames(state == FrameState.BUDDY)
    return [float(part / all_) if all_ else None for part, all_ in zip(free, managed, strict=True)]


def _tight(size: float) -> str:
    return human_bytes(size).replace(" ", "")

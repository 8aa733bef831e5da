"""What is measured of ours: replaying as a whole, and its engine alone over events in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from benchmarks.harness import TRACE
from benchmarks.ready import COLUMNS, Ready, Span, forget, hold_to, threads_allowed
from replay.api import replay
from replay.buddy.ops import meaning_of
from replay.engine import Group, Options
from replay.geometry import Geometry
from replay.policies import parse
from replay.start import Start, start_of
from replay.stretches import stretches
from replay.survey import Survey
from replay.sweeping.sweep import sweep
from tracer import Trace, open_trace

Columns = dict[str, NDArray[Any]]


def options_held() -> Options:
    """Replay by as many threads as the environment allows."""
    threads = threads_allowed()
    return Options(threads=threads) if threads else Options()


def replaying(trace: str, policies: Sequence[str], *, first: bool = False) -> Ready:
    """Parquet in, results out, in this process; kernels are loaded before, by the shipped trace.

    `first`: as if this trace had never been replayed: nothing that was found out about it is still known.
    """
    hold_to(threads_allowed())
    options = options_held()
    replay(TRACE, policies, options)

    def act() -> None:
        if first:
            forget(trace)
        for result in replay(trace, policies, options).results:
            _ = result.summary

    return Ready(act, {"events": open_trace(trace).rows})


def sweeping(trace: str, policy: str, grid: Mapping[str, Sequence[str]]) -> Ready:
    """A policy under every combination of these values."""
    options = options_held()
    return Ready(lambda: sweep(trace, policy, grid, options))


def reading(trace: str) -> Ready:
    """The reader alone: batches of the columns that a replay needs, each row checked."""
    hold_to(threads_allowed())
    opened = open_trace(trace)
    return Ready(lambda: sum(batch.num_rows for batch in opened.batches(COLUMNS)), {"events": opened.rows})


def reading_again(trace: str) -> Ready:
    """The reader alone, of a trace that was read before."""
    opened = open_trace(trace)
    return Ready(
        lambda: sum(len(batch["ts_ns"]) for batch in opened.arrays(COLUMNS)), {"events": opened.rows}
    )


@dataclass(frozen=True)
class Loaded:
    """A trace's first events in memory, in batches, and what a replay needs to begin."""

    trace: Trace
    batches: list[Columns]
    start: Start
    group: Callable[[str], Group]

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(len(batch["ts_ns"]) for batch in self.batches)


def loaded(trace: Trace, most: int) -> Loaded:
    """Read the events a replay gets after its start, as many as come in whole batches."""
    guest, meaning = trace.manifest.guest, meaning_of(trace)
    whole = Geometry.of(guest, trace.zones)
    survey = Survey.of(trace, whole, meaning)
    events = stretches(trace, survey.batches(), whole, meaning)
    start = start_of(trace, whole, events).typed(trace, whole, survey.types)
    batches: list[Columns] = []
    for stretch in events:
        if isinstance(stretch, dict):
            batches.append({name: stretch[name].copy() for name in COLUMNS})
        if sum(len(batch["ts_ns"]) for batch in batches) >= most:
            break
    end_ns = int(batches[-1]["ts_ns"][-1])

    def group(policy: str) -> Group:
        setting = parse(policy, guest)
        geometry = Geometry.of(guest, trace.zones, setting.order)
        return Group(guest, meaning, geometry, start, end_ns, [setting], Options())

    return Loaded(trace, batches, start, group)


def engine(trace: str, policy: str, events: int) -> Ready:
    """Both steps of the engine with one policy, on one core, over events that are in memory; without
    making the state that it begins with.
    """
    here = loaded(open_trace(trace), events)

    def act() -> Span:
        group = here.group(policy)
        begin = Span.now()
        for batch in here.batches:
            group.feed(batch)
        group.finish()
        return begin.until_now()

    return Ready(act, {"events": here.events})


def summing(trace: str, events: int) -> Ready:
    """Numpy reading the same columns once: the sum of each."""
    here = loaded(open_trace(trace), events)
    return Ready(
        lambda: [int(batch[name].sum()) for batch in here.batches for name in COLUMNS],
        {"events": here.events},
    )

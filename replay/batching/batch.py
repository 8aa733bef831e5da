"""Many traces under many settings, on some workers, into one dataset."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.api import defaulted
from replay.batching.dataset import RESULTS, engine, make_dataset
from replay.batching.doing import Doing, doing_of
from replay.batching.hold import held
from replay.batching.journal import NAME, Journal, read
from replay.batching.policies import spelled
from replay.batching.rows import digest_of
from replay.batching.sources import addresses
from replay.batching.task import DONE, FAILED, UNCHANGED, Outcome, Task
from replay.batching.work import failed
from replay.costs import Costs
from replay.engine import Options
from tracer import Displayed, Fault, Place
from tracer.faults import ExitCode

if TYPE_CHECKING:
    import polars as pl

    from replay.fleets.fleet import Fleet

SHOWN = 20  # failures that are kept at hand; all are in the manifest


@dataclass(frozen=True)
class Batch(Displayed, by="replay.report.display:batched"):
    """What became of a batch.

    Attributes:
        out: the folder or URL of the dataset.
        tasks: how many are `done`, `unchanged`, `failed`, and `lossy` of those that did not fail.
        failures: the first of those that failed.
        traces: where all of them are.
        settings: under which one or another was replayed, as they are compared over guests.
        options: a digest of how (docs/batch.md).
    """

    out: str
    tasks: Mapping[str, int]
    failures: tuple[Outcome, ...] = ()
    traces: tuple[str, ...] = field(default=(), repr=False)
    settings: tuple[str, ...] = ()
    options: str = ""

    @property
    def results(self) -> "pl.LazyFrame":
        """A row for each trace and setting (docs/batch.md), of today's engine and of those before.

        Raises:
            Fault: when there are none.
        """
        from replay.batching.reading import results

        return results(self.out)

    @cached_property
    def fleet(self) -> "Fleet":
        """These traces under these settings, whatever else the dataset holds: docs/fleet.md.

        Raises:
            Fault: when no trace has results under all settings.
        """
        import polars as pl

        from replay.batching.reading import results
        from replay.fleets.fleet import fleet

        asked = (pl.col("options") == self.options) & pl.col("label").is_in(self.settings)
        return fleet(results(self.out, self.traces).filter(asked))

    @property
    def manifest(self) -> "pl.DataFrame":
        """A row for each trace: what became of it, and why."""
        import polars as pl

        return pl.DataFrame(list(read(Place.of(self.out) / NAME)), infer_schema_length=None)

    def to_json(self) -> dict[str, Any]:
        """What `pagetide batch --json` prints."""
        return {
            "out": self.out,
            "engine": engine(),
            "tasks": dict(self.tasks),
            "failures": [
                {"trace": each.trace, **dict(zip(("what", "how", "fix"), each.reason, strict=False))}
                for each in self.failures
            ],
            "manifest": str(Place.of(self.out) / NAME),
            "results": str(Place.of(self.out) / RESULTS),
            **self._compared(),
        }

    def _compared(self) -> dict[str, Any]:
        """As `pagetide report --json` tells it; null and why, where there is nothing to compare."""
        try:
            return self.fleet.answer()
        except Fault as fault:
            return {"fleet": None, "statistics": [], "why": [fault.what, fault.how, fault.fix]}


@dataclass
class _Tally:
    """What became of tasks so far."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    settings: dict[str, None] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        self.settings |= dict.fromkeys(outcome.settings)
        if outcome.status != FAILED:
            self.counts["lossy"] += not outcome.whole
        elif len(self.failures) < SHOWN:
            self.failures.append(outcome)

    def told(self, out: str, traces: Iterable[str], options: str) -> Batch:
        counts = {name: self.counts[name] for name in (DONE, UNCHANGED, FAILED, "lossy")}
        return Batch(out, counts, tuple(self.failures), tuple(traces), tuple(self.settings), options)


def batch(
    traces: str | Path | Sequence[str | Path],
    out: str | Path,
    policies: Sequence[str] = (),
    options: Options | None = None,
    costs: Costs | None = None,
    *,
    sets: Mapping[str, Iterable[Any]] | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    shards: int | None = None,
    scratch: str | Path | None = None,
    tell: Callable[[Outcome], None] = lambda _outcome: None,
    expect: Callable[[int], None] = lambda _tasks: None,
) -> Batch:
    """Replay many traces, each under several policies; what is there already is not done again.

    Args:
        traces: paths, folders that hold traces, globs, URLs; one or many.
        out: a folder or URL for the dataset, made if there is none.
        policies: each `NAME` or `NAME:key=value,…`; none: all that a trace tells enough for.
        options: of all replays. They keep no log, and tell no fragmentation and no map.
        costs: what a unit of work costs, for `cost_s`.
        sets: by parameter, values: each policy is replayed in every combination of them.
        workers: processes, by default one for each CPU this process may use.
        cluster: the address of a Dask scheduler, on whose workers to do it instead.
        shards: take the traces one after the other, each cut into so many ranges of addresses, which the
            workers share: for guests whose frames do not fit into one worker's memory.
        scratch: with shards, a folder that all workers can write to (`replay.sharding`). By default the
            system's temporary one; with a cluster `out`.
        tell: hears what became of each task; what it raises ends the batch.
        expect: hears how many tasks there are, before the first one.

    Raises:
        Fault: for arguments that cannot be, for no trace at all, for an `out` that holds something else, is
            in use or cannot be written, and for a cluster that is gone. Not for a trace that fails.
    """
    options, costs = defaulted(options, costs)
    options = replace(options, logging=False, fragmentation=False, address_map=False)
    options.check()
    asked, place = spelled(policies, sets), Place.of(str(out))
    found = addresses([str(each) for each in ([traces] if isinstance(traces, str | Path) else traces)])
    if place.local:
        place = Place.of(place.path.absolute())
    doing = doing_of(workers, cluster, options, shards, scratch, place)
    make_dataset(place)
    tasks = (Task(address, asked, doing.options, costs, str(place)) for address in found)
    with held(place):
        expect(len(found))
        tally = _do_all(doing, tasks, place, found, tell)
    return tally.told(str(place), found, digest_of(options, costs))


def _do_all(
    doing: Doing,
    tasks: Iterator[Task],
    place: Place,
    found: list[str],
    tell: Callable[[Outcome], None],
) -> _Tally:
    """Do them, and keep the manifest whatever happens."""
    tally, journal = _Tally(), Journal(place)
    outcomes = doing.executor.run(doing.do, tasks, failed)
    try:
        for outcome in outcomes:
            tally.add(outcome)
            journal.add(outcome)
            if outcome.hopeless:
                what, how, fix = outcome.reason
                raise Fault(what, how, fix, ExitCode.ENVIRONMENT)
            tell(outcome)
    finally:
        getattr(outcomes, "close", lambda: None)()
        journal.close(found)
    return tally

"""Many settings of one policy over one trace, in as few passes as memory and patience allow."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from replay.api import Replay, defaulted, fidelity_of
from replay.available import available
from replay.costs import Costs
from replay.engine import Options, run_readable, sizes_of
from replay.output import aside
from replay.policies import ceiling
from replay.policies.fitness import refuse_unfit
from replay.policies.protocol import Setting
from replay.results import Result
from replay.sizing import refuse_larger
from replay.start import refuse_filtered
from replay.sweeping.frame import frame_of
from replay.sweeping.grid import Grid
from replay.sweeping.kept import ANSWER, TABLE, Kept, Pass, identity_of, kept_in, key_of, write_json
from replay.sweeping.pareto import OBJECTIVES, front, objectives
from replay.sweeping.passes import SHARE, Packing, Plan, first_most, next_most
from tracer import Displayed, Fault, Trace, open_trace

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Sweep(Displayed, by="replay.report.display:swept"):
    """What all settings of a grid came to, in the grid's order.

    Attributes:
        trace: what was replayed.
        grid: what was swept: its `policy`, the `values` by parameter, the `settings` that they make.
        options: of all replays.
        costs: what a unit of work costs, for `cost_s`.
        summaries: each setting's metrics (`Result.summary`).
        told: of the trace, as `pagetide replay --json` has it under `trace`.
        fidelity: the same under `fidelity`.
    """

    trace: Trace
    grid: Grid
    options: Options
    costs: Costs
    summaries: list[dict[str, Any]]
    told: dict[str, Any]
    fidelity: dict[str, Any]

    @cached_property
    def pareto(self) -> list[bool]:
        """Which settings are on the front of latency, reclaimed memory and refaults (`pareto.front`)."""
        return front([objectives(summary) for summary in self.summaries])

    @cached_property
    def frame(self) -> "pl.DataFrame":
        """A row for each setting: `policy`, `setting`, each parameter, `pareto`, then every metric, units in
        their names, null where there is nothing to say (docs/sweep.md).
        """
        return frame_of(self.grid, self.summaries, self.pareto)

    def to_json(self) -> dict[str, Any]:
        """What `pagetide sweep --json` prints."""
        named = [setting.named for setting in self.grid.settings]
        rows = zip(named, self.pareto, self.summaries, strict=True)
        better = {name: "higher" if more else "lower" for name, more in OBJECTIVES.items()}
        return {
            "trace": {**self.told, "path": str(self.trace.place)},
            "fidelity": self.fidelity,
            "options": identity_of(self.trace, self.options, self.costs)["options"],
            "policy": self.grid.policy.name,
            "grid": self.grid.written,
            "objectives": better,
            "pareto": [name for name, best in zip(named, self.pareto, strict=True) if best],
            "settings": [{"setting": name, "pareto": best, **told} for name, best, told in rows],
        }


def sweep(
    trace: Trace | str | Path,
    policy: str,
    grid: Mapping[str, Iterable[Any]],
    options: Options | None = None,
    costs: Costs | None = None,
    *,
    out: str | Path | None = None,
    force: bool = False,
    tell: Callable[[int], None] = lambda _rows: None,
    announce: Callable[[Plan], object] = lambda _plan: None,
) -> Sweep:
    """Replay a trace under every combination of a policy's parameters.

    Args:
        trace: the trace, or where it is.
        policy: `NAME`, or `NAME:key=value,…` with what is the same for all settings.
        grid: by parameter, its values, as `replay.run` takes them: `{"order": [0, 9], "delay": ["1s"]}`.
        options: of all replays. They keep no log, and tell no fragmentation and no map.
        costs: what a unit of work costs, for `cost_s`.
        out: a folder in which finished settings are kept, and the table is written. The same sweep, or a
            larger one, goes on there with what is missing.
        force: replace an `out` of another trace, other options or another version.
        tell: hears of events done, in each pass.
        announce: hears what is going to be done, before each pass, and at the end.

    Raises:
        Fault: as `replay.replay`; for a grid that cannot be, or one setting of which takes more memory than
            there is; for an `out` that belongs to something else.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    options, costs = defaulted(options, costs)
    options = replace(options, logging=False, fragmentation=False, address_map=False)
    options.check()
    asked = Grid.of(policy, grid, opened.manifest.guest)
    refuse_filtered(opened)
    refuse_unfit(opened, asked.settings[:1])
    work = _Work(opened, asked, options, costs)
    if out is None:
        work.do(tell, announce, None)
        return work.done()
    with kept_in(Path(out), identity_of(opened, options, costs), force=force) as kept:
        work.passes += [one for one in kept.passes if one.events >= opened.rows]
        work.do(tell, announce, kept)
        done = work.done()
        _write(Path(out), done)
    return done


class _Work:
    """A sweep under way.

    Attributes:
        passes: what is done.
    """

    def __init__(self, trace: Trace, grid: Grid, options: Options, costs: Costs) -> None:
        """Refuse what no pass has memory for."""
        self.trace, self.grid, self.options, self.costs = trace, grid, options, costs
        self.passes: list[Pass] = []
        self.keys = {id(setting): key_of(setting) for setting in grid.settings}
        orders = sorted({setting.order for setting in grid.settings})
        self.ceilings = {order: ceiling(trace.manifest.guest, order) for order in orders}
        sizes, subject = sizes_of(trace, options), str(trace.place)
        for order, bound in self.ceilings.items():
            refuse_larger(sizes, [bound], subject)
            largest = max((s for s in grid.settings if s.order == order), key=sizes.setting)
            refuse_larger(sizes, [bound, largest], subject)
        self.available_bytes = available().size_bytes
        self.packing = Packing(sizes, self.ceilings.__getitem__, SHARE * self.available_bytes)

    def do(self, tell: Callable[[int], None], announce: Callable[[Plan], object], kept: Kept | None) -> None:
        """Replay what is missing; where it is kept, in passes that do not last long."""
        there = {key for one in self.passes for key in one.summaries}
        # The lowest order takes longest, so that what is judged by it is not too long for the others.
        missing = sorted(
            (s for s in self.grid.settings if self.keys[id(s)] not in there), key=lambda s: s.order
        )
        most = first_most(self.trace.rows) if kept else max(len(missing), 1)
        while missing:
            passes = self.packing.split(missing, most)
            announce(self._plan(len(missing), passes))
            began = monotonic()
            self.passes.append(self._pass(passes[0], tell))
            if kept:
                kept.add(self.passes[-1])
                most = next_most(len(passes[0]), monotonic() - began)
            missing = missing[len(passes[0]) :]
        announce(self._plan(0, []))

    def _plan(self, missing: int, passes: list[list[Setting]]) -> Plan:
        asked = len(self.grid.settings)
        size_bytes = max(map(self.packing.size_bytes, passes), default=0)
        return Plan(asked, asked - missing, len(passes), size_bytes, self.available_bytes)

    def _pass(self, chosen: list[Setting], tell: Callable[[int], None]) -> Pass:
        """Replay some settings; and the ceilings of their orders, unless an earlier pass did."""
        known = {order: most for one in self.passes for order, most in one.ceilings.items()}
        new = {order: self.ceilings[order] for order in sorted({s.order for s in chosen} - known.keys())}
        self.trace, runs = run_readable(self.trace, [*chosen, *new.values()], self.options, tell)
        bounds = [Result(run).reclaimed_byte_seconds for run in runs[len(chosen) :]]
        known |= dict(zip(new, bounds, strict=True))
        results = [Result(run, known[run.setting.order], self.costs) for run in runs[: len(chosen)]]
        replayed = Replay(self.trace, results, fidelity_of(self.trace, runs[0]), runs[0].group.start)
        return Pass(
            self.trace.rows,
            list(self.trace.warnings),
            replayed.trace_section(self.options),
            replayed.fidelity,
            {order: known[order] for order in {setting.order for setting in chosen}},
            {self.keys[id(s)]: result.summary for s, result in zip(chosen, results, strict=True)},
        )

    def done(self) -> Sweep:
        """What all came to.

        Raises:
            Fault: when the passes did not read the same trace.
        """
        first = self.passes[0]
        for other in self.passes[1:]:
            self._refuse_other(first.trace, other.trace)
        for line in first.warnings:  # as if all had been read just now
            if line not in self.trace.warnings:
                self.trace.warnings.append(line)
        found = {key: summary for one in self.passes for key, summary in one.summaries.items()}
        summaries = [found[self.keys[id(setting)]] for setting in self.grid.settings]
        told = {**first.trace, "path": str(self.trace.place)}
        return Sweep(self.trace, self.grid, self.options, self.costs, summaries, told, first.fidelity)

    def _refuse_other(self, first: dict[str, Any], other: dict[str, Any]) -> None:
        """Two passes told otherwise of the trace; it may have moved meanwhile."""
        names = [name for name in first if name != "path" and first[name] != other.get(name)]
        if names:
            raise Fault(
                f"the trace {self.trace.place} does not read the same in each pass",
                "; ".join(f"{name}: {first[name]}, then {other.get(name)}" for name in names),
                "see whether its files are whole, then sweep into another folder",
            )


def _write(out: Path, done: Sweep) -> None:
    """The answer and the table, each as a whole."""
    write_json(out / ANSWER, done.to_json())
    with aside(out / TABLE) as temporary:
        done.frame.write_parquet(temporary)

"""The Python API: a trace replayed under policies, in one pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.costs import Costs
from replay.device import Device
from replay.engine import Options, Run, run_readable
from replay.limits import limits
from replay.policies import ceiling, comparison, parse, policy_named, unusable
from replay.policies.fitness import unfit
from replay.policies.protocol import Setting
from replay.results import Result
from replay.start import Start
from tracer import Displayed, Fault, Guest, Trace, open_trace

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Replay(Displayed, by="replay.report.display:replayed"):
    """All results of one pass.

    Attributes:
        trace: what was replayed.
        results: one per setting, in the order asked for.
        fidelity: steps taken, and those of them that were impossible.
        start: where the replay began.
        left_out: policies that a comparison of all left out, and why, a line each.
    """

    trace: Trace
    results: list[Result]
    fidelity: dict[str, int | None]
    start: Start
    left_out: list[str] = field(default_factory=list)

    def start_word(self, options: Options) -> str:
        """How it began: as `options` say, or unknown where frames were."""
        return "unknown" if self.start.unknown_frames else options.start

    def trace_section(self, options: Options) -> dict[str, Any]:
        """What was replayed and how, as `--json` tells it under `trace`."""
        first_ns, last_ns = self.trace.span_ns
        manifest, partial = self.trace.manifest, self.trace.partial
        return {
            "path": str(self.trace.place),
            "status": manifest.status,
            "kernel_release": manifest.guest.kernel_release,
            "cpus": manifest.guest.cpus,
            "pageblock_order": manifest.guest.pageblock_order,
            "program": _program(manifest.command_line),
            "own_reporting": {"active": manifest.reporting.active, "order": manifest.reporting.order},
            "events": self.trace.rows,
            "partial": None if partial is None else {"what": partial.what, "how": partial.how},
            "duration_s": (last_ns - first_ns) / 1e9,
            "lost_events": manifest.lost,
            "warnings": self.trace.warnings + self.limits,
            "start": self.start_word(options),
            "lists": self.start.order_of_lists,
            "entries_and_exits": "owners" if self.trace.owners_only else "buddy",
            "backing": options.backing,
            "call_s": options.device.call_ns / 1e9,
            "page_size": manifest.guest.page_size,
            "zones": [
                {"name": zone.name, "node": zone.node, "start_pfn": zone.start_pfn, "end_pfn": zone.end_pfn}
                for zone in self.trace.zones
            ],
        }

    def answer(self, options: Options) -> dict[str, Any]:
        """What `pagetide replay --json` prints."""
        return {
            "trace": self.trace_section(options),
            "fidelity": self.fidelity,
            "results": [result.summary for result in self.results],
        }

    @property
    def fragmentation(self) -> "pl.DataFrame | None":
        """Free blocks by `time_s`, `zone` and `order`; None unless `Options.fragmentation`."""
        return self.results[0].fragmentation

    @property
    def limits(self) -> list[str]:
        """What the trace cannot tell, and what is left out, a line each."""
        return limits(self.trace, self.start.unknown_frames, self.start.contradicted) + self.left_out


def replay(
    trace: Trace | str | Path,
    policies: Sequence[str | Setting] = (),
    options: Options | None = None,
    tell: Callable[[int], None] = lambda _rows: None,
    costs: Costs | None = None,
) -> Replay:
    """Replay a trace under several policies in one pass.

    Args:
        trace: the trace, or where it is.
        policies: each `NAME` or `NAME:key=value,…`; none: all that the trace tells enough for.
        options: of all of them; by default a steady start on a host with 4 KiB pages.
        tell: hears how many more events were done, after each batch; what it raises ends the replay.
        costs: what a unit of work costs, for `cost_s`.

    Raises:
        Fault: for a trace that cannot be replayed, or not under a policy that was named; for a policy or
            parameter that does not exist.
    """
    return replay_by(partial(run_readable, tell=tell), trace, policies, options, costs)


def replay_by(
    run: Callable[[Trace, Sequence[Setting], Options], tuple[Trace, list[Run]]],
    trace: Trace | str | Path,
    policies: Sequence[str | Setting] = (),
    options: Options | None = None,
    costs: Costs | None = None,
) -> Replay:
    """As `replay`. `run`: the pass itself, as `engine.run_readable`.

    Raises:
        Fault: as `replay`.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    guest = opened.manifest.guest
    asked, left_out = settled(opened, policies)
    # Each order is compared with the ceiling at that order, which need not have been asked for.
    needed = {order: ceiling(guest, order) for order in sorted({setting.order for setting in asked})}
    options, prices = defaulted(options, costs)
    opened, runs = run(opened, [*asked, *needed.values()], options)
    bounds = [Result(run).reclaimed_byte_seconds for run in runs[len(asked) :]]
    ceilings = dict(zip(needed, bounds, strict=True))
    results = [Result(run, ceilings[run.setting.order], prices) for run in runs[: len(asked)]]
    return Replay(opened, results, fidelity_of(opened, runs[0]), runs[0].group.start, left_out)


def _program(command_line: list[str]) -> str | None:
    """The name of the program that a recording ran; None where it ran none."""
    return command_line[-1] if "--" in command_line[:-1] else None


def defaulted(options: Options | None, costs: Costs | None) -> tuple[Options, Costs]:
    """What was given, or the defaults.

    Raises:
        Fault: when it is something else.
    """
    options, prices = Options() if options is None else options, Costs() if costs is None else costs
    if not isinstance(prices, Costs):
        raise wrong_kind("costs", costs, "a replay.costs.Costs")
    if not isinstance(options, Options):
        raise wrong_kind("options", options, "a replay.Options")
    return options, prices


def settled(trace: Trace, policies: Sequence[str | Setting]) -> tuple[list[Setting], list[str]]:
    """Settings of what was asked for; of nothing, of all policies that the trace tells enough for, and a line
    for each that is left out.

    Raises:
        Fault: as `replay`.
    """
    asked = _settings(policies, trace.manifest.guest)
    return (asked, []) if asked else comparable(trace)


def _settings(policies: Sequence[str | Setting], guest: Guest) -> list[Setting]:
    """Settings of what was asked for.

    Raises:
        Fault: as `replay`.
    """
    if isinstance(policies, str) or not isinstance(policies, Iterable):
        raise wrong_kind("policies", policies, "a list of policies, like ['upstream', 'hints:delay=1s']")
    asked = list(policies)
    for each in asked:
        if not isinstance(each, str | Setting):
            raise wrong_kind("policy", each, "text like 'upstream:delay=1s', or a Setting")
    return [parse(each, guest) if isinstance(each, str) else each for each in asked]


def wrong_kind(name: str, value: object, wanted: str) -> Fault:
    """What to say when Python code gave something that is not of its kind."""
    return Fault(f"{name}={value!r} is not possible", f"it is a {type(value).__name__}", f"give {wanted}")


def comparable(trace: Trace) -> tuple[list[Setting], list[str]]:
    """All policies that a trace tells enough for, and a line for each that is left out."""
    settings, faults = [], list(unusable().values())
    for setting in comparison(trace.manifest.guest):
        fault = unfit(trace, setting)
        if fault:
            faults.append(fault)
        else:
            settings.append(setting)
    return settings, [f"left out: {fault.what}: {fault.how}" for fault in faults]


def run(
    trace: Trace | str | Path,
    policy: str,
    *,
    start: str = "steady",
    backing: str = "4k",
    device: Device | None = None,
    costs: Costs | None = None,
    fragmentation: bool = False,
    **params: Any,  # noqa: ANN401 - the policy's own parameters
) -> Result:
    """Replay a trace under one policy and keep its report log (`Result.reports`).

    Args:
        trace: the trace, or where it is.
        policy: its name, as `pagetide policies` lists them.
        start: steady, cold or recorded, as in `Options`.
        backing: 4k, 2m or thp, as in `Options`.
        device: the reporting device; by default one that takes 0.6 ms a call.
        costs: what a unit of work costs, for `cost_s`.
        fragmentation: also tell free memory by order over time, as in `Options`.
        params: the policy's own, as `pagetide policies` lists them; durations as text
            (`delay="100ms"`) or in ns.

    Raises:
        Fault: for a trace that cannot be replayed, or not under this policy; for a policy, parameter or
            value that does not exist.
    """
    opened = trace if isinstance(trace, Trace) else open_trace(trace)
    chosen = policy_named(policy)
    setting = chosen.settle(opened.manifest.guest, params)
    options = Options(
        start,
        backing,
        device=Device() if device is None else device,
        logging=True,
        fragmentation=fragmentation,
    )
    return replay(opened, [setting], options, costs=costs).results[0]


def fidelity_of(trace: Trace, run: Run) -> dict[str, int | None]:
    """How far the events themselves can be trusted. Frames and orders are `validate`'s to fill."""
    totals = run.group.occupancy.totals[0]
    return {
        "steps": int(totals["steps"]),
        "exit_of_used": int(totals["exit_of_used"]),
        "entry_of_free": int(totals["entry_of_free"]),
        "outside": int(totals["outside"]),
        "unknown_ops": int(totals["unknown_ops"]),
        "clock_back": int(totals["clock_back"]),
        "direct_frees": run.direct_frees,
        "lost_events": trace.manifest.lost,
        **dict.fromkeys(("frames_checked", "frames_changed", "frames_wrong", "frames_limbo")),
        "frames_corrected": int(totals["corrected"]),
        **dict.fromkeys(("orders_checked", "orders_wrong")),
    }

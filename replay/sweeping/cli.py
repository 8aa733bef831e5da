"""The command `pagetide sweep`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replay import completing
from replay.cli import (
    AllowLoss,
    BackingWord,
    DeviceText,
    HostText,
    Json,
    StartWord,
    TraceText,
    emit,
    finish,
    host_of,
    size_of,
    warn,
)
from tracer import Fault, human_bytes, open_trace

if TYPE_CHECKING:
    from replay.progress import Progress
    from replay.sweeping.passes import Plan


def sweep(
    trace: TraceText,
    *,
    policy: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="The policy, and parameters that are the same for all settings (pagetide policies).",
            autocompletion=completing.policies,
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=V1,V2,...",
            help="Values of a parameter; may be repeated. All combinations are replayed, at most 10,000.",
        ),
    ] = None,
    start: StartWord = "steady",
    backing: BackingWord = "4k",
    device: DeviceText = "",
    host: HostText = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="Write the table as Parquet and JSON, and keep what is finished: the same command, or one "
            "with more values, goes on there.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace a DIR that holds a sweep of another trace, other options or version."
        ),
    ] = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Replay a trace under every combination of a policy's parameters, in few passes; tell which settings
    no other one beats in latency, reclaimed memory and refaults (docs/sweep.md).
    """
    from replay.device import Device
    from replay.engine import Options
    from replay.progress import progress
    from replay.survey import rows_to_read
    from replay.sweeping.grid import parse_sets
    from replay.sweeping.sweep import sweep as sweep_all
    from replay.sweeping.table import sweep_table

    if len(policy) > 1:
        raise Fault(
            f"{policy[1]} cannot be swept together with {policy[0]}",
            "there are two --policy",
            "sweep one policy at a time, each into a folder of its own",
        )
    opened, grid = open_trace(trace), parse_sets(sets or [])
    inhibit, costs = host_of(host)
    options = Options(start, backing, inhibit, Device.parse(device))
    plans = _Plans(lambda passes: rows_to_read(opened, passes))
    try:
        with progress(0, "sweeping") as plans.progress:
            tell = plans.progress.tell
            done = sweep_all(
                opened, policy[0], grid, options, costs, out=out, force=force, tell=tell, announce=plans.hear
            )
    except BaseException:
        plans.say_kept(out)
        raise
    if as_json:
        emit(done.to_json())
    else:
        sweep_table(done)
        if out is not None:
            print(f"wrote {out} ({human_bytes(size_of(out))})")
    finish(done.trace, allow_loss=allow_loss)


class _Plans:
    """What is going to be done: said once, and how far the bar has to go."""

    def __init__(self, rows_to_read: Callable[[int], int]) -> None:
        """`rows_to_read`: in so many passes."""
        self.rows_to_read = rows_to_read
        self.progress: Progress
        self.plan: Plan | None = None

    def hear(self, plan: "Plan") -> None:
        """The next pass begins, or all are over."""
        if self.plan is None:
            self.progress.say(f"pagetide: {plan_line(plan)}")
        self.plan = plan
        self.progress.expect(self.rows_to_read(plan.passes) if plan.passes else 0)

    def say_kept(self, out: Path | None) -> None:
        """It did not come to its end."""
        if out is not None and self.plan is not None:
            warn(
                f"{self.plan.kept:,} of {self.plan.settings:,} settings are kept in {out}; "
                "the same command goes on with the others"
            )


def plan_line(plan: "Plan") -> str:
    """How many settings, passes and bytes, in a line."""
    settings = f"{plan.settings:,} setting" + "s" * (plan.settings != 1)
    if not plan.passes:
        return f"{settings}: all are there already"
    kept = f", {plan.kept:,} are there already" if plan.kept else ""
    passes = f"{plan.passes:,} pass" + "es" * (plan.passes != 1)
    return (
        f"{settings}{kept}; {passes} over the trace, with at most {human_bytes(plan.size_bytes)} "
        f"of the {human_bytes(plan.available_bytes)} of memory there is"
    )

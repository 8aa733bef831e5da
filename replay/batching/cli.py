"""`pagetide batch`: many traces under many settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replay import completing
from replay.cli import AllowLoss, BackingWord, DeviceText, HostText, Json, StartWord, emit, host_of, warn
from replay.progress import one_interrupt
from tracer import Fault, plain, traces_offered
from tracer.faults import ExitCode

if TYPE_CHECKING:
    from replay.batching.batch import Batch
    from replay.batching.task import Outcome


def batch(
    traces: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE|DIR|GLOB|URL...",
            help="Traces, folders that hold some, globs in quotes, or URLs like s3://bucket/guests/*.trace.",
            autocompletion=traces_offered,
        ),
    ],
    *,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR|URL",
            help="The dataset of results. One that is there grows: only what is missing is replayed.",
        ),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="A policy and its parameters (pagetide policies); may be repeated. Default: all of them.",
            autocompletion=completing.policies,
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=V1,V2,...",
            help="Values of a parameter that each --policy is replayed with; with another one, in every "
            "combination.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes, each with a trace. Default: one for each CPU."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Replay on the workers of this Dask scheduler, like tcp://host:8786, instead.",
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="For guests too large for one worker: trace by trace, each cut into N ranges of addresses "
            "that the workers share. Less memory for each, more time in all.",
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --shards: a folder that all workers can write to. Default: the system's temporary "
            "one; with --cluster the dataset's.",
        ),
    ] = None,
    start: StartWord = "steady",
    backing: BackingWord = "4k",
    device: DeviceText = "",
    host: HostText = "",
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Replay many traces under reporting policies into one dataset (docs/batch.md).

    What fails is told of, and does not stop the rest. The same command again does only what is missing.
    """
    from replay.batching.batch import batch as batch_all
    from replay.device import Device
    from replay.engine import Options
    from replay.sweeping.grid import parse_sets

    inhibit, costs = host_of(host)
    options = Options(start, backing, inhibit, Device.parse(device))
    done = 0

    with one_interrupt(), _Bar() as bar:

        def tell(outcome: "Outcome") -> None:
            nonlocal done
            done += 1
            bar.tell(outcome)

        try:
            found = batch_all(
                traces,
                out,
                policy or [],
                options,
                costs,
                sets=parse_sets(sets or []),
                workers=workers,
                cluster=cluster,
                shards=shards,
                scratch=scratch,
                tell=tell,
                expect=bar.expect,
            )
        except BaseException as error:
            bar.close()
            if done or (bar.expected and isinstance(error, KeyboardInterrupt)):
                warn(
                    f"{done:,} of {bar.expected:,} traces are done; the same command goes on with the others"
                )
            raise
    if as_json:
        emit(found.to_json())
    else:
        _say(found)
    _finish(found, allow_loss=allow_loss)


class _Bar:
    """A tqdm bar of traces on stderr, and a line above it for each that fails."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self.expected = 0
        self._bar = tqdm(total=0, unit=" traces", leave=False, disable=None, desc="replaying")

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take it away."""
        self._bar.close()

    def expect(self, tasks: int) -> None:
        """So many tasks there are."""
        self.expected = self._bar.total = tasks
        self._bar.refresh()

    def tell(self, outcome: "Outcome") -> None:
        """One more is over."""
        import sys

        if outcome.reason:
            self._bar.write(f"pagetide: {plain(outcome.trace)}: {plain(outcome.reason[0])}", file=sys.stderr)
        self._bar.update()


def _say(found: "Batch") -> None:
    """What became of it, and the settings beside each other."""
    from replay.batching.table import batch_table

    batch_table(found)


def _finish(found: "Batch", *, allow_loss: bool) -> None:
    """1 when all failed, 3 when some did, or a trace is lossy and that is not accepted."""
    tasks = found.tasks
    succeeded = tasks["done"] + tasks["unchanged"]
    if tasks["failed"] and not succeeded:
        first = found.failures[0].reason
        what = f"none of the {tasks['failed']:,} traces could be replayed"
        raise Fault(what, f"the first: {first[0]}: {first[1]}", first[2])
    if tasks["lossy"]:
        warn(f"{tasks['lossy']:,} of {succeeded:,} traces are lossy, recovered or partly unreadable")
    if tasks["failed"] or (tasks["lossy"] and not allow_loss):
        raise typer.Exit(ExitCode.LOSSY)

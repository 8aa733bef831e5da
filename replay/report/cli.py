"""`pagetide report`: the page of a trace, or of results."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay.cli import AllowLoss, BackingWord, Json, StartWord, emit, finish, warn
from tracer import Fault, Place, Trace, human_bytes, open_trace
from tracer.faults import ExitCode

if TYPE_CHECKING:
    from replay.report.material import Material

STEADY, SMALL = "steady", "4k"  # the defaults of `replay`


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TRACE|DIR",
            help="A trace, or results that `replay -o DIR` or `batch -o DIR` wrote, or its address.",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="The page. Default: in the current folder, guest.html of guest.trace.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="Of a trace: a policy and its parameters; may be repeated. Default: all of them, and what "
            "a stock kernel does by itself with a lower order, and with a shorter delay.",
        ),
    ] = None,
    start: StartWord = STEADY,
    backing: BackingWord = SMALL,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.")] = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Make one HTML page that opens anywhere, without a network: findings, numbers and charts.

    A trace is replayed first; how: as with `pagetide replay`.
    """
    from replay.report.fleet.making import is_batch
    from replay.report.making import check_place, is_results, named_after, require, write
    from replay.report.material import Material

    given_as = Place.of(source)
    ready, many = is_results(given_as), is_batch(given_as)
    place = named_after(given_as) if out is None else out
    trace = None if ready or many else open_trace(given_as)
    if (ready or many) and (policy or start != STEADY or backing != SMALL):
        how = "these are results; --policy, --start and --backing say how to replay a trace"
        raise Fault(f"{given_as} has been replayed already", how, "leave them out, or give the trace")
    check_place(place, force=force)
    require()
    if many:
        _many(given_as, place, allow_loss=allow_loss, as_json=as_json)
        return
    material = (
        Material.read(given_as.path) if trace is None else _replayed(trace, policy or [], start, backing)
    )
    given = {
        "--policy": policy or [],
        "--start": _unless(STEADY, start),
        "--backing": _unless(SMALL, backing),
    }
    options = [word for name, values in given.items() for value in values for word in (name, value)]
    command = shlex.join(["pagetide", "report", str(given_as), *options, "-o", str(place)])
    size_bytes = write(material, place, command)
    if as_json:
        emit({"page": str(place), "size_bytes": size_bytes, **material.answer})
    else:
        print(f"wrote {place} ({human_bytes(size_bytes)}): open it in a browser")
    if trace is not None:
        finish(trace, allow_loss=allow_loss)
    else:
        _finish(material.answer["trace"], allow_loss=allow_loss)


def _unless(usual: str, value: str) -> list[str]:
    return [] if value == usual else [value]


def _replayed(trace: Trace, policies: list[str], start: str, backing: str) -> "Material":
    """The material of a trace, with progress on stderr."""
    from replay.engine import Options
    from replay.progress import progress
    from replay.report.making import replayed
    from replay.survey import rows_to_read

    with progress(rows_to_read(trace), "replaying") as under_way:
        return replayed(trace, policies, Options(start, backing), under_way.tell)[1]


def _many(source: Place, place: Path, *, allow_loss: bool, as_json: bool) -> None:
    """The page of a batch's results."""
    from replay.report.fleet.making import write_fleet

    command = shlex.join(["pagetide", "report", str(source), "-o", str(place)])
    told, size_bytes = write_fleet(source, place, command)
    if as_json:
        emit({"page": str(place), "size_bytes": size_bytes, **told.answer()})
    else:
        print(f"wrote {place} ({human_bytes(size_bytes)}): open it in a browser")
    for line in told.notes:
        warn(line)
    if not told.whole and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)


def _finish(trace: dict[str, Any], *, allow_loss: bool) -> None:
    """As `finish`, of a trace that is known by its answer alone."""
    for line in trace["warnings"]:
        warn(line)
    whole = trace["status"] == "complete" and not trace["lost_events"] and trace["partial"] is None
    if not whole and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)

"""The offline commands: policies, replay, validate."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay import completing
from tracer import (
    Fault,
    Trace,
    duration_ns,
    human_bytes,
    open_trace,
    plain,
    trace_after,
    traces_offered,
    words_offered,
)
from tracer.faults import ExitCode

if TYPE_CHECKING:
    from replay.costs import Costs
    from replay.parameters import Parameter
    from replay.report.material import Material

TraceText = Annotated[
    str,
    typer.Argument(
        metavar="TRACE",
        help="A trace: a folder, or an address like s3://bucket/guest.trace.",
        autocompletion=traces_offered,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]
AllowLoss = Annotated[
    bool, typer.Option("--allow-loss", help="Exit 0 even if the trace is lossy or recovered.")
]
StartWord = Annotated[
    str,
    typer.Option(
        help="steady: what is free in whole units is reclaimed already; cold: nothing is, and the "
        "device registers; recorded: as the guest's own reporting had it.",
        autocompletion=words_offered("steady", "cold", "recorded"),
    ),
]
BackingWord = Annotated[
    str,
    typer.Option(
        help="In which pages the host backs memory: 4k, 2m or thp (docs/metrics.md).",
        autocompletion=words_offered("4k", "2m", "thp"),
    ),
]
DeviceText = Annotated[
    str,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="The reporting device: call=600us, gib=0s, fail-every=0, registered=0s- (docs/policies.md).",
    ),
]
HostText = Annotated[
    str,
    typer.Option(
        metavar="KEY=VALUE,...",
        help="The host: inhibit=off, discard=dontneed|free, pressure=0..1, refault=3us (docs/costs.md).",
    ),
]


def policies(*, as_json: Json = False) -> None:
    """List the reporting policies: parameters, defaults, needs and sources."""
    from replay.policies import registry, unusable
    from replay.tables import policy_table

    broken = unusable()
    if as_json:
        entries = [
            {
                "name": policy.name,
                "summary": policy.summary,
                "parameters": [_parameter(parameter) for parameter in policy.parameters],
                "source": policy.source,
                "requires": sorted(policy.requires),
                "without": dict(policy.without),
                "needs_of_kernel": policy.needs_of_kernel,
                "since": policy.since or None,
                "bound": policy.bound or None,
                "caution": policy.caution or None,
            }
            for policy in registry().values()
        ]
        faults = [
            {"entry_point": name, "what": fault.what, "how": fault.how, "fix": fault.fix}
            for name, fault in broken.items()
        ]
        emit({"policies": entries, "unusable": faults})
    else:
        policy_table(list(registry().values()))
    for fault in broken.values():
        warn(f"{fault.what}: {fault.how}; {fault.fix}")


def _parameter(parameter: "Parameter") -> dict[str, Any]:
    """A parameter with its values as `--policy` takes them."""
    values = {name: getattr(parameter, name) for name in ("default", "minimum", "maximum")}
    written = {name: None if value is None else parameter.written(value) for name, value in values.items()}
    return {**dataclasses.asdict(parameter), **written}


def replay(
    trace: TraceText,
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="A policy and its parameters (pagetide policies); may be repeated. Default: all of them.",
            autocompletion=completing.policies,
        ),
    ] = None,
    start: StartWord = "steady",
    backing: BackingWord = "4k",
    device: DeviceText = "",
    host: HostText = "",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Write results as JSON and Parquet."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Also compare the model with the last snapshot; check its invariants."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing DIR.")] = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Replay a trace under reporting policies and measure latency and reclaimed memory."""
    from replay.api import replay as replay_all
    from replay.checked import check_all
    from replay.comparison_table import comparison_table
    from replay.device import Device
    from replay.engine import Options
    from replay.progress import progress
    from replay.report.material import Material
    from replay.survey import rows_to_read

    opened = open_trace(trace)
    if out is not None:
        _check_folder(out, force=force)
    kept = out is not None
    inhibit, costs = host_of(host)
    options = Options(start, backing, inhibit, Device.parse(device), kept, kept or check, kept)
    with progress(rows_to_read(opened), "replaying") as under_way:
        done = replay_all(opened, policy or [], options, under_way.tell, costs)
    if check:
        check_all(done)
    if out is not None:
        _write(out, Material.of(done, options))
    if as_json:
        emit(done.answer(options))
    else:
        comparison_table(done, options)
        if out is not None:
            print(f"wrote {out} ({human_bytes(size_of(out))})")
    finish(done.trace, allow_loss=allow_loss)


def host_of(text: str) -> "tuple[bool, Costs]":
    """Of `--host`: whether it discards nothing, and what its work costs."""
    from replay.costs import Costs
    from replay.engine import INHIBIT
    from replay.parameters import values

    given = values(text, (*Costs.parameters, INHIBIT), "--host")
    inhibit = bool(given.pop(INHIBIT.name, False))
    return inhibit, Costs.of(given)


def validate(
    trace: TraceText,
    *,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also hold what the guest's own reporting must have done against what its host says "
            "(docs/truth.md).",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="With --truth: what that reporting is; by default a stock kernel's.",
            autocompletion=completing.policies,
        ),
    ] = None,
    device: DeviceText = "",
    max_wrong: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Exit 3 if more than this share of the changed frames is wrong."),
    ] = None,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Compare the model with what the kernel said, and with what the host says."""
    from replay.device import Device
    from replay.validation import validate as compare
    from replay.verdict_table import verdict_table

    if max_wrong is not None and not 0 <= max_wrong <= 1:
        raise Fault(f"--max-wrong {max_wrong} is not possible", "it is a share", "from 0 to 1, like 0.005")
    for name, given in (("--policy", policy), ("--device", device)):
        if given and truth is None:
            raise Fault(f"{name} says nothing here", "there is no --truth", "give both, or neither")
    verdict = compare(open_trace(trace), truth, policy, Device.parse(device))
    if as_json:
        emit(verdict.to_json())
    else:
        verdict_table(verdict)
    if max_wrong is not None and verdict.wrong_share > max_wrong:
        warn(f"{verdict.wrong_share:.4%} of the changed frames are wrong, more than {max_wrong:.4%}")
        raise typer.Exit(ExitCode.LOSSY)
    finish(verdict.trace, allow_loss=allow_loss)


def slice_(
    trace: TraceText,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="[OUT.trace]", help="The new trace; beside TRACE, NAME-10s-30s.trace, say."),
    ] = None,
    *,
    from_: Annotated[str, typer.Option("--from", metavar="T", help="Where to begin: a time into the trace.")],
    to: Annotated[str, typer.Option("--to", metavar="T", help="Where to end, likewise; not included.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    allow_loss: AllowLoss = False,
    as_json: Json = False,
) -> None:
    """Cut a span out of a trace: it begins with the model's frame states there."""
    from replay.slicing import slice_trace

    whole = open_trace(trace)
    after_ns, until_ns = duration_ns(from_), duration_ns(to)
    out = out or trace_after(whole.path, from_, to)
    part = slice_trace(whole, out, after_ns, until_ns, force=force)
    first_ns, last_ns = part.span_ns
    snapshots = [plain(shot.name) for shot in part.manifest.snapshots]
    if as_json:
        emit(
            {
                "trace": str(out),
                "source": str(whole.place),
                "from_s": after_ns / 1e9,
                "to_s": until_ns / 1e9,
                "events": part.rows,
                "duration_s": (last_ns - first_ns) / 1e9,
                "snapshots": [shot.name for shot in part.manifest.snapshots],
                "lost_events": part.manifest.lost,
                "size_bytes": part.size_bytes,
                "warnings": whole.warnings,
            }
        )
    else:
        told = f"{part.rows:,} events over {(last_ns - first_ns) / 1e9:.1f} s"
        size = human_bytes(part.size_bytes)
        print(f"wrote {out}: {told}, {size}; snapshots: {', '.join(snapshots) or 'none'}")
    finish(whole, allow_loss=allow_loss)


def emit(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(value, indent=1, allow_nan=False))


def warn(text: str) -> None:
    """Say something on stderr."""
    print(f"pagetide: {plain(text)}", file=sys.stderr)


def size_of(folder: Path) -> int:
    """Of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _check_folder(out: Path, *, force: bool) -> None:
    from replay.output import check_parent

    if out.exists() and not force:
        raise Fault(
            f"{out} exists already",
            "nothing is overwritten unasked",
            "name another, or add --force",
        )
    if out.exists() and not (out / "results.json").is_file():
        raise Fault(
            f"{out} holds no results: --force replaces those only",
            "it has no results.json",
            "name another",
        )
    check_parent(out)


def _write(out: Path, material: "Material") -> None:
    """Written aside and renamed as a whole."""
    aside = out.with_name(f".{out.name}.tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        material.write(aside)
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise Fault(
            f"{out} cannot be written",
            f"{error.strerror} (errno {error.errno})",
            "name another folder",
            ExitCode.ENVIRONMENT,
        ) from error


def finish(trace: Trace, *, allow_loss: bool) -> None:
    """Say what is wrong with the trace; 3 unless that is accepted."""
    for warning in trace.warnings:
        warn(warning)
    if not trace.complete and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)

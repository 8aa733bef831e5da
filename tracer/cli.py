"""The commands of this half: doctor, record, info, convert."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tracer import completing
from tracer.faults import ExitCode
from tracer.format import Manifest, to_json
from tracer.terminal import Json, emit, warn
from tracer.units import human_bytes

# Said before these libraries are imported. Huge pages of the recorder's own would stir the very memory
# it watches; a thread made before privileges are dropped would keep them; Arrow's own pools double what
# merging takes.
_QUIET_LIBRARIES = {
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
TraceText = Annotated[
    str,
    typer.Argument(
        metavar="TRACE",
        help="A trace: a folder, or an address like s3://bucket/guest.trace.",
        autocompletion=completing.traces_offered,
    ),
]


def doctor(*, as_json: Json = False) -> None:
    """Say what this guest allows, how we know, and the one command that fixes what it does not.

    PAGETIDE_RUNG=tracepoints, kprobes or fentry in the environment holds down how far it looks.
    """
    from rich.console import Console
    from rich.table import Table

    from tracer.doctor import examine, ready

    checks = examine()
    if as_json:
        emit({"ready": ready(checks), "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("check", "state", "how we know"):
            table.add_column(title, overflow="fold")
        for check in checks:
            table.add_row(check.name, check.state, check.how + (f"\n-> {check.fix}" if check.fix else ""))
        console = Console(highlight=False)
        console.print(table)
        console.print("This guest can be recorded." if ready(checks) else "This guest cannot be recorded.")
    raise typer.Exit(ExitCode.DONE if ready(checks) else ExitCode.ENVIRONMENT)


def record(
    out: Annotated[Path, typer.Argument(metavar="OUT.trace", help="The trace to make.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="Record while this runs; its exit code is ours."),
    ] = None,
    *,
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration",
            "--max-duration",
            help="Stop after this long, like 30s; COMMAND is ended too.",
        ),
    ] = None,
    layer: Annotated[
        str,
        typer.Option(
            help="buddy: what enters and leaves the free lists; frame: who owns a page; both.",
            autocompletion=completing.words_offered("buddy", "frame", "both"),
        ),
    ] = "buddy",
    segment: Annotated[str, typer.Option(help="Close a file of events this often.")] = "5s",
    ring: Annotated[
        str, typer.Option(help="Size of the ring the kernel writes into; a power of two.")
    ] = "64MiB",
    settle: Annotated[
        str | None,
        typer.Option(help="Wait this long before the start snapshot: what starting freed is reported then."),
    ] = None,
    resync: Annotated[
        str | None,
        typer.Option(help="Read all frames' state again this often (5s or more); after a loss anyway."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Keep the last 30m, say (40s or more), and remove what is older as it goes."),
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="Stop before the trace is larger, like 2GiB.")] = None,
    min_free: Annotated[
        str, typer.Option(help="Stop when less is left on the disk; twice that to begin.")
    ] = "64MiB",
    orders: Annotated[
        str | None,
        typer.Option(
            help="Keep only these orders, like 9-10, the end included; others are counted, in the kernel."
        ),
    ] = None,
    zones: Annotated[str | None, typer.Option(help="Keep only these zones, like Normal,DMA32.")] = None,
    pfns: Annotated[
        str | None,
        typer.Option(help="Keep only these page frames, like 0x100000-0x200000, the end not included."),
    ] = None,
    with_pid: Annotated[
        bool, typer.Option("--with-pid", help="Frame layer: record whose process it is. Not for sharing.")
    ] = False,
    with_gfp: Annotated[bool, typer.Option("--with-gfp", help="Frame layer: record the GFP flags.")] = False,
    mode: Annotated[str, typer.Option(help="Permissions of the trace's files.")] = "0600",
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Exit 0 even if events were lost.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    as_json: Json = False,
) -> None:
    """Record page alloc/free events of this live guest until COMMAND ends, a bound is reached or Ctrl-C.

    After it has attached its probes it gives up root: under sudo the trace is the invoking user's.
    """
    from tracer.recording.command import Command
    from tracer.recording.options import Asked, settings_of

    asked = Asked(
        duration=duration,
        settle=settle,
        layer=layer,
        segment=segment,
        ring=ring,
        resync=resync,
        keep=keep,
        max_size=max_size,
        min_free=min_free,
        orders=orders,
        zones=zones,
        pfns=pfns,
        with_pid=with_pid,
        with_gfp=with_gfp,
        mode=mode,
    )
    settings = settings_of(asked, force=force)
    traced = Command(command, quiet_stdout=as_json) if command else None
    os.environ.update(_QUIET_LIBRARIES)  # COMMAND is forked by now: it keeps its own
    try:
        _record(out, settings, asked.shareable(out, command), traced, as_json=as_json, allow_loss=allow_loss)
    finally:
        if traced is not None:
            traced.close()


def _record(
    out: Path,
    settings: Any,  # noqa: ANN401 - recording.Settings and Command, imported lazily
    command_line: list[str],
    traced: Any,  # noqa: ANN401
    *,
    as_json: bool,
    allow_loss: bool,
) -> None:
    # All of them now: the user whom the recorder becomes may not be able to read this installation.
    from tqdm import tqdm

    from tracer.recording.command import StopSignals
    from tracer.recording.disk import disk_too_full
    from tracer.recording.recorder import Recorder

    with StopSignals() as signals:
        recorder = Recorder(out, settings, command_line)
        warn(f"recording {out}: {recorder.cost}")
        with _status_line(tqdm) as tell:  # it has a thread, which must not be older than the recorder
            manifest = recorder.run(traced, signals, tell)
    _tell_recorded(out, manifest, as_json=as_json)
    if traced is not None and traced.exit_status:
        warn(f"COMMAND exited with {traced.exit_status}; the trace is kept")
        raise typer.Exit(traced.exit_status)
    if manifest.ended_by == "disk":
        raise disk_too_full(out, settings.min_free_bytes)
    if traced is not None and traced.cut_short:
        warn(f"COMMAND {traced.cut_short}: recording ended by {manifest.ended_by}")
        if signals.received is not None:
            raise typer.Exit(128 + signals.received)
    if manifest.lost and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)


@contextlib.contextmanager
def _status_line(tqdm: Any) -> Iterator[Any]:  # noqa: ANN401 - the class, imported lazily
    """A line on stderr, written anew with each look. Nothing when stderr is no terminal."""
    from tracer.recording.status import status_line

    with tqdm(bar_format="{desc}", leave=False, disable=None, dynamic_ncols=True) as bar:
        yield lambda progress: bar.set_description_str(status_line(progress))


def _tell_recorded(out: Path, manifest: Manifest, *, as_json: bool) -> None:
    kept = sum(probe.kept for probe in manifest.probes) - manifest.discarded_events
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if as_json:
        emit(
            {
                "trace": str(out),
                "events": kept,
                "lost": manifest.lost,
                "size_bytes": size,
                "manifest": to_json(manifest),
            }
        )
        return
    print(f"recorded {kept:,} events into {out} ({human_bytes(size)}), {manifest.lost:,} lost")
    if manifest.lost:
        warn("the recording is lossy: use a bigger --ring, or accept it with --allow-loss")


def info(
    trace: TraceText,
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a trace contains, about its guest too, and what is missing from it."""
    from tracer.describe import facts, lines
    from tracer.pictures import pictures
    from tracer.reader import open_trace

    opened = open_trace(trace)
    if verify:
        opened.verify()
    if as_json:
        emit({**facts(opened), "manifest": to_json(opened.manifest)})
    else:
        print("\n".join((*lines(opened), *pictures(open_trace(trace)))))
        for warning in opened.warnings:
            warn(warning)
    if not opened.complete:
        raise typer.Exit(ExitCode.LOSSY)


def convert(
    trace: TraceText,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="[OUT.trace]", help="The new trace; beside TRACE, NAME-archive.trace, say."),
    ] = None,
    *,
    target: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="archive|replay",
            help="archive: small; replay: fast to decode.",
            autocompletion=completing.words_offered("archive", "replay"),
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Exit 0 even if the trace is lossy or recovered.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rewrite a trace: the same rows, in fewer files, encoded to be small or to be decoded fast."""
    from tqdm import tqdm

    from tracer.converting import convert as rewrite
    from tracer.reader import open_trace

    source = open_trace(trace)
    shown = {"unit": " events", "unit_scale": True, "leave": False, "disable": None, "desc": "converting"}
    with tqdm(total=source.rows, **shown) as bar:
        made = rewrite(source, out, target, force=force, tell=bar.update)
    if as_json:
        emit(
            {
                "trace": str(made.path),
                "source": str(source.place),
                "for": target,
                "events": made.rows,
                "segments": len(made.segments),
                "lost_events": made.manifest.lost,
                "size_bytes": made.size_bytes,
                "source_size_bytes": source.size_bytes,
                "warnings": source.warnings,
            }
        )
    else:
        sizes = f"{human_bytes(made.size_bytes)}, it was {human_bytes(source.size_bytes)}"
        print(f"wrote {made.path} for {target}: {made.rows:,} events, {sizes}")
    for warning in source.warnings:
        warn(warning)
    if not source.complete and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)

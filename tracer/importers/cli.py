"""The command `import`: a trace of what perf or ftrace recorded."""

import contextlib
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracer.describe import wrapped
from tracer.faults import ExitCode, Fault
from tracer.format import MAX_ORDER_LIMIT, to_json
from tracer.naming import trace_of_file
from tracer.terminal import Json, emit, warn
from tracer.units import human_bytes, size_bytes

if TYPE_CHECKING:
    from tracer.importers.importing import Imported
    from tracer.importers.said import GuestSaid


class Kind(StrEnum):
    """What wrote the file. Their lines are told apart by themselves; only perf has a file of its own."""

    PERF = "perf"
    FTRACE = "ftrace"


def import_(
    kind: Annotated[Kind, typer.Argument(metavar="perf|ftrace", help="What recorded it.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="perf.data or text of perf script; text of trace-cmd report or tracefs' trace, trace_pipe. "
            "May be gzipped text, or - for text on stdin. "
            "perf script tells of lost events only with --show-lost-events.",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.trace", help="The trace to make; beside FILE, like perf.trace."
        ),
    ] = None,
    page_size: Annotated[str | None, typer.Option(help="The guest's page size (assumed: 4KiB).")] = None,
    max_order: Annotated[
        int | None, typer.Option(help="Its largest free list's order (assumed: 10).")
    ] = None,
    pageblock_order: Annotated[int | None, typer.Option(help="Its pageblock order (assumed: 9).")] = None,
    pcp_orders: Annotated[
        str | None, typer.Option(help="Orders its per-CPU lists may hold (assumed: 0-3,9).")
    ] = None,
    with_pid: Annotated[bool, typer.Option("--with-pid", help="Keep process ids.")] = False,
    with_gfp: Annotated[bool, typer.Option("--with-gfp", help="Keep allocation flags.")] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Exit 0 even if events are missing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    as_json: Json = False,
) -> None:
    """Make a trace of page alloc/free events that perf or ftrace recorded; its notes say what is unknown."""
    from tracer.importers.importing import Wanted, import_file
    from tracer.importers.source import is_perf_data

    out = out or trace_of_file(file)
    said = _guest_said(page_size, max_order, pageblock_order, pcp_orders)
    _check_kind(kind, file)
    wanted = Wanted(
        name=file,
        out=out,
        # A trace is made to be shared: of paths the last part.
        command_line=["pagetide", "import", kind.value, Path(file).name, "-o", out.name],
        said=said,
        with_pid=with_pid,
        with_gfp=with_gfp,
        force=force,
        perf_text=kind is Kind.PERF and not is_perf_data(file),
    )
    with _progress() as tell:
        imported = import_file(wanted, tell)
    _tell(out, imported, as_json=as_json)
    if imported.manifest.lost and not allow_loss:
        raise typer.Exit(ExitCode.LOSSY)


def _check_kind(kind: Kind, file: str) -> None:
    """A perf.data given to `import ftrace` is a mistake worth a word."""
    from tracer.importers.source import is_perf_data

    if kind is Kind.FTRACE and is_perf_data(file):
        raise Fault(
            f"{file} was recorded by perf", "it begins as a perf.data does", f"pagetide import perf {file}"
        )


def _guest_said(
    page_size: str | None, max_order: int | None, pageblock_order: int | None, pcp_orders: str | None
) -> "GuestSaid":
    from tracer.importers.said import GuestSaid

    for option, order in (("--max-order", max_order), ("--pageblock-order", pageblock_order)):
        if order is not None and not 0 <= order <= MAX_ORDER_LIMIT:
            raise Fault(
                f"{option} {order} is not possible", f"orders are 0 to {MAX_ORDER_LIMIT}", "correct it"
            )
    return GuestSaid(
        page_size=None if page_size is None else _page_bytes(page_size),
        max_order=max_order,
        pageblock_order=pageblock_order,
        pcp_orders=None if pcp_orders is None else _orders(pcp_orders),
    )


def _page_bytes(text: str) -> int:
    value = size_bytes(text)
    if not 512 <= value <= 1 << 20 or value & (value - 1):
        raise Fault(f"--page-size {text} is not possible", "pages are powers of two", "4KiB, 16KiB or 64KiB")
    return value


def _orders(text: str) -> list[int]:
    """Orders written as `0`, `0-3` or `0-3,9`."""
    orders: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", part.strip())
        if match is None:
            raise Fault(
                f"--pcp-orders {text} cannot be read", f"{part!r} is no order", "write them like 0-3,9"
            )
        orders |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not orders or max(orders) > MAX_ORDER_LIMIT:
        how = f"orders are 0 to {MAX_ORDER_LIMIT}, ranges go up"
        raise Fault(f"--pcp-orders {text} is not possible", how, "write them like 0-3,9")
    return sorted(orders)


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """A tqdm line on stderr: lines read. Nothing when stderr is no terminal."""
    from tqdm import tqdm

    with tqdm(unit=" lines", unit_scale=True, leave=False, disable=None) as bar:
        yield lambda summary: bar.update(summary.lines - bar.n)


def _tell(out: Path, imported: "Imported", *, as_json: bool) -> None:
    manifest, summary = imported.manifest, imported.summary
    events, bad = summary.kept.total(), summary.bad.total()
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if as_json:
        lines = {"all": summary.lines, "other": summary.other, "bad": bad, "first_bad": summary.first_bad}
        head = {"trace": str(out), "events": events, "lost": manifest.lost, "size_bytes": size}
        emit({**head, "lines": lines, "manifest": to_json(manifest)})
        return
    print(f"imported {events:,} events into {out} ({human_bytes(size)}), {manifest.lost:,} lost")
    print(f"  of {summary.lines:,} lines {summary.other:,} are other, {bad:,} cannot be read")
    print(f"  layers: {', '.join(manifest.layers)}")
    for note in manifest.notes:
        print("\n".join(wrapped(f"note: {note}")))
    if bad:
        warn(f"the first line that cannot be read: {summary.first_bad}")
    if manifest.lost:
        warn("events are missing from this trace; accept it with --allow-loss")

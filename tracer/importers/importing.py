"""One import: blocks of text -> rows in time order -> segments, made aside and renamed."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tracer.format import Manifest
from tracer.importers.blocks import Block, parse
from tracer.importers.losses import LossFinder, in_order
from tracer.importers.manifest import manifest_of
from tracer.importers.ordering import Ordering
from tracer.importers.said import GuestSaid
from tracer.importers.source import STDIN, opened
from tracer.importers.summary import Summary
from tracer.output import check_output, output_fault
from tracer.writer import TraceWriter

PARSERS = 2  # blocks parsed at a time


@dataclass(frozen=True)
class Wanted:
    """What the user asked for.

    Attributes:
        name: the file as named on the command line; `-`: stdin.
        out: the trace to make.
        command_line: what may be shared of it.
        perf_text: it is what `perf script` wrote, by somebody else's call.
    """

    name: str
    out: Path
    command_line: list[str]
    said: GuestSaid = field(default_factory=GuestSaid)
    with_pid: bool = False
    with_gfp: bool = False
    force: bool = False
    perf_text: bool = False


@dataclass(frozen=True)
class Imported:
    """A finished import."""

    manifest: Manifest
    summary: Summary


def import_file(wanted: Wanted, tell: Callable[[Summary], None] = lambda summary: None) -> Imported:
    """Make a trace of a file; `tell` hears of the progress.

    Raises:
        Fault: when there is nothing to import or no place for it; then nothing is left behind, and
            what was at `wanted.out` is there as before.
    """
    check_output(wanted.out, force=wanted.force)
    try:
        # The trace is whole when it gets its name: what fails before leaves only this folder, which goes.
        with tempfile.TemporaryDirectory(
            prefix=f".{wanted.out.name}.", dir=wanted.out.absolute().parent, ignore_cleanup_errors=True
        ) as folder:
            made = Path(folder) / wanted.out.name
            imported = _Import(wanted, made).run(tell)
            _put_in_place(made, wanted.out)
    except OSError as error:
        raise output_fault(wanted.out, error) from error
    return imported


def _put_in_place(made: Path, out: Path) -> None:
    """Rename; what it replaces goes with the folder in which it was made."""
    replaced = made.with_name("replaced")
    if out.exists():
        out.rename(replaced)
    try:
        made.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise


class _Import:
    """The state of one import."""

    def __init__(self, wanted: Wanted, made: Path) -> None:
        self._wanted, self._made = wanted, made
        self._summary, self._losses, self._ordering = Summary(), LossFinder(), Ordering()
        self._writer: TraceWriter | None = None

    def run(self, tell: Callable[[Summary], None]) -> Imported:
        wanted = self._wanted
        read = partial(parse, with_pid=wanted.with_pid, with_gfp=wanted.with_gfp)
        try:
            with opened(wanted.name, with_pid=wanted.with_pid) as texts:
                for block in in_parallel(read, texts):
                    self._add(block)
                    tell(self._summary)
            return self._finish()
        except BaseException:
            if self._writer is not None:
                self._writer.close(self._manifest([], "recovered"))
            raise

    def _add(self, block: Block) -> None:
        overwritten = self._summary.headers.overwritten
        self._summary.add(block)
        self._losses.overwritten(self._summary.headers.overwritten - overwritten)
        self._losses.follow(block)
        self._ordering.add(block.rows)
        if self._ordering.full:
            self._write_segment()

    def _finish(self) -> Imported:
        self._losses.finish()
        layers = self._summary.layers("standard input" if self._wanted.name == STDIN else self._wanted.name)
        writer = self._write_segment(final=True)
        manifest = self._manifest(layers, "complete")
        self._writer = None
        writer.close(manifest)
        return Imported(manifest, self._summary)

    def _write_segment(self, *, final: bool = False) -> TraceWriter:
        if self._writer is None:
            self._writer = TraceWriter(self._made, self._manifest([], "recording"))
        rows = self._ordering.take(final=final)
        if rows is not None:
            losses = in_order(self._losses.found)
            self._losses.found = []
            self._writer.write_segment(rows, self._manifest([], "recording").probes, losses)
        return self._writer

    def _manifest(self, layers: list[str], status: str) -> Manifest:
        return manifest_of(
            self._summary,
            self._wanted.said,
            layers=layers,
            status=status,
            lost=self._losses.events,
            late=self._ordering.late,
            command_line=self._wanted.command_line,
            perf_text=self._wanted.perf_text,
        )


def in_parallel(read: Callable[[bytes], Block], texts: Iterator[bytes]) -> Iterator[Block]:
    """Blocks parsed by several threads (polars lets go of the interpreter), in the order of the texts."""
    with ThreadPoolExecutor(PARSERS, thread_name_prefix="pagetide-import") as pool:
        under_way: deque[Future[Block]] = deque()
        for text in texts:
            under_way.append(pool.submit(read, text))
            if len(under_way) > PARSERS:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

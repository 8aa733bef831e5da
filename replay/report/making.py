"""A page from a trace or from results, written in its place whole."""

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.output import aside, check_parent
from replay.report.material import ANSWER, Material
from replay.report.page import Made, html
from tracer import Fault, Place, Trace, open_trace

if TYPE_CHECKING:
    from replay.api import Replay
    from replay.engine import Options
    from replay.policies.protocol import Setting


def page(
    source: Trace | str | Path,
    out: str | Path,
    policies: "Sequence[str | Setting]" = (),
    options: "Options | None" = None,
    *,
    force: bool = False,
) -> Path:
    """Write an HTML page of a trace, replayed under `policies` (as `replay`), or of a folder that
    `pagetide replay -o` wrote. Returns where it is.

    `options`: how to replay; what the page shows besides is kept in any case.

    Raises:
        Fault: as `replay`; for a page that is there already (unless `force`) or cannot be written; when the
            extra `report` is not installed.
    """
    place = Path(out)
    check_place(place, force=force)
    require()
    if not isinstance(source, Trace) and is_results(source):
        if policies or options:
            raise Fault(f"{source} has been replayed already", "it holds results", "give a trace, or neither")
        material = Material.read(Path(source))
    else:
        opened = source if isinstance(source, Trace) else open_trace(source)
        _, material = replayed(opened, policies, options)
    words = ["pagetide", "report", material.answer["trace"]["path"], "-o", str(place)]
    write(material, place, words)
    return place


def replayed(
    trace: Trace,
    policies: "Sequence[str | Setting]",
    options: "Options | None" = None,
    tell: Callable[[int], None] = lambda _rows: None,
) -> "tuple[Replay, Material]":
    """A trace replayed with all that a page shows, and compared with its end snapshot."""
    from dataclasses import replace

    from replay.api import replay
    from replay.checked import check_all
    from replay.engine import Options

    kept = replace(options or Options(), logging=True, fragmentation=True, address_map=True)
    done = replay(trace, policies, kept, tell)
    check_all(done)
    return done, Material.of(done, kept)


def is_results(source: str | Path | Place) -> bool:
    """Whether `pagetide replay -o` wrote this folder."""
    place = Place.of(source)
    return place.local and (place.path / ANSWER).is_file()


def named_after(source: str | Path | Place) -> Path:
    """The page of `guest.trace`, or of the folder `guest`, is `guest.html` in the current folder."""
    place = Place.of(source)
    name = place.path.resolve().name if place.local else place.name
    return Path(f"{name.removesuffix('.trace') or 'report'}.html")


def check_place(out: Path, *, force: bool) -> None:
    """Refuse a place for the page before anything is done.

    Raises:
        Fault: when something is there already, or nothing can be written there.
    """
    if out.is_dir():
        raise Fault(f"{out} is a folder", "a page is a file", "name a file, like guest.html")
    if out.exists() and not force:
        raise Fault(f"{out} exists already", "nothing is overwritten unasked", "name another, or add --force")
    check_parent(out)


def require() -> None:
    """Say what is missing before minutes of replaying are spent.

    Raises:
        Fault: when the extra `report` is not installed.
    """
    from replay.report import drawing
    from replay.report.sheet import bundle, environment

    drawing()
    environment()
    bundle()


def write(material: Material, out: Path, command: Sequence[str]) -> int:
    """Write the page of what was replayed; returns its size in bytes.

    Raises:
        Fault: when it cannot be written.
    """
    from replay.report.figures import figures

    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    told = html(material, figures(material), Made(shlex.join(command), when)).encode()
    with aside(out) as temporary:
        temporary.write_bytes(told)
    return len(told)

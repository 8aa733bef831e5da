"""A page from a trace or from results, written in its place whole."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.output import aside, check_parent
from replay.report.fleet.making import is_batch, write_fleet
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
    `pagetide replay -o` or `pagetide batch -o` wrote. Returns where it is.

    `options`: how to replay; what the page shows besides is kept in any case.

    Raises:
        Fault: as `replay`; for a page that is there already (unless `force`) or cannot be written; when the
            extra `report` is not installed.
    """
    place = Path(out)
    check_place(place, force=force)
    require()
    if not isinstance(source, Trace) and is_batch(Place.of(source)):
        if policies or options:
            raise Fault(f"{source} has been replayed already", "it holds results", "give a trace, or neither")
        write_fleet(Place.of(source), place, call(source, place, policies, options))
        return place
    if not isinstance(source, Trace) and is_results(source):
        if policies or options:
            raise Fault(f"{source} has been replayed already", "it holds results", "give a trace, or neither")
        material = Material.read(Path(source))
    else:
        opened = source if isinstance(source, Trace) else open_trace(source)
        _, material = replayed(opened, policies, options)
    write(material, place, call(source, place, policies, options))
    return place


def call(
    source: Trace | str | Path,
    place: Path,
    policies: "Sequence[str | Setting]" = (),
    options: "Options | None" = None,
) -> str:
    """The call of `page` that makes a page again, as Python writes it."""
    from replay.engine import Options

    usual = Options()
    asked = [each if isinstance(each, str) else each.named for each in policies]
    given = options or usual
    told, unasked = (
        {each.name: repr(getattr(of, each.name)) for each in fields(of)} for of in (given, usual)
    )
    changed = {name for name, value in told.items() if value != unasked[name]} - {"threads"}
    words = [repr(str(source.path if isinstance(source, Trace) else source)), repr(str(place))]
    words += [repr(asked)] if asked or changed else []
    if changed:
        words.append(
            f"replay.Options({', '.join(f'{name}={told[name]}' for name in told if name in changed)})"
        )
    return f"replay.page({', '.join(words)})"


def replayed(
    trace: Trace,
    policies: "Sequence[str | Setting]",
    options: "Options | None" = None,
    tell: Callable[[int], None] = lambda _rows: None,
) -> "tuple[Replay, Material]":
    """A trace replayed with all that a page shows, and compared with its end snapshot.

    `policies`: none means those of `settings`.
    """
    from replay.api import replay
    from replay.checked import check_all
    from replay.engine import Options

    kept = replace(options or Options(), logging=True, fragmentation=True, address_map=True)
    asked, left_out = (policies, list[str]()) if policies else settings(trace)
    done = replace(replay(trace, asked, kept, tell), left_out=left_out)
    check_all(done)
    return done, Material.of(done, kept)


def settings(trace: Trace) -> "tuple[list[Setting], list[str]]":
    """What a page shows unasked: all policies, as `replay` has them, and beside what a stock kernel does
    by itself that with a knob turned. And a line for each policy that the trace tells too little for.
    """
    from replay.api import comparable
    from replay.policies import OWN, levers

    shown, left_out = comparable(trace)
    places = [place for place, each in enumerate(shown, 1) if each.policy.name == OWN]
    for place in places:
        shown[place:place] = levers(trace.manifest.guest)
    return shown, left_out


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


def write(material: Material, out: Path, made_by: str) -> int:
    """Write the page of what was replayed; returns its size in bytes.

    `made_by`: the command that makes it again, or the call in Python.

    Raises:
        Fault: when it cannot be written.
    """
    from replay.report.figures import figures

    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    told = html(material, figures(material), Made(made_by, when)).encode()
    with aside(out) as temporary:
        temporary.write_bytes(told)
    return len(told)

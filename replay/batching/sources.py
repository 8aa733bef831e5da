"""Which traces are meant: paths, folders of traces, globs and URLs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tracer import Fault, Place

MANIFEST, SUFFIX = "manifest.json", ".trace"  # what makes a folder a trace


def addresses(asked: Sequence[str]) -> list[str]:
    """Where the traces are, each once, in the order in which they were asked for: paths from the root on, and
    URLs. What is named outright need not be there: the task that is to read it tells of it.

    Raises:
        Fault: for a folder or a glob in which there is no trace.
    """
    found: dict[str, None] = {}
    for text in asked:
        place = Place.of(text)
        some = [str(each) for each in (_local(place) if place.local else _stored(place))]
        if not some:
            raise Fault(
                f"there is no trace in {text}",
                "no folder NAME.trace is there",
                "name traces, folders that hold some, or a glob in quotes, like 'guests/*.trace'",
            )
        found |= dict.fromkeys(some)
    return list(found)


def _local(place: Place) -> Iterator[Place]:
    for match in place.glob():
        if match.path.is_dir():
            yield from _traces_in(match.path)
        elif match == place or match.path.suffix == SUFFIX:
            yield Place.of(match.path.absolute())


def _traces_in(folder: Path) -> Iterator[Place]:
    """The folder itself if it is a trace or is called one; else all below it that is called one.

    A file is among these: that it is no trace is told by the task that is to read it.
    """
    if (folder / MANIFEST).is_file() or folder.suffix == SUFFIX:
        yield Place.of(folder.resolve())
        return
    for each in sorted(folder.rglob(f"*{SUFFIX}")):
        hidden = any(part.startswith(".") for part in each.relative_to(folder).parts)
        if not hidden:
            yield Place.of(each.resolve())


def _stored(place: Place) -> Iterator[Place]:
    """The same in an object store, where an address that ends like a trace's is believed to be one."""
    for match in place.glob():
        yield from [match] if match.name.endswith(SUFFIX) else (match / f"**/*{SUFFIX}").glob()

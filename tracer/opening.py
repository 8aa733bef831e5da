"""Opening a trace: its manifest, from a folder or a store, with values that can be."""

from pathlib import Path

from tracer.checks import check_values
from tracer.faults import Fault
from tracer.format import FORMAT_VERSION, MANIFEST, Manifest, from_json, strict_json
from tracer.index import RECORD_AGAIN
from tracer.places import Place
from tracer.stores import Missing


def manifest_of(place: Place) -> Manifest:
    """The manifest of the trace at a place, checked.

    Raises:
        Fault: when there is none, it is of a newer format, or it is damaged; when a store refuses it.
    """
    content = _content(place.path) if place.local else _stored(place)
    try:
        data = strict_json(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(place, error) from error
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise Fault(
            f"{place} has format {version}, newer than this pagetide reads ({FORMAT_VERSION})",
            f"{MANIFEST} says so, written by {data.get('tool')}",
            "upgrade pagetide",
        )
    manifest: Manifest = from_json(Manifest, data, MANIFEST)
    check_values(manifest)
    return manifest


def _content(path: Path) -> bytes:
    """The content of the manifest in a folder of this machine."""
    try:
        there = path.exists()
    except OSError as error:
        raise Fault(f"{path} cannot be opened", f"{error.strerror}", "check its name and rights") from error
    if not there:
        raise Fault(f"there is no trace {path}", "the folder does not exist", "check its name")
    if not (path / MANIFEST).is_file():
        raise _no_manifest(Place(path))
    try:
        return (path / MANIFEST).read_bytes()
    except OSError as error:
        raise _damaged(Place(path), error) from error


def _stored(place: Place) -> bytes:
    """The content of the manifest in a store. Looked for first: a whole bucket is not listed by mistake."""
    try:
        return (place / MANIFEST).read_bytes()
    except Missing as fault:
        if place.exists():
            raise _no_manifest(place) from fault
        place.children()  # says when even the bucket is not there
        raise Fault(f"there is no trace {place}", fault.how, fault.fix) from fault


def _no_manifest(place: Place) -> Fault:
    fix = "name a folder that pagetide record made"
    return Fault(f"{place} is not a trace", f"it has no {MANIFEST}", fix)


def _damaged(place: Place, error: Exception) -> Fault:
    how = f"{MANIFEST}: {error}".splitlines()[0]
    return Fault(f"the trace {place} is damaged", how, RECORD_AGAIN)

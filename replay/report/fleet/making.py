"""The page of a batch's folder, written in its place whole."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.output import aside
from replay.report.fleet.tasks import Tasks
from tracer import Place

if TYPE_CHECKING:
    from replay.fleets.fleet import Fleet


def is_batch(source: str | Path | Place) -> bool:
    """Whether `pagetide batch -o` wrote there."""
    from replay.batching.reading import is_dataset

    return is_dataset(Place.of(source))


def write_fleet(source: Place, out: Path, command: str) -> "tuple[Fleet, int]":
    """Write the page of a batch's folder or URL; returns the fleet, and the page's size in bytes.

    Raises:
        Fault: as `fleet`; when the page cannot be written; when the extra `report` is not installed.
    """
    from replay.fleets.fleet import fleet
    from replay.report.fleet.page import fleet_html
    from replay.report.page import Made

    told = fleet(str(source))
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    text = fleet_html(told, Tasks.of(source), source, Made(command, when)).encode()
    with aside(out) as temporary:
        temporary.write_bytes(text)
    return told, len(text)

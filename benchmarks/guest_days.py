"""What 10 000 guest-days take: bytes, requests and CPU hours, from what was measured, and what that costs.

Usage: python -m benchmarks.guest_days [--guest-days N] [--NAME NUMBER…] [--write]. Prints Markdown: a
table of the inputs, and one of what they come to; --write puts both into docs/fleet.md. Every input has
an option of its name; prices are no one's in particular: put in your own.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

from benchmarks.harness import REPO
from benchmarks.pages import quote, table
from benchmarks.ready import COLUMNS
from tracer import open_trace

PAGE, NAME = REPO / "docs" / "fleet.md", "guest days"
SPEED = REPO / "benchmarks" / "results" / "speed.json"
DAY_S, GB = 86_400, 10**9
FIRST, ALL = "the first replay", "all policies of the comparison at once"


@dataclass(frozen=True)
class Guest:
    """What a shipped trace says of its guest.

    Attributes:
        name: of the trace.
        events_per_s: while it was recorded.
        event_bytes: on disk, each event with all its columns.
        needed_share: of the bytes of events, in columns that a replay reads.
        second_bytes: of the kernel's own counts, each second.
        fixed_bytes: of the states of frames at both ends, and what the trace says of itself.
    """

    name: str
    events_per_s: float
    event_bytes: float
    needed_share: float
    second_bytes: float
    fixed_bytes: float


@dataclass(frozen=True)
class Inputs:
    """What the model is made of; an option each, with `-` for `_`."""

    guest_days: float = 10_000
    event_ns: float = 0.0  # CPU for each event of a first replay of one policy
    all_policies_ns: float = 0.0  # more, for all policies of the comparison in the same pass
    start_s: float = 1.0  # CPU of a worker for each trace, before and after its events
    file_bytes: float = 64 << 20  # of a trace's files, after they were merged
    gets_per_file: float = 4  # a footer, and a range for each few columns
    results_bytes: float = 52_000  # of a guest's results, for six settings
    storage_gb_month: float = 0.023
    put_1000: float = 0.005
    get_1000: float = 0.0004
    cpu_hour: float = 0.04


MEANING = {
    "guest_days": ("guest-days", "yours"),
    "event_ns": ("CPU ns an event, one policy, first replay", "docs/speed.md"),
    "all_policies_ns": ("more, for all policies of the comparison", "docs/speed.md"),
    "start_s": ("CPU s a trace besides its events", "an estimate"),
    "file_bytes": ("bytes of a file of events, at most; one an hour at least", "tracer/FORMAT.md"),
    "gets_per_file": ("requests to read a file", "an estimate"),
    "results_bytes": ("bytes of a guest's results", "six settings, measured"),
    "storage_gb_month": ("price of a GB for a month", "yours"),
    "put_1000": ("price of 1000 writes", "yours"),
    "get_1000": ("price of 1000 reads", "yours"),
    "cpu_hour": ("price of an hour of one CPU", "yours"),
}


def shipped() -> list[Guest]:
    """Of each trace in `data/`, the one with the fewest events a second first."""
    found = [guest_of(path) for path in sorted((REPO / "data").glob("*.trace"))]
    return sorted(found, key=lambda guest: guest.events_per_s)


def guest_of(path: Path) -> Guest:
    """Of one trace."""
    trace = open_trace(path)
    first_ns, last_ns = trace.span_ns
    files = sorted((path / "events").glob("*.parquet"))
    sizes = dict[str, int]()
    for file in files:
        for name, size_bytes in _columns(file):
            sizes[name] = sizes.get(name, 0) + size_bytes
    needed_share = sum(sizes[name] for name in COLUMNS if name in sizes) / sum(sizes.values())
    events_bytes = sum(file.stat().st_size for file in files)
    counts_bytes = sum(_size(path / name) for name in ("samples", "counters"))
    rows, lasts_s = trace.rows, (last_ns - first_ns) / 1e9
    fixed_bytes = _size(path) - events_bytes - counts_bytes
    return Guest(
        path.stem,
        rows / lasts_s,
        events_bytes / rows,
        needed_share,
        counts_bytes / lasts_s,
        fixed_bytes,
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _columns(file: Path) -> Iterator[tuple[str, int]]:
    """Each column chunk's name and its bytes on disk."""
    metadata = pq.read_metadata(file)
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place in range(row_group.num_columns):
            chunk = row_group.column(place)
            yield chunk.path_in_schema, chunk.total_compressed_size


def mixed(guests: Sequence[Guest]) -> Guest:
    """A guest that is each of these for the same time."""
    rate = sum(guest.events_per_s for guest in guests)
    bytes_per_s = sum(guest.events_per_s * guest.event_bytes for guest in guests)
    needed = sum(guest.events_per_s * guest.event_bytes * guest.needed_share for guest in guests)
    others = (sum(guest.second_bytes for guest in guests), sum(guest.fixed_bytes for guest in guests))
    second_bytes, fixed_bytes = (each / len(guests) for each in others)
    per_guest = rate / len(guests)
    return Guest("all mixed", per_guest, bytes_per_s / rate, needed / bytes_per_s, second_bytes, fixed_bytes)


def measured(speed: Path = SPEED) -> Inputs:
    """The inputs that a benchmark found, beside the usual others."""
    rows: list[dict[str, Any]] = json.loads(speed.read_text())["rows"]
    first = next(row["ours"] for row in rows if row["ours"]["name"] == FIRST)
    every = next(row for row in rows if row["what"].startswith(ALL))
    events = float(every["what"].removeprefix(ALL).strip(" ,").removesuffix(" M events")) * 1e6
    more_s = median(every["ours"]["cpu"]) - median(every["peer"]["cpu"])
    return Inputs(event_ns=median(first["cpu"]), all_policies_ns=1e9 * more_s / events)


def outcome(guest: Guest, given: Inputs) -> dict[str, float]:
    """What that many days of such a guest come to."""
    events = guest.events_per_s * DAY_S
    events_bytes = events * guest.event_bytes
    other_bytes = DAY_S * guest.second_bytes + guest.fixed_bytes
    files = max(24.0, events_bytes / given.file_bytes)
    days = given.guest_days
    cpu_h = days * (events * (given.event_ns + given.all_policies_ns) / 1e9 + given.start_s) / 3600
    stored_gb = days * (events_bytes + other_bytes + given.results_bytes) / GB
    puts, gets = days * (files + 1), days * files * given.gets_per_file
    return {
        "events": days * events,
        "stored_gb": stored_gb,
        "read_gb": days * (events_bytes * guest.needed_share + other_bytes) / GB,
        "puts": puts,
        "gets": gets,
        "cpu_h": cpu_h,
        "month_price": stored_gb * given.storage_gb_month,
        "batch_price": cpu_h * given.cpu_hour + gets * given.get_1000 / 1000,
        "write_price": puts * given.put_1000 / 1000,
    }


def page(given: Inputs) -> str:
    """Both tables, as they stand in the documentation."""
    guests = shipped()
    shown = [
        ("quietest", guests[0]),
        ("middle", guests[len(guests) // 2]),
        ("busiest", guests[-1]),
        ("mixed", mixed(guests)),
    ]
    inputs = [
        [f"`{each.name.replace('_', '-')}`", what, _number(getattr(given, each.name)), source]
        for each in fields(given)
        for what, source in [MEANING[each.name]]
    ]
    lines = [[name, guest.name, *_told(guest, given)] for name, guest in shown]
    return (
        "\n"
        + table(["input", "is", "value", "from"], inputs)
        + "\n"
        + table(
            [
                "guest", "trace", "events/s", "bytes an event", "a guest-day", "stored", "read by a batch",
                "writes", "reads", "CPU hours", "a month's storage", "writes once", "one batch",
            ],
            lines,
        )
        + "\n"
    )  # fmt: skip


def _told(guest: Guest, given: Inputs) -> Iterator[str]:
    told = outcome(guest, given)
    yield _number(guest.events_per_s)
    yield f"{guest.event_bytes:.2f}"
    yield _gb(told["stored_gb"] / given.guest_days)
    yield _gb(told["stored_gb"])
    yield _gb(told["read_gb"])
    for name in ("puts", "gets", "cpu_h", "month_price", "write_price", "batch_price"):
        yield _number(told[name])


def _gb(value: float) -> str:
    """A size in decimal units, as storage is sold."""
    for scale, unit in ((1000, "TB"), (1, "GB"), (1e-3, "MB")):
        if value >= scale or unit == "MB":
            return f"{value / scale:.3g} {unit}"
    return ""


def _number(value: float) -> str:
    """Three digits that matter, no exponent."""
    if value and abs(value) < 1000:
        return f"{value:.3g}"
    digits = len(str(int(abs(value)))) - 3
    return f"{round(value, -digits):,.0f}" if digits > 0 else f"{value:,.0f}"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--write", action="store_true")
    for each in fields(Inputs):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=float, metavar="NUMBER")
    return parser.parse_args()


def main() -> None:
    """Print both tables, and put them into the page if that is wanted."""
    asked = vars(arguments())
    given = {name: value for name, value in asked.items() if name != "write" and value is not None}
    text = page(replace(measured(), **given))
    print(text.strip())
    if asked["write"]:
        quote(PAGE, NAME, text)


if __name__ == "__main__":
    main()

"""What a batch came to, in a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from replay.fleets.bootstrap import LEVEL
from replay.fleets.display import NONE, written
from replay.fleets.measures import MEASURES, WEIGHTS
from replay.tables import new_console, new_table, print_hanging, tight
from tracer import Fault, plain

if TYPE_CHECKING:
    from rich.console import Console

    from replay.batching.batch import Batch
    from replay.fleets.fleet import Fleet

SHOWN = 5
MUCH = ("given_back_gib", "given_back_share", "ceiling_share", "stranded_share")
SOON = ("latency_p50_s", "latency_p90_s", "refaults_gib_per_hour", "cpu_s_per_hour")


def batch_table(found: "Batch") -> None:
    """How many traces were replayed, what failed, and the settings beside each other."""
    console = new_console()
    _counts(console, found)
    try:
        fleet = found.fleet
    except Fault as fault:
        if found.settings:
            print_hanging(console, plain(f"not compared: {fault.what}: {fault.how}"))
    else:
        _settings(console, fleet)
    console.print(f"wrote {plain(found.out)}", soft_wrap=True)


def _counts(console: "Console", found: "Batch") -> None:
    tasks = found.tasks
    told = [f"{tasks[name]:,} {word}" for name, word in _WORDS.items() if tasks[name]]
    print_hanging(console, f"{sum(tasks[name] for name in _WORDS):,} traces: {', '.join(told)}")
    for each in found.failures[:SHOWN]:
        print_hanging(console, f"failed: {plain(each.trace)}", 1)
        print_hanging(console, plain(": ".join(each.reason[:2])), 2, style="dim")
    if tasks["failed"] > SHOWN:
        print_hanging(console, f"and {tasks['failed'] - SHOWN:,} more: {plain(found.out)}/manifest.jsonl", 1)


_WORDS = {"done": "replayed", "unchanged": "unchanged", "failed": "failed"}


def _settings(console: "Console", fleet: "Fleet") -> None:
    """Means over guests: how much; how soon and at what price."""
    word = "guest" if fleet.count == 1 else "guests"
    console.print(f"\nmeans over {fleet.count:,} {word}, {WEIGHTS[fleet.weights]}")
    for names in (MUCH, SOON):
        first = MEASURES[names[0]]
        ends = (f"{LEVEL:.0%} interval",) if names is MUCH else ()
        table = new_table("setting", first.title, *ends, *(MEASURES[name].title for name in names[1:]))
        for row in fleet.settings.iter_rows(named=True):
            cells = [tight(written(name, row[f"{name}_mean"])) for name in names]
            if ends:
                cells.insert(1, _ends(names[0], row))
            table.add_row(Text(plain(row["setting"])), *cells)
        console.print(table)
        console.print()
    print_hanging(console, _HINT, style="dim")
    for note in fleet.notes:
        print_hanging(console, plain(note), style="dim")


def _ends(name: str, row: Mapping[str, Any]) -> str:
    """Of an interval, where there is one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return NONE if low is None else f"{tight(written(name, low))}-{tight(written(name, high))}"


_HINT = (
    "given back: memory that the host does not back, on average over each trace; interval: how far its "
    "mean may be off because these guests were recorded and not others; of ceiling: of what reporting at "
    "once gives back at that order; stranded: of free memory, in pieces smaller than a unit; p50, p90: of a "
    "guest's own latency. `pagetide report` shows who gains"
)

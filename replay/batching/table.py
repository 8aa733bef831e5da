"""What a batch came to, in a terminal."""

from typing import TYPE_CHECKING

from replay.tables import new_console, print_hanging
from tracer import plain

if TYPE_CHECKING:
    from replay.batching.batch import Batch

SHOWN = 5


def batch_table(found: "Batch") -> None:
    """How many traces were replayed, and what failed."""
    console = new_console()
    tasks = found.tasks
    told = [f"{tasks[name]:,} {word}" for name, word in _WORDS.items() if tasks[name]]
    print_hanging(console, f"{sum(tasks[name] for name in _WORDS):,} traces: {', '.join(told)}")
    for each in found.failures[:SHOWN]:
        print_hanging(console, f"failed: {plain(each.trace)}", 1)
        print_hanging(console, plain(": ".join(each.reason[:2])), 2, style="dim")
    if tasks["failed"] > SHOWN:
        print_hanging(console, f"and {tasks['failed'] - SHOWN:,} more: {plain(found.out)}/manifest.jsonl", 1)
    console.print(f"wrote {plain(found.out)}", soft_wrap=True)


_WORDS = {"done": "replayed", "unchanged": "unchanged", "failed": "failed"}

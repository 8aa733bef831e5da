"""How long the page of a trace takes after its replay, beside the replay.

Usage: python -m benchmarks.reporting [--trace TRACE] [--rounds N]. A long trace: `pagetide generate`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import command, interleaved, spread
from tracer import human_bytes, open_trace


def main() -> None:
    """Print a line for each, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trace", default="data/stock.trace")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    pagetide = [sys.executable, "-c", "from replay.main import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        results, page = Path(folder, "results"), Path(folder, "page.html")
        replayed = command(
            *pagetide, "replay", asked.trace, "--check", "--allow-loss", "-o", results, "--force"
        )
        reported = command(*pagetide, "report", results, "--allow-loss", "-o", page, "--force")
        replayed(), reported()  # what is compiled or kept the first time
        runs = interleaved({"replay": replayed, "report": reported}, asked.rounds)
        size_bytes = page.stat().st_size
    took = {name: [each.wall_s for each in some] for name, some in runs.items()}
    print(
        f"{asked.trace}: {open_trace(asked.trace).rows:,} events, {asked.rounds} rounds, median (least-most)"
    )
    print(f"replay -o: {spread(took['replay'])} s")
    print(f"report of its results: {spread(took['report'])} s, {human_bytes(size_bytes)}")
    ratios = [report / replay for report, replay in zip(took["report"], took["replay"], strict=True)]
    print(f"report / replay: {spread(ratios)}")


if __name__ == "__main__":
    main()

"""How fast a trace is replayed: each figure beside its peer, in interleaved rounds of one run.

Usage: python -m benchmarks.speed [--rounds N] [--events 100M,500M] [--middle 20M] [--small 4M] [--rss 10M,1G]
[--of TRACE] [--folder DIR] [--only QUESTION…] [--out FOLDER]. Prints a Markdown table; with --out it is
written there, too, as speed.md and speed.json, and quoted in README.md and docs/speed.md.

Traces are tiled from TRACE (`benchmarks.tiling`) into DIR, where those of an earlier run are used again, or
into a temporary folder: some 3 GB for the sizes above. Peers come with pip install 'pagetide[bench]'.
"""

import argparse
import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import REPO, TRACE, Table
from benchmarks.pages import quote
from benchmarks.questions import QUESTIONS, Sizes, Traces
from benchmarks.tiling import count_of
from tracer import Fault

PAGES = (REPO / "README.md", REPO / "docs" / "speed.md")


def counts_of(text: str) -> tuple[int, int]:
    """Two numbers of events: LESS,MORE."""
    less, more = map(count_of, text.split(","))
    return less, more


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=counts_of, default=counts_of("100M,500M"), metavar="LESS,MORE")
    parser.add_argument("--middle", type=count_of, default=count_of("20M"))
    parser.add_argument("--small", type=count_of, default=count_of("4M"))
    parser.add_argument("--rss", type=counts_of, default=counts_of("10M,1G"), metavar="LESS,MORE")
    parser.add_argument("--of", type=Path, default=TRACE, metavar="TRACE")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


@contextlib.contextmanager
def folder_of(asked: Path | None) -> Iterator[Path]:
    """The folder that was named, or one for this run only."""
    if asked:
        asked.mkdir(parents=True, exist_ok=True)
        yield asked
    else:
        with tempfile.TemporaryDirectory(prefix="pagetide-bench-") as name:
            yield Path(name)


def lacking(needs: tuple[str, ...]) -> list[str]:
    """The libraries that are not installed."""
    return [name for name in needs if importlib.util.find_spec(name) is None]


def main() -> None:
    """Answer the questions one after the other."""
    asked = arguments()
    sizes = Sizes(asked.events, asked.middle, asked.small, asked.rss, asked.rounds)
    said = {"source of the tiles": asked.of.name, "rounds": asked.rounds, **sizes.said}
    table = Table("# Speed of replaying", said)
    table.begin()
    with folder_of(asked.folder) as folder:
        traces = Traces(asked.of, folder)
        for name in asked.only:
            question = QUESTIONS[name]
            if missing := lacking(question.needs):
                table.lack(f"{name}: {', '.join(missing)} not installed: pip install 'pagetide[bench]'")
                continue
            try:
                for row in question.ask(traces, sizes):
                    table.add(row)
            except Fault as fault:
                table.lack(f"{name}: {fault}")
    if asked.out:
        table.write(asked.out, "speed")
        for page in PAGES:
            quote(page, "speed", table.markdown.partition("\n")[2].lstrip())
    if not table.rows:
        sys.exit("nothing was measured")


if __name__ == "__main__":
    main()

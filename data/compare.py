"""Every policy on every trace: `data/results.parquet`, and what the pages quote of it.

Usage: python -m data.compare [--check | --pages] [--out TABLE.parquet] [TRACE…]

Replays all traces of `data/` as `data.comparison.replayed` says, writes the table, and puts its summaries
between the marks of the README and of pages in `docs`. --check writes nothing: it compares with the
table that is there, exactly, names each cell that differs, and ends with 1 if one does; of some traces, if
they are named. --pages replays nothing, and writes the pages out of the table that is there. With --out
another table is written or compared, of traces of your own, and no page.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from benchmarks.pages import quote
from data import cards
from data.comparison import asked as questions
from data.comparison import tables
from data.comparison.answers import Answers
from data.comparison.corpus import write_corpus
from data.comparison.findings import findings
from data.comparison.in_short import in_short
from data.comparison.replayed import CASES, Case, Row, differences, frame_of, left_over, rows_of, with_shares
from tracer import Fault, human_bytes

HERE = Path(__file__).parent
TABLE = HERE / "results.parquet"
CORPUS = HERE.parent / "build" / "corpus.html"  # made again when it is wanted: it is not kept
# What pages quote, by the name of its mark.
PAGES: dict[Path, dict[str, Callable[[Answers], str]]] = {
    HERE.parent / "README.md": {"results": lambda answers: in_short(answers) + "\n" + tables.short(answers)},
    HERE.parent / "docs" / "comparison.md": {
        "findings": findings,
        "traces": tables.traces,
        "helps": tables.helps,
        "policies": tables.policies,
        "orders": tables.orders,
        "delays": tables.delays,
        "hosts": tables.hosts,
        "cold": tables.cold,
        "placement": tables.placement,
        "each": tables.each,
    },
    HERE.parent / "docs" / "faq.md": dict(questions.FAQ),
    HERE.parent / "docs" / "accuracy.md": {"trust": questions.trust},
}


def shipped() -> list[Path]:
    """The traces of the corpus, by name."""
    return [HERE / f"{name}.trace" for name in cards.shipped()]


def replay_all(traces: Sequence[Path], cases: Sequence[Case] = CASES) -> list[Row]:
    """Every row of these traces; how long each took is told on stderr."""
    rows: list[Row] = []
    for path in traces:
        begin, before = time.perf_counter(), len(rows)
        for case in cases:
            rows += rows_of(path, case)
        took_s = time.perf_counter() - begin
        print(f"{path.stem}: {len(rows) - before} settings in {took_s:.1f} s", file=sys.stderr, flush=True)
    return with_shares(rows)


def check(rows: Sequence[Row], there: pl.DataFrame) -> int:
    """Say how rows differ from a table; 1 if they do."""
    lines = [*differences(rows, there), *left_over(rows, there)]
    print("\n".join(lines) if lines else f"{len(rows)} rows, each as in the table")
    return 1 if lines else 0


def write_pages(answers: Answers) -> None:
    """What pages quote of the table, and the page that is all of it."""
    for page, texts in PAGES.items():
        for name, text in texts.items():
            if not quote(page, name, text(answers)):
                raise Fault(
                    f"{page.name} has no place for {name}",
                    f"the lines <!-- {name} --> and <!-- end of {name} --> are not there",
                    "put them where it belongs",
                )
    size_bytes = write_corpus(answers, CORPUS, "make results")
    print(f"wrote {CORPUS} ({human_bytes(size_bytes)}): open it in a browser")


def main() -> int:
    """What the usage says."""
    parser = argparse.ArgumentParser(
        prog="python -m data.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("traces", metavar="TRACE", type=Path, nargs="*", help="instead of those in data/")
    parser.add_argument("--out", type=Path, help="instead of data/results.parquet")
    parser.add_argument("--check", action="store_true", help="compare with the table that is there")
    parser.add_argument("--pages", action="store_true", help="only write the pages, out of that table")
    asked = parser.parse_args()
    table: Path = asked.out or TABLE
    if asked.traces and not asked.out and not asked.check:
        parser.error("the table is of all traces: say --out FILE for one of these")
    try:
        if asked.pages:
            write_pages(Answers.of(pl.read_parquet(table)))
            return 0
        rows = replay_all(asked.traces or shipped())
        if asked.check:
            there = pl.read_parquet(table)
            named = [path.stem for path in asked.traces]
            return check(rows, there.filter(pl.col("trace").is_in(named)) if named else there)
        frame = frame_of(rows)
        aside = table.with_name(f".{table.name}.tmp")
        frame.write_parquet(aside)
        aside.replace(table)
        print(f"wrote {table}: {frame.height} rows, {frame.width} columns")
        if not asked.out:
            write_pages(Answers.of(frame))
    except Fault as fault:
        print(f"compare: {fault}", file=sys.stderr)
        return int(fault.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())

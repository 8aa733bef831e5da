"""Encodings and codecs of events: size, cost of writing and speed of decoding, in the same rounds.

Usage: python -m benchmarks.codecs [TRACE] [ROUNDS] [ROWS]. Prints Markdown: first columns by themselves, then
whole layouts, among them those of `tracer/layouts.py`. CPU of one thread; files are in the page cache.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"  # before it is imported

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tracer import open_trace
from tracer.layouts import BUDDY, CONVERTED, DELTA, DICTIONARY, FRAME, SPLIT, Coding, Layout, Target
from tracer.parquet import parquet_writer

REPO = Path(__file__).parent.parent
ROWS, ROUNDS = 3_000_000, 5
BATCH_ROWS = 1 << 17
GROUP_ROWS = 1_000_000
MERGED_ROWS = 1 << 18  # of a group, as the recorder merges segments
PLAIN = "PLAIN"
SHORT = {DELTA: "delta", SPLIT: "byte split", DICTIONARY: "dictionary", PLAIN: "plain"}
WIDE = [
    *(Coding(DELTA, codec) for codec in ("none", "lz4")),
    *(Coding(DELTA, "zstd", level) for level in (1, 3, 9, 15, 19)),
    Coding(SPLIT, "lz4"),
    *(Coding(SPLIT, "zstd", level) for level in (1, 3, 9, 15)),
    Coding(PLAIN, "none"),
    Coding(PLAIN, "lz4"),
]
FEW = [
    *(Coding(DICTIONARY, codec) for codec in ("none", "lz4")),
    *(Coding(DICTIONARY, "zstd", level) for level in (1, 3, 9)),
    Coding(SPLIT, "zstd", 1),
    Coding(PLAIN, "zstd", 1),
]
PAGES = {"ts_ns": (20_000, 1 << 17, 1 << 20), "pfn": (20_000, 1 << 17, 1 << 20), "cpu": (20_000, 1 << 17)}


@dataclass(frozen=True)
class Candidate:
    """A way to write some columns."""

    name: str
    layout: Layout


@dataclass(frozen=True)
class Cost:
    """What it came to in one round, an event."""

    size_bytes: float
    write_ns: float
    pyarrow_ns: float
    polars_ns: float


def columns(name: str, codings: list[Coding]) -> Iterator[Candidate]:
    """The ways to write one column."""
    for rows in PAGES[name]:
        for coding in codings:
            level = "" if coding.level is None else f" {coding.level}"
            told = f"{name} {SHORT[coding.encoding]}, {coding.codec}{level}, pages of {rows:,}"
            yield Candidate(told, Layout(coding, coding, coding, rows, GROUP_ROWS))


def layouts() -> Iterator[Candidate]:
    """The ways to write all columns."""
    short = 20_000
    first = replace(BUDDY, page_rows=short, group_rows=MERGED_ROWS)
    yield Candidate("delta and zstd 3, pages of 20,000 rows, as first recorded", first)
    yield Candidate("recorded, buddy layer", replace(BUDDY, group_rows=MERGED_ROWS))
    yield Candidate("recorded, frame layer", replace(FRAME, group_rows=MERGED_ROWS))
    small, fast = CONVERTED[Target.ARCHIVE], CONVERTED[Target.REPLAY]
    yield Candidate("for archive", small)
    yield Candidate("... pages of 131,072 rows", replace(small, page_rows=1 << 17))
    yield Candidate("... pfn by delta", replace(small, pfn=Coding(DELTA, "zstd", 9)))
    hard = replace(small, rising=Coding(DELTA, "zstd", 15), pfn=Coding(SPLIT, "zstd", 15))
    yield Candidate("... zstd 15", hard)
    yield Candidate("for replay", fast)
    yield Candidate("... pages of 20,000 rows", replace(fast, page_rows=short))
    yield Candidate("... groups of 131,072 rows", replace(fast, group_rows=1 << 17))
    yield Candidate("... groups of 1,000,000 rows", replace(fast, group_rows=GROUP_ROWS))
    yield Candidate("... lz4 for ts_ns, too", replace(fast, rising=Coding(DELTA, "lz4")))
    bare = replace(fast, pfn=Coding(DELTA, "none"), others=Coding(DICTIONARY, "none"))
    yield Candidate("... no codec at all", bare)
    wide = Coding(PLAIN, "none")
    yield Candidate("... ts_ns and pfn as they are", replace(fast, rising=wide, pfn=wide))


def measured(candidate: Candidate, table: pa.Table, path: Path) -> Cost:
    """Write and decode a table once."""
    rows = table.num_rows

    def write() -> None:
        with (
            path.open("wb") as file,
            parquet_writer(file, table.schema, candidate.layout) as writer,
        ):
            writer.write_table(table, candidate.layout.group_rows)

    return Cost(
        write_ns=_cpu_ns(write) / rows,
        size_bytes=path.stat().st_size / rows,
        pyarrow_ns=_cpu_ns(lambda: _decode(path, rows)) / rows,
        polars_ns=_cpu_ns(lambda: _scan(path, rows)) / rows,
    )


def _cpu_ns(work: Callable[[], None]) -> int:
    begin_ns = time.process_time_ns()
    work()
    return time.process_time_ns() - begin_ns


def _decode(path: Path, rows: int) -> None:
    batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS, use_threads=False)
    assert sum(batch.num_rows for batch in batches) == rows


def _scan(path: Path, rows: int) -> None:
    batches = pl.scan_parquet(path).collect_batches(maintain_order=True)
    assert sum(batch.height for batch in batches) == rows


def compare(table: pa.Table, candidates: list[Candidate], rounds: int, title: str) -> None:
    """Measure all candidates in each round; print a table of medians with the spread of the rounds."""
    costs: dict[str, list[Cost]] = {candidate.name: [] for candidate in candidates}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for candidate in candidates:
                costs[candidate.name].append(measured(candidate, table, Path(folder) / "a.parquet"))
    print(f"\n| {title} | bits an event | write, ns | pyarrow, ns | polars, ns |")
    print("| --- | --- | --- | --- | --- |")
    for name, each in costs.items():
        times = ([getattr(cost, f"{what}_ns") for cost in each] for what in ("write", "pyarrow", "polars"))
        spreads = map(_spread, times)
        print(f"| {name} | {each[0].size_bytes * 8:.2f} | {' | '.join(spreads)} |", flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def sample(path: Path, rows: int) -> pa.Table:
    """So many events out of the middle of a trace, all columns."""
    trace = open_trace(path)
    skip = max((trace.rows - rows) // 2, 0)
    taken: list[pa.RecordBatch] = []
    for batch in trace.batches(trace.columns):
        part = batch.slice(min(skip, batch.num_rows), rows - sum(each.num_rows for each in taken))
        skip -= min(skip, batch.num_rows)
        taken.append(part)
        if sum(each.num_rows for each in taken) >= rows:
            break
    return pa.Table.from_batches(taken).combine_chunks()


def main(path: Path, rounds: int, rows: int) -> None:
    """Measure, print."""
    pa.set_cpu_count(1)
    table = sample(path, rows)
    versions = f"pyarrow {pa.__version__}, polars {pl.__version__}"
    print(f"{path.name}: {table.num_rows:,} events; {versions}; medians (spread) of {rounds} rounds")
    for name, codings in (("ts_ns", WIDE), ("pfn", WIDE), ("cpu", FEW)):
        compare(table.select([name]), list(columns(name, codings)), rounds, "column")
    compare(table, list(layouts()), rounds, "all columns")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(Path(given.get(0, REPO / "data/database.trace")), int(given.get(1, ROUNDS)), int(given.get(2, ROWS)))

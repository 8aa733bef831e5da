"""What the hypervisor saw, as a truth file: reported ranges and resident memory in the guest's time."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from replay.truth.matching import in_passes
from tests.guest.hypervisor import BACKING, Seen

PAGE_BYTES = 4096
SCHEMA = pa.schema(
    [
        pa.field("ts_ns", pa.int64(), nullable=False),
        ("pfn", pa.int64()),
        ("pages", pa.int64()),
        ("batch", pa.int64()),
        ("resident_bytes", pa.int64()),
    ]
)
Row = tuple[int, int | None, int | None, int | None, int | None]


def write_truth(path: Path, seen: Seen) -> None:
    """Reports and measurements in order of time; how they were got in the schema's metadata."""
    rows = sorted([*_ranges(seen), *_samples(seen)], key=lambda row: row[0])  # stable: batches stay in order
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(columns, schema=SCHEMA.with_metadata(_metadata(seen)))
    pq.write_table(table, path, compression="zstd")


def _ranges(seen: Seen) -> list[Row]:
    """What was discarded. Times within a batch only ever grow, though the log has them to the µs."""
    rows: list[Row] = []
    for batch, call in enumerate(seen.calls):
        for one in call.ranges:
            if one.failed:
                continue
            ts_ns = seen.clock.of_host(one.wall_ns + seen.wall_to_monotonic_ns)
            pfn, rest = divmod(one.address - seen.base, PAGE_BYTES)
            assert not rest, "a range that begins within a page"
            pages, rest = divmod(one.size_bytes, PAGE_BYTES)
            assert not rest, "a range that ends within a page"
            rows.append((ts_ns, pfn, pages, batch, None))
    return rows


def _samples(seen: Seen) -> list[Row]:
    clock = seen.clock
    return [(clock.of_host(s.host_ns), None, None, None, s.resident_bytes) for s in seen.samples]


def _metadata(seen: Seen) -> dict[str, str]:
    clock = seen.clock
    return {
        "source": f"QEMU {seen.qemu}: ram_block_discard_range, virtqueue_pop",
        "backing": BACKING,
        "clock_error_ns": str(clock.error_ns),
        "clock_pings": str(clock.pings),
        "clock_rate": repr(clock.rate),
        "wall_step_ns": str(seen.wall_step_ns),
        "failed_discards": str(sum(one.failed for call in seen.calls for one in call.ranges)),
    }


@dataclass(frozen=True)
class Pass:
    """One run of the guest's reporting worker, as told by when its reports came.

    Attributes:
        ts_ns: the first range; end_ns: the last one.
        drop_bytes: by how much resident memory was less after it than before.
    """

    ts_ns: int
    end_ns: int
    batches: int
    ranges: int
    size_bytes: int
    drop_bytes: int


def passes_of(truth: Path) -> list[Pass]:
    """The passes in a truth file."""
    rows = pl.read_parquet(truth)
    ranges = rows.filter(pl.col("pfn").is_not_null())
    samples = rows.filter(pl.col("resident_bytes").is_not_null())
    return [_pass(part, samples) for _, part in in_passes(ranges).group_by("pass", maintain_order=True)]


def _pass(ranges: pl.DataFrame, samples: pl.DataFrame) -> Pass:
    times, pages = ranges["ts_ns"].to_list(), int(ranges["pages"].sum())
    before = samples.filter(pl.col("ts_ns") < times[0])["resident_bytes"].tail(1)
    after = samples.filter(pl.col("ts_ns") > times[-1])["resident_bytes"].head(1)
    drop_bytes = sum(before) - sum(after)
    batches = ranges["batch"].n_unique()
    return Pass(times[0], times[-1], batches, len(ranges), pages * PAGE_BYTES, drop_bytes)

"""A small whole trace with everything a trace can have, ways to damage it, and what the commands say then."""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from replay import main
from tests.pure import small_traces
from tests.pure.small_traces import END_NS, FRAMES, START_NS, counted, frame_runs, manifest, snapshot
from tracer.format import COUNTER_COLUMNS, LIST_COLUMNS, SAMPLE_COLUMNS, Loss, Snapshot
from tracer.parquet import arrow_schema, checksum, event_schema
from tracer.writer import TraceWriter, segment_of

SPANS = ((2_000_000, 3_000_000), (4_000_000, 5_000_000, 6_000_000))
RESYNC_NS = 7_000_000
EVENTS, FRAMES_FILE, LISTS = "events/00001.parquet", "frames/start.parquet", "frames/start-lists.parquet"
SAMPLES, COUNTERS = "samples/00001.parquet", "counters/00001.parquet"
COMMANDS = {
    "info": ["info"],
    "verify": ["info", "--verify"],
    "replay": ["replay", "--policy", "upstream", "--policy", "oracle"],
    "validate": ["validate"],
    "convert": ["convert", "--for", "archive", "--force"],
}
Rows = dict[str, list[Any]]


def write(path: Path) -> Path:
    """Two segments with samples, counters and a loss, and three snapshots, the first with lists."""
    writer = TraceWriter(path, manifest())
    shots = [
        _shot(writer, "start", START_NS - 200, START_NS, _lists()),
        _shot(writer, "resync-1", RESYNC_NS, RESYNC_NS + 200),
        _shot(writer, "end", END_NS, END_NS + 500),
    ]
    rows = 0
    for number, ts_ns in enumerate(SPANS):
        rows += len(ts_ns)
        events = pa.table(small_traces.columns(ts_ns), schema=event_schema())
        parts = {
            "samples": writer.write_part("samples", f"{number:05d}", _samples(ts_ns[0])),
            "counters": writer.write_part("counters", f"{number:05d}", _counters(ts_ns[0])),
        }
        part = writer.write_part("events", f"{number:05d}", events)
        losses = [Loss(ts_ns[0], ts_ns[-1], 0)]
        writer.append_segment(segment_of(part, (ts_ns[0], ts_ns[-1]), counted(rows), losses=losses, **parts))
    writer.close(manifest(status="complete", probes=counted(rows), snapshots=shots))
    return path


def _shot(
    writer: TraceWriter, name: str, begin_ns: int, end_ns: int, lists: pa.Table | None = None
) -> Snapshot:
    runs = frame_runs(begin_ns + 50)
    shot = replace(snapshot(name, begin_ns, end_ns), lists=lists is not None)
    return replace(shot, parts=writer.write_snapshot(name, runs, lists))


def _lists() -> pa.Table:
    when = START_NS - 90
    rows = [
        dict(zip(LIST_COLUMNS, [0, 10, 1, at, pfn, when, when + 5], strict=True))
        for at, pfn in enumerate(range(FRAMES // 2, FRAMES, 1024))
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(LIST_COLUMNS))


def _samples(at_ns: int) -> pa.Table:
    row: dict[str, Any] = dict.fromkeys(SAMPLE_COLUMNS, 7)
    row |= {"zone": 0, "free_blocks": [0] * 10 + [4], "free": FRAMES // 2}
    rows = [row | {"read_begin_ns": at_ns + more, "read_end_ns": at_ns + more + 9} for more in (10, 50)]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SAMPLE_COLUMNS))


def _counters(at_ns: int) -> pa.Table:
    row = dict.fromkeys(COUNTER_COLUMNS, 1) | {"ts_ns": at_ns}
    return pa.Table.from_pylist([row, row | {"cpu": 0}], schema=arrow_schema(COUNTER_COLUMNS))


# Damage


def edit_manifest(path: Path, change: Callable[[Any], object]) -> None:
    """Change the manifest as JSON."""
    small_traces.edit_manifest(path, change)


def edit_index(path: Path, change: Callable[[list[Any]], object]) -> None:
    """Change the lines of the index as JSON; each gets a right checksum."""
    lines = (path / "segments.jsonl").read_text().splitlines()
    entries = [json.loads(line)["line"] for line in lines]
    change(entries)
    (path / "segments.jsonl").write_text("".join(map(signed, entries)))


def rewrite(path: Path, name: str, change: Callable[[Rows], object]) -> None:
    """Change the rows of a file; index and manifest are right about it afterwards."""
    table = pq.read_table(path / name)
    rows = table.to_pydict()
    change(rows)
    store(path, name, pa.table(rows, schema=table.schema))


def store(path: Path, name: str, table: pa.Table) -> None:
    """Replace a file; index and manifest are right about it afterwards."""
    pq.write_table(table, path / name)
    agree(path, name, table.num_rows)


def agree(path: Path, name: str, rows: int | None = None) -> None:
    """Let index and manifest say of a file what it is now."""
    file = path / name
    now: dict[str, Any] = {"size_bytes": file.stat().st_size, "checksum": checksum(file)}
    if rows is not None:
        now["rows"] = rows

    def told(data: Any) -> None:
        owners = data["snapshots"] if isinstance(data, dict) else data
        for owner in owners:
            parts = [owner, owner.get("samples"), owner.get("counters"), *owner.get("parts", [])]
            for part in parts:
                if part and part.get("file") == name:
                    part.update(now)

    edit_index(path, told)
    edit_manifest(path, told)


def count_again(path: Path, rows: int) -> None:
    """Let the manifest have kept so many events."""
    edit_manifest(path, lambda data: data["probes"][0].update(hits=rows, kept=rows))


def cell(column: str, row: int, value: Any) -> Callable[[Rows], object]:
    """Replace one cell."""
    return lambda rows: rows[column].__setitem__(row, value)


# What the commands make of it


@dataclass(frozen=True)
class Said:
    """The end of a command: its exit code, and all that it printed."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        """Both streams."""
        return self.out + self.err


def said(command: str, path: Path, *more: str) -> Said:
    """Run a command of `COMMANDS`. What is no fault comes through as the exception it is."""
    out, err = io.StringIO(), io.StringIO()
    paths = [path, path.with_name("converted.trace")] if command == "convert" else [path]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([*COMMANDS[command], *more, *map(str, paths)])
    return Said(code, out.getvalue(), err.getvalue())


def flip(path: Path, name: str, at: int, bit: int) -> None:
    """Flip a bit of a file."""
    data = np.fromfile(path / name, np.uint8)
    data[at % max(len(data), 1)] ^= 1 << bit
    data.tofile(path / name)


def signed(line: Any) -> str:
    """A line of the index with a right checksum, whatever it says."""
    text = json.dumps(line, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f'{{"line": {text}, "checksum": "{digest}"}}\n'

"""A block of text, parsed: rows in the order of the file, and what its other lines say.

No loop over lines in Python but over the rare ones. What makes the patterns fast: matching without
capturing, one capture at a time, and a literal at the start; one pattern that captures everything
is several times slower.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from tracer.format import EVENT_COLUMNS, OPTIONAL_COLUMNS, Op
from tracer.importers import prefix, rare
from tracer.importers.events import BY_EVENT, EVENTS, NO_PAGE, Event, text_of
from tracer.importers.gfp import gfp_bits
from tracer.importers.rare import Mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = dict[str, NDArray[Any]]

QUOTED = 160  # characters of a line that are shown
MOST_CPU = (1 << 16) - 1
DTYPES = {name: np.dtype(kind) for name, kind in (EVENT_COLUMNS | OPTIONAL_COLUMNS).items()}


@dataclass
class Block:
    """What one block of lines says.

    Attributes:
        rows: `EVENT_COLUMNS` (and pid, gfp when asked for), in file order.
        lines, other: all lines, and those that are no business of a trace.
        bad: by op (0: none of ours), lines that name an event but cannot be read.
        bad_rows: how many rows stand before the first and before the last of them.
        first_bad: the first one's text, cut.
        no_page: by op, allocations that failed.
        marks: losses, in file order.
        comments: header lines, in file order.
        pageblock_order: what the first extfrag line says, if there is one.
        microseconds, no_cpu, threads: rows whose time has whole microseconds, without a CPU, and (of
            the pids asked for) whose number may be a thread's.
        unknown_flags: names of allocation flags that have no number.
    """

    rows: "Rows"
    lines: int
    other: int = 0
    bad: Counter[int] = field(default_factory=Counter)
    bad_rows: tuple[int, int] = (0, 0)
    first_bad: str | None = None
    no_page: Counter[int] = field(default_factory=Counter)
    marks: list[Mark] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    pageblock_order: int | None = None
    microseconds: int = 0
    no_cpu: int = 0
    threads: int = 0
    unknown_flags: set[str] = field(default_factory=set)


def parse(text: bytes, *, with_pid: bool = False, with_gfp: bool = False) -> Block:
    """Parse whole lines. A last line without its newline is torn: nothing in it can be trusted."""
    if not text.isascii():
        text = text.decode(errors="replace").encode()
    end = text.rfind(b"\n") + 1
    torn = text[end:]
    lines, stamped = _split(text[:end])
    events = _read(stamped, with_pid=with_pid, with_gfp=with_gfp)
    readable = events["readable"]
    kept = events.filter(readable & ~events["no_page"])
    block = Block(_rows(kept, with_pid=with_pid), lines=len(lines) + bool(torn))
    block.no_page = Counter(events.filter(readable & events["no_page"])["op"].to_list())
    block.microseconds, block.no_cpu = int(kept["microseconds"].sum()), kept["cpu"].null_count()
    block.threads = int(kept["threads"].sum()) if with_pid else 0
    if with_gfp:
        block.rows["gfp"] = _flags(kept["gfp_flags"], block.unknown_flags)
    block.pageblock_order = _pageblock_order(kept)
    _look_at_the_rest(block, _rest(lines, events.filter(readable)), torn, kept["line"].to_numpy())
    return block


def _split(text: bytes) -> tuple[pl.Series, pl.DataFrame]:
    """All lines; and of those with a time stamp and an event the line's index, head and tail."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    starts = np.concatenate([[0], ends]).astype(np.int64)
    lines = _strings(text, starts)
    at = lines.str.find(prefix.STAMP)
    halves = np.repeat(starts, 2)[:-1]
    halves[1::2] += at.fill_null(0).to_numpy()
    both = _strings(text, halves)
    frame = pl.DataFrame({"head": both.gather_every(2), "tail": both.gather_every(2, 1)})
    return lines, frame.with_row_index("line").filter(at.is_not_null())


def _strings(text: bytes, offsets: "NDArray[np.int64]") -> pl.Series:
    """Text cut at offsets, without copying it."""
    count = len(offsets) - 1
    array = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
    return pl.Series(pl.from_arrow(array), dtype=pl.String)


def _read(lines: pl.DataFrame, *, with_pid: bool, with_gfp: bool) -> pl.DataFrame:
    """Their columns, in file order, with `readable` and `no_page`."""
    lines = prefix.read(lines, with_pid=with_pid)
    parts = [_fields(lines.filter(pl.col("event") == event.event), event, with_gfp) for event in EVENTS]
    fine = pl.all_horizontal(
        pl.col("ts_ns", "pfn", "order", "migratetype", "aux").is_not_null(),
        pl.col("shaped"),
        pl.col("cpu").fill_null(0) <= MOST_CPU,
        pl.col("no_page") | (pl.col("pfn") != NO_PAGE[1]),
    )
    return pl.concat(parts).sort("line").with_columns(readable=fine)


def _fields(lines: pl.DataFrame, event: Event, with_gfp: bool) -> pl.DataFrame:
    """The columns of one event's lines."""
    texts = event.texts | ({"gfp_flags": text_of("gfp_flags")} if with_gfp else {})
    gfp = ["gfp_flags"] if with_gfp else []
    failed = pl.col("pfn").is_in(NO_PAGE) if event.may_fail else pl.lit(False)
    return (
        lines.with_columns(**texts)
        .select(*lines.columns, *gfp, op=pl.lit(int(event.op), pl.UInt8), **event.columns)
        .with_columns(no_page=failed)
    )


def _rows(kept: pl.DataFrame, *, with_pid: bool) -> "Rows":
    names = [*EVENT_COLUMNS, *(["pid"] if with_pid else [])]
    return {name: kept[name].fill_null(0).to_numpy().astype(DTYPES[name]) for name in names}


def _flags(texts: pl.Series, unknown: set[str]) -> "NDArray[np.uint32]":
    """Allocation flags as numbers; there are few different ones."""
    numbers = {}
    for text in texts.drop_nulls().unique():
        numbers[text], names = gfp_bits(text)
        unknown.update(names)
    return np.asarray(
        texts.replace_strict(numbers, default=0, return_dtype=pl.UInt32).fill_null(0).to_numpy()
    )


def _pageblock_order(kept: pl.DataFrame) -> int | None:
    first = kept.filter(pl.col("op") == int(Op.EXTFRAG)).head(1)
    said = first["tail"].str.extract(r"pageblock_order=([0-9]{1,2}) ").drop_nulls()
    return int(said[0]) if len(said) else None


def _rest(lines: pl.Series, readable: pl.DataFrame) -> pl.DataFrame:
    """The lines that gave no row, with their index: `line`, `text`."""
    unread = np.ones(len(lines), bool)
    unread[readable["line"].to_numpy()] = False
    return pl.DataFrame({"text": lines}).with_row_index("line").filter(pl.Series(unread))


def _look_at_the_rest(block: Block, rest: pl.DataFrame, torn: bytes, kept: "NDArray[np.uint32]") -> None:
    """Losses, comments and bad lines. `kept`: the line of each row."""
    looked_at = rest.filter(rare.interesting(rest["text"]))
    block.other = len(rest) - len(looked_at)
    before = np.searchsorted(kept, looked_at["line"].to_numpy())
    found = list(zip(before.tolist(), looked_at["text"].to_list(), strict=True))
    if torn:
        found.append((len(kept), torn.decode()))
    for row, line in found:
        mark = rare.loss(line, row)
        name = None if mark or rare.is_comment(line) else rare.named_event(line)
        if mark:
            block.marks.append(mark)
        elif name:
            _count_bad(block, name, line, row)
        else:
            block.other += 1
            if rare.is_comment(line):
                block.comments.append(line.rstrip())


def _count_bad(block: Block, name: str, line: str, row: int) -> None:
    if block.first_bad is None:
        block.first_bad = line.strip()[:QUOTED]
        block.bad_rows = (row, row)
    block.bad_rows = (block.bad_rows[0], row)
    block.bad[BY_EVENT[name].op] += 1

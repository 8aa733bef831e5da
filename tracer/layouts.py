"""How the columns of a trace are encoded and compressed. Chosen by `benchmarks/codecs.py`; the numbers that
decided are in FORMAT.md. A reader needs none of this: Parquet files say how they are written.

Only events have layouts of their own; the small files beside them are always written as `BUDDY`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

RISING = ("ts_ns", "count", "read_begin_ns", "read_end_ns", "read_ts_ns")

DELTA, SPLIT, DICTIONARY = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "DICTIONARY"


@dataclass(frozen=True)
class Coding:
    """How a column is written: a Parquet encoding, a codec and its level (None: it has none)."""

    encoding: str
    codec: str
    level: int | None = None


@dataclass(frozen=True)
class Layout:
    """How all columns are: instants and what else rises, `pfn`, and the few values of the rest.

    `page_rows`: rows of a page at most, which are compressed at once. `group_rows`: of a row group at most.
    """

    rising: Coding
    pfn: Coding
    others: Coding
    page_rows: int
    group_rows: int

    def coding(self, column: str) -> Coding:
        """Of a column, by its name."""
        return self.pfn if column == "pfn" else self.rising if column in RISING else self.others


class Target(StrEnum):
    """What a trace can be rewritten for."""

    ARCHIVE = "archive"
    REPLAY = "replay"


_ZSTD = 3
_PAGE_ROWS = 1 << 17
MOST_GROUP_ROWS = 1_000_000
BUDDY = Layout(
    rising=Coding(DELTA, "zstd", _ZSTD),
    pfn=Coding(DELTA, "zstd", _ZSTD),
    others=Coding(DICTIONARY, "zstd", _ZSTD),
    page_rows=_PAGE_ROWS,
    group_rows=MOST_GROUP_ROWS,
)
# The frame layer sees the same pages again and again, in the same order: the bytes of their numbers repeat,
# their differences less so.
FRAME = replace(BUDDY, pfn=Coding(SPLIT, "zstd", _ZSTD))
CONVERTED = {
    Target.ARCHIVE: Layout(
        rising=Coding(DELTA, "zstd", 9),
        pfn=Coding(SPLIT, "zstd", 9),
        others=Coding(DICTIONARY, "zstd", 9),
        page_rows=MOST_GROUP_ROWS,
        group_rows=MOST_GROUP_ROWS,
    ),
    Target.REPLAY: Layout(
        rising=Coding(DELTA, "none"),
        pfn=Coding(DELTA, "lz4"),
        others=Coding(DICTIONARY, "lz4"),
        page_rows=_PAGE_ROWS,
        group_rows=1 << 19,
    ),
}


def recorded(layers: list[str]) -> Layout:
    """What a trace of these layers is written in as it comes: cheap for the guest, and small."""
    return BUDDY if layers == ["buddy"] else FRAME

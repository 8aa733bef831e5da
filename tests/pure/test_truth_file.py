"""What a truth file may say, and what is said of one that cannot be."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from replay.truth.file import COLUMNS, Truth, read_truth
from tracer import Fault

FRAMES = 4096
RANGE = {"ts_ns": 5, "pfn": 512, "pages": 512, "batch": 1, "resident_bytes": None}
MEASURED = {"ts_ns": 7, "pfn": None, "pages": None, "batch": None, "resident_bytes": 4096}


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict.fromkeys(COLUMNS, pl.Int64))


def read(path: Path, *rows: dict[str, Any]) -> Truth:
    table(*rows).write_parquet(path)
    return read_truth(path, FRAMES)


def test_ranges_and_measurements_are_told_apart(tmp_path: Path) -> None:
    truth = read(tmp_path / "t", RANGE, MEASURED, RANGE | {"ts_ns": 9, "batch": 2, "pfn": 0})
    assert truth.ranges.rows() == [(5, 512, 512, 1), (9, 0, 512, 2)]
    assert truth.resident.rows() == [(7, 4096)]


def test_a_csv_says_the_same(tmp_path: Path) -> None:
    rows = [RANGE, MEASURED]
    table(*rows).write_csv(tmp_path / "t.csv")
    parquet, text = read(tmp_path / "t", *rows), read_truth(tmp_path / "t.csv", FRAMES)
    assert parquet.ranges.equals(text.ranges)
    assert parquet.resident.equals(text.resident)


def test_the_hosts_memory_need_not_be_measured(tmp_path: Path) -> None:
    table(RANGE).drop("resident_bytes").write_csv(tmp_path / "t.csv")
    truth = read_truth(tmp_path / "t.csv", FRAMES)
    assert (len(truth.ranges), len(truth.resident)) == (1, 0)


def test_a_span_begins_after_its_first_instant_and_ends_with_its_last(tmp_path: Path) -> None:
    rows = [RANGE | {"ts_ns": at} for at in (5, 6, 7, 8)]
    assert read(tmp_path / "t", *rows).between(5, 7).ranges["ts_ns"].to_list() == [6, 7]


@pytest.mark.parametrize(
    ("row", "how"),
    [
        (RANGE | {"ts_ns": None}, "row 1: it has no time"),
        (RANGE | {"ts_ns": 4}, "row 1: it is earlier than the one before"),
        (RANGE | {"pages": None}, "row 1: it is neither a range (pfn, pages, batch) nor a measurement"),
        (MEASURED | RANGE | {"resident_bytes": 1}, "row 1: it is neither a range"),
        (dict.fromkeys(COLUMNS) | {"ts_ns": 9}, "row 1: it is neither a range"),
        (RANGE | {"pfn": FRAMES - 511}, "row 1: its range is not in the guest's 4,096 frames"),
        (RANGE | {"pfn": -1}, "row 1: its range is not in the guest's"),
        (RANGE | {"pages": 0}, "row 1: its range is not in the guest's"),
        (RANGE | {"pfn": 2**62, "pages": 2**62}, "row 1: its range is not in the guest's"),
        (RANGE | {"batch": 0}, "row 1: its batch is less than the one before"),
        (MEASURED | {"resident_bytes": -1}, "row 1: its resident_bytes is below zero"),
    ],
)
def test_what_no_host_can_have_seen_is_refused_by_its_row(
    tmp_path: Path, row: dict[str, Any], how: str
) -> None:
    with pytest.raises(Fault) as fault:
        read(tmp_path / "t", RANGE, row)
    assert str(tmp_path / "t") in fault.value.what
    assert fault.value.how.startswith(how)
    assert "docs/truth.md" in fault.value.fix


def test_how_many_more_rows_are_such_is_told(tmp_path: Path) -> None:
    with pytest.raises(Fault) as fault:
        read(tmp_path / "t", *[RANGE | {"pages": 0}] * 3)
    assert fault.value.how.endswith("frames, and 2 more rows are such")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("ts_ns,pfn,pages\n1,2,3\n", "no column batch; it has ts_ns, pfn, pages"),
        ("ts_ns,pfn,pages,batch\n1,two,3,4\n", "not all of it is numbers"),
        ("", "neither Parquet nor CSV"),
        ("PAR1 and no more", "neither Parquet nor CSV"),
        ("\x00\xff\x01", "n"),
    ],
)
def test_what_is_no_truth_file_is_refused(tmp_path: Path, text: str, how: str) -> None:
    (tmp_path / "t").write_bytes(text.encode("latin-1"))
    with pytest.raises(Fault) as fault:
        read_truth(tmp_path / "t", FRAMES)
    assert fault.value.how.startswith(how)


@pytest.mark.parametrize("name", ["not there", "."])
def test_what_cannot_be_opened_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(Fault, match="cannot be read"):
        read_truth(tmp_path / name, FRAMES)

"""Small pictures in a terminal: right, within 80 columns, and in ASCII where nothing else can be shown."""

import io
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from replay.pictures import over_time
from replay.sweeping.picture import FRONT, LINES, OTHER, Point, picture
from replay.tables import WIDTH
from tests.pure import small_traces
from tracer import open_trace
from tracer.format import FrameState
from tracer.pictures import _shares, pictures
from tracer.sparklines import ASCII, BLOCKS, averages, heights, sparkline
from tracer.units import short_number


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))


def test_each_height_has_its_mark_and_what_is_beyond_an_end_has_that_ends():
    assert sparkline(list(range(8)), 0, 7) == BLOCKS
    assert sparkline([-5, 0, None, 7, 99], 0, 7) == "▁▁ ██"


def test_a_series_that_never_changes_is_low_throughout():
    assert sparkline([3.0, 3.0], 3, 3) == "▁▁"


def test_an_encoding_without_blocks_has_plain_marks(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert heights() == ASCII
    assert sparkline([0, 7], 0, 7).isascii()


def test_averages_are_of_each_stretch_and_none_where_nothing_is():
    at, values = np.array([0, 1, 6, 10]), np.array([2, 4, 5, 7])
    assert averages(at, values, (0, 10), 5) == [3.0, None, None, 5.0, 7.0]
    assert averages(at, values, (4, 4), 1) == [4.5]


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0"), (42, "42"), (999, "999"), (999.6, "1.0k"), (1234, "1.2k"), (9949, "9.9k"), (9990, "10k"),
     (999_499, "999k"),
         (999_500, "1.0M"), (70_519_039, "71M"), (4.8e9, "4.8G")],
)  # fmt: skip
def test_a_short_number_has_at_most_four_characters(number, told):
    assert short_number(number) == told
    assert len(told) <= 4


def test_shares_by_address_are_exact_and_blank_without_memory():
    zone = small_traces.ZONES[0]
    quarter = small_traces.FRAMES // 4
    runs = np.array([
        [0, quarter // 2, FrameState.USED], [quarter // 2, quarter, FrameState.BUDDY],
        [2 * quarter, quarter, FrameState.ABSENT], [3 * quarter, quarter, FrameState.LIMBO],
    ]).T  # fmt: skip
    assert _shares(zone, 4, *runs) == [0.5, 1.0, None, 0.0]


def test_info_draws_events_free_memory_and_the_address_space_within_80_columns():
    trace = open_trace("data/postgres.trace")
    lines = list(pictures(trace))
    assert [line.split()[0] for line in lines if line[2] != " "][:2] == ["events/s", "free"]
    assert sum(line.endswith(", start") for line in lines) == len(trace.zones)
    assert max(map(len, lines)) <= WIDTH


def test_a_trace_with_snapshots_alone_has_the_address_space_alone(tmp_path):
    path = small_traces.write(tmp_path / "a.trace")
    lines = list(pictures(open_trace(path)))
    assert lines[1].split()[1] == "▁" * 8 + "█" * 8  # the upper half is free
    assert len(lines) == 3


def test_a_zone_of_any_name_and_size_is_drawn_within_80_columns(tmp_path):
    trace = open_trace(small_traces.write(tmp_path / "a.trace"))
    zone = replace(small_traces.ZONES[0], name="a\x1b[31m" * 9, spanned=1 << 40)
    trace.manifest = replace(
        trace.manifest, zones=[zone], snapshots=[replace(s, zones=[zone]) for s in trace.manifest.snapshots]
    )
    lines = list(pictures(trace))
    assert max(map(len, lines)) <= WIDTH
    assert not any("\x1b" in line for line in lines)


def test_a_file_that_is_damaged_costs_its_picture_only(tmp_path):
    path = small_traces.write(tmp_path / "a.trace")
    trace = open_trace(path)
    (path / "frames/start.parquet").write_bytes(b"x" * (path / "frames/start.parquet").stat().st_size)
    lines = list(pictures(trace))
    assert lines[0].startswith("  no picture: ")
    assert "start.parquet" in "".join(lines)
    assert max(map(len, lines)) <= WIDTH or " " not in max(lines, key=len).strip()  # a path is not broken


def replayed(*series: list[int]) -> Any:
    """Rows of a comparison: a label and a result with this much reclaimed each second."""
    return [
        (
            f"a-policy-of-a-name#{number}",
            SimpleNamespace(
                timeline=pl.DataFrame({"time_s": np.arange(1.0, len(part) + 1), "reclaimed_bytes": part})
            ),
        )
        for number, part in enumerate(series)
    ]


def drawn(table: Any) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200, highlight=False).print(table)
    return out.getvalue().splitlines()


def test_reclaimed_memory_over_time_is_on_one_scale_and_never_has_no_line():
    found = over_time(replayed([0, 0], [4 << 30, 4 << 30], [4 << 30, 8 << 30]))
    assert found is not None
    table, legend = found
    rows = [line.split()[1:] for line in drawn(table)[1:]]
    assert rows == [["never", "any", "0B", "0B"], ["▁▁", "4GiB", "4GiB"], ["▁█", "4GiB", "8GiB"]]
    assert legend == "reclaimed: ▁ 4GiB to █ 8GiB, a mark is the mean of 1s"


def test_many_instants_make_a_table_of_80_columns():
    found = over_time(replayed([1000 << 20] * 2000, list(range(1, 2001))))
    assert found is not None
    assert max(len(line.rstrip()) for line in drawn(found[0])) <= WIDTH
    assert len(found[1]) <= WIDTH


def test_nothing_reclaimed_is_no_picture():
    assert over_time(replayed([0, 0], [0, 0])) is None
    assert over_time(replayed([1 << 30])) is None


def test_a_sweep_is_drawn_with_its_ends_at_the_ends():
    points = [Point(0.1, 10, True), Point(1, 5, False), Point(1, 4, False), Point(10, 1, False)]
    lines = picture(points)
    assert lines[0].endswith(f"10 |{FRONT}")
    assert lines[LINES - 1].startswith("        1 |")
    assert lines[LINES - 1].index(OTHER) == len(lines[LINES]) - 1  # the slowest is at the right end
    assert "".join(lines[:LINES]).count(OTHER) == 3
    assert lines[LINES + 1].split() == ["100ms", "10s"]
    assert max(map(len, lines)) <= WIDTH


def test_the_front_is_seen_where_settings_fall_together():
    points = [Point(1, 5, True), Point(1, 5, False), Point(2, 4, False), Point(3, 3, False)]
    assert picture(points)[0].endswith(f"|{FRONT}")


def test_a_sweep_without_anything_to_compare_is_not_drawn():
    assert picture([Point(1, 5, True)] * 3) == []
    assert picture([Point(1, 5, True)] * 9) == []
    assert picture([Point(0, n, True) for n in range(9)]) == []  # oracles take no time

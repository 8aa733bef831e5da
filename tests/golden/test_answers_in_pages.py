"""Numbers that the pages' answers quote: each follows from the shipped table, and nothing is left out."""

import sys
from pathlib import Path

import polars as pl
import pytest

from data import compare
from data.comparison import asked
from data.comparison.answers import AT_9, Answers
from replay.composition import PARTS


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers.of(pl.read_parquet(compare.TABLE))


def test_what_the_table_of_parts_shows_is_all_managed_memory_of_each_trace(answers: Answers) -> None:
    assert sorted(part for parts in asked.HEADINGS.values() for part in parts) == sorted(PARTS)
    for trace in answers.traces:
        shown = [answers.over(asked.share_of(*parts)).get(trace, 0.0) for parts in asked.HEADINGS.values()]
        assert sum(shown) == pytest.approx(1)


def test_a_share_is_of_managed_memory_over_time(answers: Answers) -> None:
    row = answers.rows["stock", "steady", "4k", AT_9]
    managed = row["baseline_gib_min"] * 60 * (1 << 30)
    assert answers.over(asked.share_of("reclaimed"))["stock"] == pytest.approx(
        row["reclaimed_byte_seconds"] / managed, rel=1e-6
    )


def test_a_part_that_a_trace_does_not_tell_is_no_number(answers: Answers) -> None:
    assert "database" not in answers.over(asked.share_of(asked.PAGE_CACHE))
    assert "| database | 53.1% | 13.6% | 0.1% | 0.0% | - | - | 33.2% |" in asked.parts(answers)


def test_pages_are_written_out_of_the_table_without_replaying(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- pieces -->\nold\n<!-- end of pieces -->\nafter\n")
    monkeypatch.setattr(compare, "PAGES", {page: {"pieces": asked.pieces}})
    monkeypatch.setattr(sys, "argv", ["compare", "--pages"])
    assert compare.main() == 0
    text = asked.pieces(answers)
    assert page.read_text() == f"before\n<!-- pieces -->\n{text}<!-- end of pieces -->\nafter\n"
    assert text.endswith(f"{asked.MADE_BY}\n")

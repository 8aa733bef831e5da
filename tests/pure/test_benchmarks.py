"""The benchmarks' harness: what a table says, how runs take turns, and that pages quote what was measured."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import runnable
from benchmarks.harness import REPO, Figure, Row, Table, Taken, command, interleaved
from benchmarks.pages import quote, quoted
from benchmarks.worker import Worker, at_once, workers

FACTS = {"cpu": "a CPU", "architecture": "x", "cores": 2, "memory_gib": 1.0, "kernel": "6", "python": "3"} | {
    "libraries": {"numpy": "2"},
    "commit": "abc",
    "date": "2026-01-01",
    "load_before": 0.0,
}


def taken(*walls: float) -> list[Taken]:
    return [Taken(wall, wall / 2, 10 * wall) for wall in walls]


def test_slope_is_what_the_events_between_two_lengths_cost() -> None:
    figure = Figure.slope("a", taken(1.0, 1.5), taken(3.0, 2.5), 10**9)
    assert (figure.wall, figure.cpu) == ([2.0, 1.0], [1.0, 0.5])
    assert (figure.median, figure.anon_mib) == (1.5, 30.0)


def test_rates_are_millions_a_second() -> None:
    figure = Figure.rate("a", taken(2.0), 8_000_000)
    assert (figure.wall, figure.cpu, figure.unit) == ([4.0], [8.0], "M/s")


def test_ratio_is_taken_within_each_round() -> None:
    row = Row(
        "what", Figure.of("a", taken(1, 20, 3)), Figure.of("b", taken(1, 10, 1)), ("<= 2 x", "<= 2.9 s")
    )
    assert row.ratios == [1, 2, 3]
    assert row.reached == [True, False]
    assert "2 (1-3); CPU 2 | <= 2 x: yes; <= 2.9 s: **no** |" in row.markdown()


def test_slope_that_noise_made_negative_reaches_no_goal() -> None:
    ours = Figure.slope("a", taken(1), taken(2), 10**9)
    noise = Figure.slope("b", taken(1), taken(0.5), 10**9)
    row = Row("what", ours, noise, ("<= 2 x",))
    assert row.ratios == []
    assert row.reached == [False]
    assert "nothing but noise" in row.markdown()


def test_goals_can_be_the_least_that_is_wanted() -> None:
    row = Row(
        "what", Figure.rate("a", taken(1), 10**6), Figure.rate("b", taken(2), 10**6), (">= 2 x", ">= 2.1 x")
    )
    assert row.reached == [True, False]


def test_rounds_run_forward_and_backward_in_turns() -> None:
    order: list[str] = []

    def act(name: str) -> Taken:
        order.append(name)
        return taken(1)[0]

    runs = interleaved({"a": lambda: act("a"), "b": lambda: act("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(each) for each in runs.values()] == [3, 3]


def test_table_on_disk_is_what_was_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("# Title", {"rounds": 2}, FACTS)
    table.begin()
    table.add(Row("what", Figure.of("a", taken(1, 2)), Figure.of("b", taken(2, 2)), ("<= 1 x",)))
    printed = capsys.readouterr().out
    table.lack("something: not installed")
    table.write(tmp_path, "speed")
    assert (tmp_path / "speed.md").read_text() == printed + "\nNot measured: something: not installed\n"
    told = json.loads((tmp_path / "speed.json").read_text())
    assert told["machine"] == FACTS
    assert told["rows"][0]["ours"]["wall"] == [1, 2]
    assert told["rows"][0]["ratios"] == [0.5, 1]
    assert not list(tmp_path.glob(".*"))


def test_table_says_when_the_machine_was_busy() -> None:
    assert "busy" not in Table("# Title", {}, FACTS).markdown
    assert "busy" in Table("# Title", {}, FACTS | {"load_before": 3.0}).markdown


def test_quote_replaces_what_a_page_quotes_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- end of speed -->\nafter\n")
    assert quoted(page, "speed") == "old\n"
    assert quote(page, "speed", "new\n")
    assert page.read_text() == "before\n<!-- speed -->\nnew\n<!-- end of speed -->\nafter\n"
    assert not quote(page, "other", "new\n")
    assert quoted(page, "other") is None
    assert "other" not in page.read_text()


def test_page_about_speed_quotes_the_results_as_they_are() -> None:
    measured = (REPO / "benchmarks" / "results" / "speed.md").read_text().partition("\n")[2].lstrip()
    page = (REPO / "docs" / "speed.md").read_text()
    assert f"<!-- speed -->\n{measured}<!-- end of speed -->" in page


def test_command_is_measured_with_its_memory_and_its_processor_time() -> None:
    work = "import time; x = bytearray(80 << 20); y = [sum(range(10**6)) for _ in range(10)]; time.sleep(0.3)"
    run = command(sys.executable, "-c", work)()
    assert 80 <= run.anon_mib < 200
    assert 0.01 < run.cpu_s < run.wall_s
    assert run.wall_s > 0.3


def test_failing_command_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit code 7"):
        command(sys.executable, "-c", "raise SystemExit(7)")()


def test_worker_runs_a_task_as_often_as_it_is_asked_to() -> None:
    trace = str(REPO / "data" / "database.trace")
    some = [Worker("decoders.arrow_batches", {"trace": trace}, threads=1) for _ in range(2)]
    with workers(*some):
        runs = [some[0](), some[0](), at_once(some)]
    assert all(run.wall_s > 0 and run.cpu_s > 0 and run.anon_mib > 1 for run in runs)


def test_listing_knows_every_module_that_can_be_run() -> None:
    named = runnable()
    assert {"speed", "tiling", "buddy", "recording", "host_costs", "fidelity"} <= set(named)
    assert all(named.values())
    assert "harness" not in named

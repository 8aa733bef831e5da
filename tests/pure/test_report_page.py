"""The page and its words: what it advises, what it trusts, that data stays text, where it is written."""

import copy
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from replay.main import run
from replay.report.choice import choose
from replay.report.figures import Figure
from replay.report.findings import findings
from replay.report.making import named_after
from replay.report.material import Material
from replay.report.page import Made, html
from replay.report.rows import Rows
from replay.report.trust import CARE, GOOD, NO, trust
from tests.pure import small_traces

MADE = Made("pagetide report guest.trace", "2026-01-01 00:00 UTC")
POLICIES = ("never", "upstream", "bitmap", "oracle")


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / "out"
    asked = [word for policy in POLICIES for word in ("--policy", policy)]
    assert run(["replay", "data/stock.trace", *asked, "-o", str(out), "--check", "--allow-loss"]) == 0
    told: dict[str, Any] = json.loads((out / "results.json").read_text())
    return told


def changed(answer: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with other values of its `trace` or `fidelity`."""
    other = copy.deepcopy(answer)
    for name, value in values.items():
        other["trace" if name in other["trace"] else "fidelity"][name] = value
    return other


def reclaiming(answer: dict[str, Any], policy: str, times: float) -> dict[str, Any]:
    """A copy in which a policy reclaims more or less."""
    other = copy.deepcopy(answer)
    told = next(each for each in other["results"] if each["policy"] == policy)
    for name in ("byte_seconds", "mean_bytes", "share_of_oracle"):
        told["reclaimed"][name] *= times
    return other


def lines(answer: dict[str, Any], name: str) -> str:
    return " ".join(next(finding.lines for finding in findings(answer) if finding.name == name))


def page_of(answer: dict[str, Any], *figures: Figure) -> str:
    empty = pl.DataFrame()
    return html(Material(answer, empty, empty, empty, empty), figures, MADE)


def test_the_choice_needs_no_patch_and_names_what_a_patch_would_bring(answer: dict[str, Any]) -> None:
    choice = choose(Rows.of(answer))
    assert choice is not None
    assert choice.row.label == "upstream"
    assert [row.label for row in choice.patches] == ["bitmap"]
    assert f"{choice.row.share:.1%}" in lines(answer, "choice")
    assert f"{100 * choice.more(choice.patches[0]):+.1f} points" in lines(answer, "choice")


def test_less_than_a_point_is_no_reason_for_a_patch(answer: dict[str, Any]) -> None:
    upstream, bitmap = answer["results"][1]["reclaimed"], answer["results"][2]["reclaimed"]
    same = reclaiming(answer, "bitmap", 1.005 * upstream["byte_seconds"] / bitmap["byte_seconds"])
    choice = choose(Rows.of(same))
    assert choice is not None
    assert choice.patches == []
    assert "none is worth carrying" in lines(same, "choice")
    assert "Hardly" in lines(same, "differences")


def test_where_nothing_can_come_back_no_policy_is_praised(answer: dict[str, Any]) -> None:
    nothing = answer
    for policy in POLICIES:
        nothing = reclaiming(nothing, policy, 1e-6)
    assert "It hardly matters" in lines(nothing, "choice")


def test_a_trace_without_time_says_what_is_missing(answer: dict[str, Any]) -> None:
    empty = changed(answer, events=0, duration_s=0.0)
    (only,) = findings(empty)
    assert "Record for longer" in only.lines[1]
    assert trust(empty).word == NO
    assert only.title in page_of(empty)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, GOOD),
        ({"exit_of_used": 400, "entry_of_free": 0}, GOOD),
        ({"exit_of_used": 500, "entry_of_free": 0}, CARE),
        ({"exit_of_used": 30_000}, NO),
        ({"frames_wrong": None, "frames_changed": None}, CARE),
        ({"frames_wrong": 1000}, CARE),
        ({"frames_wrong": 10_000}, NO),
        ({"lost_events": 1}, CARE),
        ({"lost_events": 100_000}, NO),
        ({"status": "recovered"}, CARE),
        ({"partial": {"what": "a", "how": "b"}}, NO),
        ({"start": "unknown"}, CARE),
    ],
)
def test_the_worst_check_says_how_right_a_trace_is(answer: dict[str, Any], values: Any, word: str) -> None:
    assert trust(changed(answer, **values)).word == word


def test_what_a_trace_says_stays_text(answer: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    chart = Figure("reclaimed", evil, evil, evil, {"title": evil}, "")
    text = page_of(changed(answer, kernel_release=evil, path=evil, warnings=[evil]), chart)
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "script-src &#39;sha256-" in text
    assert "unsafe-eval" not in text.partition("<body>")[0]


def test_a_figure_with_nothing_to_draw_says_why(answer: dict[str, Any]) -> None:
    text = page_of(answer, Figure("map", "Where", "", "", None, "it was not kept: replay again"))
    assert "it was not kept: replay again" in text
    assert "data-chart" not in text.partition("<script")[0]


def test_a_page_is_named_after_what_it_shows() -> None:
    assert named_after(Path("there/guest.trace")) == Path("guest.html")
    assert named_after(Path("results/")) == Path("results.html")


def test_nothing_is_overwritten_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = small_traces.write(tmp_path / "a.trace")
    monkeypatch.chdir(tmp_path)
    command = ["report", str(trace), "--policy", "upstream", "--policy", "oracle"]
    assert run(command) == 0
    assert "wrote a.html (" in capsys.readouterr().out
    assert run(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert run([*command, "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["size_bytes"] == (tmp_path / "a.html").stat().st_size <= 4 << 20
    assert [result["policy"] for result in told["results"]] == ["upstream", "oracle"]
    assert not list(tmp_path.glob(".*"))

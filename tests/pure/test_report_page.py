"""The page and its words: what it advises, what it trusts, that data stays text, where it is written."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from replay.engine import Options
from replay.main import run
from replay.policies import levers
from replay.report.choice import choose
from replay.report.figures import Figure
from replay.report.findings import findings
from replay.report.labels import labels
from replay.report.making import call, named_after, settings
from replay.report.material import Material
from replay.report.page import Made, html
from replay.report.rows import Rows
from replay.report.trust import CARE, GOOD, NO, trust
from tests.pure import small_traces
from tracer import human_bytes, open_trace

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
    assert f"({choice.more(choice.patches[0]):.1%} of the guest's memory)" in lines(answer, "differences")


def test_less_than_a_hundredth_of_the_memory_is_no_reason_for_a_patch(answer: dict[str, Any]) -> None:
    upstream, bitmap = answer["results"][1]["reclaimed"], answer["results"][2]["reclaimed"]
    same = reclaiming(answer, "bitmap", 1.005 * upstream["byte_seconds"] / bitmap["byte_seconds"])
    choice = choose(Rows.of(same))
    assert choice is not None
    assert lines(same, "differences").startswith("Hardly: no patch")


def test_a_patch_that_brings_much_is_worth_a_look(answer: dict[str, Any]) -> None:
    assert lines(reclaiming(answer, "bitmap", 2), "differences").startswith("Yes, a patch")


def variant(answer: dict[str, Any], times: float, **params: Any) -> dict[str, Any]:
    """A copy with one more row of `upstream`, with other parameters, that reclaims so much more."""
    other = copy.deepcopy(answer)
    told = copy.deepcopy(other["results"][1])
    told["params"] |= params
    for name in ("byte_seconds", "mean_bytes"):
        told["reclaimed"][name] *= times
    other["results"].append(told)
    return other


def test_a_lower_order_is_the_next_step_and_never_the_choice(answer: dict[str, Any]) -> None:
    both = variant(answer, 1.5, order=5)
    choice = choose(Rows.of(both))
    assert choice is not None
    assert (choice.row.label, [row.label for row in choice.lower]) == ("upstream", ["upstream: order=5"])
    told = lines(both, "choice")
    assert f"({choice.more(choice.lower[0]):.1%} of the guest's memory)" in told
    assert "page_reporting_order`, which Linux 5.14 and later have" in told
    assert "--backing thp" in told
    assert "Order 5 is not worth it here" in lines(variant(answer, 1.001, order=5), "choice")


def test_a_knob_that_no_kernel_has_makes_a_patch(answer: dict[str, Any]) -> None:
    rows = Rows.of(variant(answer, 1.5, delay="100ms")).rows
    assert [row.label for row in rows] == ["never", "upstream", "bitmap", "oracle", "upstream: delay=100ms"]
    assert [row.since for row in rows] == ["", "5.7", "", "", ""]
    assert rows[-1].who == "a patch: another constant in the kernel's source"
    assert "It is the smallest patch too" in lines(variant(answer, 1.5, delay="100ms"), "differences")


def test_defaults_are_those_of_the_kernel_that_is_asked_for(answer: dict[str, Any]) -> None:
    row = Rows.of(variant(answer, 1, kernel="5.7", putback="head")).rows[-1]
    assert (row.label, row.turned, row.since) == ("upstream: kernel=5.7", ("kernel",), "5.7")
    row = Rows.of(variant(answer, 1, kernel="5.7", order=5)).rows[-1]
    assert row.turned == ("order", "kernel", "putback")
    assert row.since == ""  # another put-back than its kernel's


def test_without_a_usual_order_each_is_told() -> None:
    results = [{"policy": "upstream", "params": {"order": order}} for order in (9, 5)]
    assert labels(results) == ["upstream: order=9", "upstream: order=5"]


def test_a_page_shows_the_knobs_of_a_stock_kernel_unasked(tmp_path: Path) -> None:
    trace = open_trace(small_traces.write(tmp_path / "a.trace"))
    shown, left_out = settings(trace)
    usual, lower, sooner = shown[1:4]
    assert {usual.policy.name, lower.policy.name, sooner.policy.name} == {"upstream"}
    assert (usual.order, lower.order, sooner.order) == (9, 5, 9)
    assert (lower.written["delay"], sooner.written["delay"]) == ("2s", "100ms")
    assert len(shown) == len({each.named for each in shown})
    assert left_out == []


@pytest.mark.parametrize(("order", "shown"), [(3, [3]), (5, [5]), (6, [5, 6])])
def test_no_knob_is_turned_up(order: int, shown: list[int]) -> None:
    guest = replace(small_traces.GUEST, pageblock_order=order)
    assert [each.order for each in levers(guest)] == shown


def test_a_page_made_in_python_says_so() -> None:
    place = Path("a.html")
    assert call("a.trace", place) == "replay.page('a.trace', 'a.html')"
    assert (
        call("a.trace", place, ["never"], Options(backing="thp"))
        == "replay.page('a.trace', 'a.html', ['never'], replay.Options(backing='thp'))"
    )


def test_what_is_assumed_is_told_in_numbers(answer: dict[str, Any]) -> None:
    told = answer["results"][1]
    begin, reports = told["reclaimed"]["start_bytes"], told["reports"]
    came = reports["bytes"] - reports["redundant_bytes"]
    assert f"{begin / (begin + came):.0%} of all that came back is assumed" in lines(answer, "believe")
    assert "assumed" not in lines(changed(answer, start="cold"), "believe").lower()


def test_small_pieces_are_as_many_in_every_finding(answer: dict[str, Any]) -> None:
    size = human_bytes(answer["results"][1]["unreclaimed"]["stranded"] / answer["trace"]["duration_s"])
    assert f"({size} of " in lines(answer, "pieces")
    assert f"{size}: free, but in pieces" in lines(answer, "stays")


def test_the_header_says_what_is_known_of_the_guest(answer: dict[str, Any]) -> None:
    text = page_of(answer).partition("<nav")[0]
    assert "2 CPUs" in text
    assert "recorded while <code>sh</code> ran" in text
    assert "the guest's own reporting was on meanwhile" in text
    older = copy.deepcopy(answer)
    for name in ("cpus", "program", "own_reporting", "pageblock_order"):
        del older["trace"][name]
    assert "recorded while" not in page_of(older)


def test_the_trust_says_what_follows(answer: dict[str, Any]) -> None:
    assert "right to about 0.01%" in trust(answer).means
    careful = trust(changed(answer, lost_events=1, start="unknown"))
    assert careful.means.startswith("Usable with care because events were lost")
    assert "; memory is not counted before its first event" in careful.means
    assert trust(changed(answer, lost_events=100_000)).means.startswith("Do not decide")
    (note, other) = trust(changed(answer, warnings=["left out: a: b", "else"])).notes
    assert note.means
    assert not other.means


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
    assert "the choice" not in page_of(empty)


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

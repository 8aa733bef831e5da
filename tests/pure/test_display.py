"""What notebooks show of an answer: the numbers of JSON, in a table that is safe and reads on any theme."""

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import replay
from replay.composition import PARTS
from tests.pure.test_imports import loaded
from tracer import Displayed, Shown, open_trace
from tracer.units import human_bytes, human_duration

TRACE = "data/idle.trace"
HOSTILE = "<script>alert(1)</script> & $x$ \x1b[31m"


class Page(HTMLParser):
    """The elements, attributes and texts of a fragment; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def page_of(answer: Any) -> Page:
    html = answer._repr_html_()
    assert answer._repr_mimebundle_()["text/html"] == html
    return Page(html)


@pytest.fixture(scope="module")
def replayed() -> replay.Replay:
    return replay.replay(TRACE, ["never", "upstream", "upstream:delay=100ms"])


@pytest.fixture(scope="module")
def swept() -> replay.Sweep:
    return replay.sweep(TRACE, "upstream", {"delay": ["100ms", "2s"]})


def test_a_replay_shows_a_row_for_each_policy_with_the_numbers_of_its_summary(replayed) -> None:
    head, *rows = page_of(replayed).rows
    assert [row[0] for row in rows] == ["never", "upstream:delay=2s", "upstream:delay=100ms"]
    for row, result in zip(rows, replayed.results, strict=True):
        shown, told = dict(zip(head, row, strict=True)), result.summary
        assert shown["latency p50"] == human_duration(told["latency_s"]["p50"])
        assert shown["reclaimed, mean"] == human_bytes(told["reclaimed"]["mean_bytes"])
        assert shown["missed"] == human_bytes(told["missed"]["bytes"])
        assert shown["left at end"] == human_bytes(told["unreported_end_bytes"])
        assert shown["refaulted"] == human_bytes(told["refaults"]["bytes"])
        assert shown["report calls"] == f"{told['reports']['calls']:,}"
        assert shown["CPU"] == human_duration(told["cost_s"]["total"])
    assert dict(zip(head, rows[0], strict=True))["latency p50"] == "-"


def test_a_replay_shows_what_limits_it(replayed) -> None:
    said = page_of(replayed).said
    assert [line for line in replayed.limits if line not in said] == []
    assert f"{TRACE}: 190,493 events over 136.5 s" in said[0]
    assert "start steady, backing 4k" in said[0]


def test_a_result_shows_what_managed_memory_was_made_of(replayed) -> None:
    result = replayed.results[1]
    page = page_of(result)
    assert page.said[0] == f"upstream: {result.run.setting.text}"
    values = {name.partition(":")[0]: value for name, value in page.rows}
    parts = {part: mean for part, mean in result.mean_bytes.items() if mean}
    assert "page_cache" in parts
    for part, mean in parts.items():
        assert values[part.replace("_", " ")].startswith(f"{human_bytes(mean)}, ")
    shares = [float(values[part.replace("_", " ")].split(", ")[1].rstrip("%")) for part in parts]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    assert set(parts) < set(PARTS)


def test_a_sweep_shows_its_front_first_and_stars_it(swept) -> None:
    _, *rows = page_of(swept).rows
    named = {f"delay={delay}": best for delay, best in zip(("100ms", "2s"), swept.pareto, strict=True)}
    assert {row[0].removeprefix("* "): row[0].startswith("* ") for row in rows} == named
    stars = [row[0].startswith("*") for row in rows]
    assert stars == sorted(stars, reverse=True)


def test_a_large_sweep_says_how_much_it_does_not_show() -> None:
    delays = [f"{ms}ms" for ms in range(100, 145)]
    large = replay.sweep(TRACE, "upstream", {"delay": delays})
    page = page_of(large)
    assert sum(large.pareto) < 40 < len(delays)
    assert len(page.rows) == 1 + 40
    assert "and 5 more: .frame has all of them" in page.said


def test_a_verdict_shows_how_right_the_model_is() -> None:
    verdict = replay.validate(open_trace(TRACE))
    rows = {row[0]: row[1:] for row in page_of(verdict).rows}
    wrong = verdict.fidelity["frames_wrong"]
    assert rows["frames wrong at the end"][0] == f"{wrong:,}"
    assert rows["frames wrong at the end"][1].startswith(f"{verdict.wrong_share:.4%}")
    assert rows["samples right in all orders"] == [f"{verdict.right}", f"of {len(verdict.judged)}"]


def test_a_trace_shows_its_guest_without_reading_its_events() -> None:
    page = page_of(open_trace(TRACE))
    rows = dict(page.rows)
    assert rows["recorded"].startswith("190,493 events over 136.5 s")
    assert rows["guest"].startswith("Linux 6.18")
    assert rows["lost events"] == "0"


def test_showing_a_trace_imports_nothing_heavier_than_reading_it() -> None:
    modules = loaded(f"import tracer; tracer.open_trace({TRACE!r})._repr_html_()")
    assert "tracer.describe" in modules
    assert modules.isdisjoint({"polars", "numba", "altair", "IPython", "rich.table"})
    assert not [name for name in modules if name.partition(".")[0] == "replay"]


@pytest.fixture(scope="module")
def answers(replayed, swept) -> dict[str, Displayed]:
    trace = open_trace(TRACE)
    return {
        "trace": trace,
        "replay": replayed,
        "result": replayed.results[1],
        "sweep": swept,
        "verdict": replay.validate(trace),
    }


@pytest.mark.parametrize("name", ["trace", "replay", "result", "sweep", "verdict"])
def test_it_has_no_colours_of_its_own_and_asks_for_nothing(answers, name: str) -> None:
    page = page_of(answers[name])
    assert page.tags <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert {attribute for attribute, _ in page.attributes} <= {"class", "style"}
    styles = " ".join(value or "" for attribute, value in page.attributes if attribute == "style")
    assert "background" not in styles
    assert "url" not in styles
    assert styles.count("color:") == styles.count("color: inherit")


@pytest.mark.parametrize("name", ["trace", "replay", "result", "sweep", "verdict"])
def test_what_shows_no_html_gets_the_same_cells_as_text(answers, name: str) -> None:
    answer = answers[name]
    text, page = answer._repr_mimebundle_()["text/plain"], page_of(answer)
    assert [cell for row in page.rows for cell in row if cell not in text] == []
    assert max(len(row) for row in page.rows) == min(len(row) for row in page.rows)


def test_in_a_list_an_answer_is_one_short_line(replayed) -> None:
    said: list[str] = []

    class Printer:
        text: Callable[[str], None] = said.append

    replayed.results[0]._repr_pretty_(Printer(), False)
    assert said == [f"<Result never: {replayed.results[0].run.setting.text}>"]


def test_text_from_elsewhere_is_shown_and_not_run() -> None:
    shown = Shown(HOSTILE, ("name", HOSTILE), [(HOSTILE, HOSTILE)], [HOSTILE])
    page = Page(shown.html)
    assert "script" not in page.tags
    assert "\x1b" not in shown.html + shown.text
    assert page.said.count(HOSTILE.replace("\x1b", "\\x1b")) == 5
    outer = dict(page.attributes)["class"]
    assert outer is not None
    assert {"tex2jax_ignore", "mathjax_ignore"} <= set(outer.split())


@pytest.mark.parametrize(
    "show",
    [
        open_trace,
        lambda path: replay.replay(path, ["never"]),
        lambda path: replay.sweep(path, "upstream", {"delay": ["1s"]}),
        lambda path: replay.validate(open_trace(path)),
    ],
    ids=["trace", "replay", "sweep", "verdict"],
)
def test_a_trace_whose_names_are_html_is_shown_as_text(show: Callable[[Path], Any], tmp_path: Path) -> None:
    trace = tmp_path / "<img src=x onerror=alert(1)>.trace"
    shutil.copytree(TRACE, trace)
    manifest = json.loads((trace / "manifest.json").read_text())
    manifest["guest"]["kernel_release"] = HOSTILE
    manifest["notes"] = [HOSTILE]
    (trace / "manifest.json").write_text(json.dumps(manifest))
    answer = show(trace)
    page = page_of(answer)
    assert page.tags.isdisjoint({"img", "script"})
    assert "<img src=x" in page.said[0]
    assert "\x1b" not in answer._repr_mimebundle_()["text/plain"]


def test_who_derives_from_an_answer_need_not_say_how_it_is_shown() -> None:
    class Mine(Displayed, by="tests.pure.test_display:shown_here"):
        pass

    class Further(Mine):
        pass

    assert "<td" in Further()._repr_html_()


def shown_here(_answer: object) -> Shown:
    return Shown("mine", (), [("a", "1")])

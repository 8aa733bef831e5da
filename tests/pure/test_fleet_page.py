"""The page of many guests: what it advises, how right it says the traces are, and that data stays text."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import replay
from replay.main import run
from replay.report.fleet.compared import Compared
from replay.report.fleet.findings import findings
from replay.report.fleet.page import figures
from replay.report.fleet.tables import MOST_GUESTS, of_guests, of_settings
from replay.report.fleet.tasks import Tasks
from replay.report.fleet.trust import trust
from replay.report.trust import CARE, GOOD, NO
from tests.pure.batch_rows import SETTINGS, fleet_of, frame, guest, manifest, written
from tracer import Place

MOST_BYTES = 4 << 20
FAILED = {
    "trace": "traces/<b>bad.trace",
    "status": "failed",
    "reason": ["no manifest", "it says so", "again"],
}
DONE = {"trace": "traces/good.trace", "status": "done"}


def compared(rows: Any) -> Compared:
    return Compared(replay.fleet(frame(rows)))


def lines(of: Compared, name: str) -> list[str]:
    return next(finding.lines for finding in findings(of) if finding.name == name)


def changed(rows: list[dict[str, Any]], label: str, **times: float) -> list[dict[str, Any]]:
    """The rows of a setting with some of their numbers so many times as large."""
    return [
        {**row, **{name: row[name] * by for name, by in times.items()}} if row["label"] == label else row
        for row in rows
    ]


@pytest.fixture(scope="module")
def forty() -> Compared:
    return compared(fleet_of(40))


def test_the_choice_is_what_a_released_kernel_has_and_brings_most(forty: Compared) -> None:
    assert (forty.baseline, forty.best) == ("upstream", "upstream:order=5")
    assert forty.others[0] == "upstream:order=5"
    assert set(forty.others) == {"upstream:order=5", "upstream:delay=100ms", "boundary"}
    first, *others = lines(forty, "choice")
    gain = forty.gains["upstream:order=5"]
    assert first.startswith(f"`upstream:order=5` brings +{100 * gain.mean:.1f} points of memory (")
    share = forty.statistic("upstream", "given_back_share")["mean"]
    assert f"`upstream` gives back {share:.1%}" in first
    assert any(line.startswith("`boundary`: ") and "No released kernel" in line for line in others)


def test_a_patch_is_not_what_one_is_told_to_take() -> None:
    rows = changed(fleet_of(12), "boundary", reclaimed_mean_bytes=3)
    of = compared(rows)
    assert of.others[0] == "boundary"
    assert of.best == "upstream:order=5"


def test_what_brings_little_or_may_be_chance_is_no_reason_to_change() -> None:
    few = ("never", "upstream", "upstream:delay=100ms")
    same = [row for at in range(12) for row in guest(f"{at}.trace", at, few)]
    for row in same:
        row["reclaimed_mean_bytes"] *= 0 if row["label"] == "never" else 1
    same = changed(same, "upstream:delay=100ms", reclaimed_mean_bytes=0.9)
    assert lines(compared(same), "choice")[0].startswith("Keep `upstream`: the most that another setting")
    lucky = [{**row} for row in same]
    for at, row in enumerate(lucky):
        if row["label"] == "upstream:delay=100ms":
            row["reclaimed_mean_bytes"] *= 3 if at < 6 else 0.95
    assert lines(compared(lucky), "choice")[0].startswith("Keep `upstream`: that `upstream:delay=100ms`")


def test_who_gains_is_counted(forty: Compared) -> None:
    gain = forty.gains["upstream:order=5"]
    winners = int((gain.guests["difference"] > 0.01).sum())
    told = " ".join(lines(forty, "gains"))
    assert f"{winners} of 40 guests" in told
    assert str(gain.guests["guest"][0]) in told
    assert str(gain.guests["guest"][-1]) in told


def test_one_guest_is_told_without_intervals() -> None:
    of = compared(guest("only.trace"))
    told = " ".join(line for finding in findings(of) for line in finding.lines)
    assert "on this guest; of others it says nothing" in told
    assert "there are no intervals" in told
    assert all(figure.chart is not None for figure in figures(of))


def test_one_setting_or_bounds_alone_have_a_page() -> None:
    for few in (["upstream"], ["never"], ["oracle", "never"], ["boundary"]):
        of = compared([row for at in range(3) for row in guest(f"{at}.trace", at, few)])
        assert of.best is None
        assert [finding.name for finding in findings(of)] == ["choice", "gains", "stranded", "soon", "sure"]
        assert all(figure.chart is not None or figure.missing for figure in figures(of))


def test_how_right_the_traces_are(tmp_path: Path) -> None:
    good = fleet_of(4)
    told = trust(compared(good), Tasks.of(Place.of(manifest(tmp_path, DONE))))
    assert (told.word, dict(told.checks)["traces that are whole"]) == (GOOD, "4 of 4")
    assert dict(told.checks)["traces asked for"] == "1 done"
    failed = trust(compared(good), Tasks.of(Place.of(manifest(tmp_path, DONE, FAILED))))
    assert failed.word == CARE
    assert dict(failed.checks)["traces asked for"] == "1 done, 1 failed"
    assert [failure.reason[0] for failure in failed.failures] == ["no manifest"]
    broken = [{**row, "whole": False, "lost_events": 3} for row in good]
    assert trust(compared(broken), None).word == NO
    many = trust(compared(good), Tasks.of(Place.of(manifest(tmp_path, *[FAILED] * 25))))
    assert (many.word, len(many.failures), many.more) == (NO, 20, 5)


def test_a_damaged_manifest_costs_its_lines_alone(tmp_path: Path) -> None:
    manifest(tmp_path, DONE, FAILED)
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write('{"trace": "half')
    tasks = Tasks.of(Place.of(tmp_path))
    assert tasks is not None
    assert tasks.counts == {"done": 1, "failed": 1}
    assert Tasks.of(Place.of(tmp_path / "none")) is None


def test_tables_have_the_values_of_the_frames(forty: Compared) -> None:
    for group in of_settings(forty):
        for name, cells in group.rows:
            for cell in cells:
                row = forty.statistic(name, cell.key)
                assert json.loads(cell.value) == row["mean"]
    heads, rows = of_guests(forty)
    assert len(rows) == 40
    assert all(len(cells) == len(heads) for _, cells in rows)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("batch")
    rows = [*fleet_of(450), *guest("traces/<script>alert(1)</script>.trace", 7)]
    manifest(written(folder, rows), DONE, FAILED)
    out = folder.parent / "fleet.html"
    assert run(["report", str(folder), "-o", str(out)]) == 0
    return folder, out.read_text()


def test_a_large_fleet_has_a_small_page_with_some_of_its_guests(page: tuple[Path, str]) -> None:
    folder, text = page
    assert len(text.encode()) < MOST_BYTES
    table = text[text.index('<table class="numbers guests">') :]
    assert table[: table.index("</table>")].count('<tr><th scope="row">') == MOST_GUESTS
    assert f"{MOST_GUESTS} of 451" in text
    assert f"{folder}/results" in text
    assert "451 guests" in text


def test_data_stays_text(page: tuple[Path, str]) -> None:
    _, text = page
    assert "<script>alert" not in text
    assert "<b>bad" not in text
    assert "&lt;b&gt;bad.trace" in text
    assert re.search(r"no manifest; it says so; again", text)


def test_the_command_refuses_what_does_not_fit_and_tells_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = written(tmp_path / "in", fleet_of(3)), tmp_path / "out.html"
    assert run(["report", str(folder), "-o", str(out), "--policy", "upstream"]) == 1
    assert "has been replayed already" in capsys.readouterr().err
    assert run(["report", str(folder), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(out)
    assert told["size_bytes"] == out.stat().st_size
    assert told["fleet"]["guests"] == 3
    assert {row["setting"] for row in told["statistics"]} == set(SETTINGS)
    assert run(["report", str(folder), "-o", str(out)]) == 1
    lossy = [{**row, "whole": False} for row in fleet_of(2)]
    folder = written(tmp_path / "lossy", lossy)
    assert run(["report", str(folder), "-o", str(out), "--force"]) == 3
    assert run(["report", str(folder), "-o", str(out), "--force", "--allow-loss"]) == 0
    assert replay.page(folder, tmp_path / "again.html") == tmp_path / "again.html"

"""The tables beside published figures, on a made-up guest whose numbers can be told by hand."""

import json
from pathlib import Path

import pytest

from benchmarks import published
from benchmarks.build import stages_path
from benchmarks.settling import GIB_FRAMES, SECOND_NS, made_up, settled
from replay import Options, Replay
from replay import replay as replayed
from tracer import open_trace

BUILD_S = 10.0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Replay, published.Stages]:
    """1 of 2 GiB is free; 128 MiB and, elsewhere, one page become free after 1 s, 1 page leaves at 60 s."""
    path = tmp_path_factory.mktemp("published") / "a.trace"
    freed = [(SECOND_NS, True, GIB_FRAMES + (k << 10), 10) for k in range(32)]
    alone = (SECOND_NS, True, 2 * GIB_FRAMES - 1, 0)
    made_up(path, 1, [*freed, alone, (60 * SECOND_NS, False, GIB_FRAMES, 0)])
    stages_path(path).write_text(json.dumps({"build": 10 + int(BUILD_S * 1e9), "clean": 20 * SECOND_NS}))
    done = replayed(path, [row.policy for row in published.rows()], Options())
    return done, published.Stages.of(open_trace(path), done.start.now_ns)


def cells(markdown: str, first: str) -> list[str]:
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
    return next(line for line in lines if line[0] == first)


def test_the_footprint_is_of_the_build_only_and_beside_its_baselines(
    seen: tuple[Replay, published.Stages],
) -> None:
    done, stages = seen
    ours = published.footprints(done, published.rows(), stages)
    assert ours["static"] == pytest.approx(2 * BUILD_S / 60)
    assert ours["untold, o=9"] == pytest.approx(1 * BUILD_S / 60)
    assert ours["o=9 d=2s c=32"] == pytest.approx((BUILD_S - 0.125 * (BUILD_S - 3.02)) / 60, rel=0.01)
    assert ours["o=9 d=100ms c=32"] == pytest.approx((BUILD_S - 0.125 * (BUILD_S - 1.12)) / 60, rel=0.01)
    page_gib = 4096 / (1 << 30)
    less = (ours["o=9 d=2s c=32"] - ours["o=0 d=2s c=32"]) * 60 / page_gib
    assert less == pytest.approx(7, rel=0.1)  # one page, for 7 of the 10 s


def test_each_setting_stands_beside_the_published_one(seen: tuple[Replay, published.Stages]) -> None:
    done, stages = seen
    text = published.settings_table(done, published.rows(), stages)
    assert cells(text, "static")[:6] == ["static", "0.33", "1.000", "2.000", "658.6", "1.000"]
    row = cells(text, "o=9 d=2s c=32")
    assert row[4:7] == ["434.5", "0.660", "0.897"]
    assert row[-5:-1] == ["1", "1", "0.0", "2.02"]
    assert cells(text, "oracle, o=0")[4:7] == ["-", "-", "-"]


def test_a_knob_is_told_as_a_ratio_ours_and_published(seen: tuple[Replay, published.Stages]) -> None:
    done, stages = seen
    text = published.shape_table(done, published.rows(), stages)
    row = cells(text, "delay 100ms / 2s, o=9 c=32")
    assert float(row[1]) == pytest.approx(0.1478 / 0.1521, abs=0.005)
    assert row[2:4] == ["1.009", "1.009"]
    assert cells(text, "order 0 / order 9, d=100ms c=32")[2:4] == ["1.025", "0.691"]
    assert len(text.splitlines()) == 2 + len(published.COMPARISONS)


def test_stages_tell_what_the_host_backs_at_their_ends(seen: tuple[Replay, published.Stages]) -> None:
    done, stages = seen
    text = published.stages_table(done, published.rows(), stages)
    assert cells(text, "build") == [
        "build", "10 s", "2.00", "0.88", "0.88", "0.87", "1.13", "1.12", "-",
    ]  # fmt: skip
    assert cells(text, "clean")[-1] == "11.6"


def test_the_scale_is_what_the_guest_managed_and_used(seen: tuple[Replay, published.Stages]) -> None:
    line = published.memory_line(seen[0])
    assert line == "Used: 0.87 to 1.00 GiB; managed: 2.00 GiB at first, 2.00 at the end"


def test_without_stages_the_whole_trace_is_the_build(tmp_path: Path) -> None:
    trace = open_trace(made_up(tmp_path / "b.trace", 1))
    assert published.Stages.of(trace, 10).ends_s == {"build": pytest.approx(120, abs=0.01)}


def test_an_idle_guest_settles_pass_by_pass() -> None:
    seconds, passes = settled(free_gib=1)
    assert passes == 4
    assert seconds == pytest.approx(4 * 2.016, abs=0.1)

"""The comparison's own arithmetic, on made-up rows, and its command on a small trace."""

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data import compare
from data.comparison import replayed
from data.comparison.answers import OF_ALL, Answers, factor, named_spread, percent, points, spread
from data.comparison.choosing import helps_of
from data.comparison.findings import rankings, winners
from data.comparison.in_short import apart, stranded
from data.comparison.replayed import (
    CASES,
    DEFAULT,
    SHARES,
    Row,
    differences,
    frame_of,
    left_over,
    rows_of,
    with_shares,
)
from tests.pure import small_traces
from tracer import Fault

GIB_S = float(1 << 30)


def row(setting: str, reclaimed: float, order: int = 9, trace: str = "a", **over: Any) -> Row:
    """`reclaimed` in GiB*s."""
    given = {
        "trace": trace, "start": "steady", "backing": "4k", "setting": setting,
        "policy": setting.partition(":")[0], "order": order, "params": "", "caveats": "", "notes": "",
        "kernel_release": "6.1", "duration_s": 60.0, "exit_code": 0, "divergence": 0.5,
        "reclaimed_byte_seconds": reclaimed * GIB_S, "free_byte_seconds": 20 * GIB_S,
        "refaults_bytes": 100, "reports_calls": 10, "cost_total_s": 1.0, "latency_p50_s": 2.0,
    }  # fmt: skip
    return given | over


def guest(trace: str = "a", **reclaimed: float) -> list[Row]:
    """A trace's rows: of order 10 GiB*s the default gets 6, unless said otherwise."""
    settings = {
        "upstream": 6, "boundary": 6, "bitmap": 6, "hints": 6, "oracle": 7, "upstream:delay=1h": 5,
        "upstream:delay=100ms": 6, "upstream:order=5": 6, "upstream:order=0": 6, "oracle:order=0": 10,
    } | {name.replace("_at_", ":order="): value for name, value in reclaimed.items()}  # fmt: skip
    orders = {name: int(name.partition("order=")[2] or 9) for name in settings}
    rows = [row(name, value, orders[name], trace) for name, value in settings.items()]
    return with_shares([row("never", 0, trace=trace, divergence=0.2), *rows])


def answers(*rows: Row) -> Answers:
    return Answers.of(frame_of(rows))


def shares(rows: list[Row], setting: str) -> tuple[Any, ...]:
    (found,) = (each for each in rows if each["setting"] == setting)
    return tuple(found[name] for name in SHARES)


def test_shares_compare_a_row_with_the_bounds_of_its_order() -> None:
    rows = guest()
    assert shares(rows, "upstream") == (0.3, 0.6, 0.5, 0.2)  # of 20 free, of 10, (6 - 5) / (7 - 5)
    assert shares(rows, "oracle") == (0.35, 0.7, 1.0, 0.2)
    assert shares(rows, "upstream:delay=1h") == (0.25, 0.5, 0.0, 0.2)
    assert shares(rows, "never")[2] is None


def test_shares_are_none_where_there_is_nothing_to_compare_with() -> None:
    assert shares(guest(), "upstream:order=0") == (0.3, 0.6, None, None)  # nothing is untold at order 0
    assert shares(with_shares([row("upstream", 6)]), "upstream") == (0.3, None, None, None)
    none_free = with_shares([row("upstream", 0, free_byte_seconds=0.0)])
    assert shares(none_free, "upstream")[0] is None


def test_shares_compare_within_a_case_and_with_all_orders_of_the_steady_4k_one() -> None:
    on_thp = [
        row("upstream", 5, backing="thp"),
        row("oracle", 6, backing="thp"),
        row("upstream:delay=1h", 4, backing="thp"),
    ]
    rows = with_shares([*guest(), *on_thp])
    assert [each["gain_share"] for each in rows if each["backing"] == "thp"] == [0.5, 1.0, 0.0]
    assert [each["reclaimed_share_of_all_orders"] for each in rows[-3:]] == [0.5, 0.6, 0.4]


def test_a_cell_that_differs_is_named() -> None:
    shipped = frame_of(guest())
    assert list(differences(guest(), shipped)) == []
    changed = [each | {"reports_calls": 11} if each["setting"] == "hints" else each for each in guest()]
    assert list(differences(changed, shipped)) == ["a steady 4k hints: reports_calls is 11, in the table 10"]


def test_the_last_bit_of_a_number_counts() -> None:
    rows = [row("upstream", 6)]
    other = [row("upstream", 6) | {"cost_total_s": 1.0000000000000002}]
    (line,) = differences(other, frame_of(rows))
    assert "cost_total_s is 1.0000000000000002" in line


def test_a_number_that_is_missing_on_one_side_differs() -> None:
    rows = [row("upstream", 6)]
    more = [row("upstream", 6, work_bits_scanned=3)]
    (line,) = differences(more, frame_of(rows))
    assert line == "a steady 4k upstream: work_bits_scanned is 3, in the table None"
    assert len(list(differences(rows, frame_of(more)))) == 1


def test_rows_on_one_side_only_are_named() -> None:
    rows = guest()
    assert list(differences(rows, frame_of(rows[1:]))) == ["a steady 4k never: is not in the table"]
    (line,) = left_over(rows[1:], frame_of(rows))
    assert line.startswith("a steady 4k never: ")


def test_what_helps_is_the_kind_that_brings_most() -> None:
    found = helps_of(answers(*guest(upstream_at_0=8, bitmap=6.5)), "a")
    assert found.most == "order"
    assert found.verdict.startswith("order=0: +20.0 for refaults 100B to 100B, calls 10 to 10, CPU 1s to 1s")
    assert helps_of(answers(*guest(bitmap=6.5)), "a").verdict.startswith("bitmap: +5.0")


def test_another_policy_has_to_bring_a_point_more_than_a_shorter_delay() -> None:
    sooner: dict[str, Any] = {"upstream:delay=100ms": 6.5}
    assert helps_of(answers(*guest(bitmap=6.55, **sooner)), "a").most == "delay"
    assert helps_of(answers(*guest(bitmap=6.65, **sooner)), "a").most == "policy"


def test_less_than_a_point_is_no_reason_to_change() -> None:
    found = helps_of(answers(*guest(bitmap=6.09)), "a")
    assert (found.most, found.verdict) == ("nothing", "keep the default")
    assert helps_of(answers(*guest(bitmap=6.11)), "a").most == "policy"


def test_order_0_is_named_only_where_it_brings_a_point_more_than_order_5() -> None:
    near, far = guest(upstream_at_5=8, upstream_at_0=8.09), guest(upstream_at_5=8, upstream_at_0=8.2)
    assert helps_of(answers(*near), "a").by["order"].setting == "upstream:order=5"
    assert helps_of(answers(*far), "a").by["order"].setting == "upstream:order=0"


def test_equal_policies_all_win_and_make_one_ranking() -> None:
    even = answers(*guest(), *guest("b"))
    assert winners(even, OF_ALL, least=False) == dict.fromkeys(("upstream", "boundary", "bitmap", "hints"), 2)
    assert rankings(even) == 1
    mixed = answers(*guest(hints=6.5), *guest("b", bitmap=6.5))
    assert winners(mixed, OF_ALL, least=False) == {"hints": 1, "bitmap": 1}
    assert rankings(mixed) == 2


def test_what_is_apart_and_what_is_stranded_is_told_by_trace() -> None:
    told = answers(*guest(hints=6.5), *guest("b", oracle=9))
    assert apart(told) == {"a": pytest.approx(0.05), "b": 0}
    assert stranded(told) == {"a": pytest.approx(0.3), "b": pytest.approx(0.1)}


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert spread([0.3, 0.1, 0.2], percent) == "20.0% (10.0% to 30.0%)"
    assert spread([0.2, 0.2], percent) == "20.0%"
    assert spread([], percent) == "-"
    assert named_spread({"a": 0.3, "b": 0.1}, points) == "+20.0 (+10.0 on b to +30.0 on a)"
    assert named_spread({"a": 0.1, "b": 0.10000001}, percent) == "10.0%"
    assert (factor(7.804), factor(63.6), points(-0.0001)) == ("x7.80", "x64", "+0.0")


def test_command_writes_a_table_and_finds_the_cell_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, table = small_traces.write(tmp_path / "small.trace"), tmp_path / "small.parquet"
    given = ["compare", str(trace), "--out", str(table)]
    monkeypatch.setattr(sys, "argv", given)
    assert compare.main() == 0
    frame = pl.read_parquet(table)
    assert frame.height == sum(len(case.settings) for case in CASES)
    monkeypatch.setattr(sys, "argv", [*given, "--check"])
    assert compare.main() == 0
    changed = frame.with_columns(pl.col("free_byte_seconds").replace_strict({}, default=1.0))
    changed.write_parquet(table)
    capsys.readouterr()
    assert compare.main() == 1
    assert "small steady 4k never: free_byte_seconds is " in capsys.readouterr().out


def test_a_policy_that_a_trace_tells_too_little_for_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfit(_trace: Any, setting: Any) -> Fault | None:
        return Fault("no", "it needs to know the CPUs", "") if setting.policy.name == "hints" else None

    monkeypatch.setattr(replayed, "unfit", unfit)
    found = list(rows_of(small_traces.write(tmp_path / "small.trace"), DEFAULT))
    assert [each["policy"] for each in found] == [name for name in DEFAULT.settings if name != "hints"]
    assert all("no hints: it needs to know the CPUs" in each["caveats"] for each in found)


def test_a_lossy_trace_says_so_in_its_rows(tmp_path: Path) -> None:
    found = list(rows_of(small_traces.write(tmp_path / "small.trace", lost=3), DEFAULT))
    assert {each["exit_code"] for each in found} == {3}
    assert {each["lost_events"] for each in found} == {3}
    assert all("3" in each["caveats"] for each in found)

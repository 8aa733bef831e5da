"""A sweep is what `replay` says of each setting alone, however it is cut into passes."""

import json
import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import replay
from replay.costs import Costs
from replay.device import Device
from replay.engine import Options
from replay.parameters import Parameter
from replay.policies import parse, policy_named
from replay.results import INCIDENCE_AT_S
from replay.sizing import Sizes
from replay.survey import rows_to_read
from replay.sweeping import passes
from replay.sweeping.frame import frame_of, metrics
from replay.sweeping.grid import Grid
from replay.sweeping.passes import FEWEST, Packing, first_most, next_most
from tests.pure import small_traces, worlds
from tests.pure.small_traces import GUEST
from tracer import Fault, open_trace

TRACE = Path(__file__).parents[2] / "data/database.trace"
GRID: dict[str, Any] = {"order": [9, 6], "delay": ["100ms", "2s"], "budget": [1, 16]}


@pytest.fixture(scope="module")
def shipped() -> Any:
    return replay.sweep(TRACE, "upstream:capacity=64", GRID)


def one_at_a_time(patch: Any) -> None:
    """A setting in each pass where results are kept."""
    for name, value in (("FEWEST", 1), ("FIRST_EVENTS", 1), ("PASS_S", 0.0)):
        patch.setattr(passes, name, value)


@pytest.mark.parametrize("row", [0, 3, 6])
def test_a_row_is_what_replay_says_of_that_setting_alone(shipped, row):
    setting = shipped.grid.settings[row]
    alone = replay.replay(TRACE, [setting.named])
    assert shipped.summaries[row] == alone.results[0].summary
    assert shipped.fidelity == alone.fidelity
    assert shipped.told == alone.trace_section(Options())


@settings(max_examples=12)
@given(worlds.worlds(), st.sampled_from(["steady", "cold"]), st.sampled_from(["4k", "2m", "thp"]))
def test_passes_do_not_change_a_number(world, start, backing):
    assume(world.start or world.events)
    grid: dict[str, Any] = {"order": [0, 9], "delay": [50, "200us"]}
    options = Options(start, backing, device=Device(call_ns=30))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = worlds.write(Path(folder) / "a.trace", world)
        whole = replay.sweep(path, "upstream:rounding=none", grid, options)
        one_at_a_time(patch)
        parts = replay.sweep(path, "upstream:rounding=none", grid, options, out=Path(folder) / "out")
        assert len(list((Path(folder) / "out/passes").iterdir())) == 4
        assert parts.frame.equals(whole.frame)
        assert parts.to_json() == whole.to_json()
        for setting, told in zip(whole.grid.settings, whole.summaries, strict=True):
            assert told == replay.replay(path, [setting], options).results[0].summary


def test_options_and_prices_reach_the_replays():
    options = Options("cold", "thp", inhibit=True, device=Device(call_ns=5), logging=True, fragmentation=True)
    costs = Costs(discard="free", pressure=0.5)
    done = replay.sweep(TRACE, "bitmap", {"threshold": [16]}, options, costs)
    assert done.summaries == [replay.replay(TRACE, ["bitmap"], options, costs=costs).results[0].summary]


# The table


def test_the_table_has_a_row_for_each_setting_in_the_grids_order(shipped):
    frame = shipped.frame
    assert frame["setting"].to_list() == [setting.named for setting in shipped.grid.settings]
    assert frame["policy"].to_list() == ["upstream"] * 8
    assert frame["order"].to_list() == [9] * 4 + [6] * 4
    assert frame["delay_s"].to_list() == [0.1, 0.1, 2.0, 2.0] * 2
    assert frame["capacity"].to_list() == [64] * 8
    assert frame["gate"].dtype == pl.Boolean
    assert frame["putback"].to_list() == ["tail"] * 8
    assert frame["pareto"].to_list() == shipped.pareto


def test_a_setting_can_be_given_back_to_replay(shipped):
    for text, setting in zip(shipped.frame["setting"], shipped.grid.settings, strict=True):
        assert parse(text, shipped.trace.manifest.guest) == setting


def test_every_number_of_the_summary_is_in_the_table_once(shipped):
    def leaves(told: Any) -> list[Any]:
        if isinstance(told, dict):
            return [leaf for inner in told.values() for leaf in leaves(inner)]
        return [told]

    for row, summary in zip(shipped.frame.iter_rows(named=True), shipped.summaries, strict=True):
        told = {name: each for name, each in summary.items() if name not in ("policy", "params", "notes")}
        within = told.pop("incidence")
        numbers = leaves(told) + [
            share for what in ("reported", "missed", "waiting") for share in within[what]
        ]
        unknown = 3 * (len(INCIDENCE_AT_S) - len(within["within_s"]))
        flat = metrics(summary)
        assert sorted(map(str, flat.values())) == sorted(map(str, [*numbers, *[None] * unknown]))
        assert {name: row[name] for name in flat} == flat


@pytest.mark.parametrize(
    ("column", "path"),
    [
        ("latency_p50_s", ("latency_s", "p50")),
        ("latency_samples", ("latency_s", "samples")),
        ("reclaimed_byte_seconds", ("reclaimed", "byte_seconds")),
        ("reclaimed_share_of_oracle", ("reclaimed", "share_of_oracle")),
        ("unreclaimed_waiting_byte_seconds", ("unreclaimed", "waiting")),
        ("refaults_bytes", ("refaults", "bytes")),
        ("cost_total_s", ("cost_s", "total")),
        ("work_entries_walked", ("work", "entries_walked")),
        ("footprint_gib_min", ("footprint_gib_min",)),
        ("held_frame_seconds", ("held_frame_seconds",)),
        ("page_size_bytes", ("page_size",)),
    ],
)
def test_a_column_is_named_after_its_place_and_unit(shipped, column, path):
    expected = []
    for summary in shipped.summaries:
        told = summary
        for key in path:
            told = told[key]
        expected.append(told)
    assert shipped.frame[column].to_list() == expected


def test_incidence_has_a_column_for_each_time_and_null_beyond_the_trace(shipped):
    frame, incidence = shipped.frame, shipped.summaries[0]["incidence"]
    at = incidence["within_s"].index(2.0)
    assert frame["missed_within_2s_share"][0] == incidence["missed"][at]
    assert frame["reported_within_100ms_share"][0] == incidence["reported"][incidence["within_s"].index(0.1)]
    assert frame["waiting_within_3600s_share"].to_list() == [None] * 8


def test_where_there_is_nothing_to_say_is_null_and_not_nan(tmp_path):
    done = replay.sweep(small_traces.write(tmp_path / "a.trace", []), "upstream", {"order": [9, 10]})
    assert done.frame["latency_mean_s"].to_list() == [None, None]
    assert done.frame["reported_within_1s_share"].dtype == pl.Float64
    numbers = done.frame.select(pl.selectors.float()).to_dict(as_series=False)
    assert not any(math.isnan(value) for column in numbers.values() for value in column if value is not None)
    assert done.pareto == [True, True]


def test_a_parameter_that_is_called_like_a_column_gets_another_name():
    chosen = policy_named("upstream")
    odd = tuple(Parameter(name, "int", 1, "odd") for name in ("refaults_bytes", "pareto"))
    policy = type(chosen)(**{**vars(chosen), "parameters": (*chosen.parameters, *odd)})
    setting = policy.settle(GUEST, {"refaults_bytes": 7})
    summary = replay.replay(TRACE, ["never"]).results[0].summary
    frame = frame_of(Grid(policy, {}, [setting]), [summary], [True])
    assert frame["param_refaults_bytes"].to_list() == [7]
    assert frame["param_pareto"].to_list() == [1]
    assert frame["pareto"].to_list() == [True]
    assert frame["refaults_bytes"].to_list() == [summary["refaults"]["bytes"]]


def test_what_only_some_settings_impose_is_null_for_the_others(shipped):
    bits, none = ({**summary, "imposes": imposes} for summary, imposes in zip(
        shipped.summaries, ({"bits": 7, "bits_of_holes": 0}, {}), strict=False
    ))  # fmt: skip
    grid = Grid(shipped.grid.policy, shipped.grid.values, shipped.grid.settings[:2])
    frame = frame_of(grid, [none, bits], [True, True])
    assert frame["imposes_bits"].to_list() == [None, 7]
    assert frame["imposes_bits_of_holes"].dtype == pl.Int64


def test_json_has_the_same_numbers_and_can_be_written(shipped):
    told = json.loads(json.dumps(shipped.to_json(), allow_nan=False))
    assert [each["setting"] for each in told["settings"]] == shipped.frame["setting"].to_list()
    assert [each["pareto"] for each in told["settings"]] == shipped.pareto
    assert told["pareto"] == [each["setting"] for each in told["settings"] if each["pareto"]]
    assert set(told["objectives"]) <= set(shipped.frame.columns)
    for each, summary in zip(told["settings"], shipped.summaries, strict=True):
        assert {name: each[name] for name in summary} == summary


# Passes


def packing(limit_bytes: float, guest_trace: Any) -> Packing:
    sizes = Sizes(GUEST, guest_trace.zones, replay.engine.meaning_of(guest_trace), 100)  # type: ignore[attr-defined]
    return Packing(sizes, lambda order: parse(f"oracle:order={order}", GUEST), limit_bytes)


@given(
    st.lists(st.tuples(st.sampled_from([0, 5, 9]), st.integers(1, 9)), min_size=1, max_size=20, unique=True),
    st.integers(1, 20),
    st.floats(0, 3),
)
def test_passes_keep_the_order_and_fit_unless_one_setting_is_too_large(asked, most, room):
    chosen = [parse(f"upstream:order={order},budget={budget}", GUEST) for order, budget in sorted(asked)]
    with TemporaryDirectory() as folder:
        trace = open_trace(small_traces.write(Path(folder) / "a.trace"))
    pack = packing(0, trace)
    pack = Packing(pack.sizes, pack.ceiling, room * pack.size_bytes(chosen))
    found = pack.split(chosen, most)
    assert [setting for one in found for setting in one] == chosen
    for one in found:
        assert 1 <= len(one) <= most
        assert len(one) == 1 or pack.size_bytes(one) <= pack.limit_bytes
    for one, following in pairwise(found):  # no pass has room for what comes next
        assert len(one) == most or pack.size_bytes([*one, following[0]]) > pack.limit_bytes


def test_the_first_pass_is_judged_by_the_trace_and_the_next_by_the_one_before():
    assert first_most(0) >= first_most(2_000_000) > 500
    assert first_most(1 << 40) == FEWEST
    assert next_most(8, 60.0) == 40
    assert next_most(8, 1e6) == FEWEST
    assert next_most(8, 0.0) > 1000


def test_what_is_going_to_be_done_is_announced_before_each_pass(tmp_path, monkeypatch):
    one_at_a_time(monkeypatch)
    plans: list[Any] = []
    rows: list[int] = []
    path = small_traces.write(tmp_path / "a.trace")
    grid = {"order": [9, 10], "budget": [1, 2]}
    replay.sweep(path, "upstream", grid, out=tmp_path / "out", announce=plans.append, tell=rows.append)
    assert [(plan.settings, plan.kept, plan.passes) for plan in plans] == [
        (4, 0, 4), (4, 1, 3), (4, 2, 2), (4, 3, 1), (4, 4, 0),
    ]  # fmt: skip
    assert all(0 < plan.size_bytes < plan.available_bytes for plan in plans[:-1])
    assert sum(rows) == rows_to_read(open_trace(path), 4) == 8 * open_trace(path).rows


def test_the_lowest_order_comes_first_and_its_ceiling_once(tmp_path, monkeypatch):
    one_at_a_time(monkeypatch)
    seen = []
    really = replay.sweeping.sweep.run_readable  # type: ignore[attr-defined]

    def watched(trace: Any, chosen: Any, *more: Any) -> Any:
        seen.append([(setting.policy.name, setting.order) for setting in chosen])
        return really(trace, chosen, *more)

    monkeypatch.setattr("replay.sweeping.sweep.run_readable", watched)
    path = small_traces.write(tmp_path / "a.trace")
    done = replay.sweep(path, "upstream", {"order": [9, 3], "budget": [1, 2]}, out=tmp_path / "out")
    assert seen == [
        [("upstream", 3), ("oracle", 3)], [("upstream", 3)],
        [("upstream", 9), ("oracle", 9)], [("upstream", 9)],
    ]  # fmt: skip
    assert done.frame["order"].to_list() == [9, 9, 3, 3]


@pytest.mark.parametrize(
    ("grid", "options", "what"),
    [
        ({"order": [11]}, None, "order 11 is not possible"),
        ({"order": [9]}, Options("warm"), "--start warm is not possible"),
        ({"order": [9]}, "cold", "options='cold' is not possible"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read_or_made(
    tmp_path, monkeypatch, grid, options, what
):
    path = small_traces.write(tmp_path / "a.trace")
    monkeypatch.setattr("tracer.reader.Trace.batches", None)
    with pytest.raises(Fault) as caught:
        replay.sweep(path, "upstream", grid, options, out=tmp_path / "out")
    assert what in caught.value.what
    assert not (tmp_path / "out").exists()

"""Many guests compared: each number against a slow computation, intervals against what they promise."""

from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

import replay
from replay.batching.dataset import engine
from replay.fleets.bootstrap import DRAWS, SEED, draws, intervals, means, replicates
from replay.fleets.measures import GIB, MEASURES
from replay.fleets.over_guests import QUANTILES, quantiles
from tests.pure.batch_rows import SETTINGS, fleet_of, frame, guest, of_trace, written
from tracer import Fault

NORMAL = NormalDist()


@pytest.fixture(scope="module")
def forty() -> replay.Fleet:
    return replay.fleet(frame(fleet_of(40)))


def slow_interval(values: list[float], weights: list[float]) -> tuple[float, float]:
    """BCa in plain Python, over the same draws."""

    def mean(places: Iterator[int] | range) -> float:
        at = list(places)
        return sum(values[i] * weights[i] for i in at) / sum(weights[i] for i in at)

    count = len(values)
    drawn = sorted(mean(iter(row)) for rows in draws(count, SEED) for row in rows.tolist())
    assert len(drawn) == DRAWS
    centre = mean(range(count))
    below = sum((each < centre) + 0.5 * (abs(each - centre) < 1e-15) for each in drawn)
    bias = NORMAL.inv_cdf(below / DRAWS)
    without = [mean(i for i in range(count) if i != left) for left in range(count)]
    middle = sum(without) / count
    cubes, squares = (sum((middle - each) ** power for each in without) for power in (3, 2))
    skew = cubes / (6 * squares**1.5)
    ends = []
    for share in (0.025, 0.975):
        moved = bias + NORMAL.inv_cdf(share)
        at = NORMAL.cdf(bias + moved / (1 - skew * moved)) * (DRAWS - 1)
        low = int(at)
        ends.append(drawn[low] + (at - low) * (drawn[min(low + 1, DRAWS - 1)] - drawn[low]))
    return ends[0], ends[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_an_interval_is_that_of_a_slow_computation(weighted: bool) -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(0, 1, 17)
    weights = rng.lognormal(0, 1, 17) if weighted else np.ones(17)
    low, high = intervals(values[:, None], weights)
    assert (low[0], high[0]) == pytest.approx(slow_interval(values.tolist(), weights.tolist()), rel=1e-9)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    told = [intervals(rng.normal(10, 2, (25, 1)), np.ones(25)) for _ in range(300)]
    held = np.mean([low[0] <= 10 <= high[0] for low, high in told])
    assert 0.88 <= held <= 0.98


def test_columns_see_the_same_draws_and_what_is_not_known_is_left_out() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(0, 1, (30, 2))
    both = np.column_stack([values, values[:, 0]])
    both[:10, 1] = np.nan
    told = replicates(both, np.ones(30))
    assert np.array_equal(told[:, 0], told[:, 2])
    assert means(both, np.ones(30))[1] == pytest.approx(values[10:, 1].mean())
    drawn = np.concatenate(list(draws(30, SEED)))
    own = np.where(drawn >= 10, both[drawn, 1], np.nan)
    assert told[:, 1] == pytest.approx(np.nanmean(own, axis=1))


def test_one_value_has_no_interval_and_equal_ones_have_none_to_speak_of() -> None:
    values = np.array([[1.0, 0.1], [np.nan, 0.1], [np.nan, 0.1]])
    low, high = intervals(values, np.ones(3))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[1] == high[1] == pytest.approx(0.1)


def test_quantiles_are_values_of_guests() -> None:
    rng = np.random.default_rng(11)
    values, weights = rng.normal(0, 1, 31), rng.integers(1, 9, 31).astype(float)
    ordered = sorted(zip(values.tolist(), weights.tolist(), strict=True))
    for share, found in zip(QUANTILES.values(), quantiles(values, weights), strict=True):
        at = next(n for n in range(1, 32) if sum(w for _, w in ordered[:n]) >= share * weights.sum())
        assert found == ordered[at - 1][0]
    alike = quantiles(values, np.ones(31))
    assert alike.tolist() == np.quantile(values, list(QUANTILES.values()), method="inverted_cdf").tolist()


def test_a_guest_has_the_numbers_of_its_replay() -> None:
    done = replay.replay("data/stock.trace", SETTINGS)
    seconds = done.trace_section(replay.Options())["duration_s"]
    told = replay.fleet(frame(of_trace())).guests
    assert told["setting"].to_list() == list(SETTINGS)
    for row, result in zip(told.iter_rows(named=True), done.results, strict=True):
        summary = result.summary
        reclaimed, free = summary["reclaimed"], summary["free"]
        managed_bytes = summary["baseline_gib_min"] * GIB * 60 / seconds
        assert row["managed_bytes"] == pytest.approx(managed_bytes)
        assert row["given_back_gib"] == pytest.approx(reclaimed["byte_seconds"] / seconds / GIB)
        assert row["given_back_share"] == pytest.approx(reclaimed["mean_bytes"] / managed_bytes)
        assert row["ceiling_share"] == pytest.approx(reclaimed["share_of_oracle"])
        assert row["latency_p90_s"] == summary["latency_s"]["p90"]
        assert row["stranded_share"] == pytest.approx(free["stranded_byte_seconds"] / free["byte_seconds"])
        assert row["refaults_gib_per_hour"] == pytest.approx(
            summary["refaults"]["bytes"] / GIB * 3600 / seconds
        )
        assert row["cpu_s_per_hour"] == pytest.approx(summary["cost_s"]["total"] * 3600 / seconds)


@pytest.mark.parametrize("weights", ["guests", "memory", "guest-hours"])
def test_a_setting_has_the_weighted_mean_of_its_guests(forty: replay.Fleet, weights: str) -> None:
    of = forty.weighted(weights)
    for row in of.settings.iter_rows(named=True):
        own = of.guests.filter(setting=row["setting"])
        heavy = {
            "guests": np.ones(40),
            "memory": own["managed_bytes"].to_numpy(),
            "guest-hours": (own["managed_bytes"] * own["duration_s"]).to_numpy(),
        }[weights]
        for measure in ("given_back_share", "stranded_share", "cpu_s_per_hour"):
            expected = np.average(own[measure].to_numpy(), weights=heavy)
            assert row[f"{measure}_mean"] == pytest.approx(expected)
            assert row[f"{measure}_low"] <= expected <= row[f"{measure}_high"]
    by_memory = of.guests.filter(setting="upstream").select(pl.col("given_back_gib", "managed_bytes").sum())
    if weights == "memory":
        share = by_memory["given_back_gib"][0] * GIB / by_memory["managed_bytes"][0]
        mean = of.settings.filter(setting="upstream")["given_back_share_mean"][0]
        assert mean == pytest.approx(share)


def test_statistics_have_a_row_for_each_setting_and_measure(forty: replay.Fleet) -> None:
    told = forty.statistics
    assert told.select("setting", "measure").rows() == [(s, m) for s in SETTINGS for m in MEASURES]
    silent = told.row(by_predicate=(pl.col("setting") == "never") & (pl.col("measure") == "latency_p50_s"))
    assert silent == ("never", "latency_p50_s", 0, *[None] * 8)
    assert forty.settings["guests"].to_list() == [40] * len(SETTINGS)


def test_gains_are_paired_sorted_and_counted(forty: replay.Fleet) -> None:
    told = forty.gains("upstream:order=5", "upstream", "given_back_share", least=0.05)
    table = forty.guests.pivot("setting", index="address", values="given_back_share")
    expected = (table["upstream:order=5"] - table["upstream"]).sort(descending=True)
    assert told.guests["difference"].to_list() == pytest.approx(expected.to_list())
    assert told.mean == pytest.approx(expected.mean())
    assert told.low is not None
    assert told.high is not None
    assert told.low < told.mean < told.high
    assert told.share_gaining == pytest.approx((expected > 0.05).mean())
    assert 0 < told.share_gaining < 1
    # What guests differ in besides the setting is not in the interval of a paired difference.
    apart = forty.statistics.filter(setting="upstream", measure="given_back_share")
    assert told.high - told.low < (apart["high"] - apart["low"])[0]


def test_a_guest_without_all_settings_is_told_and_not_compared() -> None:
    rows = [*fleet_of(12), *guest("traces/short.trace", 99, SETTINGS[:3])]
    told = replay.fleet(frame(rows))
    assert (told.count, told.left_out) == (12, 1)
    assert told.notes == ("1 guest is not compared: not replayed under all 6 settings",)
    assert not told.guests.filter(guest="short")["compared"].any()
    assert told.statistics["guests"].max() == 12
    assert told.gains(SETTINGS[1], SETTINGS[2]).guests.height == 13
    assert told.gains(SETTINGS[1], SETTINGS[4]).left_out == 1
    fewer = replay.fleet(frame(rows), settings=SETTINGS[:3])
    assert (fewer.count, fewer.left_out, fewer.compared) == (13, 0, SETTINGS[:3])


def test_one_guest_has_numbers_and_no_intervals() -> None:
    told = replay.fleet(frame(guest("a.trace")))
    assert told.count == 1
    assert told.statistics["low"].null_count() == told.statistics.height
    gains = told.gains("upstream", "never")
    assert (gains.low, gains.high) == (None, None)
    assert gains.mean == gains.guests["difference"][0]
    assert any("no intervals" in note for note in told.notes)
    assert "(no interval)" in told._shown().text
    assert "too narrow" in replay.fleet(frame(fleet_of(3))).notes[0]


def test_the_newest_engine_is_taken_and_others_are_told(tmp_path: Path) -> None:
    rows = fleet_of(3)
    written(tmp_path, rows, "0.9.0-aa")
    written(tmp_path, rows[: len(SETTINGS)], "0.10.0-aa")
    told = replay.fleet(tmp_path)
    assert (told.engine, told.count) == ("0.10.0-aa", 1)
    assert told.notes[0] == f"{len(rows)} results of other engines (0.9.0-aa) are left out"
    written(tmp_path, rows)
    assert replay.fleet(str(tmp_path)).engine == engine()


def test_a_real_batch_is_read(tmp_path: Path) -> None:
    asked = ("never", "upstream", "upstream:order=5")
    replay.batch(["data/stock.trace", "data/idle.trace"], tmp_path / "out", asked, workers=1)
    told = replay.fleet(tmp_path / "out")
    assert told.compared == asked
    assert sorted(told.guests["guest"].unique()) == ["idle", "stock"]
    assert replay.fleet(tmp_path / "out", settings=asked).compared == asked


def test_guests_of_one_name_keep_their_addresses() -> None:
    rows = [*guest("a/web.trace"), *guest("b/web.trace", 1), *guest("b/db.trace", 2)]
    assert replay.fleet(frame(rows)).guests["guest"].unique().sort().to_list() == [
        "a/web.trace",
        "b/web.trace",
        "db",
    ]


def other(rows: list[dict[str, object]], **values: object) -> list[dict[str, object]]:
    return [{**row, **values} for row in rows]


MIXED = [*guest("a.trace"), *other(guest("b.trace"), options="2" * 16, backing="thp")]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (MIXED, "several options"),
        ([*guest("a.trace"), *guest("a.trace")], "one of each guest and setting"),
        ([*guest("a.trace", 0, SETTINGS[:2]), *guest("b.trace", 0, SETTINGS[2:])], "all 6 settings"),
        (other(guest("a.trace"), duration_s=0.0), "no guest to compare"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: list[dict[str, object]], what: str) -> None:
    with pytest.raises(Fault, match=what):
        replay.fleet(frame(rows))


def test_what_is_not_there_is_refused(tmp_path: Path, forty: replay.Fleet) -> None:
    with pytest.raises(Fault, match="holds no batch"):
        replay.fleet(tmp_path)
    with pytest.raises(Fault, match="no results in the frame"):
        replay.fleet(frame(guest("a.trace")).filter(pl.lit(value=False)))
    with pytest.raises(Fault, match="cannot be read as results"):
        replay.fleet(pl.LazyFrame({"policy": ["upstream"]}))
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(Fault, match="cannot be read as results"):
        replay.fleet(tmp_path / "x.parquet")
    with pytest.raises(Fault, match="no weights 'size'"):
        replay.fleet(frame(guest("a.trace")), "size")
    with pytest.raises(Fault, match="no setting 'hints'"):
        replay.fleet(frame(guest("a.trace")), settings=["hints"])
    with pytest.raises(Fault, match="no measure"):
        forty.gains("upstream", "never", "beauty")
    with pytest.raises(Fault, match="no setting"):
        forty.gains("upstream", "hints")


def test_what_a_notebook_shows(forty: replay.Fleet) -> None:
    text = forty._shown().text
    assert text.startswith("40 guests")
    assert [line.split("  ")[0] for line in text.splitlines()[2:8]] == list(SETTINGS)
    assert "<table" in forty._repr_html_()
    gains = forty.gains("upstream:order=5", "upstream")._shown()
    assert gains.heading.startswith("upstream:order=5 against upstream, given back: ")
    assert len(gains.rows) == 20
    assert gains.notes == ["and 20 between them: .guests has all"]


def test_more_guests_have_narrower_intervals(forty: replay.Fleet) -> None:
    rows = frame(fleet_of(40)).collect()
    many = pl.concat([rows.with_columns(address=pl.col("address") + str(n)) for n in range(250)])
    told = replay.fleet(many.lazy())
    assert told.count == 10_000
    mean = forty.settings["given_back_gib_mean"].to_list()
    assert told.settings["given_back_gib_mean"].to_list() == pytest.approx(mean)
    one, all_ = (of.settings.filter(setting="upstream") for of in (forty, told))
    narrower = [of["given_back_share_high"][0] - of["given_back_share_low"][0] for of in (all_, one)]
    assert narrower[0] * 12 < narrower[1]  # the root of 250 times as many guests

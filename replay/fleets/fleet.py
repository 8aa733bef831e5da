"""Many guests under several settings: who gives back how much, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.fleets.bootstrap import intervals, means
from replay.fleets.dataset import read
from replay.fleets.measures import GUESTS, MEASURES, WEIGHTS, measured
from replay.fleets.naming import guest_names
from replay.fleets.over_guests import QUANTILES, statistics, weights_of
from tracer import Displayed, Fault

if TYPE_CHECKING:
    import polars as pl

FACTS = (
    "guest", "address", "setting", "policy", "order", "compared", "kernel_release", "status",
    "whole", "events", "lost_events", "impossible_share", "duration_s", "managed_bytes",
)  # fmt: skip
FEW = 10


@dataclass(frozen=True, eq=False)
class Gains(Displayed, by="replay.fleets.display:gains"):
    """A setting against a baseline, guest by guest.

    Attributes:
        setting: what is compared.
        baseline: with what.
        measure: in what.
        guests: a row for each guest that has both: `guest`, `address`, `weight`, `baseline`, `setting`,
            `difference` (setting less baseline); the largest difference first.
        mean: of the differences, weighted.
        low: of its 95 % interval, by drawing pairs (BCa); None of fewer than two guests.
        high: the other end of it.
        share_gaining: of these guests, each alike, whose difference is above `least`.
        least: above which a difference is called a gain.
        left_out: guests that are not in `guests`, since they lack one of the two.
    """

    setting: str
    baseline: str
    measure: str
    guests: "pl.DataFrame"
    mean: float
    low: float | None
    high: float | None
    share_gaining: float
    least: float
    left_out: int


@dataclass(frozen=True, eq=False)
class Fleet(Displayed, by="replay.fleets.display:fleet"):
    """Many guests under several settings.

    Attributes:
        guests: a row for each guest and setting: facts of the trace and the setting, `managed_bytes`,
            `compared` (the guest has every setting), then each measure of `docs/fleet.md`, null where there
            is nothing to say. Each trace is a guest.
        compared: the settings that are compared, in the order asked for, or of their policies.
        weights: how much a guest counts: "guests" (each alike), "memory" or "guest-hours" (memory x time).
        engine: that made the results.
        left_out: guests that lack a setting, and so are in no comparison.
        notes: what was left aside, and what to know of the intervals, a line each.
    """

    guests: "pl.DataFrame"
    compared: tuple[str, ...]
    weights: str
    engine: str
    left_out: int
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def count(self) -> int:
        """How many guests are compared."""
        return self._rows.height // len(self.compared)

    @cached_property
    def statistics(self) -> "pl.DataFrame":
        """A row for each setting and measure over the guests compared: `setting`, `measure`, `guests` (that
        have a value), weighted `mean`, its 95 % interval `low` and `high` (null of fewer than two guests) and
        the weighted quantiles `p5`, `p25`, `p50`, `p75`, `p95`.
        """
        return statistics(self._rows, self.compared, self._weights)

    @cached_property
    def settings(self) -> "pl.DataFrame":
        """The same by setting: `setting`, `policy`, `order` (null where guests differ), `guests`,
        then of each measure `MEASURE_mean`, `_low`, `_high`, `_p5` … `_p95`.
        """
        import polars as pl

        same = pl.when(pl.col("order").n_unique() == 1).then(pl.col("order").first()).alias("order")
        facts = self._rows.group_by("setting", maintain_order=True).agg(
            pl.col("policy").first(), same, guests=pl.len()
        )
        names = ("mean", "low", "high", *QUANTILES)
        wide = {
            f"{measure}_{name}": of[name]
            for measure in MEASURES
            for of in [self.statistics.filter(measure=measure)]
            for name in names
        }
        return facts.with_columns(pl.Series(name, values) for name, values in wide.items())

    def gains(
        self, setting: str, baseline: str, measure: str = "given_back_gib", least: float = 0.0
    ) -> Gains:
        """A setting against a baseline, guest by guest. `least`: above which a difference is a gain.

        Raises:
            Fault: for a setting or measure that is not there, and when no guest has both settings.
        """
        import polars as pl

        for each in (setting, baseline):
            _known("setting", each, self.guests["setting"].unique(maintain_order=True).to_list())
        _known("measure", measure, list(MEASURES))
        facts = ["guest", "address", "managed_bytes", "duration_s"]
        ours = self.guests.filter(setting=setting).select(*facts, setting=measure)
        theirs = self.guests.filter(setting=baseline).select("address", baseline=measure)
        both = ours.join(theirs, on="address", maintain_order="left").drop_nulls(["setting", "baseline"])
        if both.is_empty():
            raise Fault(f"{setting} and {baseline} cannot be compared", "no guest has both", _BATCH_MORE)
        weights, values = weights_of(both, self.weights), (both["setting"] - both["baseline"]).to_numpy()
        pairs = values[:, None]
        low, high = (None if np.isnan(end[0]) else float(end[0]) for end in intervals(pairs, weights))
        table = both.with_columns(difference=pl.Series(values), weight=pl.Series(weights))
        table = table.select("guest", "address", "weight", "baseline", "setting", "difference")
        return Gains(
            setting,
            baseline,
            measure,
            table.sort("difference", descending=True, maintain_order=True),
            float(means(pairs, weights)[0]),
            low,
            high,
            float((values > least).mean()),
            least,
            self.guests["address"].n_unique() - both.height,
        )

    @property
    def whole(self) -> bool:
        """Every trace compared is complete, and lost nothing."""
        return bool(self._rows["whole"].fill_null(value=False).all())

    def answer(self) -> dict[str, Any]:
        """What `pagetide report --json` prints of a batch: `fleet`, and a row of `statistics` each."""
        told = {
            "guests": self.count,
            "left_out": self.left_out,
            "settings": list(self.compared),
            "weights": self.weights,
            "engine": self.engine,
            "notes": list(self.notes),
        }
        return {"fleet": told, "statistics": self.statistics.to_dicts()}

    def weighted(self, weights: str) -> "Fleet":
        """The same guests with other weights.

        Raises:
            Fault: for weights that there are not.
        """
        _known("weights", weights, list(WEIGHTS))
        return replace(self, weights=weights)

    @cached_property
    def _rows(self) -> "pl.DataFrame":
        """Of the guests and settings compared, by guest."""
        return self.guests.filter(self.guests["compared"] & self.guests["setting"].is_in(self.compared))

    @cached_property
    def _weights(self) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        return weights_of(self._rows.gather_every(len(self.compared)), self.weights)


_BATCH_MORE = "batch them under the same settings"


def fleet(
    results: "str | Path | pl.LazyFrame", weights: str = GUESTS, *, settings: Sequence[str] = ()
) -> Fleet:
    """The guests of a batch, compared under its settings.

    Args:
        results: the folder or URL that `batch` wrote into, one Parquet file of it, or a frame of its rows.
        weights: how much a guest counts: "guests" (each alike), "memory" or "guest-hours" (memory x time).
        settings: those to compare; none: all there are. A guest that lacks one is in no comparison.

    Raises:
        Fault: when there are no results, they cannot be read or are of several options, no guest has all
            settings, and for weights or settings that there are not.
    """
    import polars as pl

    _known("weights", weights, list(WEIGHTS))
    rows, engine, notes = read(results)
    there = _in_order(rows)
    if isinstance(settings, str):
        raise Fault(f"settings={settings!r} is not possible", "it is a text", "give a list of settings")
    for each in settings:
        _known("setting", each, there)
    compared = tuple(dict.fromkeys(settings)) or tuple(there)
    lasting = rows.filter((pl.col("duration_s") > 0) & (pl.col("baseline_gib_min") > 0))
    if without := rows["address"].n_unique() - lasting["address"].n_unique():
        notes.append(f"{_guests(without)} left out: no time passed in the trace, or no memory is known of it")
    table = _table(lasting, compared)
    whole = table.filter("compared")["address"].n_unique()
    if not whole:
        raise _nobody(table, compared, without)
    left_out = table["address"].n_unique() - whole
    if left_out:
        notes.append(f"{_guests(left_out)} not compared: not replayed under all {len(compared)} settings")
    return Fleet(table, compared, weights, engine, left_out, (*notes, *_few(whole)))


def _table(rows: "pl.DataFrame", compared: Sequence[str]) -> "pl.DataFrame":
    """See `Fleet.guests`: by guest, each guest's settings in the order of those compared, others behind."""
    import polars as pl

    told = measured(rows)
    asked = pl.col("setting").is_in(list(compared))
    names = guest_names(told["address"].unique(maintain_order=True).to_list())
    place = {setting: at for at, setting in enumerate(compared)}
    return (
        told.with_columns(
            guest=pl.col("address").replace_strict(names, return_dtype=pl.String),
            compared=asked.sum().over("address") == len(compared),
            place=pl.col("setting").replace_strict(place, default=len(place), return_dtype=pl.Int64),
        )
        .sort("address", "place", maintain_order=True)
        .select(*FACTS, *MEASURES)
    )


def _in_order(rows: "pl.DataFrame") -> list[str]:
    """Settings as the policies come in the comparison, each policy's defaults first."""
    from replay.policies import registry

    places = {name: place for place, name in enumerate(registry())}
    told = rows.select("setting", "policy").unique().iter_rows()
    ranked = sorted((places.get(policy, len(places)), each.count("="), each) for each, policy in told)
    return [each for *_, each in ranked]


def _nobody(table: "pl.DataFrame", compared: Sequence[str], without: int) -> Fault:
    if table.is_empty():
        how = f"{_guests(without)} there, and in none of them time passed"
        return Fault("there is no guest to compare", how, "record each for a minute or more")
    rarest = min(compared, key=lambda setting: table.filter(setting=setting).height)
    how = f"{table['address'].n_unique():,} guests have some; the fewest, {rarest}"
    fix = "name those to compare: replay.fleet(…, settings=[…]); or batch all guests under the same"
    return Fault(f"no guest was replayed under all {len(compared)} settings", how, fix)


def _few(guests: int) -> list[str]:
    """What to know of intervals from so many guests."""
    if guests == 1:
        return ["one guest says nothing of others: there are no intervals"]
    if guests < FEW:
        return [f"{guests} guests are few: intervals from them are too narrow"]
    return []


def _guests(number: int) -> str:
    return f"{number:,} guest is" if number == 1 else f"{number:,} guests are"


def _known(what: str, value: str, there: Sequence[str]) -> None:
    """Refuse what is not there.

    Raises:
        Fault: saying what is.
    """
    if value not in there:
        some = ", ".join(there[:12]) + (", …" if len(there) > 12 else "")
        raise Fault(f"there is no {what} {value!r}", f"known: {some}", f"name one of these as the {what}")

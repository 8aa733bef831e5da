"""What measures are over guests: means with their intervals, and quantiles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.fleets.bootstrap import Floats, intervals, means
from replay.fleets.measures import GUEST_HOURS, MEASURES, MEMORY

if TYPE_CHECKING:
    import polars as pl

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def weights_of(guests: "pl.DataFrame", weights: str) -> Floats:
    """How much each guest counts, whatever the sum."""
    if weights == MEMORY:
        return guests["managed_bytes"].to_numpy()
    if weights == GUEST_HOURS:
        return (guests["managed_bytes"] * guests["duration_s"]).to_numpy()
    return np.ones(guests.height)


def matrix(rows: "pl.DataFrame", settings: Sequence[str], names: Sequence[str]) -> Floats:
    """Values by guest, setting and measure. `rows`: of guests that have all settings, by guest, and each
    guest's in the order of `settings`.
    """
    told = rows.select(names).to_numpy().astype(np.float64)
    return told.reshape(-1, len(settings), len(names))


def statistics(rows: "pl.DataFrame", settings: Sequence[str], weights: Floats) -> "pl.DataFrame":
    """See `Fleet.statistics`; `rows` as in `matrix`."""
    import polars as pl

    values = matrix(rows, settings, list(MEASURES)).reshape(len(weights), -1)
    low, high = intervals(values, weights)
    keys = [(setting, measure) for setting in settings for measure in MEASURES]
    columns: dict[str, Any] = {
        "setting": [setting for setting, _ in keys],
        "measure": [measure for _, measure in keys],
        "guests": (~np.isnan(values)).sum(axis=0),
        "mean": means(values, weights),
        "low": low,
        "high": high,
    }
    shares = np.array([quantiles(column, weights) for column in values.T])
    columns |= {name: shares[:, place] for place, name in enumerate(QUANTILES)}
    return pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))


def quantiles(values: Floats, weights: Floats) -> Floats:
    """The least value of a guest such that guests of that much weight have no more: no value is made up."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(QUANTILES), np.nan)
    shares = list(QUANTILES.values())
    return np.quantile(values[known], shares, weights=weights[known], method="inverted_cdf")

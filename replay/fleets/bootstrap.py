"""How far a mean over guests would move had other guests been recorded: a bootstrap over whole guests.

Guests are drawn with replacement, as many as there are; all columns see the same draws, so that what is
compared is compared on the same guests. The interval is bias-corrected and accelerated (BCa; Efron, "Better
bootstrap confidence intervals", 1987), since memory over a fleet is skewed.
"""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS, LEVEL, SEED = 2000, 0.95, 1
AT_ONCE = 1 << 20  # drawn guests in memory
SAME = 1e-12  # of a mean: replicates nearer than that are one number
_NORMAL = NormalDist()


def means(values: Floats, weights: Floats) -> Floats:
    """The weighted mean of each column of `values` (guests, columns) over the guests that have it; NaN of a
    column that none has.
    """
    known = ~np.isnan(values)
    return _ratio(weights @ np.where(known, values, 0), weights @ known)


def draws(guests: int, seed: int = SEED, times: int = DRAWS) -> Iterator[NDArray[np.int64]]:
    """Which guests are drawn: (some of `times`, guests) each, as many as fit into memory at once."""
    rng, rows = np.random.default_rng(seed), max(1, AT_ONCE // guests)
    for begin in range(0, times, rows):
        yield rng.integers(0, guests, (min(rows, times - begin), guests))


def replicates(values: Floats, weights: Floats, seed: int = SEED) -> Floats:
    """The mean of each column in each draw: (DRAWS, columns), NaN where no guest that has it was drawn."""
    known = ~np.isnan(values)
    masks, of_column = np.unique(known, axis=1, return_inverse=True)
    parts = np.concatenate([np.where(known, values, 0), masks], axis=1) * weights[:, None]
    told = []
    for drawn in draws(len(values), seed):
        rows, guests = drawn.shape
        places = drawn + guests * np.arange(rows)[:, None]
        times = np.bincount(places.ravel(), minlength=rows * guests).reshape(rows, guests)
        sums = times.astype(np.float64) @ parts
        told.append(_ratio(sums[:, : values.shape[1]], sums[:, values.shape[1] :][:, of_column.ravel()]))
    return np.concatenate(told)


def intervals(values: Floats, weights: Floats, seed: int = SEED) -> tuple[Floats, Floats]:
    """The lower and the upper end of each column's interval; NaN where fewer than two guests have a value."""
    low, high = np.full((2, values.shape[1]), np.nan)
    enough = np.flatnonzero((~np.isnan(values)).sum(axis=0) >= 2)
    if enough.size:
        values = values[:, enough]
        centres, drawn = means(values, weights), replicates(values, weights, seed)
        for place, column in enumerate(enough):
            ends = _ends(values[:, place], weights, centres[place], drawn[:, place])
            low[column], high[column] = ends
    return low, high


def _ends(values: Floats, weights: Floats, centre: float, drawn: Floats) -> tuple[float, float]:
    """BCa: percentiles, moved by how far the replicates lie beside the mean and how skewed guests are."""
    drawn = drawn[~np.isnan(drawn)]
    if np.ptp(drawn) <= SAME * abs(centre):
        return centre, centre
    below = ((drawn < centre).sum() + (drawn <= centre).sum()) / 2 / drawn.size
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / drawn.size), 1 - 0.5 / drawn.size))
    skew = _acceleration(values, weights)
    shares = []
    for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        moved = bias + _NORMAL.inv_cdf(share)
        shares.append(_NORMAL.cdf(bias + moved / max(1 - skew * moved, SAME)))
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)


def _acceleration(values: Floats, weights: Floats) -> float:
    """From the means without each guest in turn."""
    known = ~np.isnan(values)
    values, weights = values[known], weights[known]
    without = (weights @ values - weights * values) / (weights.sum() - weights)
    apart = without.mean() - without
    spread = float((apart**2).sum())
    return float((apart**3).sum()) / (6 * spread**1.5) if spread else 0.0


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(wholes > 0, parts / np.where(wholes > 0, wholes, 1), np.nan)

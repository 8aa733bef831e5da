"""The Pareto front: the settings than which no other is better in all that counts.

Exactly by the numbers of the table, without a tolerance. A setting that reported nothing has no latency:
it counts as later than any that reported.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Column of the table -> whether more of it is better.
OBJECTIVES = {"latency_mean_s": False, "reclaimed_byte_seconds": True, "refaults_bytes": False}


def objectives(summary: dict[str, Any]) -> tuple[float, float, float]:
    """Of a setting's summary: mean latency, reclaimed byte seconds negated, refaulted bytes; the less
    the better.
    """
    mean_s = summary["latency_s"]["mean"]
    return (
        math.inf if mean_s is None else mean_s,
        -summary["reclaimed"]["byte_seconds"],
        summary["refaults"]["bytes"],
    )


def front(points: Sequence[tuple[float, float, float]]) -> list[bool]:
    """Which points no other dominates: as low in each number, and lower in one. Equal points do not
    dominate each other.
    """
    if not points:
        return []
    table = np.array(points, np.float64)
    return [not ((table <= point).all(axis=1) & (table < point).any(axis=1)).any().item() for point in table]

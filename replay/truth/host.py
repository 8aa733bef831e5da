"""The host's memory over time beside the model's: `reclaimed` is what the host should have less."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from replay.truth.file import Truth
from replay.truth.matching import in_passes, nearest, passes_of
from replay.truth.predicted import Predicted

SETTLED_NS = 2_500_000_000  # so long nothing was reported: a pass would have been


@dataclass(frozen=True)
class HostMemory:
    """How well memory over time and pass by pass was predicted.

    Attributes:
        anchor_s: from when on changes are compared: nothing had been reported for 2.5 s; None: never.
        most_off_bytes: the largest difference of the changes since then, between passes.
        off_share: the same as a share of the guest's memory.
        passes: passes of which the host's memory was measured before and after.
        passes_within: of them those whose drop is what the model newly reclaimed, to 1 %.
        drop_bytes, new_bytes: of all of them together, what the host had less and the model newly reclaimed.
        discarded_bytes: what was reported in them.
    """

    anchor_s: float | None
    most_off_bytes: int | None
    off_share: float | None
    passes: int
    passes_within: int
    drop_bytes: int
    new_bytes: int
    discarded_bytes: int


def host_memory(truth: Truth, predicted: Predicted, reports: pl.DataFrame) -> HostMemory | None:
    """None when the host's memory was not measured. `reports`: the model's (`Predicted.reports`)."""
    if not len(truth.resident):
        return None
    anchor_ns = _anchor(truth, predicted)
    most = None if anchor_ns is None else _most_off(truth, predicted, reports, anchor_ns)
    geometry = predicted.run.group.geometry
    managed = sum(zone.managed for zone in geometry.zones) * geometry.page_size
    drops = _drops(truth, reports, geometry.page_size)
    return HostMemory(
        anchor_s=None if anchor_ns is None else (anchor_ns - predicted.begin_ns) / 1e9,
        most_off_bytes=most,
        off_share=None if most is None else most / managed,
        passes=len(drops),
        passes_within=sum(abs(drop - new) <= 0.01 * max(new, 1) for drop, new, _ in drops),
        drop_bytes=sum(drop for drop, _, _ in drops),
        new_bytes=sum(new for _, new, _ in drops),
        discarded_bytes=sum(discarded for _, _, discarded in drops),
    )


def _anchor(truth: Truth, predicted: Predicted) -> int | None:
    """The first instant before which nothing was reported for `SETTLED_NS`."""
    instants = [predicted.begin_ns, *truth.ranges["ts_ns"].to_list(), predicted.end_ns]
    for before, after in pairwise(instants):
        if after - before >= SETTLED_NS:
            return int(before + SETTLED_NS)
    return None


def _most_off(truth: Truth, predicted: Predicted, reports: pl.DataFrame, anchor_ns: int) -> int | None:
    """The largest difference between the change of the host's memory and that of the model's, at instants
    at which no pass was under way.
    """
    instants, reclaimed = predicted.reclaimed
    at_ns, resident = (truth.resident[name].to_numpy() for name in ("ts_ns", "resident_bytes"))
    inside = (instants >= max(anchor_ns, int(at_ns[0]))) & (instants <= at_ns[-1])
    instants, reclaimed = instants[inside], reclaimed[inside]
    last = np.searchsorted(at_ns, instants, "right") - 1
    still = np.ones(len(instants), np.bool_)
    for begin_ns, end_ns in _under_way(truth, reports):
        still &= (instants < begin_ns) | (at_ns[last] > end_ns)
    if not still.any():
        return None
    seen, told = resident[last][still], reclaimed[still]
    return int(np.abs((seen - seen[0]) + (told - told[0])).max())


def _under_way(truth: Truth, reports: pl.DataFrame) -> list[tuple[int, int]]:
    """From the beginning to the end of each pass; of one that both have, to the later end of both."""
    seen, told = passes_of(in_passes(truth.ranges)), passes_of(reports)
    spans = [
        list(zip(passes["begin_ns"].to_list(), passes["end_ns"].to_list(), strict=True))
        for passes in (seen, told)
    ]
    pairs = nearest(seen["begin_ns"].to_numpy(), told["begin_ns"].to_numpy())
    both = [(spans[0][one], spans[1][other]) for one, other in pairs]
    return [*spans[0], *spans[1], *((min(a[0], b[0]), max(a[1], b[1])) for a, b in both)]


def _drops(truth: Truth, reports: pl.DataFrame, page_size: int) -> list[tuple[int, int, int]]:
    """For each pass: bytes that the host had less after it, that the model newly reclaimed in it, and that
    the host discarded.
    """
    at_ns, resident = (truth.resident[name].to_numpy() for name in ("ts_ns", "resident_bytes"))
    ranges = in_passes(truth.ranges)
    seen, told = passes_of(ranges), passes_of(reports)
    new = dict(reports.group_by("pass").agg(pl.col("new_bytes").sum()).rows())
    discarded = dict(ranges.group_by("pass").agg(pl.col("pages").sum() * page_size).rows())
    found = []
    for one, other in nearest(seen["begin_ns"].to_numpy(), told["begin_ns"].to_numpy()):
        before = int(np.searchsorted(at_ns, seen["begin_ns"][one], "left")) - 1
        after = int(np.searchsorted(at_ns, seen["end_ns"][one], "right"))
        if before >= 0 and after < len(at_ns):
            drop = int(resident[before] - resident[after])
            found.append((drop, int(new[told["pass"][other]]), int(discarded[seen["pass"][one]])))
    return found

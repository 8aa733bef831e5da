"""Where the model leaves the kernel's counts, zone by zone, and what is behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from replay.counting import SAMPLE, Counted
from tracer import Trace

# What is behind a divergence: the first that holds of what happened since the reading before.
CAUSES = {
    "loss": "events were lost",
    "limbo": "the guest's own reporting, or another isolation, holds large blocks for a moment",
    "isolation": "compaction took free pages, and not all of them are known",
    "impossible": "a step was impossible: one before it was not seen",
    "unseen": "nothing in the trace tells",
}
# A zone's sample is judged when the zone had at least this many events since the one before it.
JUDGED_STEPS = 100


@dataclass(frozen=True)
class Divergence:
    """Samples in a row at which a zone's counts were wrong by the same blocks.

    Attributes:
        right_ns: the last reading before it, or where the model began.
        from_ns: the first that was wrong. until_ns: the first after it, None: there is none.
        samples: how many were wrong.
        difference: blocks by order that the model had too many (below zero: too few).
    """

    zone: int
    right_ns: int
    from_ns: int
    until_ns: int | None
    samples: int
    cause: str
    difference: list[int]


@dataclass(frozen=True)
class Drift:
    """All readings of one stretch in which the model was never corrected.

    Attributes:
        begin_ns: where the model began.
        counted: by time.
    """

    trace: Trace
    begin_ns: int
    counted: list[Counted]

    @property
    def samples(self) -> list[Counted]:
        """The samples, without the snapshot's own reading."""
        return [each for each in self.counted if each.reading.name == SAMPLE]

    @property
    def judged(self) -> list[Counted]:
        """The samples of zones in which something happened since the one before."""
        return [each for each in self.samples if each.steps >= JUDGED_STEPS]

    @cached_property
    def divergences(self) -> list[Divergence]:
        """In order of time."""
        zones = sorted({each.zone for each in self.counted})
        found = [each for zone in zones for each in self._of_zone(zone)]
        return sorted(found, key=lambda each: each.from_ns)

    def _of_zone(self, zone: int) -> Iterable[Divergence]:
        """A divergence for each change of what is wrong."""
        readings = [each for each in self.counted if each.zone == zone]
        runs = [list(run) for _, run in groupby(readings, key=lambda each: tuple(each.difference))]
        before = [None, *(run[-1] for run in runs)]
        after = [*(run[0].reading.begin_ns for run in runs[1:]), None]
        for run, last, until_ns in zip(runs, before, after, strict=False):
            if not run[0].wrong:
                continue
            yield Divergence(
                zone=zone,
                right_ns=last.reading.end_ns if last else self.begin_ns,
                from_ns=run[0].reading.begin_ns,
                until_ns=until_ns,
                samples=len(run),
                cause=self._cause(last, run[0]),
                difference=run[0].difference.tolist(),
            )

    def _cause(self, last: Counted | None, first: Counted) -> str:
        """What is behind the change from one reading of a zone to the next."""
        since_ns = last.reading.end_ns if last else self.begin_ns
        for loss in self.trace.losses:
            if loss.events and loss.end_ns >= since_ns and loss.begin_ns <= first.reading.end_ns:
                return "loss"
        if _held(first, last, self._reporting_order):
            return "limbo"
        if first.isolations:
            return "isolation"
        return "impossible" if first.impossible else "unseen"

    @property
    def _reporting_order(self) -> int:
        guest, order = self.trace.manifest.guest, self.trace.manifest.reporting.order
        return guest.pageblock_order if order is None else min(order, guest.pageblock_order)


def _held(counted: Counted, last: Counted | None, order: int) -> bool:
    """Do the kernel's lists lack whole blocks of at least this order, and is nothing else new?"""
    difference = counted.difference
    news = difference - last.difference if last else difference
    frames = int((difference[order:] << np.arange(order, len(difference))).sum())
    return not news[:order].any() and frames > 0


def to_json(drift: Drift, first_ns: int, zones: list[str]) -> dict[str, Any]:
    """One stretch for `validate --json`."""
    judged = drift.judged
    return {
        "judged": len(judged),
        "right": sum(not each.wrong for each in judged),
        "divergences": [
            {
                "zone": zones[each.zone],
                "right_s": (each.right_ns - first_ns) / 1e9,
                "from_s": (each.from_ns - first_ns) / 1e9,
                "until_s": None if each.until_ns is None else (each.until_ns - first_ns) / 1e9,
                "samples": each.samples,
                "cause": each.cause,
                "difference": each.difference,
            }
            for each in drift.divergences
        ],
    }

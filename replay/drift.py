"""Where the model leaves the kernel's counts, zone by zone, and what is behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from replay.counting import SAMPLE, Counted
from tracer import Trace

# What is behind a divergence, the first that holds.
CAUSES = {
    "loss": "events were lost",
    "limbo": "the guest's own reporting, or another isolation, holds large blocks for a moment",
    "isolation": "compaction took free pages; its tracepoints tell ranges, not blocks",
    "impossible": "a step was impossible: one before it was not seen",
    "unseen": "nothing in the trace tells",
}
# A zone's sample is judged when the zone had at least this many events since the one before it.
JUDGED_STEPS = 100


@dataclass(frozen=True)
class Divergence:
    """A stretch of samples in a row at which a zone's counts were wrong.

    Attributes:
        right_ns: the last sample that was right before, or where the model began.
        from_ns: the first that was wrong. until_ns: the first that was right again, None: none was.
        samples: how many were wrong.
        difference: blocks by order that the model had too many (below zero: too few) at the first.
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

    @property
    def divergences(self) -> list[Divergence]:
        """In order of time."""
        zones = sorted({each.zone for each in self.counted})
        found = [each for zone in zones for each in self._of_zone(zone)]
        return sorted(found, key=lambda each: each.from_ns)

    def _of_zone(self, zone: int) -> Iterable[Divergence]:
        right_ns, wrong = self.begin_ns, list[Counted]()
        for each in [each for each in self.counted if each.zone == zone]:
            if each.wrong:
                wrong.append(each)
                continue
            if wrong:
                yield self._divergence(right_ns, wrong, each.reading.begin_ns)
            right_ns, wrong = each.reading.end_ns, []
        if wrong:
            yield self._divergence(right_ns, wrong, None)

    def _divergence(self, right_ns: int, wrong: list[Counted], until_ns: int | None) -> Divergence:
        first = wrong[0]
        return Divergence(
            zone=first.zone,
            right_ns=right_ns,
            from_ns=first.reading.begin_ns,
            until_ns=until_ns,
            samples=len(wrong),
            cause=self._cause(right_ns, first),
            difference=first.difference.tolist(),
        )

    def _cause(self, right_ns: int, first: Counted) -> str:
        for loss in self.trace.losses:
            if loss.events and loss.end_ns >= right_ns and loss.begin_ns <= first.reading.end_ns:
                return "loss"
        if _held(first, self._reporting_order):
            return "limbo"
        if first.isolations:
            return "isolation"
        return "impossible" if first.impossible else "unseen"

    @property
    def _reporting_order(self) -> int:
        guest, order = self.trace.manifest.guest, self.trace.manifest.reporting.order
        return guest.pageblock_order if order is None else min(order, guest.pageblock_order)


def _held(counted: Counted, order: int) -> bool:
    """Do the kernel's lists lack whole blocks of at least this order, and nothing else?"""
    difference = counted.difference
    frames = int((difference << np.arange(len(difference))).sum())
    return not difference[:order].any() and frames > 0


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

"""The project's conscience: the model against what the kernel said, at every snapshot of a trace and
at every sample.

Between two snapshots the model lives on its own, restarted from the first of them, so that each
interval stands alone: what was lost in one does not spoil the next.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from replay.buddy.ops import meaning_of
from replay.buddy.searches import Taken
from replay.comparison import Comparison, Interval, Subject
from replay.counting import Counted, sample_readings
from replay.device import Device
from replay.drift import JUDGED_STEPS, Drift, to_json
from replay.geometry import Geometry
from replay.limits import limits
from replay.listing import Listed, listings
from replay.policies import parse
from replay.start import refuse_filtered
from replay.stretches import pieces, snapshots_of
from replay.survey import Survey
from replay.truth.accuracy import Accuracy, accuracy
from tracer import Displayed, Fault, Snapshot, Trace

_SUMS = ("steps", "exit_of_used", "entry_of_free", "outside", "unknown_ops")


@dataclass(frozen=True)
class Verdict(Displayed, by="replay.report.display:verdict"):
    """How right the model is.

    Attributes:
        trace: what was validated.
        comparisons: one per snapshot after the first, in order.
        listed: the free lists beside those read at the end, by zone and order; empty where none were.
        direct_frees: frees that the trace as a whole shows to have gone straight into the buddy.
        taken: blocks that compaction took, as its searches tell.
        warnings: what limits the comparison.
        truth: what the guest's own reporting was predicted to do beside what a host says; None: not asked.
    """

    trace: Trace
    comparisons: list[Comparison]
    listed: list[Listed]
    direct_frees: int
    taken: Taken
    warnings: list[str]
    truth: Accuracy | None = None

    @property
    def last(self) -> Comparison:
        """The comparison with the last snapshot: the end, where there is one."""
        return self.comparisons[-1]

    @property
    def snapshot(self) -> Snapshot:
        """The last snapshot."""
        return self.last.snapshot

    @property
    def orders(self) -> list[Counted]:
        """Free blocks by order at the last snapshot, per zone."""
        return self.last.orders

    @property
    def zones(self) -> list[str]:
        """Names of the zones that `Counted.zone` numbers."""
        return [f"{zone.node}/{zone.name}" for zone in self.trace.zones]

    @cached_property
    def drifts(self) -> list[Drift]:
        """The samples, stretch by stretch: the model is corrected in between only."""
        return [Drift(self.trace, each.before.end_ns, each.counted) for each in self.comparisons]

    @property
    def judged(self) -> list[Counted]:
        """Samples of zones with at least `JUDGED_STEPS` events since the one before."""
        return [each for drift in self.drifts for each in drift.judged]

    @property
    def right(self) -> int:
        """How many of the judged are right."""
        return sum(not each.wrong for each in self.judged)

    @property
    def fidelity(self) -> dict[str, int]:
        """The counts of `replay --json`'s fidelity, all filled: steps of all intervals, frames and
        orders of the last comparison, and in `frames_corrected` what was wrong at those before.
        """
        corrected = sum(each.counts["frames_wrong"] for each in self.comparisons[:-1])
        steps = {name: sum(each.counts[name] for each in self.comparisons) for name in _SUMS}
        last = {name: count for name, count in self.last.counts.items() if name not in _SUMS}
        orders = {name: last.pop(name) for name in ("orders_checked", "orders_wrong")}
        told = {"direct_frees": self.direct_frees, "lost_events": self.trace.manifest.lost}
        return {**steps, **told, **last, "frames_corrected": corrected, **orders}

    @property
    def wrong_share(self) -> float:
        """Frames wrong at the end as a share of the frames that changed."""
        return self.last.wrong_share

    @property
    def impossible_share(self) -> float:
        """Impossible steps as a share of all steps."""
        impossible = self.fidelity["exit_of_used"] + self.fidelity["entry_of_free"]
        return impossible / max(self.fidelity["steps"], 1)

    def to_json(self) -> dict[str, Any]:
        """What `pagetide validate --json` prints."""
        return {
            "trace": str(self.trace.place),
            "fidelity": self.fidelity,
            "snapshots": [self._snapshot_json(each) for each in self.comparisons],
            "samples": [self._sample_json(each) for drift in self.drifts for each in drift.samples],
            "lists": self.lists,
            "drift": [to_json(drift, self.trace.span_ns[0], self.zones) for drift in self.drifts],
            "compaction": {"blocks": len(self.taken.rows), "unclear": self.taken.unclear},
            "truth": self.truth and self.truth.to_json(),
            "warnings": self.warnings,
        }

    @property
    def lists(self) -> dict[str, int] | None:
        """Blocks on the lists at the end: compared, on another list, out of order. None: not read."""
        if not self.listed:
            return None
        names = ("compared", "elsewhere", "out_of_order")
        return {name: sum(getattr(each, name) for each in self.listed) for name in names}

    def _snapshot_json(self, found: Comparison) -> dict[str, Any]:
        return {
            "name": found.snapshot.name,
            "since": found.before.name,
            "time_s": (found.snapshot.end_ns - self.trace.span_ns[0]) / 1e9,
            **{name: found.counts[name] for name in found.counts if name.startswith(("frames_", "orders_"))},
            "frames_wrong_share": found.wrong_share,
            "frames_wrong_by_cause": found.wrong_by_cause,
            "impossible_share": found.impossible_share,
            "types_guessed": [price and asdict(price) for price in found.prices],
            "zones": [self._zone_json(each) for each in found.orders],
        }

    def _zone_json(self, found: Counted) -> dict[str, Any]:
        zone = self.trace.zones[found.zone]
        counts = {"model": found.model.tolist(), "kernel": found.kernel.tolist()}
        return {"node": zone.node, "zone": zone.name, **counts}

    def _sample_json(self, found: Counted) -> dict[str, Any]:
        zone = self.trace.zones[found.zone]
        return {
            "time_s": (found.reading.begin_ns - self.trace.span_ns[0]) / 1e9,
            "node": zone.node,
            "zone": zone.name,
            "steps": found.steps,
            "impossible": found.impossible,
            "isolations": found.isolations,
            "judged": found.steps >= JUDGED_STEPS,
            "orders_wrong": found.wrong,
            "difference": found.difference.tolist() if found.wrong else None,
        }


def validate(
    trace: Trace, truth: Path | None = None, policy: str | None = None, device: Device | None = None
) -> Verdict:
    """Compare the model with every snapshot after the first, and with the samples in between.

    Args:
        trace: an open trace (`tracer.open_trace`).
        truth: a file that tells what a host really got back (docs/truth.md), to be compared with what the
            guest's own reporting must have done.
        policy: the guest's own, `NAME` or `NAME:key=value,…`; by default that of a stock kernel.
        device: to which it reported; by default one that takes 0.6 ms a call.

    Raises:
        Fault: when the trace has no two snapshots, was filtered, or cannot be read; or the truth cannot.
    """
    refuse_filtered(trace)
    setting = None if policy is None else parse(policy, trace.manifest.guest)
    found = None if truth is None else accuracy(trace, truth, setting, device)
    if not trace.manifest.snapshots and trace.rows:
        raise Fault(
            f"the trace {trace.place} has no end snapshot and no other: there is nothing to compare with",
            "its frames were never read: an import tells of events only (manifest.json: snapshots)",
            "record the guest with pagetide record",
        )
    end = trace.manifest.snapshot("end")
    shots = [*snapshots_of(trace), *([end] if end else [])]
    if len(shots) < 2:
        trace.frames("end")  # says which one is missing
        trace.frames("start")
    geometry, meaning = Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace, own_reporting=True)
    survey = Survey.of(trace, geometry, meaning)
    subject = Subject(trace, survey, geometry, meaning, list(sample_readings(trace)))
    intervals = [Interval(subject, before, after) for before, after in pairwise(shots)]
    cuts = [instant for interval in intervals for instant in interval.instants]
    for until_ns, columns in pieces(survey.batches(), cuts):
        for interval in intervals:
            interval.feed(until_ns, columns)
    comparisons = [interval.finish() for interval in intervals]
    listed = list(listings(survey, meaning))
    caveats = _caveats(trace, shots, survey.taken)
    return Verdict(trace, comparisons, listed, len(survey.direct), survey.taken, caveats, found)


def _caveats(trace: Trace, shots: list[Snapshot], taken: Taken) -> list[str]:
    """What the comparison cannot see, and where events are missing."""
    caveats = [*trace.warnings, *limits(trace)]
    for before, after in pairwise(shots):
        lost = sum(
            loss.events
            for loss in trace.losses
            if loss.end_ns > before.begin_ns and loss.begin_ns < after.end_ns
        )
        if lost:
            caveats.append(f"up to {lost:,} events were lost between {before.name} and {after.name}")
    if taken.unclear:
        caveats.append(f"{taken.unclear:,} searches of compaction fit no state of memory")
    return caveats

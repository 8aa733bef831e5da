"""How right the prediction was: reports, passes, batches, the heads left flagged, the host's memory."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from replay.buddy.frames import Frames
from replay.device import Device
from replay.policies.protocol import Setting
from replay.truth.file import Truth, read_truth
from replay.truth.host import HostMemory, host_memory
from replay.truth.matching import frames_of, in_passes, nearest, passes_of, same_batches, same_ranges
from replay.truth.predicted import Predicted, predict
from tracer import Fault, Trace

QUANTILES = {"p50": 0.5, "p90": 0.9, "max": 1.0}


@dataclass(frozen=True)
class Errors:
    """Absolute differences of times in seconds; None where there are none."""

    p50: float | None
    p90: float | None
    max: float | None

    @classmethod
    def of(cls, error_ns: "np.ndarray[Any, np.dtype[np.int64]]") -> "Errors":
        """From signed differences."""
        if not len(error_ns):
            return cls(None, None, None)
        return cls(*(float(np.quantile(np.abs(error_ns), share)) / 1e9 for share in QUANTILES.values()))


@dataclass(frozen=True)
class Found:
    """Things that the truth has, that were predicted, and that are the same in both."""

    truth: int
    predicted: int
    same: int

    @property
    def recall(self) -> float | None:
        """Share of the truth that was predicted."""
        return self.same / self.truth if self.truth else None

    @property
    def precision(self) -> float | None:
        """Share of what was predicted that is true."""
        return self.same / self.predicted if self.predicted else None

    def to_json(self) -> dict[str, Any]:
        """With both shares."""
        return {**asdict(self), "recall": self.recall, "precision": self.precision}


@dataclass(frozen=True)
class Accuracy:
    """Each is defined in `docs/truth.md`.

    Attributes:
        followed: did the model follow the instants at which the guest's own reporting worked?
        reports: ranges of the same pfn and pages, within a second.
        frames: distinct frames in any report.
        batches: report calls with the same members in the same order.
        same_members: of those of the truth, the ones with the same members in any order.
        heads: of reported blocks in the end snapshot; None when there is none.
        redundant_bytes: predicted to be told again although the host lacked them.
        took_heads: share of the blocks that allocations broke which were the heads of the model's lists.
    """

    file: Path
    setting: Setting
    followed: bool
    reports: Found
    frames: Found
    time_error: Errors
    passes: Found
    pass_error: Errors
    batches: Found
    same_members: int
    heads: Found | None
    redundant_bytes: int
    took_heads: float | None
    host: HostMemory | None

    def to_json(self) -> dict[str, Any]:
        """What `pagetide validate --truth --json` prints under `truth`."""
        return {
            "file": str(self.file),
            "policy": self.setting.policy.name,
            "params": self.setting.written,
            "followed": self.followed,
            "reports": self.reports.to_json(),
            "frames": self.frames.to_json(),
            "time_error_s": asdict(self.time_error),
            "passes": self.passes.to_json(),
            "pass_error_s": asdict(self.pass_error),
            "batches": {**self.batches.to_json(), "same_members": self.same_members},
            "heads": self.heads and self.heads.to_json(),
            "redundant_bytes": self.redundant_bytes,
            "took_heads": self.took_heads,
            "host": self.host and asdict(self.host),
        }


def accuracy(
    trace: Trace, path: Path, setting: Setting | None = None, device: Device | None = None
) -> Accuracy:
    """Replay the guest's own reporting and hold it against a truth file. `setting`: see `predict`.

    Raises:
        Fault: for a trace or a file that cannot be read, or that have no time in common.
    """
    last = max(zone.end_pfn for zone in trace.zones)
    told = read_truth(path, last)
    predicted = predict(trace, setting, device)
    truth = told.between(predicted.begin_ns, predicted.end_ns)
    refuse_strangers(told, predicted)
    reports = predicted.reports
    pairs = same_ranges(truth.ranges, reports)
    passes, pass_error = _passes(truth.ranges, reports)
    batches, same_members, in_order = same_batches(truth.ranges, reports)
    meters = predicted.run.schedule.state.meters[0]
    return Accuracy(
        path,
        predicted.run.setting,
        predicted.followed,
        Found(len(truth.ranges), len(reports), len(pairs)),
        _frames(truth.ranges, reports, last),
        Errors.of(_call_errors(pairs, truth.ranges, reports)),
        passes,
        pass_error,
        Found(batches, reports["batch"].n_unique(), in_order),
        same_members,
        _heads(trace, predicted, told.ranges),
        int(meters["redundant"]) * predicted.run.group.geometry.page_size,
        predicted.took_heads,
        host_memory(truth, predicted, reports),
    )


def _call_errors(
    pairs: pl.DataFrame, truth: pl.DataFrame, reports: pl.DataFrame
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Of each pair: from the first range of the host's call to the model's handing its call over."""
    first = truth.select(pl.col("ts_ns").first().over("batch")).to_series().to_numpy()
    return reports["begin_ns"].to_numpy()[pairs["predicted"].to_numpy()] - first[pairs["truth"].to_numpy()]


def _frames(truth: pl.DataFrame, reports: pl.DataFrame, frames: int) -> Found:
    one, other = frames_of(truth, frames), frames_of(reports, frames)
    return Found(int(one.sum()), int(other.sum()), int((one & other).sum()))


def _passes(truth: pl.DataFrame, reports: pl.DataFrame) -> tuple[Found, Errors]:
    seen, told = passes_of(in_passes(truth)), passes_of(reports)
    begins, predicted = seen["begin_ns"].to_numpy(), told["begin_ns"].to_numpy()
    pairs = nearest(begins, predicted)
    error_ns = np.array([predicted[other] - begins[one] for one, other in pairs], np.int64)
    return Found(len(seen), len(told), len(pairs)), Errors.of(error_ns)


def _heads(trace: Trace, predicted: Predicted, truth: pl.DataFrame) -> Found | None:
    """Of blocks to which nothing happened since the end snapshot began to be read, nor to a neighbour that
    they might merge with: nothing until the trace ends, as the model's flags are those of then.
    """
    shot = trace.manifest.snapshot("end")
    if shot is None:
        return None
    geometry = predicted.run.group.geometry
    late = _named(trace, geometry.frames).filter(pl.col("ts_ns") >= shot.begin_ns).collect()
    moved = frames_of(late, geometry.frames)
    for ranges in (truth, predicted.log):
        moved |= frames_of(ranges.filter(pl.col("ts_ns") >= shot.begin_ns), geometry.frames)
    largest = np.flatnonzero(moved) >> geometry.max_order  # the blocks of that order that they are in
    heads = Frames.of(trace.frames("end"), geometry.frames).reported_heads, predicted.reported_heads
    seen, told = (pfns[~np.isin(pfns >> geometry.max_order, largest)] for pfns in heads)
    return Found(len(seen), len(told), len(np.intersect1d(seen, told)))


def _named(trace: Trace, frames: int) -> pl.LazyFrame:
    """Which frames each event names: `ts_ns`, `pfn`, `pages`."""
    first, order = (pl.col(name).cast(pl.Int64) for name in ("pfn", "order"))
    named = trace.events.select("ts_ns", first, (pl.lit(2, pl.Int64) ** order).alias("pages"))
    return named.filter(pl.col("pfn") + pl.col("pages") <= frames)


def refuse_strangers(told: Truth, predicted: Predicted) -> None:
    """Refuse a truth that says nothing of the time of the trace: another guest's, or another clock's.

    Raises:
        Fault: with both spans.
    """
    first, last = _span(told)
    if first is None or last is None or last <= predicted.begin_ns or first > predicted.end_ns:
        begin, end = predicted.begin_ns / 1e9, predicted.end_ns / 1e9
        span = "nothing" if first is None or last is None else f"{first / 1e9:.3f} s to {last / 1e9:.3f} s"
        raise Fault(
            f"{told.path} is not the truth about this trace",
            f"it tells of {span}, the trace of {begin:.3f} s to {end:.3f} s",
            "its times must be the guest's CLOCK_MONOTONIC in ns (docs/truth.md)",
        )


def _span(told: Truth) -> tuple[int | None, int | None]:
    times = [*told.ranges["ts_ns"].to_list(), *told.resident["ts_ns"].to_list()]
    return (min(times), max(times)) if times else (None, None)

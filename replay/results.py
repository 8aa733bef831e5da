"""The answer of one replayed setting, as numbers for JSON and as frames for notebooks.

`Result.summary` has the keys of `pagetide replay --json`; each is defined in `docs/metrics.md`.
Nothing is NaN: where there is nothing to say, a field is None.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy import memory
from replay.composition import Composition
from replay.costs import Costs, Counts, cost_s
from replay.engine import Run
from replay.exact import SECOND_NS, bucket_bounds_ns, byte_seconds
from replay.state import (
    BY_CENSORING,
    BY_LATENCY,
    BY_MISS,
    HELD_FRAMES,
    LATENCY,
    METERS,
    RECLAIMED,
)
from tracer import Displayed

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

GIB_MINUTE = (1 << 30) * 60
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
INCIDENCE_AT_S = (
    0.001,
    0.01,
    0.1,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    3600.0,
)
WORK = METERS.names[METERS.names.index("entries_walked") : METERS.names.index("backdated")]  # type: ignore[index,union-attr] # a structured dtype has names


@dataclass(frozen=True)
class Result(Displayed, by="replay.report.display:result"):
    """One setting's answer. Sizes in bytes, times in seconds from the start of the replay.

    Attributes:
        run: what the engine left behind.
        oracle_byte_seconds: what the ceiling reclaimed at the same order, None when it was not run.
        costs: what a unit of work costs.
    """

    run: Run
    oracle_byte_seconds: float | None = None
    costs: Costs = field(default_factory=Costs)

    @property
    def policy(self) -> str:
        """The policy's name."""
        return self.run.setting.policy.name

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters, as a user writes them."""
        return self.run.setting.written

    @property
    def imposes(self) -> dict[str, int]:
        """What the policy takes besides its work, in numbers by name."""
        return dict(self.run.schedule.program.imposes)

    @property
    def notes(self) -> list[str]:
        """What this result does not show because the trace does not tell it, a line each."""
        return list(self.run.notes)

    @property
    def reclaimed_byte_seconds(self) -> float:
        """Integral over time of the bytes the host does not back because of a report."""
        return byte_seconds(self._integrals, RECLAIMED, self._page)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every metric, as `pagetide replay --json` prints it (docs/metrics.md)."""
        m, page = self._meters, self._page
        return {
            "policy": self.policy,
            "params": self.params,
            "page_size": self._page,
            "latency_s": self._latency(),
            "incidence": self._incidence(),
            "left_censored_bytes": int(m["left_censored"]) * page,
            "missed": {"units": int(m["missed_units"]), "bytes": int(m["missed_frames"]) * page},
            "unreported_end_bytes": self.run.schedule.waiting_frames * page,
            "reports": {
                "passes": int(m["passes"]),
                "calls": int(m["calls"]),
                "failed": int(m["failed_calls"]),
                "blocks": int(m["blocks"]),
                "bytes": int(m["frames"]) * page,
                "redundant_bytes": int(m["redundant"]) * page,
                "acknowledged_only_bytes": int(m["acknowledged_only"]) * page,
            },
            "reclaimed": self._reclaimed(),
            "unreclaimed": self._unreclaimed(),
            "refaults": {
                "faults": int(m["faults"]),
                "frames": int(m["refaults"]),
                "bytes": int(m["refaults"]) * page,
            },
            "free": self._free(),
            "footprint_gib_min": (self._managed - self.reclaimed_byte_seconds) / GIB_MINUTE,
            "baseline_gib_min": self._managed / GIB_MINUTE,
            "held_frame_seconds": byte_seconds(self._integrals, HELD_FRAMES, 1),
            "collisions": {
                "blocks": int(m["collisions"]),
                "bytes": int(m["collision_frames"]) * page,
            },
            "divergence": int(m["broken_not_head"]) / int(m["broken"]) if m["broken"] else None,
            "work": self._work(),
            "imposes": self.imposes,
            "notes": self.notes,
            "cost_s": cost_s(self.costs, self._counts()),
        }

    @cached_property
    def latency(self) -> "pl.DataFrame":
        """What became of waiting bytes, by how long they had waited (buckets 1/1024 wide): `lower_s`,
        `upper_s`, `reported_bytes`, `missed_bytes`, `waiting_bytes` (still so at the end, or told
        to a host that does nothing).
        """
        import polars as pl

        histograms = self.run.schedule.state.histograms
        used = np.flatnonzero(histograms.any(axis=0))
        lower, width = bucket_bounds_ns()
        return pl.DataFrame(
            {
                "lower_s": lower[used] / SECOND_NS,
                "upper_s": (lower[used] + width[used]) / SECOND_NS,
                "reported_bytes": histograms[BY_LATENCY, used] * self._page,
                "missed_bytes": histograms[BY_MISS, used] * self._page,
                "waiting_bytes": histograms[BY_CENSORING, used] * self._page,
            }
        )

    @cached_property
    def timeline(self) -> "pl.DataFrame":
        """At most 2000 rows: `time_s`; `free`, `reportable`, `managed` and `reclaimed`, each `_bytes`."""
        import polars as pl

        group, page = self.run.group, self._page
        series = group.occupancy.series
        return pl.DataFrame(
            {
                "time_s": (group.bins_ns - group.start.now_ns) / SECOND_NS,
                "free_bytes": series[memory.FREE] * page,
                "reportable_bytes": series[memory.REPORTABLE] * page,
                "managed_bytes": series[memory.MANAGED] * page,
                "reclaimed_bytes": self.run.schedule.state.timeline[RECLAIMED] * page,
            }
        )

    @cached_property
    def composition(self) -> "pl.DataFrame":
        """Why memory does not come back, at the bins of `timeline`: `time_s`, and a column in bytes for
        each of `composition.PARTS`. They add up to the managed memory; null is not known.
        """
        import polars as pl

        group, page = self.run.group, self._page
        frames = self._composition.series
        columns = {f"{part}_bytes": None if of is None else of * page for part, of in frames.items()}
        time_s = (group.bins_ns - group.start.now_ns) / SECOND_NS
        return pl.DataFrame(
            {"time_s": time_s, **columns}, {"time_s": pl.Float64} | dict.fromkeys(columns, pl.Int64)
        )

    @property
    def fragmentation(self) -> "pl.DataFrame | None":
        """Free blocks by `time_s`, `zone` and `order` (`Fragmentation.frame`); the same for all policies
        of a pass. None where it was not asked for.
        """
        told = self.run.fragmentation
        return None if told is None else told.frame()

    @cached_property
    def address_map(self) -> "pl.DataFrame | None":
        """What was where: `AddressMap.frame`. None where it was not asked for."""
        told, schedules = self.run.group.address_map, self.run.group.schedules
        return None if told is None else told.frame(schedules.index(self.run.schedule), self._log)

    @cached_property
    def reports(self) -> "pl.DataFrame":
        """One row per reported block, in order: `submit_s`, `done_s`, `call`, `pass`, `pfn`, `order`,
        `zone`, `migratetype`, `new_bytes`. Empty when the replay kept no log.
        """
        import polars as pl

        log = self._log
        start_ns = self.run.group.start.now_ns
        return pl.DataFrame(
            {
                "submit_s": (log["submit_ns"] - start_ns) / SECOND_NS,
                "done_s": (log["done_ns"] - start_ns) / SECOND_NS,
                "call": log["call"],
                "pass": log["pass"],
                "pfn": log["pfn"],
                "order": log["order"],
                "zone": log["zone"],
                "migratetype": log["migratetype"],
                "new_bytes": log["new_frames"].astype(np.int64) * self._page,
            }
        )

    def chart(self, of: str = "composition") -> Any:  # noqa: ANN401 - Altair's, which may be missing
        """An Altair chart of `composition` or `fragmentation` over time; `.save` writes PNG or SVG.

        Raises:
            Fault: when the extra `report` is not installed, or the replay kept no fragmentation.
        """
        from replay.report import drawing

        charts = drawing()
        if of == "composition":
            return charts.composition(self.composition, f"{self.policy}: {self.run.setting.text}")
        return charts.fragmentation(self.fragmentation, self.run.group.geometry)

    @property
    def mean_bytes(self) -> dict[str, float | None]:
        """Bytes of each part of managed memory (`composition.PARTS`), on average over the replay; None
        where that is not known, or no time passed.
        """
        seconds, page = self._seconds, self._page
        return {
            part: None if frame_ns is None or not seconds else frame_ns * page / SECOND_NS / seconds
            for part, frame_ns in self._composition.frame_ns.items()
        }

    @cached_property
    def _composition(self) -> Composition:
        return Composition.of(self.run)

    @property
    def _meters(self) -> "NDArray[np.void]":
        return self.run.schedule.state.meters[0]

    @property
    def _log(self) -> "NDArray[np.void]":
        parts = self.run.schedule.log
        return np.concatenate(parts) if parts else self.run.schedule.state.log[:0]

    @property
    def _integrals(self) -> "NDArray[np.int64]":
        return self.run.schedule.state.integrals

    @property
    def _page(self) -> int:
        return self.run.group.geometry.page_size

    @property
    def _managed(self) -> float:
        return byte_seconds(self.run.group.occupancy.integrals, memory.MANAGED, self._page)

    @property
    def _seconds(self) -> float:
        return (self.run.group.end_ns - self.run.group.start.now_ns) / SECOND_NS

    def _counts(self) -> Counts:
        """What is priced."""
        m, page, geometry = self._meters, self._page, self.run.group.geometry
        huge_order, backing = geometry.host_order, self.run.group.options.backing
        # Of units of whole huge pages, thp discards and brings back whole ones too.
        huge = backing == "2m" or (backing == "thp" and geometry.order >= huge_order)
        return Counts(
            wait_ns=int(self.run.schedule.state.device["service_ns"][0]),
            discards=int(m["discards"]),
            discarded_bytes=int(m["frames"] - m["redundant"] - m["acknowledged_only"]) * page,
            faults=int(m["faults"]),
            refaulted_bytes=int(m["refaults"]) * page,
            huge=huge,
            moves=int(m["isolations"]),
            work={name: int(m[name]) for name in WORK},
        )

    def _latency(self) -> dict[str, Any]:
        """Quantiles over reported bytes only, exact to 1/1024; max and mean are exact."""
        m = self._meters
        reported = int(m["reported_frames"])
        if not reported:
            return {**dict.fromkeys([*QUANTILES, "max", "mean"]), "samples": 0}
        weights = self.run.schedule.state.histograms[BY_LATENCY]
        lower, width = bucket_bounds_ns()
        reached = np.cumsum(weights)
        values: dict[str, Any] = {}
        for name, share in QUANTILES.items():
            bucket = int(np.searchsorted(reached, share * reported))
            middle = lower[bucket] + (width[bucket] - 1) / 2
            values[name] = float(min(middle, m["max_latency_ns"])) / SECOND_NS
        values["max"] = int(m["max_latency_ns"]) / SECOND_NS
        values["mean"] = byte_seconds(self._integrals, LATENCY, 1) / reported
        values["samples"] = int(m["samples"])
        return values

    def _incidence(self) -> dict[str, list[float]] | None:
        """Share of the bytes that became reportable and were reported, or missed, within x seconds.

        Reported and missed compete; bytes still waiting at the end leave the risk set then
        (Aalen-Johansen), so the three shares of a row add up to one.
        """
        reported, missed, censored = self.run.schedule.state.histograms
        total = int(reported.sum() + missed.sum() + censored.sum())
        if not total:
            return None
        ends = reported + missed
        at_risk = total - np.concatenate(([0], np.cumsum(ends + censored)[:-1]))
        hazard = np.divide(ends, at_risk, out=np.zeros(len(ends)), where=at_risk > 0)
        waiting_before = np.concatenate(([1.0], np.cumprod(1 - hazard)[:-1]))
        per_end = np.divide(waiting_before, at_risk, out=np.zeros(len(ends)), where=at_risk > 0)
        shares = {"reported": np.cumsum(per_end * reported), "missed": np.cumsum(per_end * missed)}
        lower, _ = bucket_bounds_ns()
        times = [at for at in INCIDENCE_AT_S if at <= self._seconds]
        row = np.searchsorted(lower, np.array(times) * SECOND_NS, "right") - 1
        result = {"within_s": list(times)}
        for name, share in shares.items():
            result[name] = [round(float(share[k]), 12) for k in row]
        result["waiting"] = [
            max(0.0, round(1 - a - b, 12)) for a, b in zip(result["reported"], result["missed"], strict=True)
        ]
        return result

    def _reclaimed(self) -> dict[str, Any]:
        level, page, total = (
            self.run.schedule.state.levels[RECLAIMED],
            self._page,
            self.reclaimed_byte_seconds,
        )
        ceiling = self.oracle_byte_seconds
        return {
            "byte_seconds": total,
            "mean_bytes": total / self._seconds if self._seconds else None,
            "peak_bytes": self._peak_frames * page,
            "end_bytes": int(level["frames"]) * page,
            "start_bytes": int(self._meters["start"]) * page,
            "share_of_oracle": total / ceiling if ceiling else None,
        }

    @property
    def _peak_frames(self) -> int:
        """Of an instant's end; where reports were backdated, of the timeline's instants only."""
        state = self.run.schedule.state
        if state.meters["backdated"][0]:
            return int(state.timeline[RECLAIMED].max())
        return int(state.levels["peak"][RECLAIMED])

    def _work(self) -> dict[str, int]:
        """The effort to find memory to report, and what is imposed on the lists."""
        redirected = int(self.run.schedule.state.area.redirected[0])
        return {**{name: int(self._meters[name]) for name in WORK}, "tail_redirects": redirected}

    def _unreclaimed(self) -> dict[str, float | None]:
        """Byte seconds of each other part of managed memory."""
        return {
            part: None if frame_ns is None else frame_ns * self._page / SECOND_NS
            for part, frame_ns in self._composition.frame_ns.items()
            if part != "reclaimed"
        }

    def _free(self) -> dict[str, float]:
        """Free memory over time, in units that are wholly free (reportable) and not (stranded)."""
        integrals = self.run.group.occupancy.integrals
        free = byte_seconds(integrals, memory.FREE, self._page)
        reportable = byte_seconds(integrals, memory.REPORTABLE, self._page)
        return {
            "byte_seconds": free,
            "reportable_byte_seconds": reportable,
            "stranded_byte_seconds": free - reportable,
        }

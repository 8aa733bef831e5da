"""What the model says the guest's own reporting did: its policy, replayed as the guest was at the start."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.buddy.area import REPORTED
from replay.device import Device
from replay.engine import Options, Run, run_all
from replay.policies import own
from replay.policies.protocol import Setting
from replay.results import Result
from replay.worker import Worker
from tracer import Snapshot, Trace

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Predicted:
    """One replay.

    Attributes:
        followed: did it begin passes, and end report calls, when the guest's own did (`Worker`)?
        end: the trace's end snapshot, if there is one.
    """

    run: Run
    followed: bool
    end: Snapshot | None

    @property
    def begin_ns(self) -> int:
        """Where the replay began."""
        return self.run.group.start.now_ns

    @property
    def end_ns(self) -> int:
        """Up to when it is compared: the end snapshot. Behind it probes are detached one after the other."""
        return self.run.group.end_ns if self.end is None else self.end.end_ns

    @property
    def reports(self) -> "pl.DataFrame":
        """Of `log`, what is compared: up to `end_ns`."""
        log = self.log
        return log.filter(log["ts_ns"] <= self.end_ns)

    @property
    def log(self) -> "pl.DataFrame":
        """A row for each block, as the device saw them, until the trace ends: `ts_ns` (when its report was
        done), `begin_ns` (when it was handed over), `pfn`, `pages`, `batch`, `pass`, `new_bytes`.
        """
        import polars as pl

        schedule, page_size = self.run.schedule, self.run.group.geometry.page_size
        log = np.concatenate([*schedule.log, schedule.state.log[:0]])
        return pl.DataFrame(
            {
                "ts_ns": log["done_ns"],
                "begin_ns": log["submit_ns"],
                "pfn": log["pfn"],
                "pages": np.int64(1) << log["order"].astype(np.int64),
                "batch": log["call"],
                "pass": log["pass"],
                "new_bytes": log["new_frames"].astype(np.int64) * page_size,
            }
        )

    @property
    def reclaimed(self) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """(instants in ns, reclaimed bytes then)."""
        timeline = Result(self.run).timeline["reclaimed_bytes"].to_numpy()
        return self.run.group.bins_ns, timeline

    @property
    def reported_heads(self) -> "NDArray[np.int64]":
        """Pfns of the blocks that are flagged reported at the end, ascending."""
        flags = self.run.schedule.state.area.blocks["flags"]
        return np.flatnonzero(flags & REPORTED) << self.run.group.geometry.order

    @property
    def took_heads(self) -> float | None:
        """Share of the broken blocks that were at the head of their list, as the allocator takes them."""
        m = self.run.schedule.state.meters[0]
        return 1 - int(m["broken_not_head"]) / int(m["broken"]) if m["broken"] else None


def predict(trace: Trace, setting: Setting | None = None, device: Device | None = None) -> Predicted:
    """Replay the guest's own reporting. `setting`: by default what a stock kernel does, at its order.

    Raises:
        Fault: when the trace cannot be replayed.
    """
    worker = Worker.of(trace)
    setting = setting or own(trace.manifest.guest, trace.manifest.reporting.order)
    options = Options("recorded", device=device or Device(), logging=True, worker=worker)
    run = run_all(trace, [setting], options)[0]
    return Predicted(run, len(worker.passes_ns) > 0, trace.manifest.snapshot("end"))

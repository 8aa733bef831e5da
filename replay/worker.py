"""When the guest's own reporting worked, where its probes told: instants that a replay can follow.

A model of that very reporting need not guess then when a timer fired, or how long a host took.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay.jit import Int, Words, compiled
from replay.state import NEVER
from tracer import Op, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _none() -> "NDArray[np.int64]":
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Worker:
    """Instants in ns, ascending; empty: not known, and not followed.

    Attributes:
        passes_ns: a pass began (page_reporting_process).
        done_ns: a report call was over, and its first block put back (page_reporting_drain).
    """

    passes_ns: "NDArray[np.int64]" = field(default_factory=_none)
    done_ns: "NDArray[np.int64]" = field(default_factory=_none)

    @classmethod
    def of(cls, trace: Trace) -> "Worker":
        """What the trace tells.

        Raises:
            Fault: when its events cannot be read.
        """
        import polars as pl

        told = (Op.PASS_START, Op.REPORTING_ISOLATE, Op.REPORTING_PUT_BACK)
        if not {probe.op for probe in trace.manifest.probes} >= {int(op) for op in told}:
            return cls()
        of_worker = pl.col("op").is_in([int(op) for op in told])
        events = trace.events.filter(of_worker).select("ts_ns", "op").collect()
        ops, ts_ns = events["op"].to_numpy(), events["ts_ns"].to_numpy()
        reported = np.concatenate(([False], ops[:-1] == Op.REPORTING_ISOLATE))
        done = (ops == Op.REPORTING_PUT_BACK) & reported
        return cls(ts_ns[ops == Op.PASS_START].copy(), ts_ns[done].copy())


@compiled(nb.int64(nb.int64[::1], nb.int64))
def first_later(instants_ns: Words, now_ns: Int) -> Int:
    """The first instant after `now_ns`, NEVER where there is none."""
    first, end = 0, len(instants_ns)
    while first < end:
        middle = (first + end) // 2
        if instants_ns[middle] > now_ns:
            end = middle
        else:
            first = middle + 1
    return instants_ns[first] if first < len(instants_ns) else NEVER

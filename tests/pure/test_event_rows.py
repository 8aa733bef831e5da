"""Events that a reader looks at: what lies outside every zone, and what names no block at all."""

from dataclasses import replace

import numpy as np

from tests.pure.small_traces import ZONES
from tracer.format import Op
from tracer.rows import _odd_events

OUTSIDE = "lie outside every zone"


def outside(op: Op) -> int:
    """Of one event at pfn 0, where the only zone begins at 1, as on x86."""
    columns = {name: np.zeros(1, np.uint64) for name in ("pfn", "order")} | {"op": np.array([op], np.uint8)}
    return _odd_events(columns, 10, [replace(ZONES[0], start_pfn=1)])[OUTSIDE]


def test_only_events_of_blocks_can_lie_outside_every_zone() -> None:
    blockless = {Op.NOTIFY, Op.PASS_START, Op.PASS_END, Op.REPORT}
    assert {op for op in Op if not outside(op)} == blockless

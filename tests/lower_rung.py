"""A trace as the lowest rung of the ladder would have recorded it, and whether it gives the same answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from replay.api import Replay
from tracer import Op, Trace, TraceOutput, open_trace

FUNCTIONS = [int(op) for op in Op if op >= Op.ISOLATE]  # what tracepoints do not tell
FRAMES = ("latency", "timeline", "composition", "reports")


def down_to_tracepoints(trace: Trace, out: Path) -> Trace:
    """A copy without the events and probes of functions; its snapshots and lists stay.

    Raises:
        ValueError: where __free_one_page was recorded, since the drains, which it tells of, were not.
    """
    whole = trace.manifest
    probes = [probe for probe in whole.probes if probe.op not in FUNCTIONS]
    if len({probe.op for probe in whole.probes} & {Op.BUDDY_FREE, Op.PCPU_DRAIN}) > 1 or not any(
        probe.op == Op.PCPU_DRAIN for probe in probes
    ):
        raise ValueError("entries were not recorded as drains and frees alone")
    manifest = replace(whole, rung="tracepoints", probes=probes, snapshots=[])
    with TraceOutput(out, manifest) as output:
        shots = [
            output.write_snapshot(
                shot, trace.frames(shot.name), trace.lists(shot.name) if shot.lists else None
            )
            for shot in whole.snapshots
        ]
        beside: tuple[Any, ...] = (trace.samples, trace.counters)
        for batch in trace.batches(trace.columns):
            kept = ~np.isin(batch.column("op").to_numpy(), FUNCTIONS)
            columns = {name: batch.column(name).to_numpy()[kept] for name in batch.schema.names}
            if kept.any():
                output.write_segment(columns, probes, trace.losses if beside else [], *beside)
                beside = ()
        output.close(replace(manifest, snapshots=shots, end_ns=trace.span_ns[1]))
    return open_trace(out)


def assert_same_answers(one: Replay, two: Replay) -> None:
    """To the bit: each result's JSON, its frames, and how far the events can be trusted."""
    assert one.fidelity == two.fidelity
    assert [result.policy for result in one.results] == [result.policy for result in two.results]
    for result, other in zip(one.results, two.results, strict=True):
        assert result.summary == other.summary
        for name in FRAMES:
            assert getattr(result, name).equals(getattr(other, name)), (result.policy, name)

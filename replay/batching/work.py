"""One task, where a worker does it: open the trace, replay what is missing, put the results in place."""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from replay.api import Replay, replay, settled
from replay.batching.dataset import OfTrace
from replay.batching.executor import NoWorkers
from replay.batching.rows import Belongs, label_of, rows_of
from replay.batching.task import DONE, FAILED, UNCHANGED, Admit, Outcome, Task
from replay.engine import sizes_of
from replay.policies import ceiling
from replay.policies.fitness import refuse_unfit
from replay.start import refuse_filtered
from replay.sweeping.kept import key_of
from replay.sweeping.passes import SHARE, Packing
from tracer import Fault, Place, Trace, open_trace

if TYPE_CHECKING:
    import polars as pl

    from replay.policies.protocol import Setting


Replaying = Callable[..., Replay]  # as `replay`, or another way to the same


def do(task: Task, admit: Admit, replaying: Replaying | None = None) -> Outcome:
    """Do a task. It may be done again at any time: what is there already is not done twice.

    Raises:
        NoWorkers: when there is nobody to whom `replaying` could give parts of it.
    """
    began = monotonic()
    try:
        outcome = _done(task, admit, replaying or replay)
    except NoWorkers:
        raise
    except Fault as fault:
        outcome = failed(task, fault.what, fault.how, fault.fix)
    return replace(outcome, took_s=monotonic() - began)


def failed(task: Task, *reason: str) -> Outcome:
    """What a task comes to that could not be done."""
    return Outcome(task.trace, FAILED, reason=reason)


def _done(task: Task, admit: Admit, replaying: Replaying) -> Outcome:
    """Raises: Fault: for a trace that cannot be replayed, or not under what was asked for."""
    trace = open_trace(task.trace)
    settings, left_out = settled(trace, task.policies)
    refuse_filtered(trace)
    refuse_unfit(trace, settings)
    there = OfTrace(Place.of(task.out), task.trace, Belongs.of(trace, task.options, task.costs))
    keys = there.keys
    missing = [setting for setting in settings if key_of(setting) not in keys]
    need_bytes = 0
    if missing:
        passes, need_bytes = _passes(trace, missing, task, admit.fair_bytes)
        admit(need_bytes)
        found = [_replayed(replaying, trace, one, task, there.belongs) for one in passes]
        try:
            there.add([rows for _, rows in found])
        except Fault as fault:
            return replace(failed(task, fault.what, fault.how, fault.fix), hopeless=True)
        trace = found[-1][0]
    first_ns, last_ns = trace.span_ns
    return Outcome(
        task.trace,
        DONE if missing else UNCHANGED,
        there.file,
        tuple(label_of(setting, trace.manifest.guest) for setting in settings),
        len(settings),
        len(missing),
        trace.rows,
        (last_ns - first_ns) / 1e9,
        need_bytes=need_bytes,
        notes=(*trace.warnings, *left_out),
        whole=trace.complete,
    )


def _passes(
    trace: Trace, missing: "list[Setting]", task: Task, fair_bytes: int
) -> "tuple[list[list[Setting]], int]":
    """In which passes to replay them, and what the largest takes."""

    def bound(order: int) -> "Setting":
        return ceiling(trace.manifest.guest, order)

    packing = Packing(sizes_of(trace, task.options), bound, SHARE * fair_bytes)
    ordered = sorted(missing, key=lambda setting: setting.order)
    passes = packing.split(ordered, len(ordered))
    return passes, max(map(packing.size_bytes, passes))


def _replayed(
    replaying: Replaying, trace: Trace, settings: "list[Setting]", task: Task, belongs: Belongs
) -> "tuple[Trace, pl.DataFrame]":
    """The trace as far as it can be read, and a row for each setting."""
    done = replaying(trace, settings, task.options, costs=task.costs)
    return done.trace, rows_of(done, settings, task.options, belongs, task.trace)

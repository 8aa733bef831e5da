"""One huge trace: its events reduced by address on many workers, its policies in one pass over the rest."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from replay.api import Replay, replay_by
from replay.batching.executor import Executor
from replay.buddy.ops import meaning_of
from replay.buddy.reduced import REDUCED_DTYPE
from replay.buddy.rules import rules_of
from replay.capabilities import CPU
from replay.costs import Costs
from replay.engine import Group, Options, Run, bins, by_order, refuse, runs_of, sizes_of
from replay.geometry import Geometry
from replay.parameters import Parameter
from replay.policies.protocol import Setting
from replay.sharding.elsewhere import Elsewhere
from replay.sharding.files import Shard, check_same_trace
from replay.sharding.here import Here
from replay.sharding.merging import by_time, merged, together, totals
from replay.sharding.ranges import Range, ranges_of
from replay.sharding.reducing import reduce_shard
from replay.sharding.surveyed import keep_survey
from replay.sharding.task import Cut, ShardDone, ShardTask
from replay.start import Start, start_of
from replay.stretches import stretches
from replay.survey import Survey, Unreadable
from tracer import Fault, Trace, output_fault
from tracer.faults import ExitCode

SHARDS = Parameter("shards", "int", None, "ranges of addresses, each a task", minimum=1, maximum=1 << 10)

Tell = Callable[[int], None]


def replay_sharded(
    trace: Trace | str | Path,
    policies: Sequence[str | Setting] = (),
    options: Options | None = None,
    *,
    shards: int,
    executor: Executor | None = None,
    scratch: str | Path | None = None,
    costs: Costs | None = None,
    tell: Tell = lambda _rows: None,
) -> Replay:
    """Replay one trace under several policies, its events by address on many workers.

    The answer is that of `replay`, in every bit, whatever the number of shards.

    Args:
        trace: the trace, or where it is: a path that all workers know.
        policies: as for `replay`.
        options: as for `replay`; no address map and no fragmentation.
        shards: into how many ranges of addresses the guest is cut at most; each is a task.
        executor: where tasks are done; by default here, one after the other.
        scratch: a folder that all workers can write to, for what the shards come to: about 10 bytes for each
            event of the trace. By default the system's temporary one. What is written is removed at the end.
        costs: as for `replay`.
        tell: hears how many more events were done: once each by the survey, where it is not kept, and once
            each by all shards together.

    Raises:
        Fault: as `replay`; for options that shards cannot answer; when a shard fails, or what it has written
            is not there any more.
    """
    SHARDS.number(shards)
    run = partial(_run_readable, shards=shards, executor=executor or Here(), scratch=scratch, tell=tell)
    return replay_by(run, trace, policies, options, costs)


def refuse_maps(options: Options) -> None:
    """Refuse what needs all frames at one place.

    Raises:
        Fault: naming it.
    """
    for name in ("address_map", "fragmentation"):
        if getattr(options, name):
            how = "it is told from all frames at once, and each shard has its own ones only"
            raise Fault(f"{name} is not possible with shards", how, "replay it without shards")


def _run_readable(
    trace: Trace,
    settings: Sequence[Setting],
    options: Options,
    *,
    shards: int,
    executor: Executor,
    scratch: str | Path | None,
    tell: Tell,
) -> tuple[Trace, list[Run]]:
    """As `engine.run_readable`, with shards."""
    refuse_maps(options)
    with _scratch_folder(scratch) as folder:
        work = partial(_run, settings=settings, options=options, folder=folder, tell=tell)
        try:
            return trace, work(trace, shards=shards, executor=executor)
        except Unreadable as fault:
            return fault.readable, work(fault.readable, shards=shards, executor=executor)


@contextmanager
def _scratch_folder(scratch: str | Path | None) -> Iterator[Path]:
    """A new folder, gone at the end.

    Raises:
        Fault: when there cannot be one.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="pagetide-shards-", dir=scratch)).absolute()
    except OSError as error:
        raise output_fault(Path(scratch or tempfile.gettempdir()), error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    trace: Trace,
    *,
    settings: Sequence[Setting],
    options: Options,
    folder: Path,
    tell: Tell,
    shards: int,
    executor: Executor,
) -> list[Run]:
    """As `engine.run_all`, with shards."""
    refuse(trace, settings, options)
    whole, meaning = Geometry.of(trace.manifest.guest, trace.zones), meaning_of(trace)
    survey = Survey.of(trace, whole, meaning, tell)
    keep_survey(folder, survey)
    tasks = list(_tasks(trace, settings, options, ranges_of(trace, whole, shards), folder))
    done = _do(tasks, executor, _shares(trace.rows, len(tasks), tell))
    told = [Shard(folder, each.index, each.digest) for each in done]
    check_same_trace(told)
    events = stretches(trace, survey.batches(), whole, meaning)
    start = start_of(trace, whole, events).typed(trace, whole, survey.types)
    trace.warnings += [line for line in told[0].told["warnings"] if line not in trace.warnings]
    groups = {
        order: _live(_group(trace, order, chosen, options, start, told), told)
        for order, chosen in by_order(settings).items()
    }
    return runs_of(trace, settings, groups, len(survey.direct))


def _tasks(
    trace: Trace, settings: Sequence[Setting], options: Options, ranges: Sequence[Range], folder: Path
) -> Iterator[ShardTask]:
    """A task for each range."""
    orders = tuple(sorted(by_order(settings)))
    sizes, last = sizes_of(trace, options), ranges[-1].end
    states = sum(map(sizes.order, orders))
    asked = any(CPU in setting.policy.requires for setting in settings)
    path, cut = _address(trace), Cut.of(trace)
    for index, own in enumerate(ranges):
        need_bytes = sizes.shared + -(-states * (own.end - own.first) // last)
        yield ShardTask(index, path, cut, own, orders, asked, str(folder), need_bytes)


def _address(trace: Trace) -> str:
    """Where all workers find it."""
    return str(trace.path.absolute() if trace.place.local else trace.place)


def _shares(rows: int, tasks: int, tell: Tell) -> Callable[[], None]:
    """To be called when a task is over: tells of its share of the events, of all in the end."""
    left = [rows * (index + 1) // tasks - rows * index // tasks for index in range(tasks)]
    return lambda: tell(left.pop())


def _do(tasks: Sequence[ShardTask], executor: Executor, over: Callable[[], None]) -> list[ShardDone]:
    """Do all tasks; what became of them, by address.

    Raises:
        Fault: the first one that a shard failed with, or that of the executor.
    """
    outcomes, done = executor.run(reduce_shard, tasks, _lost), []
    try:
        for each in outcomes:
            if each.reason:
                what, how, fix, code = each.reason
                raise Fault(what, how, fix, ExitCode(code))
            done.append(each)
            over()
    finally:
        if close := getattr(outcomes, "close", None):
            close()
    return sorted(done, key=lambda each: each.index)


def _lost(task: ShardTask, why: str) -> ShardDone:
    what = f"shard {task.index} of {task.trace} could not be done"
    return ShardDone(task.index, reason=(what, why, "replay it with more shards", int(ExitCode.ENVIRONMENT)))


def _group(
    trace: Trace,
    order: int,
    settings: Sequence[Setting],
    options: Options,
    start: Start,
    shards: Sequence[Shard],
) -> Group:
    guest, end_ns = trace.manifest.guest, trace.span_ns[1]
    geometry, bins_ns = Geometry.of(guest, trace.zones, order), bins(start.now_ns, end_ns)
    done = Elsewhere(shards, geometry, rules_of(guest), start.now_ns, bins_ns)
    return Group(guest, meaning_of(trace), geometry, start, end_ns, settings, options, bins_ns, done)


def _live(group: Group, shards: Sequence[Shard]) -> Group:
    """Let a group's policies live through what the shards come to."""
    events = merged([shard.events(group.geometry.order) for shard in shards], REDUCED_DTYPE)
    begin_free = np.array([shard.told["begin_free"] for shard in shards], np.int64)
    counts = totals([shard.counts() for shard in shards], begin_free)
    for part, until_ns in together(by_time(events), counts):
        group.live(part, until_ns)
    group.finish()
    return group

"""Who does a batch's tasks, and what it is that they do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from replay.batching.executor import Executor
from replay.batching.task import Admit, Outcome, Task
from replay.batching.work import do
from replay.crew import usable_cpus
from replay.engine import Options
from replay.parameters import Parameter
from tracer import Fault, Place

WORKERS = Parameter("workers", "int", None, "processes that replay, each a trace", minimum=1, maximum=1 << 10)


@dataclass(frozen=True)
class Doing:
    """The way a batch goes.

    Attributes:
        executor: who is given the tasks.
        do: what becomes of one.
        options: of the replays, with the threads that each may use.
    """

    executor: Executor
    do: Callable[[Task, Admit], Outcome]
    options: Options


def doing_of(
    workers: int | None,
    cluster: str | None,
    options: Options,
    shards: int | None,
    scratch: str | Path | None,
    out: Place,
) -> Doing:
    """As it was asked for.

    Raises:
        Fault: for what does not go together.
    """
    if shards is not None:
        return by_shard(workers, cluster, options, shards, scratch, out)
    if scratch is not None:
        how, fix = "only shards write to one", "give shards, too, or leave it out"
        raise Fault("a scratch folder is given", how, fix)
    return by_trace(workers, cluster, options)


def by_trace(workers: int | None, cluster: str | None, options: Options) -> Doing:
    """Each trace is a worker's, who gets a share of the CPUs; on a cluster one, as Dask counts threads."""
    executor = executor_of(workers, cluster)
    threads = 1 if cluster else max(1, options.threads // _number(workers))
    return Doing(executor, do, replace(options, threads=threads))


def by_shard(
    workers: int | None,
    cluster: str | None,
    options: Options,
    shards: int,
    scratch: str | Path | None,
    out: Place,
) -> Doing:
    """One trace after the other, each cut up for all workers; its policies live here, on all CPUs.

    Raises:
        Fault: when there is no folder that all workers can write to.
    """
    from replay.sharding import replay_sharded
    from replay.sharding.here import Here
    from replay.sharding.sharded import SHARDS

    if cluster is not None and scratch is None:
        if not out.local:
            how = f"the workers of a cluster share what they write, and {out} is no folder"
            raise Fault("shards need a scratch folder", how, "give one that all workers see: --scratch DIR")
        scratch = out.path
    elif scratch is not None and not Path(scratch).is_dir():
        how = "shards cannot write there"
        raise Fault(f"there is no folder {scratch}", how, "make it, or name another one")
    number, executor = int(SHARDS.number(shards)), executor_of(workers, cluster)
    replaying = partial(replay_sharded, shards=number, executor=executor, scratch=scratch)
    return Doing(Here(), partial(do, replaying=replaying), options)


def executor_of(workers: int | None, cluster: str | None) -> Executor:
    """Processes of this machine, or the workers of a cluster.

    Raises:
        Fault: when both are asked for.
    """
    if cluster is None:
        from replay.batching.processes import Processes

        return Processes(_number(workers))
    if workers is not None:
        how = "a cluster has its own workers"
        raise Fault("workers and cluster are both given", how, "leave one of them out")
    from replay.batching.cluster import Cluster

    return Cluster(cluster)


def _number(workers: int | None) -> int:
    """How many processes."""
    return usable_cpus() if workers is None else int(WORKERS.number(workers))

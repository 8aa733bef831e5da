"""One task on a worker of a cluster."""

import contextlib
import pickle
from dataclasses import dataclass
from typing import Any

from replay.available import Available, available
from replay.batching.dataset import engine
from replay.batching.ledger import Share
from replay.batching.room import SHARE, too_much
from replay.batching.serving import Broken, Over, Said, Unable, brief
from tracer import Fault


def work(packed: bytes, asking: str) -> bytes:
    """Do a task.

    Args:
        packed: what to do and with what, pickled.
        asking: the engine of who asks.

    Returns:
        `Over`, `Broken` or `Unable`, pickled: a cluster's own ways to tell of errors know no such difference.
    """
    said = _done(packed, asking)
    try:
        return pickle.dumps(said)
    except Exception as error:  # a result that cannot be pickled
        return pickle.dumps(Broken(brief(error)))


def _done(packed: bytes, asking: str) -> Said:
    if asking != engine():
        return Unable(f"pagetide is {engine()} there, and {asking} here")
    try:
        do, task = pickle.loads(packed)  # noqa: S301 - of the client, which may run anything here anyway
    except Exception as error:
        return Unable(brief(error))
    share = Share()
    try:
        return Over(do(task, _Asking(share)))
    except (Exception, SystemExit) as error:
        return Broken(brief(error))
    finally:
        with contextlib.suppress(Fault):  # of a file that has become unusable; who is dead has nothing in it
            share.leave()


@dataclass(frozen=True)
class _Asking:
    """Memory, of the machine and within the worker's limit. See `replay.batching.task.Admit`."""

    share: Share

    @property
    def fair_bytes(self) -> int:
        """A thread's part of the worker's limit, or what there is. Who else works here is not known."""
        limit, threads = _of_this_worker()
        there = available().size_bytes
        return min(there, limit // threads) if limit else there

    def __call__(self, need_bytes: int) -> None:
        """A worker that takes more than its limit is killed, and its task with it: that is refused."""
        limit, _ = _of_this_worker()
        if limit and need_bytes > SHARE * limit:
            raise too_much(need_bytes, Available(int(SHARE * limit), "the memory limit of this Dask worker"))
        self.share.admit(need_bytes)


def _of_this_worker() -> tuple[int, int]:
    """Its memory limit in bytes, 0 where it has none, and its number of threads."""
    from distributed import get_worker

    worker: Any = get_worker()
    manager = getattr(worker, "memory_manager", None)  # an in-process one has none
    return getattr(manager, "memory_limit", None) or 0, max(worker.state.nthreads, 1)

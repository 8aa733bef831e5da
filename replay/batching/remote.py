"""One task on a worker of a cluster."""

import contextlib
import pickle
from typing import Any

from replay.available import Available
from replay.batching.ledger import Share
from replay.batching.room import SHARE, too_much
from replay.batching.serving import Broken, Over, Said, Unable, brief
from tracer import Fault, __version__


def work(packed: bytes, version: str) -> bytes:
    """Do a task.

    Args:
        packed: what to do and with what, pickled.
        version: of who asks.

    Returns:
        `Over`, `Broken` or `Unable`, pickled: a cluster's own ways to tell of errors know no such difference.
    """
    said = _done(packed, version)
    try:
        return pickle.dumps(said)
    except Exception as error:  # a result that cannot be pickled
        return pickle.dumps(Broken(brief(error)))


def _done(packed: bytes, version: str) -> Said:
    if version != __version__:
        return Unable(f"pagetide is {__version__} there, and {version} here")
    try:
        do, task = pickle.loads(packed)  # noqa: S301 - of the client, which may run anything here anyway
    except Exception as error:
        return Unable(brief(error))
    share = Share()

    def admit(need_bytes: int) -> None:
        _refuse_more_than_a_worker_may(need_bytes)
        share.admit(need_bytes)

    try:
        return Over(do(task, admit))
    except (Exception, SystemExit) as error:
        return Broken(brief(error))
    finally:
        with contextlib.suppress(Fault):  # of a file that has become unusable; who is dead has nothing in it
            share.leave()


def _refuse_more_than_a_worker_may(need_bytes: int) -> None:
    """A worker that takes more than its limit is killed, and its task with it.

    Raises:
        Fault: with both numbers.
    """
    from distributed import get_worker

    manager: Any = getattr(get_worker(), "memory_manager", None)
    limit = getattr(manager, "memory_limit", None)
    if limit and need_bytes > SHARE * limit:
        raise too_much(need_bytes, Available(int(SHARE * limit), "the memory limit of this Dask worker"))

"""Tasks on an existing Dask cluster: its scheduler hands them out, its workers do them.

How to reach it, TLS certificates included, is what Dask's own configuration says.
"""

import asyncio
import contextlib
import logging
import math
import pickle
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from replay.batching.dataset import engine
from replay.batching.executor import NoWorkers
from replay.batching.serving import Broken, Over, Unable, brief

if TYPE_CHECKING:
    from distributed import Client, Future

    from replay.batching.task import Admit

T = TypeVar("T")
R = TypeVar("R")

CONNECT_S = 10.0
CLOSE_S = 5.0
POLL_S = 1.0
LOOK_S = 5.0  # after which workers are counted again
AHEAD = 2  # tasks for each thread of a worker that are submitted at a time: the next one is there at once
FEWEST = 4
_CONFIG = {
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    "distributed.admin.low-level-log-length": 10,  # else the last 1,000 messages are kept, tasks and all
}


@dataclass(frozen=True)
class Cluster:
    """Workers of a Dask cluster.

    A task whose worker dies is given to another one, as often as the scheduler's
    `distributed.scheduler.allowed-failures` allows. Memory is shared by all workers of a user on a machine.

    Attributes:
        address: of the scheduler, like `tcp://HOST:8786`.
        patience_s: how long to wait for the first worker, or without any answer.
    """

    address: str
    patience_s: float = 60.0

    def run(
        self, do: "Callable[[T, Admit], R]", tasks: Iterable[T], lost: Callable[[T, str], R]
    ) -> Iterator[R]:
        """What `do` makes of each task, in the order in which they are over: see `Executor`.

        Closing the iterator takes back what no worker has begun; what one has begun goes on to its end.

        Raises:
            NoWorkers: when there is no such scheduler, or none any more; or no worker that has pagetide.
        """
        import dask

        with _quiet(), dask.config.set(_CONFIG):
            shown = plain_address(self.address)
            client = _connected(self.address, shown)
            try:
                yield from _Work(client, self, do, tasks, lost).results()
            finally:
                with contextlib.suppress(Exception):  # whatever keeps it from it: it is not needed any more
                    client.close(CLOSE_S)


def plain_address(address: str) -> str:
    """An address without user and password."""
    return re.sub(r"[^/\s'\"]*@", "", address)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs what it meets to stderr, tracebacks included; what matters of it is told as a fault."""
    import distributed  # noqa: F401 - sets up the loggers

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in [*names, "tornado.application", "asyncio"]]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _connected(address: str, shown: str) -> "Client":
    from distributed import Client

    try:
        with ThreadPoolExecutor(1) as beside:  # a notebook has a loop of its own here
            beside.submit(asyncio.run, _asked(address)).result()
        return Client(address, timeout=CONNECT_S, set_as_default=False, name="pagetide")
    except Exception as error:  # whatever answers at that address
        silent = isinstance(error, TimeoutError) and not str(error)
        how = f"no answer within {CONNECT_S:.0f} s" if silent else plain_address(brief(error))
        fix = "see that `dask scheduler` runs there, and that its TLS and version are those of this machine"
        raise NoWorkers(f"no Dask scheduler answers at {shown}", how, fix) from error


async def _asked(address: str) -> None:
    """A `Client` waits for ever where somebody else listens, and cannot be closed where nobody does.

    Raises:
        Exception: whatever keeps a scheduler from answering in time.
    """
    from distributed.comm.core import connect
    from distributed.security import Security

    async with asyncio.timeout(CONNECT_S + 1):  # for whoever accepts, and says nothing
        to = await connect(address, CONNECT_S, **Security().get_connection_args("client"))
        try:
            await to.write({"op": "identity", "reply": True})
            await to.read()
        finally:
            to.abort()


def _by_value() -> "Callable[[bytes, str], bytes]":
    """What is submitted: a function that travels as its code.

    A worker that cannot import a function that it is told to call dies of that, and takes the task with it.
    This one says so.
    """

    def work(packed: bytes, asking: str) -> bytes:
        from replay.batching import remote

        return remote.work(packed, asking)

    return work


class _Work(Generic[T, R]):
    """What is submitted and not over yet."""

    def __init__(
        self,
        client: "Client",
        asked: Cluster,
        do: Callable[..., R],
        tasks: Iterable[T],
        lost: Callable[[T, str], R],
    ) -> None:
        self._client, self._shown = client, plain_address(asked.address)
        self._patience_s, self._do, self._lost = asked.patience_s, do, lost
        self._tasks, self._name, self._work = iter(tasks), uuid.uuid4().hex, _by_value()
        self._under_way: dict[str, tuple[Future[bytes], T]] = {}
        self._over: SimpleQueue[str] = SimpleQueue()
        self._count = 0
        self._window, self._looked_s, self._seen_s = 0, -math.inf, time.monotonic()

    def results(self) -> Iterator[R]:
        """Of all tasks."""
        self._wait_for_workers()
        while True:
            if time.monotonic() > self._looked_s + LOOK_S:
                self._look()
            self._submit()
            if not self._under_way:
                return
            with contextlib.suppress(Empty):
                yield from self._take(self._over.get(timeout=POLL_S))

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, self._patience_s)
        except TimeoutError as error:
            raise self._no_workers() from error
        except OSError as error:
            raise self._gone(brief(error)) from error

    def _look(self) -> None:
        """How much the workers can take; how long there has been none."""
        try:
            threads = sum(self._client.nthreads(callback_timeout=LOOK_S).values())
        except TimeoutError:
            threads = 0
        except Exception as error:
            raise self._gone(brief(error)) from error
        self._looked_s = time.monotonic()
        if threads:
            self._seen_s, self._window = self._looked_s, max(AHEAD * threads, FEWEST)
        elif self._looked_s > self._seen_s + self._patience_s:
            raise self._no_workers()

    def _submit(self) -> None:
        """As many tasks as the window allows; the scheduler never knows of all of them."""
        while len(self._under_way) < self._window:
            if not (taken := list(islice(self._tasks, 1))):
                return
            (task,) = taken
            key = f"pagetide-{self._name}-{self._count}"
            self._count += 1
            packed = pickle.dumps((self._do, task))
            future = self._client.submit(self._work, packed, engine(), key=key, pure=False)
            self._under_way[key] = future, task
            future.add_done_callback(lambda done: self._over.put(done.key))

    def _take(self, key: str) -> list[R]:
        """What a task came to that is over; nothing, when its worker left before it could be told."""
        future, task = self._under_way[key]
        if future.status == "error":
            del self._under_way[key]
            return [self._failed(task, future.exception(CLOSE_S))]
        try:
            said = pickle.loads(future.result(self._patience_s))  # noqa: S301 - of the cluster, see docs
        except TimeoutError:
            future.add_done_callback(lambda done: self._over.put(done.key))
            return []
        except (CancelledError, OSError) as error:
            raise self._gone("the connection to it was lost") from error
        del self._under_way[key]
        match said:
            case Over():
                return [said.result]
            case Broken():
                return [self._lost(task, said.why)]
            case Unable():
                raise _unable(said.why)
        return []

    def _failed(self, task: T, error: BaseException | None) -> R:
        """A task that Dask itself could not bring to its end."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return self._lost(task, f"its worker died, {error.allowed_failures + 1} times")
        raise _unable(brief(error.__cause__ or error) if error else "it does not say why")

    def _no_workers(self) -> NoWorkers:
        return NoWorkers(
            f"the Dask scheduler {self._shown} has no workers",
            f"none was there for {self._patience_s:.0f} s",
            "start `dask worker` with its address, and run the same command: it does only what is missing",
        )

    def _gone(self, how: str) -> NoWorkers:
        return NoWorkers(
            f"the Dask scheduler {self._shown} is gone",
            plain_address(how),
            "start it again and run the same command: it does only what is missing",
        )


def _unable(why: str) -> NoWorkers:
    fix = "install the same pagetide[cluster] where each worker runs"
    return NoWorkers("the cluster cannot do a batch's tasks", why, fix)

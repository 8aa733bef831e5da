"""What a worker is told to do with one shard, and what it says of it: places and numbers, no rows."""

from dataclasses import dataclass, field

from replay.sharding.ranges import Range
from tracer import Fault, Trace, open_trace


@dataclass(frozen=True)
class Cut:
    """How far a trace can be read, and why no farther (`Trace.until`)."""

    rows: int
    last_ns: int
    what: str
    how: str
    fix: str

    @classmethod
    def of(cls, trace: Trace) -> "Cut | None":
        """None for a trace that is not `partial`."""
        why = trace.partial
        if why is None:
            return None
        last_ns = max(segment.last_ts_ns for segment in trace.segments)
        return cls(trace.rows, last_ns, why.what, why.how, why.fix)


@dataclass(frozen=True)
class ShardTask:
    """The events of one range of addresses, reduced.

    Attributes:
        index: which shard, by address.
        trace: its path.
        cut: how far it can be read; None: to its end.
        own: the shard's frames.
        orders: reporting orders, ascending; step 1 is done for each.
        cpus: does a policy ask on which CPU a block was freed?
        folder: where all shards go, and the survey is.
        need_bytes: of memory that it is going to take.
    """

    index: int
    trace: str
    cut: Cut | None
    own: Range
    orders: tuple[int, ...]
    cpus: bool
    folder: str
    need_bytes: int

    def open(self) -> Trace:
        """The trace, as far as it can be read.

        Raises:
            Fault: when it cannot be opened.
        """
        opened, cut = open_trace(self.trace), self.cut
        if cut is None:
            return opened
        return opened.until(cut.rows, cut.last_ns, Fault(cut.what, cut.how, cut.fix))


@dataclass(frozen=True)
class ShardDone:
    """What became of a shard.

    Attributes:
        index: as in the task.
        took_s: by the worker.
        digest: of what the shard says of itself (`files.TOLD`), which has those of its other files.
        reason: why it failed: what, how we know, what to do, exit code; empty where it did not.
    """

    index: int
    took_s: float = 0.0
    digest: str = ""
    reason: tuple[str, str, str, int] | tuple[()] = field(default=())

"""What a worker is told to do, and what it says of it: places and parameters, never rows of a trace."""

from dataclasses import dataclass, field
from typing import Protocol

from replay.costs import Costs
from replay.engine import Options


class Admit(Protocol):
    """Memory for a task, which asks before it takes it."""

    @property
    def fair_bytes(self) -> int:
        """What it may take, and leave as much to each of those that work beside it. It may ask for more."""
        ...

    def __call__(self, need_bytes: int) -> None:
        """Wait until there is room for so much, the most that is going to be taken.

        Raises:
            Fault: when there never will be.
        """
        ...


DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"


@dataclass(frozen=True)
class Task:
    """One trace under some policies, in as few passes as it takes.

    Attributes:
        trace: its path or URL.
        policies: each `NAME` or `NAME:key=value,…`; none: all that the trace tells enough for.
        options: of the replay, without logs and maps.
        costs: what a unit of work costs, for `cost_s`.
        out: the folder or URL of the results.
    """

    trace: str
    policies: tuple[str, ...]
    options: Options
    costs: Costs
    out: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        trace: as in the task.
        status: `DONE`; `UNCHANGED`: all results were there already; `FAILED`.
        file: of its results, below the dataset's folder; empty where there are none.
        settings: that were asked for, as they are compared over guests (`label`).
        results: that are there now, of what was asked for.
        replayed: those of them that were made just now.
        events: of the trace.
        duration_s: of what the trace tells of.
        took_s: by the worker.
        need_bytes: of memory, asked for before it was taken.
        notes: what is wrong with the trace, or was left out, a line each.
        whole: the trace is complete, and nothing of it was lost.
        reason: why it failed: what, how we know, what to do; empty where it did not.
        hopeless: results cannot be written there, so no other task could be done either.
    """

    trace: str
    status: str
    file: str = ""
    settings: tuple[str, ...] = ()
    results: int = 0
    replayed: int = 0
    events: int = 0
    duration_s: float = 0.0
    took_s: float = 0.0
    need_bytes: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)
    whole: bool = True
    reason: tuple[str, ...] = field(default_factory=tuple)
    hopeless: bool = False

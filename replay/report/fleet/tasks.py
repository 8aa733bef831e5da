"""What became of a batch's tasks, as its manifest says: what failed, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from replay.batching.journal import NAME, read
from replay.batching.task import FAILED
from tracer import Place


@dataclass(frozen=True)
class Failure:
    """A task that has no results: its trace, and what, how we know, what to do."""

    trace: str
    reason: tuple[str, ...]


@dataclass(frozen=True)
class Tasks:
    """Of all traces that the dataset was ever asked for. `counts`: by what became of them."""

    counts: Mapping[str, int]
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, folder: Place) -> Self | None:
        """Of a batch's folder; None where it has no manifest."""
        place = folder / NAME
        if not place.exists():
            return None
        lines = list(read(place))
        failures = tuple(_failure(line) for line in lines if line["status"] == FAILED)
        return cls(Counter(str(line["status"]) for line in lines), failures)


def _failure(line: Mapping[str, Any]) -> Failure:
    reason = line.get("reason") or ()
    parts = [reason] if isinstance(reason, str) else list(reason)
    return Failure(str(line.get("trace", "")), tuple(map(str, parts)))

"""What became of a batch's tasks, as its manifest says: what failed, and why."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from replay.batching.task import FAILED

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Failure:
    """A task that has no results: its trace, and what, how we know, what to do."""

    trace: str
    reason: tuple[str, ...]


@dataclass(frozen=True)
class Tasks:
    """Of the last run. `counts`: tasks by what became of them; `unread`: lines that could not be read."""

    counts: Mapping[str, int]
    failures: tuple[Failure, ...] = ()
    unread: int = 0

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Of a batch's folder; None where it has no manifest."""
        try:
            text = (folder / MANIFEST).read_text(errors="replace")
        except OSError:
            return None
        lines = [_read(line) for line in text.splitlines() if line.strip()]
        known = [line for line in lines if line is not None and "status" in line]
        failures = tuple(_failure(line) for line in known if line["status"] == FAILED)
        counts = Counter(str(line["status"]) for line in known)
        return cls(counts, failures, sum(line is None for line in lines))


def _read(line: str) -> dict[str, Any] | None:
    """A line's object; None for what is none."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _failure(line: Mapping[str, Any]) -> Failure:
    reason = line.get("reason") or ()
    parts = [reason] if isinstance(reason, str) else list(reason)
    return Failure(str(line.get("trace", "")), tuple(map(str, parts)))

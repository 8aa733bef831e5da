"""`OUT/manifest.jsonl`: what became of each trace, a line each.

It is for people and reports. What a rerun does is decided by the results themselves.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any

from replay.batching.dataset import engine
from replay.batching.task import Outcome
from tracer import Place

NAME = "manifest.jsonl"
WAITING = "waiting"


class Journal:
    """Outcomes as they come, in a file of this machine until all are there."""

    def __init__(self, out: Place) -> None:
        self._place = out / NAME
        self._lines: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._told: set[str] = set()

    def add(self, outcome: Outcome) -> None:
        """One more."""
        when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        told = asdict(outcome)
        told.pop("hopeless")
        self._write(told | {"engine": engine(), "when": when})
        self._told.add(outcome.trace)

    def close(self, asked: Iterable[str]) -> None:
        """Put it in its place: with a line for each trace that was asked for and not reached, and the lines
        of those that only earlier batches were asked for.

        Raises:
            Fault: when it cannot be written.
        """
        for line in read(self._place):
            if line["trace"] not in self._told:
                self._write(line)
                self._told.add(line["trace"])
        for address in asked:
            if address not in self._told:
                self._write({"trace": address, "status": WAITING})
        with self._lines:
            self._lines.seek(0)
            self._place.put(self._lines.read())

    def _write(self, told: dict[str, Any]) -> None:
        self._lines.write(json.dumps(told).encode() + b"\n")


def read(place: Place) -> Iterator[dict[str, Any]]:
    """The lines of a manifest that are some: objects with a trace and a status."""
    if not place.exists():
        return
    for line in place.read_bytes().splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("trace"), str) and told.get("status"):
            yield told

"""The results of an answer as findings and tables want them: with their policy's properties, and in bytes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from replay.policies import registry
from replay.policies.protocol import CEILING, FLOOR, Policy
from replay.report.labels import labels

GIB_MINUTE = (1 << 30) * 60  # in byte seconds


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        label: what it is called on the page.
        told: the result, as in `--json`.
        policy: None where no policy of that name is installed here.
        duration_s: of the replay.
    """

    label: str
    told: dict[str, Any]
    policy: Policy | None
    duration_s: float

    @property
    def order(self) -> int:
        """Reporting order."""
        return int(self.told["params"]["order"])

    @property
    def bound(self) -> str:
        """What it bounds; empty for what a kernel could do."""
        return self.policy.bound if self.policy else ""

    @property
    def since(self) -> str:
        """The first Linux that has it, or nothing."""
        return self.policy.since if self.policy else ""

    @property
    def caution(self) -> str:
        """Why one would not run it all the time, or nothing."""
        return self.policy.caution if self.policy else ""

    @property
    def today(self) -> bool:
        """A released kernel has it, and may run it all the time."""
        return bool(self.since) and not self.caution

    @property
    def who(self) -> str:
        """Who has it, in a few words."""
        if self.bound:
            return "no reporting" if self.bound == FLOOR else "no kernel can: a bound"
        return f"Linux {self.since} and later" if self.since else "no kernel has it: a patch"

    @property
    def byte_seconds(self) -> float:
        """Reclaimed memory over time."""
        return float(self.told["reclaimed"]["byte_seconds"])

    @property
    def mean_bytes(self) -> float:
        """Reclaimed on average; 0 where no time passed."""
        return float(self.told["reclaimed"]["mean_bytes"] or 0)

    @property
    def managed_bytes(self) -> float:
        """The guest's memory, on average; 0 where no time passed."""
        return float(self.told["baseline_gib_min"]) * GIB_MINUTE / self.duration_s if self.duration_s else 0.0

    @property
    def share(self) -> float | None:
        """Of what the ceiling at its order reclaims."""
        share: float | None = self.told["reclaimed"]["share_of_oracle"]
        return share

    @property
    def cpu_s(self) -> float:
        """Estimated CPU of host and guest."""
        return float(self.told["cost_s"]["total"])

    def mean(self, byte_seconds: float | None) -> float | None:
        """Bytes on average; None where that is not known."""
        return None if byte_seconds is None or not self.duration_s else byte_seconds / self.duration_s

    @cached_property
    def piece_bytes(self) -> int:
        """The size of a unit."""
        return int(self.told["page_size"]) << self.order


@dataclass(frozen=True)
class Rows:
    """All results of an answer, in its order."""

    rows: list[Row]
    trace: dict[str, Any]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Rows":
        """Of what `pagetide replay --json` prints."""
        known, results = registry(), answer["results"]
        rows = [
            Row(label, told, known.get(told["policy"]), answer["trace"]["duration_s"])
            for label, told in zip(labels(results), results, strict=True)
        ]
        return cls(rows, answer["trace"])

    @property
    def usual_order(self) -> int:
        """The order of most results, the first one of several."""
        orders = [row.order for row in self.rows]
        return max(orders, key=orders.count, default=0)

    def ceiling_byte_seconds(self, order: int) -> float:
        """The most that reporting can reclaim at an order; 0 where that is nothing or not known."""
        for row in self.rows:
            if row.order == order and row.bound == CEILING:
                return row.byte_seconds
        for row in self.rows:
            if row.order == order and row.share:
                return row.byte_seconds / row.share
        return 0.0

    def floor(self, order: int) -> Row | None:
        """The row that reports nothing, at an order."""
        return next((row for row in self.rows if row.order == order and row.bound == FLOOR), None)

    @property
    def by_use(self) -> list[Row]:
        """What one can have, then what one cannot, each with the most reclaimed first."""
        return sorted(self.rows, key=lambda row: (bool(row.bound), bool(row.caution), -row.byte_seconds))

    @property
    def today(self) -> list[Row]:
        """What a released kernel does."""
        return [row for row in self.rows if row.today]

    @property
    def possible(self) -> list[Row]:
        """What a kernel does or could do, all the time."""
        return [row for row in self.rows if not row.bound and not row.caution]

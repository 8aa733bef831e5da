"""The results of an answer as findings and tables want them: with their policy's properties, and in bytes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from replay.policies import registry
from replay.policies.protocol import CEILING, FLOOR, Knob, Policy
from replay.report.labels import labels, turned

GIB_MINUTE = (1 << 30) * 60  # in byte seconds


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        label: what it is called on the page.
        told: the result, as in `--json`.
        policy: None where no policy of that name is installed here.
        duration_s: of the replay.
        turned: its parameters that are not the policy's defaults.
    """

    label: str
    told: dict[str, Any]
    policy: Policy | None
    duration_s: float
    turned: tuple[str, ...] = ()

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
        """The first Linux that can be set so, or nothing."""
        if self.policy is None or not self.policy.since:
            return ""
        releases = [self.policy.since, *(knob.since if knob else "" for knob in self.knobs)]
        return max(releases, key=_release) if all(releases) else ""

    @property
    def knobs(self) -> list[Knob | None]:
        """How one turns those that are turned, in a policy that a kernel has; None: fixed in its source."""
        if self.policy is None or not self.policy.since:
            return []
        return [self.policy.knobs.get(name) for name in self.turned]

    @property
    def how(self) -> str:
        """What it takes to set a released policy so, in words; nothing for its defaults."""
        return " and ".join(knob.how if knob else "other code in the kernel" for knob in self.knobs)

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
        if not self.since:
            return f"a patch: {self.how}" if self.how else "a patch: no kernel has it"
        return f"Linux {self.since} and later" + (f", with {self.how}" if self.how else "")

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
    def of_memory(self) -> float | None:
        """Reclaimed on average, as a share of the guest's memory; None where it has none."""
        return self.mean_bytes / self.managed_bytes if self.managed_bytes else None

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

    @property
    def meanings(self) -> dict[str, str]:
        """What each parameter is, by name; empty where that is not known here."""
        known = {each.name: each.meaning for each in self.policy.parameters} if self.policy else {}
        return {name: known.get(name, "") for name in self.told["params"]}

    @cached_property
    def piece_bytes(self) -> int:
        """The size of a unit."""
        return int(self.told["page_size"]) << self.order


def _release(text: str) -> tuple[int, ...]:
    """A Linux release, so that releases can be compared."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


@dataclass(frozen=True)
class Rows:
    """All results of an answer, in its order."""

    rows: list[Row]
    trace: dict[str, Any]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Rows":
        """Of what `pagetide replay --json` prints."""
        known, results = registry(), answer["results"]
        usual_order = answer["trace"].get("pageblock_order")
        rows = [
            Row(
                label,
                told,
                known.get(told["policy"]),
                answer["trace"]["duration_s"],
                turned(told, results, usual_order),
            )
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
        """What one can have today, then with a patch, then what one cannot: each the most reclaimed first."""
        return sorted(
            self.rows, key=lambda row: (bool(row.bound), bool(row.caution), not row.since, -row.byte_seconds)
        )

    @property
    def today(self) -> list[Row]:
        """What a released kernel does."""
        return [row for row in self.rows if row.today]

    @property
    def possible(self) -> list[Row]:
        """What a kernel does or could do, all the time."""
        return [row for row in self.rows if not row.bound and not row.caution]

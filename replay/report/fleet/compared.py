"""A fleet's settings as its page tells of them: which one is what guests have, and which are beside it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from replay.fleets.bootstrap import LEVEL
from replay.fleets.display import interval, written
from replay.fleets.fleet import Fleet, Gains
from replay.fleets.measures import WEIGHTS
from replay.policies import OWN, registry
from replay.policies.protocol import FLOOR
from tracer import plain

POINT = 0.01  # of a guest's memory: less is no gain
SHARE = "given_back_share"


@dataclass(frozen=True, eq=False)
class Compared:
    """A fleet, and what its page asks of it."""

    fleet: Fleet

    @cached_property
    def names(self) -> dict[str, str]:
        """What each setting is called on the page."""
        return {each: plain(each) for each in self.fleet.compared}

    @cached_property
    def _policies(self) -> dict[str, str]:
        return dict(self.fleet.guests.select("setting", "policy").unique().iter_rows())

    def bound(self, setting: str) -> bool:
        """Does it say what is possible, rather than what one can have?"""
        policy = registry().get(self._policies[setting])
        return policy is not None and bool(policy.bound)

    def silent(self, setting: str) -> bool:
        """Does its policy never report?"""
        policy = registry().get(self._policies[setting])
        return policy is not None and policy.bound == FLOOR

    @cached_property
    def reporting(self) -> list[str]:
        """Settings that report, in the fleet's order."""
        return [each for each in self.fleet.compared if not self.silent(each)]

    def today(self, setting: str) -> bool:
        """A released kernel has its policy, and may run it all the time."""
        policy = registry().get(self._policies[setting])
        return policy is not None and bool(policy.since) and not policy.caution

    @cached_property
    def possible(self) -> list[str]:
        """Settings that are no bounds, in the fleet's order."""
        return [each for each in self.fleet.compared if not self.bound(each)]

    @cached_property
    def baseline(self) -> str:
        """What the others are compared with: what a stock kernel does, else the first that can be had."""
        own = [each for each in self.possible if self._policies[each] == OWN]
        plain_first = sorted(own, key=lambda each: each.count("="))
        return next(iter([*plain_first, *self.possible, *self.fleet.compared]))

    @cached_property
    def others(self) -> list[str]:
        """Settings that could be had instead of the baseline, the one that brings most first."""
        beside = [each for each in self.possible if each != self.baseline]
        return sorted(beside, key=lambda each: -self.gains[each].mean)

    @cached_property
    def best(self) -> str | None:
        """Of the others that a released kernel has the one that brings most, else of all; None if there is
        none.
        """
        return next(iter([each for each in self.others if self.today(each)] or self.others), None)

    @cached_property
    def gains(self) -> dict[str, Gains]:
        """Each setting but the baseline against it, in shares of a guest's memory."""
        here = self.fleet
        asked = [each for each in here.compared if each != self.baseline]
        return {each: here.gains(each, self.baseline, SHARE, POINT) for each in asked}

    @cached_property
    def weighted(self) -> dict[str, Fleet]:
        """The same guests under each of the weights."""
        here = self.fleet
        return {name: here if name == here.weights else here.weighted(name) for name in WEIGHTS}

    @cached_property
    def _told(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.fleet.statistics.iter_rows(named=True)
        return {(row["setting"], row["measure"]): row for row in rows}

    def statistic(self, setting: str, measure: str) -> dict[str, Any]:
        """A row of `Fleet.statistics`."""
        return self._told[setting, measure]

    def mean(self, setting: str, measure: str) -> str:
        """A mean as text."""
        return written(measure, self.statistic(setting, measure)["mean"])

    def ends(self, setting: str, measure: str) -> str:
        """Its interval as text, in brackets."""
        row = self.statistic(setting, measure)
        return interval(measure, row["low"], row["high"])

    def times(self, setting: str, measure: str) -> float | None:
        """A mean as a multiple of the baseline's; None where that has nothing."""
        ours, theirs = (self.statistic(each, measure)["mean"] for each in (setting, self.baseline))
        return ours / theirs if ours is not None and theirs else None

    @cached_property
    def guests(self) -> pl.DataFrame:
        """A row for each guest compared, with its numbers under the baseline."""
        return self.fleet.guests.filter(pl.col("compared") & (pl.col("setting") == self.baseline))


def points(share: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * share:+.1f}".replace("-0.0", "+0.0").replace("-", "\N{MINUS SIGN}")


def points_ends(of: Gains) -> str:
    """The interval of a mean difference, in brackets."""
    if of.low is None or of.high is None:
        return "(no interval)"
    return f"({points(of.low)} to {points(of.high)}, {LEVEL:.0%})"

"""What would help a workload that has the default: another order, delay, or policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.comparison.answers import (
    AT_0,
    AT_5,
    AT_9,
    CALLS,
    CPU_S,
    IN_A_KERNEL,
    OF_ALL,
    REFAULTS,
    SOONER,
    Answers,
    Shows,
    Writes,
    bytes_,
    cell,
    count,
    cpu,
    points,
)

WORTH = 0.01  # of what all orders could reclaim: less is no reason to change anything
KINDS: Mapping[str, tuple[str, ...]] = {
    "order": (AT_5, AT_0),
    "delay": (SOONER,),
    "policy": IN_A_KERNEL[1:],
}

PRICES: Sequence[tuple[str, Shows, Writes]] = (
    ("refaults", REFAULTS, bytes_),
    ("calls", CALLS, count),
    ("CPU", CPU_S, cpu),
)


@dataclass(frozen=True)
class Help:
    """The setting of its kind that reclaims most, and how much more than the default (a share of what all
    orders could). An order comes before a lower one that does not bring WORTH more.
    """

    setting: str
    share: float

    @property
    def named(self) -> str:
        """The setting beside the default, `upstream`."""
        return self.setting.removeprefix("upstream:")


@dataclass(frozen=True)
class Helps:
    """What would help one trace, by the names of `KINDS`, and a verdict in words."""

    by: Mapping[str, Help]
    verdict: str

    @property
    def most(self) -> str:
        """The kind that helps most; `nothing` where none is worth it. Another policy takes a patched kernel,
        so it has to bring WORTH more than a constant of the one that is there.
        """
        kind = max(self.by, key=lambda each: self.by[each].share - (WORTH if each == "policy" else 0))
        return kind if self.by[kind].share >= WORTH else "nothing"


def helps_of(answers: Answers, trace: str) -> Helps:
    """What would help this trace."""
    found = {kind: _best(answers, trace, settings) for kind, settings in KINDS.items()}
    kind = Helps(found, "").most
    if kind == "nothing":
        return Helps(found, "keep the default")
    best = found[kind]
    price = ", ".join(
        f"{name} {_from_to(answers, shows, write, trace, best.setting)}" for name, shows, write in PRICES
    )
    return Helps(found, f"{best.named}: {points(best.share)} for {price}")


def _best(answers: Answers, trace: str, settings: tuple[str, ...]) -> Help:
    default = answers.shown(OF_ALL, trace, AT_9) or 0
    shares = {each: (answers.shown(OF_ALL, trace, each) or 0) - default for each in settings}
    setting = max(shares, key=lambda each: shares[each] + (WORTH if each == AT_5 else 0))
    return Help(setting, shares[setting])


def _from_to(answers: Answers, shows: Shows, write: Writes, trace: str, setting: str) -> str:
    """What the default has, and what the setting has."""
    return " to ".join(cell(answers.shown(shows, trace, each), write) for each in (AT_9, setting))

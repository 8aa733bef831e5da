"""The comparison's table as one asks it: a row by trace and setting, a number over all traces."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import polars as pl

from data.comparison.replayed import KEY, KNOBS, UNTOLD, Row
from replay.tables import shorter, size, tight
from tracer.units import human_duration

GIB = 1 << 30
IN_A_KERNEL = ("upstream", "boundary", "bitmap", "hints")  # that a guest's kernel can do, at one order
SOONER, LATER, LARGER, AT_5, AT_0 = KNOBS
AT_9 = "upstream"
Shows = Callable[[Row], float | None]
Writes = Callable[[float], str]


def column(name: str, scale: float = 1) -> Shows:
    """Shows a column, times `scale`."""

    def shows(row: Row) -> float | None:
        return None if row.get(name) is None else row[name] * scale

    return shows


OF_ALL = column("reclaimed_share_of_all_orders")
GAIN = column("gain_share")
MEAN_GIB = column("reclaimed_mean_bytes", 1 / GIB)
REFAULTS = column("refaults_bytes")
CALLS = column("reports_calls")
CPU_S = column("cost_total_s")
P50_S, P90_S, P99_S = (column(f"latency_{name}_s") for name in ("p50", "p90", "p99"))
DIVERGENCE = column("divergence")


def a_minute(shows: Shows) -> Shows:
    """The same, for each minute of its trace."""

    def shown(row: Row) -> float | None:
        value = shows(row)
        return value * 60 / row["duration_s"] if value is not None and row["duration_s"] else None

    return shown


@dataclass(frozen=True)
class Answers:
    """The table's rows by `KEY`; `traces`, in the table's order."""

    rows: Mapping[tuple[str, ...], Row]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Answers":
        """Of the table."""
        return cls({tuple(row[name] for name in KEY): row for row in frame.to_dicts()})

    @property
    def traces(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(key[0] for key in self.rows))

    def settings(self, trace: str, backing: str = "4k", start: str = "steady") -> list[str]:
        """What a trace was replayed under."""
        return [key[3] for key in self.rows if key[:3] == (trace, start, backing)]

    def shown(
        self, shows: Shows, trace: str, setting: str = AT_9, backing: str = "4k", start: str = "steady"
    ) -> float | None:
        """A number; None where there is none, or no such row."""
        row = self.rows.get((trace, start, backing, setting))
        return None if row is None else shows(row)

    def over(
        self, shows: Shows, setting: str = AT_9, backing: str = "4k", start: str = "steady"
    ) -> dict[str, float]:
        """The same by trace, of those that have it."""
        found = {trace: self.shown(shows, trace, setting, backing, start) for trace in self.traces}
        return {trace: value for trace, value in found.items() if value is not None}

    def beside(
        self, shows: Shows, setting: str, other: str = AT_9, **case: str
    ) -> dict[str, tuple[float, float]]:
        """By trace, a number of one setting and of another one."""
        ours, theirs = self.over(shows, setting, **case), self.over(shows, other, **case)
        return {trace: (ours[trace], theirs[trace]) for trace in ours if trace in theirs}

    def more(self, shows: Shows, setting: str, other: str = AT_9, **case: str) -> dict[str, float]:
        """How much more one setting has than another one."""
        return {trace: a - b for trace, (a, b) in self.beside(shows, setting, other, **case).items()}

    def times(self, shows: Shows, setting: str, other: str = AT_9, **case: str) -> dict[str, float]:
        """How many times as much; of traces where the other has any."""
        return {trace: a / b for trace, (a, b) in self.beside(shows, setting, other, **case).items() if b}


# How numbers are written.


def percent(share: float) -> str:
    """A share."""
    return f"{100 * share:.1f}%"


def fine_percent(share: float) -> str:
    """A small share."""
    return f"{share:.3%}"


def span(share: float) -> str:
    """How far shares are apart, in percentage points."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * share:+.1f}".replace("-0.0", "+0.0")


def factor(times: float) -> str:
    """A ratio."""
    return f"x{times:.2f}" if times < 10 else f"x{shorter(round(times))}"


def seconds(value: float) -> str:
    """A time."""
    return tight(human_duration(value))


def cpu(value: float) -> str:
    """CPU time: of what is less than a millisecond the estimate says nothing."""
    return "<1ms" if 0 < value < 1e-3 else seconds(value)


def count(value: float) -> str:
    """A number of things."""
    return shorter(round(value) if value >= 10 else round(value, 1))


def bytes_(value: float) -> str:
    """A size."""
    return size(value)


def gib(value: float) -> str:
    """GiB, without the unit."""
    return f"{value:.2f}"


def cell(value: float | None, write: Writes) -> str:
    """A number, or that there is none."""
    return "-" if value is None else write(value)


def spread(values: Iterable[float], write: Writes) -> str:
    """The median, and the range where there is one."""
    known = sorted(values)
    if not known:
        return "-"
    middle, least, most = (write(value) for value in (median(known), known[0], known[-1]))
    return middle if least == most else f"{middle} ({least} to {most})"


def named_spread(values: Mapping[str, float], write: Writes) -> str:
    """The same, with the traces at its ends."""
    if len({write(value) for value in values.values()}) < 2:
        return spread(values.values(), write)
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    middle = write(median(values.values()))
    return f"{middle} ({write(values[least])} on {least} to {write(values[most])} on {most})"


def told(answers: "Answers", shows: Shows, write: Writes, setting: str = AT_9, **case: str) -> str:
    """A setting's number over all traces, in a sentence."""
    return named_spread(answers.over(shows, setting, **case), write)


def told_more(answers: "Answers", setting: str, **case: str) -> str:
    """How many points more a setting reclaims than the default."""
    return named_spread(answers.more(OF_ALL, setting, **case), points) + " points"


def label(setting: str) -> str:
    """A setting in a table."""
    return setting.replace(f"{UNTOLD},", "untold:").replace(UNTOLD, "untold")


def as_list(names: Iterable[Any]) -> str:
    """Names in a sentence."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "".join(f"- {line}\n" for line in lines)

"""What a fleet is judged by: a row for each guest and setting, from the rows that a batch wrote.

Rates are for each hour of a guest, so that recordings of different lengths can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracer import human_bytes
from tracer.units import human_duration

if TYPE_CHECKING:
    import polars as pl

GIB = 1 << 30
GUESTS, MEMORY, GUEST_HOURS = "guests", "memory", "guest-hours"
WEIGHTS = {GUESTS: "each guest alike", MEMORY: "by memory", GUEST_HOURS: "by memory and time"}


@dataclass(frozen=True)
class Measure:
    """A number of a guest under a setting.

    Attributes:
        name: of its column, with its unit.
        title: as people read it.
        written: a value as text.
        more: whether more of it is better.
        meaning: in a few words.
    """

    name: str
    title: str
    written: Callable[[float], str]
    more: bool
    meaning: str


def gib(value: float) -> str:
    """A size that is counted in GiB."""
    return f"-{human_bytes(-value * GIB)}" if value < 0 else human_bytes(value * GIB)


def percent(share: float) -> str:
    """A share."""
    return f"{share:.1%}"


def seconds(value: float) -> str:
    """A time."""
    return f"-{human_duration(-value)}" if value < 0 else human_duration(value)


_ALL = (
    Measure("given_back_gib", "given back", gib, True, "reclaimed on average: GiB-hours for each guest-hour"),
    Measure("given_back_share", "of memory", percent, True, "the same, of the guest's managed memory"),
    Measure("ceiling_share", "of ceiling", percent, True, "of what reporting at once reclaims at its order"),
    Measure("latency_p50_s", "p50", seconds, False, "latency of half of what was reported"),
    Measure("latency_p90_s", "p90", seconds, False, "latency of 90 % of what was reported"),
    Measure("stranded_share", "stranded", percent, False, "of free memory: in pieces smaller than a unit"),
    Measure("refaults_gib_per_hour", "refaults an hour", gib, False, "reclaimed, then used again"),
    Measure("cpu_s_per_hour", "CPU an hour", seconds, False, "of host and guest, estimated"),
)
MEASURES = {measure.name: measure for measure in _ALL}
# Columns of a batch that a fleet needs, and nothing else is read.
TEXTS = ("address", "kernel_release", "status", "start", "backing", "options", "policy", "label")
NUMBERS = (
    "duration_s", "reclaimed_mean_bytes", "reclaimed_share_of_oracle", "latency_p50_s",
    "latency_p90_s", "free_byte_seconds", "free_stranded_byte_seconds", "refaults_bytes", "cost_total_s",
    "baseline_gib_min", "impossible_share",
)  # fmt: skip
COUNTS = ("events", "lost_events", "order")
TRUTHS = ("whole",)
NEEDED = (*TEXTS, *NUMBERS, *COUNTS, *TRUTHS)


def measured(rows: "pl.DataFrame") -> "pl.DataFrame":
    """See `Fleet.guests`. `rows`: with NEEDED, of a time above 0."""
    import polars as pl

    hours = pl.col("duration_s") / 3600
    told = rows.with_columns(
        managed_bytes=pl.col("baseline_gib_min") * (GIB * 60) / pl.col("duration_s"),
        given_back_gib=pl.col("reclaimed_mean_bytes") / GIB,
        ceiling_share=pl.col("reclaimed_share_of_oracle"),
        stranded_share=_of(pl.col("free_stranded_byte_seconds"), pl.col("free_byte_seconds")),
        refaults_gib_per_hour=pl.col("refaults_bytes") / GIB / hours,
        cpu_s_per_hour=pl.col("cost_total_s") / hours,
    )
    return told.with_columns(given_back_share=_of(pl.col("given_back_gib") * GIB, pl.col("managed_bytes")))


def _of(part: "pl.Expr", whole: "pl.Expr") -> "pl.Expr":
    import polars as pl

    return pl.when(whole > 0).then(part / whole)

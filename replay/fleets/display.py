"""How a fleet shows itself in a notebook: a row for each setting, or for each guest that gains."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from replay.fleets.bootstrap import LEVEL
from replay.fleets.measures import MEASURES, WEIGHTS
from tracer import Shown, human_bytes

if TYPE_CHECKING:
    from replay.fleets.fleet import Fleet, Gains

NONE = "-"
MOST = 20  # guests of a table, half from each end
HINT = (
    f"in brackets: {LEVEL:.0%} interval of the mean over guests; p5 to p95: guests. "
    "Given back: reclaimed on average, the same as GiB-hours for each guest-hour"
)


def fleet(of: "Fleet") -> Shown:
    """A row for each setting."""
    guests = of.guests.filter("compared").unique("address", maintain_order=True)
    hours, managed_bytes = (float(guests[name].sum()) for name in ("duration_s", "managed_bytes"))
    size, word = human_bytes(managed_bytes), "guest" if of.count == 1 else "guests"
    heading = f"{of.count:,} {word}, {hours / 3600:,.1f} h, {size}; means {WEIGHTS[of.weights]}"
    rows = [(row["setting"], *_cells(row)) for row in of.settings.iter_rows(named=True)]
    heads = ("given back", f"({LEVEL:.0%})", "p5 to p95", *(MEASURES[name].title for name in _MEANS))
    return Shown(heading, ("setting", *heads), rows, [HINT, *of.notes])


_MEANS = ("given_back_share", "ceiling_share", "latency_p50_s", "latency_p90_s", "stranded_share",
          "refaults_gib_per_hour", "cpu_s_per_hour")  # fmt: skip


def _cells(row: Mapping[str, Any]) -> list[str]:
    given = "given_back_gib"
    return [
        written(given, row[f"{given}_mean"]),
        interval(given, row[f"{given}_low"], row[f"{given}_high"]),
        f"{written(given, row[f'{given}_p5'])} to {written(given, row[f'{given}_p95'])}",
        *(written(name, row[f"{name}_mean"]) for name in _MEANS),
    ]


def gains(of: "Gains") -> Shown:
    """The guests at both ends, and the mean."""
    heading = (
        f"{of.setting} against {of.baseline}, {MEASURES[of.measure].title}: "
        f"{written(of.measure, of.mean)} {interval(of.measure, of.low, of.high)}, "
        f"{of.share_gaining:.0%} of {of.guests.height:,} guests gain"
    )
    every = of.guests
    shown = every if every.height <= MOST else every.head(MOST // 2).vstack(every.tail(MOST // 2))
    columns = ("baseline", "setting", "difference")
    rows = [
        (row["guest"], *(written(of.measure, row[name]) for name in columns))
        for row in shown.iter_rows(named=True)
    ]
    left = every.height - shown.height
    notes = [f"and {left:,} between them: .guests has all"] if left else []
    if of.left_out:
        notes.append(f"{of.left_out:,} guests left out: they lack one of the two")
    return Shown(heading, ("guest", *columns), rows, notes)


def written(measure: str, value: float | None) -> str:
    """A value of a measure."""
    return NONE if value is None else MEASURES[measure].written(value)


def interval(measure: str, low: float | None, high: float | None) -> str:
    """Both ends, or that there is none."""
    if low is None or high is None:
        return "(no interval)"
    return f"({written(measure, low)} to {written(measure, high)})"

"""What every trace of the corpus is replayed under, and the tidy table of what came of it.

A row is one setting on one trace: `KEY`, the setting in full, facts of the trace, every metric of
`docs/metrics.md` as `pagetide sweep` names it, and `SHARES`, which compare it with other rows of its trace.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from replay import Options, Replay
from replay import replay as replayed
from replay.policies import parse
from replay.policies.fitness import unfit
from replay.sweeping.frame import metric_column, metrics
from tracer import open_trace
from tracer.faults import ExitCode

Row = dict[str, Any]
KEY = ("trace", "start", "backing", "setting")
TEXTS = (*KEY, "policy", "params", "kernel_release", "caveats", "notes")
SHARES = ("reclaimed_share_of_free", "reclaimed_share_of_all_orders", "gain_share", "divergence_of_never")

# All at the guest's pageblock order, but for balloon hinting, whose order is the largest.
POLICIES = ("never", "upstream", "boundary", "bitmap", "hints", "balloon-hinting", "clairvoyant", "oracle")
KNOBS = (
    "upstream:delay=100ms",
    "upstream:delay=10s",
    "upstream:capacity=512",
    "upstream:order=5",
    "upstream:order=0",
)
OTHERS_AT_0 = ("boundary:order=0", "bitmap:order=0", "hints:order=0")
# Begins with all told, as the others do, and tells nothing after that: the floor of a steady start.
UNTOLD = "upstream:delay=1h"
MOST = "oracle:order=0"  # what is free, at any order, and was ever backed


def bounds(order: int) -> tuple[str, ...]:
    """Reports nothing, all at once, and nothing after the start, at an order."""
    return f"never:order={order}", f"oracle:order={order}", f"{UNTOLD},order={order}"


@dataclass(frozen=True)
class Case:
    """Settings that are replayed in one pass.

    Attributes:
        start, backing: as `pagetide replay` has them.
        settings: as `--policy` takes them.
    """

    start: str
    backing: str
    settings: tuple[str, ...]


DEFAULT = Case("steady", "4k", POLICIES)
HOSTS = (*POLICIES, UNTOLD, "upstream:order=0", *bounds(0))
CASES = (
    Case("steady", "4k", (*POLICIES, UNTOLD, *KNOBS, *OTHERS_AT_0, *bounds(0), *bounds(5), *bounds(10))),
    Case("steady", "thp", HOSTS),
    Case("steady", "2m", HOSTS),
    Case("cold", "4k", POLICIES),
)


def rows_of(path: Path, case: Case) -> Iterator[Row]:
    """What a trace comes to under a case's settings, without `SHARES`.

    Raises:
        Fault: where it cannot be replayed. A policy that asks for more than it tells is left out, which
            `caveats` says.
    """
    trace = open_trace(path)
    asked = {text: parse(text, trace.manifest.guest) for text in case.settings}
    faults = {text: fault for text, setting in asked.items() if (fault := unfit(trace, setting))}
    fit = {text: setting for text, setting in asked.items() if text not in faults}
    done = replayed(trace, list(fit.values()), Options(case.start, case.backing))
    left_out = [f"no {text}: {fault.how}" for text, fault in faults.items()]
    facts = _facts(done) | {"caveats": "; ".join([*done.trace.warnings, *done.limits, *left_out])}
    for text, result in zip(fit, done.results, strict=True):
        yield {
            "trace": path.stem,
            "start": case.start,
            "backing": case.backing,
            "setting": text,
            "policy": result.policy,
            "order": result.run.setting.order,
            "params": result.run.setting.text,
            **facts,
            "notes": "; ".join(result.notes),
            **metrics(result.summary),
        }


def _facts(done: Replay) -> Row:
    """Of the trace; `exit_code`: what `pagetide replay` ends with."""
    (first_ns, last_ns), counts = done.trace.span_ns, done.fidelity
    return {
        "kernel_release": done.trace.manifest.guest.kernel_release,
        "duration_s": (last_ns - first_ns) / 1e9,
        "events": done.trace.rows,
        "exit_code": int(ExitCode.DONE if done.trace.complete else ExitCode.LOSSY),
        "lost_events": counts["lost_events"],
        "steps": counts["steps"],
        "impossible_steps": (counts["exit_of_used"] or 0) + (counts["entry_of_free"] or 0),
    }


def with_shares(rows: Iterable[Row]) -> list[Row]:
    """The rows, each with `SHARES`: None where what it is compared with is not there.

    - `reclaimed_share_of_free`: of all free memory over time.
    - `reclaimed_share_of_all_orders`: of what MOST reclaims, where the host backs 4 KiB.
    - `gain_share`: of what reporting after the start can add at the row's order, i.e. of what the oracle
      reclaims above UNTOLD.
    - `divergence_of_never`: at the row's order, of the recorded placement itself.
    """
    told = list(rows)
    bounds_at = {(*_case(row), _bound(row), row["order"]): row for row in told}
    most = {row["trace"]: row for row in told if _key(row)[1:] == ("steady", "4k", MOST)}
    return [row | dict(zip(SHARES, _shares(row, bounds_at, most), strict=True)) for row in told]


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _case(row: Row) -> tuple[str, ...]:
    return _key(row)[:3]


def _bound(row: Row) -> str | None:
    """Which bound a row is, at whatever order."""
    if row["setting"].startswith(UNTOLD):
        return UNTOLD
    return row["policy"] if row["policy"] in ("never", "oracle") else None


def _shares(row: Row, bounds_at: dict[Any, Row], most: dict[str, Row]) -> Iterator[float | None]:
    never, oracle, untold = (
        bounds_at.get((*_case(row), bound, row["order"])) for bound in ("never", "oracle", UNTOLD)
    )
    reclaimed = _reclaimed(row)
    yield _share(reclaimed, row["free_byte_seconds"])
    yield _share(reclaimed, _reclaimed(most[row["trace"]])) if row["trace"] in most else None
    if oracle is None or untold is None or row["policy"] == "never":
        yield None
    else:
        yield _share(reclaimed - _reclaimed(untold), _reclaimed(oracle) - _reclaimed(untold))
    yield never["divergence"] if never else None


def _reclaimed(row: Row) -> float:
    return float(row["reclaimed_byte_seconds"])


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def frame_of(rows: Iterable[Row]) -> pl.DataFrame:
    """Rows as a table: texts, whole numbers and numbers, null where there is nothing to say."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(
        {
            name: pl.Series(values, dtype=pl.String) if name in TEXTS else metric_column(values)
            for name in names
            for values in ([row.get(name) for row in rows],)
        }
    )


def differences(found: Iterable[Row], shipped: pl.DataFrame) -> Iterator[str]:
    """A line for each cell that a table of these rows has otherwise than the shipped one, and for each row
    that is not there. `SHARES` are compared where they were found.
    """
    known = {_key(row): row for row in shipped.to_dicts()}
    for row in found:
        named, there = " ".join(_key(row)), known.get(_key(row))
        if there is None:
            yield f"{named}: is not in the table"
            continue
        for name in dict.fromkeys([*row, *(name for name in there if name not in SHARES)]):
            if row.get(name) != there.get(name):
                yield f"{named}: {name} is {row.get(name)!r}, in the table {there.get(name)!r}"


def left_over(found: Iterable[Row], shipped: pl.DataFrame) -> Iterator[str]:
    """A line for each row of the shipped table that was not found."""
    keys = {_key(row) for row in found}
    for row in shipped.select(KEY).iter_rows():
        if row not in keys:
            yield f"{' '.join(row)}: is in the table, and was not replayed"

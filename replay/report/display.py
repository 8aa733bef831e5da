"""How answers show themselves in a notebook: what people decide by, in a table each.

The numbers are those of `--json` and of the tables in a terminal; `docs/metrics.md` says what each is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replay.composition import PARTS
from replay.parameters import word_of
from tracer import Fault, Shown
from tracer.units import human_bytes, human_duration

if TYPE_CHECKING:
    from replay.api import Replay
    from replay.batching.batch import Batch
    from replay.results import Result
    from replay.sweeping.sweep import Sweep
    from replay.validation import Verdict

GIB = 1 << 30
MOST_ROWS = 40
COLUMNS = (
    "latency p50",
    "latency p90",
    "latency p99",
    "reclaimed, mean",
    "GiB·s",
    "of ceiling",
    "missed",
    "left at end",
    "refaulted",
    "report calls",
    "CPU",
)
HINT = "Ceiling: the most possible at a setting's order. CPU: of host and guest, estimated (docs/costs.md)."
FRONT = (
    "*: on the Pareto front of mean latency, GiB·s and refaults: no other setting is as good in all three."
)


def result(of: "Result") -> Shown:
    """One setting's answer, and what managed memory was made of meanwhile."""
    rows = [*zip(COLUMNS, _cells(of.summary), strict=True), *_parts(of)]
    return Shown(f"{of.policy}: {of.run.setting.text}", (), rows, of.notes)


def replayed(of: "Replay") -> Shown:
    """A row for each setting of one pass."""
    rows = [
        (label, *_cells(each.summary)) for label, each in zip(_labels(of.results), of.results, strict=True)
    ]
    options = of.results[0].run.group.options
    heading = _heading(of.trace_section(options))
    return Shown(heading, ("policy", *COLUMNS), rows, [HINT, *of.limits])


def swept(of: "Sweep") -> Shown:
    """A row for each setting, those on the front first, each part by mean latency."""
    ranked = sorted(range(len(of.summaries)), key=lambda row: _rank(of, row))
    shown = ranked[: max(MOST_ROWS, sum(of.pareto))]
    rows = [(_swept_name(of, row), *_cells(of.summaries[row])) for row in shown]
    left = len(ranked) - len(shown)
    more = [f"and {left:,} more: .frame has all of them"] if left else []
    columns = (f"{of.grid.policy.name}, {len(ranked):,} settings", *COLUMNS)
    return Shown(_heading(of.told), columns, rows, [*more, FRONT, HINT, *of.told["warnings"]])


def batched(of: "Batch") -> Shown:
    """What became of its traces, and the settings beside each other."""
    counts = ", ".join(f"{count:,} {name}" for name, count in of.tasks.items() if count)
    notes = [f"failed: {each.trace}: {': '.join(each.reason[:2])}" for each in of.failures]
    if of.tasks["failed"] > len(of.failures):
        notes.append("and more: .manifest has all of them")
    heading = f"{of.out}: {counts or 'no traces'}"
    try:
        from replay.fleets.display import fleet

        found = fleet(of.fleet)
    except Fault as fault:
        return Shown(heading, ("",), [], [*notes, f"not compared: {fault.what}: {fault.how}"])
    return replace(found, heading=f"{heading}; {found.heading}", notes=[*notes, *found.notes])


def verdict(of: "Verdict") -> Shown:
    """The model against the kernel's own view, in numbers and shares."""
    f, wrong, judged = of.fidelity, of.wrong_share, len(of.judged)
    impossible = f["exit_of_used"] + f["entry_of_free"]
    rows = [
        ("impossible steps", f"{impossible:,}", f"{of.impossible_share:.4%} of {f['steps']:,}"),
        (
            "frames wrong at the end",
            f"{f['frames_wrong']:,}",
            f"{wrong:.4%} of {f['frames_changed']:,}",
        ),
        ("orders wrong at the end", f"{f['orders_wrong']:,}", f"of {f['orders_checked']:,}"),
        ("samples right in all orders", f"{of.right:,}", f"of {judged:,}"),
        ("events lost while recording", f"{f['lost_events']:,}", ""),
    ]
    heading = f"{of.trace.place}: the model against the {of.snapshot.name} snapshot"
    return Shown(heading, ("", "count", "share"), rows, of.warnings)


def _heading(told: Mapping[str, Any]) -> str:
    """`told`: what `--json` has under `trace`."""
    return (
        f"{told['path']}: {told['events']:,} events over {told['duration_s']:.1f} s, "
        f"Linux {told['kernel_release']}; start {told['start']}, backing {told['backing']}"
    )


def _cells(told: Mapping[str, Any]) -> list[str]:
    """A summary in the order of COLUMNS."""
    latency, reclaimed = told["latency_s"], told["reclaimed"]
    mean_bytes, share = reclaimed["mean_bytes"], reclaimed["share_of_oracle"]
    return [
        *(human_duration(latency[name]) for name in ("p50", "p90", "p99")),
        "-" if mean_bytes is None else human_bytes(mean_bytes),
        f"{reclaimed['byte_seconds'] / GIB:,.1f}",
        "-" if share is None else f"{share:.1%}",
        human_bytes(told["missed"]["bytes"]),
        human_bytes(told["unreported_end_bytes"]),
        human_bytes(told["refaults"]["bytes"]),
        f"{told['reports']['calls']:,}",
        human_duration(told["cost_s"]["total"]),
    ]


def _parts(of: "Result") -> Iterator[tuple[str, str]]:
    """What managed memory was on average, as far as it is known and there was any."""
    means = of.mean_bytes
    managed = sum(mean for mean in means.values() if mean is not None)
    for part, what in PARTS.items():
        if mean := means[part]:
            yield f"{part.replace('_', ' ')}: {what}", f"{human_bytes(mean)}, {mean / managed:.1%}"


def _labels(results: "list[Result]") -> list[str]:
    """Each policy, with those of its parameters in which it differs from another row of the same."""
    by_policy: dict[str, list[Mapping[str, Any]]] = {}
    for each in results:
        by_policy.setdefault(each.policy, []).append(each.params)
    return [_label(each.policy, each.params, by_policy[each.policy]) for each in results]


def _label(policy: str, params: Mapping[str, Any], among: list[Mapping[str, Any]]) -> str:
    differing = (name for name in params if any(other[name] != params[name] for other in among))
    told = ",".join(f"{name}={word_of(params[name])}" for name in differing)
    return f"{policy}:{told}" if told else policy


def _swept_name(of: "Sweep", row: int) -> str:
    """The swept parameters of a setting, with a star when it is on the front."""
    written = of.grid.settings[row].written
    told = ", ".join(f"{name}={word_of(written[name])}" for name in of.grid.values)
    return f"* {told}" if of.pareto[row] else told


def _rank(of: "Sweep", row: int) -> tuple[bool, bool, float]:
    mean_s = of.summaries[row]["latency_s"]["mean"]
    return not of.pareto[row], mean_s is None, mean_s or 0.0

"""A sweep in a terminal: the front, then the rest, in 80 columns."""

from typing import Any

from rich.console import Console

from replay.comparison_table import GIB
from replay.parameters import Parameter, Value, word_of
from replay.sweeping.picture import Point, picture
from replay.sweeping.sweep import Sweep
from replay.tables import new_console, new_table, print_hanging, shorter, size, tight
from tracer import plain
from tracer.units import human_duration

MOST_ROWS = 40
COLUMNS = ("mean", "p99", "GiB*s", "ceiling", "refault", "missed", "CPU")
LEGEND = """\
*: on the Pareto front: no other setting is as good in mean latency, GiB*s
and refaults, and better in one   mean p99: latency of what was reported
GiB*s: reclaimed   ceiling: share of the most possible at its order
refault: reclaimed, then used again   missed: in use again before its report
CPU: of host and guest, estimated (docs/costs.md)"""
WIDEST = 38  # columns of the terminal for what is swept


def sweep_table(done: Sweep) -> None:
    """The heading, what all settings have in common, and a row each: the front first, in each part by
    latency.
    """
    console = new_console()
    _heading(console, done)
    names, named = _named(done)
    ranked = sorted(range(len(named)), key=lambda row: _rank(done, row))
    shown = ranked[: max(MOST_ROWS, sum(done.pareto))]
    table = new_table("", *names, *COLUMNS)
    for row in shown:
        table.add_row("*" if done.pareto[row] else "", *named[row], *_cells(done.summaries[row]))
    console.print(table)
    if len(shown) < len(ranked):
        console.print(f"... and {len(ranked) - len(shown):,} more: -o DIR or --json has them all")
    console.print(LEGEND, style="dim")
    if drawn := picture(_points(done)):
        console.print("", *drawn[:-1], sep="\n", markup=False)
        console.print(drawn[-1], style="dim", markup=False)
    if names == ["#"]:
        for row in shown:
            print_hanging(console, f"#{row}: {done.grid.settings[row].text}", style="dim")


def _heading(console: Console, done: Sweep) -> None:
    told, grid = done.told, done.grid
    console.print(
        f"{plain(str(done.trace.place))}: {told['events']:,} events over {told['duration_s']:.1f} s, "
        f"Linux {plain(told['kernel_release'])}\n"
        f"start {told['start']}, backing {told['backing']}",
        soft_wrap=True,
    )
    for line in done.told["warnings"]:
        print_hanging(console, f"note: {plain(line)}", style="dim")
    common = ", ".join(
        f"{name}={word_of(value)}"
        for name, value in grid.settings[0].written.items()
        if name not in grid.values and all(setting.written[name] == value for setting in grid.settings)
    )
    swept = f"{grid.policy.name}: {len(grid.settings):,} settings, {sum(done.pareto):,} on the front"
    print_hanging(console, swept + (f"; all have {common}" if common else ""))
    for line in sorted({line for summary in done.summaries for line in summary["notes"]}):
        print_hanging(console, f"note: {plain(line)}", style="dim")


def _points(done: Sweep) -> list[Point]:
    """Settings that reported something."""
    return [
        Point(mean_s, summary["reclaimed"]["byte_seconds"] / GIB, front)
        for summary, front in zip(done.summaries, done.pareto, strict=True)
        if (mean_s := summary["latency_s"]["mean"]) is not None
    ]


def _named(done: Sweep) -> tuple[list[str], list[list[str]]]:
    """Columns that tell settings apart, and each setting's cells: a number where the values do not fit."""
    known = {parameter.name: parameter for parameter in done.grid.policy.parameters}
    names = [name for name, values in done.grid.values.items() if len(values) > 1] or list(done.grid.values)
    rows = [[_word(known[name], s.params[name]) for name in names] for s in done.grid.settings]
    widths = [max(map(len, column)) + 1 for column in zip(names, *rows, strict=True)]
    if sum(widths) <= WIDEST:
        return names, rows
    return ["#"], [[str(row)] for row in range(len(rows))]


def _word(parameter: Parameter, value: Value) -> str:
    return word_of(parameter.written(value))


def _rank(done: Sweep, row: int) -> tuple[Any, ...]:
    summary = done.summaries[row]
    mean_s = summary["latency_s"]["mean"]
    return (
        not done.pareto[row],
        mean_s is None,
        mean_s or 0,
        -summary["reclaimed"]["byte_seconds"],
        summary["refaults"]["bytes"],
    )


def _cells(told: dict[str, Any]) -> list[str]:
    latency, reclaimed = told["latency_s"], told["reclaimed"]
    share = reclaimed["share_of_oracle"]
    return [
        tight(human_duration(latency["mean"])),
        tight(human_duration(latency["p99"])),
        shorter(reclaimed["byte_seconds"] / GIB),
        "-" if share is None else f"{share:.1%}",
        size(told["refaults"]["bytes"]),
        size(told["missed"]["bytes"]),
        tight(human_duration(told["cost_s"]["total"])),
    ]

"""The comparison's tables in Markdown, for `docs/comparison.md` and the README.

Where rows are traces, the last one is the median of each column.
"""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from benchmarks.pages import table
from data.comparison.answers import (
    AT_0,
    AT_5,
    AT_9,
    CALLS,
    CPU_S,
    DIVERGENCE,
    GAIN,
    GIB,
    IN_A_KERNEL,
    LARGER,
    LATER,
    MEAN_GIB,
    OF_ALL,
    P50_S,
    P90_S,
    P99_S,
    REFAULTS,
    SOONER,
    Answers,
    Shows,
    Writes,
    a_minute,
    as_list,
    bytes_,
    cell,
    column,
    count,
    cpu,
    fine_percent,
    gib,
    label,
    percent,
    points,
    seconds,
    spread,
)
from data.comparison.choosing import Help, helps_of
from data.comparison.findings import impossible, wrong
from data.comparison.replayed import KNOBS, MOST, OTHERS_AT_0, POLICIES, UNTOLD

LOOKED_AT = ("work_entries_walked", "work_bits_scanned")


class Column:
    """A column over traces: its heading, the number of a trace, and how it is written."""

    def __init__(self, heading: str, of: Callable[[str], float | None], write: Writes) -> None:
        self.heading, self.of, self.write = heading, of, write

    def cells(self, traces: Iterable[str]) -> list[str]:
        """One for each trace, then their median."""
        values = [self.of(trace) for trace in traces]
        known = [value for value in values if value is not None]
        return [*(cell(value, self.write) for value in values), self.write(median(known)) if known else "-"]


def over_traces(answers: Answers, columns: Sequence[Column]) -> str:
    """A row for each trace, and the medians."""
    names = [*answers.traces, "*median*"]
    lines = zip(names, *(each.cells(answers.traces) for each in columns), strict=True)
    return table(["trace", *(each.heading for each in columns)], map(list, lines))


def _of(
    answers: Answers, heading: str, shows: Shows, write: Writes, setting: str = AT_9, **case: str
) -> Column:
    return Column(heading, lambda trace: answers.shown(shows, trace, setting, **case), write)


def short(answers: Answers) -> str:
    """Every policy on every trace: p50, reclaimed of what all orders could, CPU."""
    shown = [*(name for name in POLICIES if name != "never"), AT_0]

    def told(trace: str, setting: str) -> str:
        row = (answers.shown(shows, trace, setting) for shows in (P50_S, OF_ALL, CPU_S))
        return " ".join(map(cell, row, (seconds, percent, cpu)))

    lines = [
        [
            f"{trace}, {answers.shown(column('duration_s'), trace):.0f} s",
            cell(answers.shown(OF_ALL, trace, UNTOLD), percent),
            *(told(trace, setting) for setting in shown),
        ]
        for trace in answers.traces
    ]
    return table(["trace", "untold", *(label(setting) for setting in shown)], lines)


def traces(answers: Answers) -> str:
    """What each trace is like: its memory, and how far it can be trusted."""
    managed, free = column("baseline_gib_min"), column("free_byte_seconds", 1 / GIB)

    def mean(shows: Shows, scale: float = 1) -> Callable[[str], float | None]:
        def of(trace: str) -> float | None:
            value = answers.shown(a_minute(shows), trace)
            return None if value is None else value * scale

        return of

    columns = [
        _of(answers, "lasts", column("duration_s"), seconds),
        _of(answers, "events", column("events"), lambda value: f"{value:,.0f}"),
        Column("managed GiB", mean(managed), gib),
        Column("free GiB", mean(free, 1 / 60), gib),
        _of(answers, "could come back GiB", MEAN_GIB, gib, MOST),
        _of(answers, "taken again a minute", a_minute(REFAULTS), bytes_, MOST),
        Column("impossible steps", impossible(answers).get, fine_percent),
        Column("wrong frames", wrong(answers).get, fine_percent),
        _of(answers, "exit code", column("exit_code"), count),
    ]
    return over_traces(answers, columns) + _caveats(answers)


def _caveats(answers: Answers) -> str:
    """What the traces say of themselves, each line once."""
    found: dict[str, list[str]] = {}
    for trace in answers.traces:
        if line := answers.rows[trace, "steady", "4k", AT_9]["caveats"]:
            found.setdefault(line, []).append(trace)
    lines = [f"- {as_list(names)}: {line}" for line, names in found.items()]
    return "\n".join(["", *lines, ""]) if lines else ""


def helps(answers: Answers) -> str:
    """What would help each workload, beside the default."""

    def written(help_: Help) -> str:
        return f"{points(help_.share)} ({help_.named})"

    lines = []
    for trace in answers.traces:
        found = helps_of(answers, trace)
        lines.append(
            [
                trace,
                cell(answers.shown(OF_ALL, trace), percent),
                cell(answers.shown(OF_ALL, trace, UNTOLD), percent),
                *(written(found.by[kind]) for kind in ("order", "delay", "policy")),
                found.verdict,
            ]
        )
    heads = ("trace", "upstream", "untold", "by order", "by delay", "by policy", "so")
    return table(heads, lines)


def policies(answers: Answers) -> str:
    """Each setting over all traces: median, least and most."""
    settings = [name for name in (*POLICIES, UNTOLD, *KNOBS, *OTHERS_AT_0) if name != "never"]
    shown: list[tuple[str, Shows, Writes]] = [
        ("p50", P50_S, seconds),
        ("p99", P99_S, seconds),
        ("of all", OF_ALL, percent),
        ("gain", GAIN, percent),
        ("refaults a minute", a_minute(REFAULTS), bytes_),
        ("calls a minute", a_minute(CALLS), count),
        ("CPU a minute", a_minute(CPU_S), cpu),
        ("looked at a minute", a_minute(_looked_at), count),
    ]
    lines = [
        [label(setting),
         *(spread(answers.over(shows, setting).values(), write) for _, shows, write in shown)]
        for setting in settings
    ]  # fmt: skip
    return table(["setting", *(name for name, _, _ in shown)], lines)


def _looked_at(row: dict[str, float]) -> float:
    return sum(row[name] for name in LOOKED_AT)


def orders(answers: Answers) -> str:
    """What each order can reach, and what it costs `upstream`."""
    reach = (("10", "oracle:order=10"), ("9", "oracle"), ("5", "oracle:order=5"))
    columns = [
        *(_of(answers, f"{order} reaches", OF_ALL, percent, setting) for order, setting in reach),
        *(
            _of(answers, f"{what}, {name}", shows, write, setting)
            for what, shows, write in (
                ("upstream", OF_ALL, percent),
                ("refaults", REFAULTS, bytes_),
                ("calls", CALLS, count),
                ("CPU", CPU_S, cpu),
            )
            for name, setting in (("9", AT_9), ("5", AT_5), ("0", AT_0))
        ),
    ]
    return over_traces(answers, columns)


def delays(answers: Answers) -> str:
    """What `upstream` gets and pays with another delay, and with another capacity."""
    settings = (("100ms", SOONER), ("2s", AT_9), ("10s", LATER), ("2s, 512", LARGER))
    columns = [
        _of(answers, f"{what}, {name}", shows, write, setting)
        for what, shows, write in (
            ("of all", OF_ALL, percent),
            ("refaults", REFAULTS, bytes_),
            ("calls", CALLS, count),
        )
        for name, setting in settings
    ]
    return over_traces(answers, columns)


def hosts(answers: Answers) -> str:
    """What the host's pages change for orders 9 and 0."""
    columns = [
        _of(answers, f"{what}, {order} on {backing}", shows, write, setting, backing=backing)
        for what, shows, write in (("of all", OF_ALL, percent), ("CPU", CPU_S, cpu))
        for order, setting in (("9", AT_9), ("0", AT_0))
        for backing in ("4k", "thp", "2m")
    ]
    return over_traces(answers, columns)


def cold(answers: Answers) -> str:
    """When nothing has been reported before: share of what the oracle reclaims at the same order."""
    share = column("reclaimed_share_of_oracle")
    settings = [name for name in POLICIES if name not in ("never", "oracle")]
    return over_traces(answers, [_of(answers, name, share, percent, name, start="cold") for name in settings])


def placement(answers: Answers) -> str:
    """Divergence of each policy, and of the recorded placement at its order."""
    shown = ("never", *IN_A_KERNEL, "never:order=0", AT_0, *OTHERS_AT_0)
    columns = [_of(answers, label(setting), DIVERGENCE, percent, setting) for setting in shown]
    hits = [
        _of(answers, f"hits, {label(setting)}", column("collisions_blocks"), count, setting)
        for setting in (AT_9, "balloon-hinting", AT_0, OTHERS_AT_0[1])
    ]
    return over_traces(answers, [*columns, *hits])


EACH: Sequence[tuple[str, Shows, Writes]] = (
    ("p50", P50_S, seconds),
    ("p90", P90_S, seconds),
    ("p99", P99_S, seconds),
    ("mean GiB", MEAN_GIB, gib),
    ("of all", OF_ALL, percent),
    ("ceiling", column("reclaimed_share_of_oracle"), percent),
    ("gain", GAIN, percent),
    ("missed", column("missed_bytes"), bytes_),
    ("left", column("unreported_end_bytes"), bytes_),
    ("refaults", REFAULTS, bytes_),
    ("calls", CALLS, count),
    ("device", column("cost_device_s"), seconds),
    ("CPU", CPU_S, cpu),
    ("looked at", _looked_at, count),
)


def each(answers: Answers) -> str:
    """Every setting on every trace, where the host backs 4 KiB."""
    parts = []
    for trace in answers.traces:
        lines = [
            [
                label(setting),
                *(cell(answers.shown(shows, trace, setting), write) for _, shows, write in EACH),
            ]
            for setting in answers.settings(trace)
        ]
        parts.append(f"### {trace}\n\n{table(['setting', *(head for head, _, _ in EACH)], lines)}")
    return "\n".join(parts)

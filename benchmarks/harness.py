"""What all benchmarks share: things measured in turn, figures with their peers, one table of them.

Machines are noisy: what is compared runs in interleaved rounds of one run, a ratio is taken within each
round, and told as median and range. CPU time stands beside wall time, peak anonymous memory beside both.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.pages import replace_text

REPO = Path(__file__).parent.parent
TRACE = REPO / "data" / "database.trace"
PAGETIDE = (sys.executable, "-c", "from replay.main import main; main()")
LIBRARIES = ("numpy", "pyarrow", "polars", "numba", "duckdb", "simpy", "libcachesim")
POLL_S = 0.02
BUSY = 1.0  # load before anything is measured


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds by the clock and of CPU, and the most anonymous memory it held."""

    wall_s: float
    cpu_s: float
    anon_mib: float


Measured = Callable[[], Taken]


def seconds(act: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def anon_mib(pid: int) -> float:
    """Anonymous memory of a process now (RssAnon); 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [line for line in lines if line.startswith("RssAnon")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def command(*argv: object, environment: Mapping[str, str] | None = None) -> Measured:
    """Measure a command, whose exit code must be 0, in the repository's folder."""

    def run() -> Taken:
        peak, done = [0.0], threading.Event()

        def watch() -> None:
            while not done.wait(POLL_S):
                peak.append(anon_mib(process.pid))

        begin = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, argv)),
            cwd=REPO,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        if process.returncode:
            sys.exit(f"{' '.join(map(str, argv))}: exit code {process.returncode}")
        return Taken(wall_s, usage.ru_utime + usage.ru_stime, max(peak))

    return run


def interleaved(acts: Mapping[str, Measured], rounds: int) -> dict[str, list[Taken]]:
    """Each act once a round, the rounds in turn forward and backward; the runs of each, by its name."""
    runs: dict[str, list[Taken]] = {name: [] for name in acts}
    for number in range(rounds):
        for name in list(acts) if number % 2 == 0 else reversed(list(acts)):
            runs[name].append(acts[name]())
    return runs


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, a number for each round.

    Attributes:
        unit: of `wall` and `cpu`.
        cpu: the same figure by CPU time; none where only the clock tells.
        anon_mib: the most anonymous memory of all rounds; None where it says nothing.
    """

    name: str
    unit: str
    wall: list[float]
    cpu: list[float] = field(default_factory=list)
    anon_mib: float | None = None

    @classmethod
    def of(cls, name: str, runs: Sequence[Taken], unit: str = "s", per: float = 1) -> "Figure":
        """Seconds, divided by `per`."""
        walls, cpus = [run.wall_s / per for run in runs], [run.cpu_s / per for run in runs]
        return cls(name, unit, walls, cpus, max(run.anon_mib for run in runs))

    @classmethod
    def rate(cls, name: str, runs: Sequence[Taken], count: int) -> "Figure":
        """Millions of events (or requests) a second."""
        walls = [count / run.wall_s / 1e6 for run in runs]
        cpus = [count / run.cpu_s / 1e6 for run in runs if run.cpu_s]
        return cls(name, "M/s", walls, cpus, max(run.anon_mib for run in runs))

    @classmethod
    def memory(cls, name: str, runs: Sequence[Taken]) -> "Figure":
        """The most anonymous memory of each run."""
        return cls(name, "MiB", [run.anon_mib for run in runs])

    @classmethod
    def slope(cls, name: str, short: Sequence[Taken], long: Sequence[Taken], events: int) -> "Figure":
        """What each of the `events` more of the long runs costs, ns."""
        pairs = list(zip(short, long, strict=True))
        walls = [(b.wall_s - a.wall_s) / events * 1e9 for a, b in pairs]
        cpus = [(b.cpu_s - a.cpu_s) / events * 1e9 for a, b in pairs]
        return cls(name, "ns an event", walls, cpus, max(run.anon_mib for run in long))

    @property
    def median(self) -> float:
        """By the clock."""
        return statistics.median(self.wall)


@dataclass(frozen=True)
class Row:
    """A figure beside its peer.

    Attributes:
        goals: `<=` or `>=`, a number and what of: `x` the ratio, else the figure's own unit.
        note: how it was measured, where that matters.
    """

    what: str
    ours: Figure
    peer: Figure
    goals: tuple[str, ...] = ()
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """One a round, by the clock."""
        return _divided(self.ours.wall, self.peer.wall)

    @property
    def cpu_ratios(self) -> list[float]:
        """The same by CPU time."""
        return _divided(self.ours.cpu, self.peer.cpu)

    @property
    def reached(self) -> list[bool]:
        """For each goal: are the medians as it wants them?"""
        told = []
        for goal in self.goals:
            sign, wanted, unit = goal.split(maxsplit=2)
            value = statistics.median(self.ratios or [math.nan]) if unit == "x" else self.ours.median
            told.append(value <= float(wanted) if sign == "<=" else value >= float(wanted))
        return told

    def markdown(self) -> str:
        """A line of the table."""
        ratio = spread(self.ratios)
        if self.cpu_ratios:
            ratio += f"; CPU {short(statistics.median(self.cpu_ratios))}"
        verdicts = [
            f"{goal}: {'yes' if reached else '**no**'}"
            for goal, reached in zip(self.goals, self.reached, strict=True)
        ]
        what = f"{self.what} ({self.note})" if self.note else self.what
        cells = (what, *_cells(self.ours), self.peer.name, *_cells(self.peer), ratio, "; ".join(verdicts))
        return f"| {' | '.join(cells)} |"

    def json(self) -> dict[str, Any]:
        """All that was measured."""
        told = {"ratios": self.ratios, "cpu_ratios": self.cpu_ratios, "reached": self.reached}
        return asdict(self) | told


def _divided(ours: list[float], peer: list[float]) -> list[float]:
    """Ratios, of rounds in which noise did not make one of the two nothing, or less."""
    return [a / b for a, b in zip(ours, peer, strict=False) if a > 0 and b > 0]


HEADINGS = ("what", "pagetide", "RssAnon", "beside", "peer", "RssAnon", "ratio", "goal, reached")


def _cells(figure: Figure) -> tuple[str, str]:
    cpu = f" (CPU {short(statistics.median(figure.cpu))})" if figure.cpu else ""
    memory = "" if figure.anon_mib is None else f"{figure.anon_mib:.0f} MiB"
    return f"{short(figure.median)} {figure.unit}{cpu}", memory


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    if not values:
        return "nothing but noise"
    return f"{short(statistics.median(values))} ({short(min(values))}-{short(max(values))})"


def short(value: float) -> str:
    """Three digits of a number, or all of a large one's."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# The machine


def _first(path: str, key: str) -> str:
    lines = Path(path).read_text().splitlines()
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(key) and ":" in line)
    return next(found, "unknown")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Where and with what something was measured."""
    changed = " and uncommitted changes" if _git("status", "--porcelain", "-uno") else ""
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
        "commit": _git("rev-parse", "--short", "HEAD") + changed,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_line(facts: Mapping[str, Any]) -> str:
    """The same as one line of text."""
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    return (
        f"{facts['cpu']} ({facts['architecture']}), {facts['cores']} cores, {facts['memory_gib']} GiB, "
        f"Linux {facts['kernel']}, Python {facts['python']}, {libraries}; "
        f"commit {facts['commit']}, {facts['date']}, load before {facts['load_before']}"
    )


# The table


@dataclass
class Table:
    """Rows as they come: printed at once, and kept to be written at the end."""

    title: str
    settings: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=machine)
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Print the heading."""
        print("\n".join(self._heading()), flush=True)

    def add(self, row: Row) -> None:
        """Print and keep a row."""
        self.rows.append(row)
        print(row.markdown(), flush=True)

    def lack(self, line: str) -> None:
        """Say what could not be measured, and why."""
        self.missing.append(f"Not measured: {line}")
        print(self.missing[-1], file=sys.stderr, flush=True)

    def _heading(self) -> list[str]:
        said = "; ".join(f"{name} {value}" for name, value in self.settings.items())
        lines = [self.title, "", machine_line(self.facts), "", said, ""]
        if self.facts["load_before"] > BUSY:
            lines += [
                "**The machine was busy with something else: what depends on the clock is worth little.**",
                "",
            ]
        return [*lines, f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]

    @property
    def markdown(self) -> str:
        """All of it."""
        lines = [*self._heading(), *(row.markdown() for row in self.rows)]
        return "\n".join([*lines, *(f"\n{line}" for line in self.missing)]) + "\n"

    @property
    def json(self) -> str:
        """All of it, every round of every figure."""
        rows = [row.json() for row in self.rows]
        told = {"title": self.title, "machine": self.facts, "settings": self.settings, "rows": rows}
        told["missing"] = self.missing
        return json.dumps(told, indent=1) + "\n"

    def write(self, folder: Path, name: str) -> None:
        """Write NAME.md and NAME.json."""
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / f"{name}.md", self.markdown)
        replace_text(folder / f"{name}.json", self.json)

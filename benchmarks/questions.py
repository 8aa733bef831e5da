"""What `benchmarks.speed` asks: each question makes the traces it needs, measures, and yields rows."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.harness import PAGETIDE, Figure, Measured, Row, Taken, command, interleaved
from benchmarks.tiling import Tile, tiled
from benchmarks.worker import Worker, at_once, workers
from replay.slicing import slice_trace
from tracer import Trace, open_trace

ONE = "upstream"  # the one policy, at the trace's pageblock order
DELAYS = ("50ms", "100ms", "200ms", "500ms", "1s", "2s", "5s", "10s")
CAPACITIES = (8, 16, 32, 64, 128, 256, 512, 1024)
GRID = [f"{ONE}:delay={delay},capacity={capacity}" for delay in DELAYS for capacity in CAPACITIES]
ORDER_0 = f"{ONE}:order=0"
FEW_AT_ORDER_0 = [f"{ORDER_0},delay={delay}" for delay in DELAYS]
DECODERS = {
    "arrow_batches": "pyarrow",
    "polars_batches": "polars, streaming",
    "polars_files": "polars by file",
}
# How many events a peer is given: some seconds of each.
ORACLE_EVENTS, SIMPY_EVENTS, DUCKDB_EVENTS = 20_000, 1_000_000, 5_000_000
ENGINE_EVENTS = 40_000_000


@dataclass(frozen=True)
class Sizes:
    """Events of the traces that are made, and rounds."""

    slope: tuple[int, int]
    middle: int
    small: int
    rss: tuple[int, int]
    rounds: int

    @property
    def said(self) -> dict[str, str]:
        """For the reader of the table."""
        slope, rss = (" and ".join(f"{count / 1e6:g} M" for count in pair) for pair in (self.slope, self.rss))
        return {
            "slopes between": slope,
            "memory at": rss,
            "else": f"{self.middle / 1e6:g} M, at order 0 {self.small / 1e6:g} M events",
        }


class Traces:
    """Tiled traces of a folder, made when they are first asked for."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._source, self._folder = source, folder

    @cached_property
    def _tile(self) -> Tile:
        return Tile.of(open_trace(self._source))

    def of(self, events: int) -> Trace:
        """The trace of so many tiles as come nearest to that many events."""
        path = self._folder / f"{self._source.stem}-{events}.trace"
        if not path.exists():
            print(f"tiling {events:,} events into {path}", file=sys.stderr, flush=True)
            tiled(self._tile, path, self._tile.tiles_of(events))
        return open_trace(path)

    def copy_of(self, trace: Trace) -> Trace:
        """The same under another name, in other files."""
        path = trace.path.with_suffix(".copy.trace")
        if not path.exists():
            shutil.copytree(trace.path, path)
        return open_trace(path)

    def tiny(self) -> Trace:
        """A second of the source."""
        path = self._folder / f"{self._source.stem}-tiny.trace"
        return open_trace(path) if path.exists() else slice_trace(open_trace(self._source), path, 0, 10**9)


def _million(events: int) -> str:
    return f"{events / 1e6:.3g} M"


def replay_command(trace: Trace) -> Measured:
    """`pagetide replay` as it is typed."""
    return command(*PAGETIDE, "replay", trace.path, "--policy", ONE, "--json", "--allow-loss")


# Replaying beside decoding


def _slopes(
    traces: Traces, sizes: Sizes, tasks: dict[str, str], threads: int | None
) -> tuple[dict[str, Figure], list[float]]:
    """Each task's cost of an event, by its name; where the replay's line begins, in seconds."""
    less, more = (traces.of(events) for events in sizes.slope)
    some = {}
    for task in tasks:
        given = {"policies": [ONE]} if task == "ours.replaying" else {}
        for trace in (less, more):
            some[task, trace.rows] = Worker(task, threads=threads, trace=str(trace.path), **given)
    acts = {f"{task} {rows}": worker for (task, rows), worker in some.items()}
    with workers(*some.values()):
        runs = interleaved(acts, sizes.rounds)
    between = more.rows - less.rows
    figures = {
        task: Figure.slope(name, runs[f"{task} {less.rows}"], runs[f"{task} {more.rows}"], between)
        for task, name in tasks.items()
    }
    slope_s = [ns / 1e9 * less.rows for ns in figures["ours.replaying"].wall]
    short = runs[f"ours.replaying {less.rows}"]
    return figures, [run.wall_s - part for run, part in zip(short, slope_s, strict=True)]


def decoding(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """One policy, Parquet in, results out, beside decoding just the same columns; the reader apart."""
    for threads in (None, 1):
        decoders = DECODERS if threads is None else {"arrow_batches": "pyarrow"}
        tasks = {"ours.replaying": "pagetide", "ours.reading": "pagetide"}
        tasks |= {f"decoders.{task}": name for task, name in decoders.items()}
        figures, begin_s = _slopes(traces, sizes, tasks, threads)
        ours, reader = figures.pop("ours.replaying"), figures.pop("ours.reading")
        fastest = min(figures.values(), key=lambda figure: figure.median)
        others = ", ".join(f"{f.name} {f.median:.3g}" for f in figures.values() if f is not fastest)
        where = "all cores" if threads is None else "one decoding thread"
        note = f"start apart: {sorted(begin_s)[len(begin_s) // 2]:.2g} s in a warm process"
        goal = "<= 1.5 x" if threads is None else "<= 1.25 x"
        peer = f"decoding its columns, {fastest.name}" + (f" ({others} ns)" if others else "")
        named = Figure(peer, fastest.unit, fastest.wall, fastest.cpu, fastest.anon_mib)
        yield Row(f"replay, 1 policy, order 9, warm cache, {where}", ours, named, (goal,), note)
        yield Row(f"the reader alone, {where}", reader, named)


def engine(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """The engine alone, in memory, beside reading that memory once."""
    trace = str(traces.of(min(ENGINE_EVENTS, sizes.slope[0])).path)
    ours = Worker("ours.engine", trace=trace, policy=ONE, events=ENGINE_EVENTS)
    peer = Worker("ours.summing", trace=trace, events=ENGINE_EVENTS)
    events = ours.told["events"]
    with workers(ours, peer):
        runs = interleaved({"ours": ours, "peer": peer}, sizes.rounds)
    took = Figure.of("engine", runs["ours"], "ns an event", events / 1e9)
    sums = Figure.of("numpy, the sum of each column", runs["peer"], "ns an event", events / 1e9)
    yield Row(f"engine alone, in memory, one core, {_million(events)} events", took, sums, ("<= 4 x",))


# Policies


def _many_beside_one(
    what: str, trace: Trace, many: list[str], one: str, goal: str, rounds: int, beside: str
) -> Row:
    ours, peer = (Worker("ours.replaying", trace=str(trace.path), policies=some) for some in (many, [one]))
    with workers(ours, peer):
        runs = interleaved({"ours": ours, "peer": peer}, rounds)
    figures = Figure.of(what, runs["ours"]), Figure.of(beside, runs["peer"])
    return Row(f"{what}, {_million(trace.rows)} events", *figures, (goal,))


def policies(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """All policies of the comparison, and a sweep, beside one."""
    trace, rounds = traces.of(sizes.middle), sizes.rounds
    yield _many_beside_one("all policies at once", trace, [], ONE, "<= 2.5 x", rounds, "one policy")
    what = f"{len(GRID)} settings of upstream at order 9"
    yield _many_beside_one(what, trace, GRID, ONE, "<= 3 x", rounds, "one setting")


def order_0(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """Eight settings at order 0 beside one."""
    what, one = f"{len(FEW_AT_ORDER_0)} settings of upstream at order 0", "one setting at order 0"
    trace = traces.of(sizes.small)
    yield _many_beside_one(what, trace, FEW_AT_ORDER_0, ORDER_0, "<= 8 x", sizes.rounds, one)


# Other programs


def cache(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """An order-0 policy beside an LRU over the same requests."""
    trace = traces.of(sizes.small)
    ours = Worker("ours.replaying", trace=str(trace.path), policies=[ORDER_0])
    peer = Worker("peers.lru", trace=str(trace.path), events=sizes.small)
    name = "libCacheSim LRU, process_trace, half of the frames asked for"
    yield _rates("upstream at order 0, requests", ours, peer, name, ">= 3 x", sizes.rounds)


def models(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """A whole replay beside other ways to do it, or only its first step."""
    trace = str(traces.of(sizes.middle).path)
    given = {
        "peers.plain_oracle": (ORACLE_EVENTS, "plain-Python oracle", ">= 100 x"),
        "peers.simpy_model": (SIMPY_EVENTS, "SimPy, the occupancy step", ">= 50 x"),
        "peers.duckdb_window": (DUCKDB_EVENTS, "DuckDB window query, the occupancy step", ">= 10 x"),
    }
    for task, (events, name, goal) in given.items():
        ours = Worker("ours.replaying", trace=trace, policies=[ONE])
        peer = Worker(task, trace=trace, events=events)
        yield _rates("replay, 1 policy, order 9", ours, peer, name, goal, sizes.rounds)


def _rates(what: str, ours: Worker, peer: Worker, name: str, goal: str, rounds: int) -> Row:
    with workers(ours, peer):
        runs = interleaved({"ours": ours, "peer": peer}, rounds)
    asked, given = ours.told["events"], peer.told["events"]
    rate = Figure.rate("pagetide", runs["ours"], asked)
    theirs = Figure.rate(f"{name}, {given:,} events", runs["peer"], given)
    return Row(f"{what}, {_million(asked)} events", rate, theirs, (goal,))


# Memory, processes, start


def memory(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """The most anonymous memory of `pagetide replay`, on few and on many events."""
    acts = {events: replay_command(traces.of(events)) for events in sizes.rss}
    runs = interleaved({str(events): act for events, act in acts.items()}, min(sizes.rounds, 3))
    less, more = (
        Figure.memory(f"the same on {_million(events)} events", runs[str(events)]) for events in sizes.rss
    )
    what = f"peak RssAnon of pagetide replay, 1 policy, {_million(sizes.rss[1])} events"
    yield Row(what, more, less, ("<= 700 MiB", "<= 1.05 x"))


def processes(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """Two processes on two traces beside one."""
    trace = traces.of(sizes.middle)
    some = [
        Worker("ours.replaying", trace=str(each.path), policies=[ONE])
        for each in (trace, traces.copy_of(trace))
    ]

    def both() -> Taken:
        return at_once(some)

    with workers(*some):
        runs = interleaved({"two": both, "one": some[0]}, sizes.rounds)
    two = Figure.rate("two", runs["two"], 2 * trace.rows)
    one = Figure.rate("one process", runs["one"], trace.rows)
    yield Row(f"two processes on two traces of {_million(trace.rows)} events", two, one, (">= 1.8 x",))


def start(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """Commands from their first instruction to their last."""
    tiny = traces.tiny()
    python = (sys.executable, "-c")
    acts = {
        "replay": replay_command(tiny),
        "imports": command(*python, "import numba, polars"),
        "help": command(*PAGETIDE, "--help"),
        "pass": command(*python, "pass"),
    }
    for act in acts.values():
        act()  # kernels and page cache
    runs = interleaved(acts, max(sizes.rounds, 5))
    replay, imports, helping, nothing = (
        Figure.of(name, runs[key])
        for key, name in zip(
            acts, ("", "python -c 'import numba, polars'", "", "python -c pass"), strict=True
        )
    )
    yield Row(f"pagetide replay of {tiny.rows:,} events, as a command", replay, imports, ("<= 1.5 s",))
    yield Row("the same", replay, nothing)
    goal = (f"<= {nothing.median + 0.25:.3g} s",)
    yield Row("pagetide --help", helping, nothing, goal, "0.25 s more than python -c pass")


@dataclass(frozen=True)
class Question:
    """How it is asked, and the libraries that takes."""

    ask: Callable[[Traces, Sizes], Iterator[Row]]
    needs: tuple[str, ...] = ()


QUESTIONS = {
    "start": Question(start),
    "decoding": Question(decoding),
    "engine": Question(engine),
    "policies": Question(policies),
    "order-0": Question(order_0),
    "cache": Question(cache, ("libcachesim",)),
    "models": Question(models, ("simpy", "duckdb")),
    "memory": Question(memory),
    "processes": Question(processes),
}

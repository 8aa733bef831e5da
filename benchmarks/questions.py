"""What `benchmarks.speed` asks: each question makes the traces it needs, measures, and yields rows."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median

from benchmarks.harness import PAGETIDE, Figure, Measured, Row, Taken, command, interleaved
from benchmarks.ready import forget
from benchmarks.tiling import Tile, tiled
from benchmarks.worker import Worker, at_once, workers
from replay.slicing import slice_trace
from tracer import Trace, open_trace

ONE = "upstream"  # the one policy, at the trace's pageblock order
DELAYS = ("50ms", "100ms", "200ms", "500ms", "1s", "2s", "5s", "10s")
CAPACITIES = ("8", "16", "32", "64", "128", "256", "512", "1024")
ORDER_0 = f"{ONE}:order=0"
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
        if path.exists() and open_trace(path).complete:
            return open_trace(path)
        print(f"tiling {events:,} events into {path}", file=sys.stderr, flush=True)
        return tiled(self._tile, path, self._tile.tiles_of(events), force=True)

    def copy_of(self, trace: Trace) -> Trace:
        """The same under another name, in other files."""
        path = trace.path.with_suffix(".copy.trace")
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(trace.path, path)
        return open_trace(path)

    def tiny(self) -> Trace:
        """A second of the source."""
        path = self._folder / f"{self._source.stem}-tiny.trace"
        return slice_trace(open_trace(self._source), path, 0, 10**9, force=True)


def _million(events: int) -> str:
    return f"{events / 1e6:.3g} M"


def replay_command(trace: Trace) -> Measured:
    """`pagetide replay` as it is typed."""
    return command(*PAGETIDE, "replay", trace.path, "--policy", ONE, "--json", "--allow-loss")


def _replaying(trace: Trace, policies: list[str]) -> Worker:
    """Parquet in, results out, of a trace that was replayed before."""
    return Worker("ours.replaying", {"trace": str(trace.path), "policies": policies})


# Replaying beside decoding


@dataclass(frozen=True)
class Line:
    """What a task takes by how many events: the cost of one, and where the line begins (seconds)."""

    figure: Figure
    begin_s: float


Tasks = dict[str, tuple[str, dict[str, object]]]
REPLAYS: Tasks = {
    "the first replay": ("ours.replaying", {"policies": [ONE], "first": True}),
    "replayed again": ("ours.replaying", {"policies": [ONE]}),
}
READERS: Tasks = {
    "the reader alone, every row checked": ("ours.reading", {}),
    "the reader alone, again": ("ours.reading_again", {}),
}
DECODERS: Tasks = {
    "pyarrow": ("decoders.arrow_batches", {}),
    "polars, streaming": ("decoders.polars_batches", {}),
    "polars by file": ("decoders.polars_files", {}),
}


def _lines(traces: Traces, sizes: Sizes, tasks: Tasks, threads: int | None) -> dict[str, Line]:
    """Each task on less and on more events."""
    less, more = (traces.of(events) for events in sizes.slope)
    acts = {
        f"{name} {trace.rows}": Worker(task, {"trace": str(trace.path), **given}, threads)
        for name, (task, given) in tasks.items()
        for trace in (less, more)
    }
    with workers(*acts.values()):
        runs = interleaved(acts, sizes.rounds)
    lines: dict[str, Line] = {}
    for name in tasks:
        short, long = runs[f"{name} {less.rows}"], runs[f"{name} {more.rows}"]
        figure = Figure.slope(name, short, long, more.rows - less.rows)
        begins = [run.wall_s - ns / 1e9 * less.rows for run, ns in zip(short, figure.wall, strict=True)]
        lines[name] = Line(figure, median(begins))
    return lines


def decoding(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """One policy, Parquet in, results out, beside decoding just the same columns; the reader apart."""
    pyarrow = {"pyarrow": DECODERS["pyarrow"]}
    for threads, decoders, goal in ((None, DECODERS, "<= 1.5 x"), (1, pyarrow, "<= 1.25 x")):
        readers = READERS if threads is None else {}
        lines = _lines(traces, sizes, REPLAYS | readers | decoders, threads)
        figures = [lines[name].figure for name in decoders]
        fastest = min(figures, key=lambda figure: (figure.median <= 0, figure.median))  # noise is not fast
        others = [f"{figure.name} {figure.median:.3g}" for figure in figures if figure is not fastest]
        slower = f" (slower: {', '.join(others)})" if others else ""
        peer = replace(fastest, name=f"decoding its columns: {fastest.name}{slower}")
        where = "all cores" if threads is None else "one decoding thread"
        for name in REPLAYS:
            what = f"replay, 1 policy, order 9, warm cache, {where}: {name}"
            note = f"it begins after {lines[name].begin_s:.2g} s in a warm process"
            yield Row(what, lines[name].figure, peer, (goal,), note)
        for name in readers:
            yield Row(f"{name}, {where}", lines[name].figure, peer)


def engine(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """The engine alone, in memory, beside reading that memory once."""
    trace = str(traces.of(min(ENGINE_EVENTS, sizes.slope[0])).path)
    ours = Worker("ours.engine", {"trace": trace, "policy": ONE, "events": ENGINE_EVENTS})
    peer = Worker("ours.summing", {"trace": trace, "events": ENGINE_EVENTS})
    events = ours.told["events"]
    with workers(ours, peer):
        runs = interleaved({"ours": ours, "peer": peer}, sizes.rounds)
    took = Figure.of("engine", runs["ours"], "ns an event", events / 1e9)
    sums = Figure.of("numpy, the sum of each column", runs["peer"], "ns an event", events / 1e9)
    yield Row(f"engine alone, in memory, one core, {_million(events)} events", took, sums, ("<= 4 x",))


# Policies


def _beside_one(what: str, trace: Trace, many: Worker, one: str, goal: str, rounds: int) -> Row:
    """Many settings in one go beside one of them."""
    peer = _replaying(trace, [one])
    with workers(many, peer):
        runs = interleaved({"many": many, "one": peer}, rounds)
    figures = Figure.of("pagetide", runs["many"]), Figure.of(f"{one} alone", runs["one"])
    return Row(f"{what}, {_million(trace.rows)} events", *figures, (goal,))


def _sweeping(trace: Trace, policy: str, grid: Mapping[str, tuple[str, ...]]) -> Worker:
    return Worker("ours.sweeping", {"trace": str(trace.path), "policy": policy, "grid": grid})


def policies(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """All policies of the comparison, and a sweep, beside one."""
    trace, rounds = traces.of(sizes.middle), sizes.rounds
    every = _replaying(trace, [])
    yield _beside_one("all policies of the comparison at once", trace, every, ONE, "<= 2.5 x", rounds)
    grid = {"delay": DELAYS, "capacity": CAPACITIES}
    what = f"a sweep of {len(DELAYS) * len(CAPACITIES)} settings of upstream at order 9"
    yield _beside_one(what, trace, _sweeping(trace, ONE, grid), ONE, "<= 3 x", rounds)


def order_0(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """Eight settings at order 0 beside one."""
    trace, what = traces.of(sizes.small), f"a sweep of {len(DELAYS)} settings of upstream at order 0"
    many = _sweeping(trace, ORDER_0, {"delay": DELAYS})
    yield _beside_one(what, trace, many, ORDER_0, "<= 8 x", sizes.rounds)


# Other programs


def cache(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """An order-0 policy beside an LRU over the same requests."""
    trace = traces.of(sizes.small)
    ours = _replaying(trace, [ORDER_0])
    peer = Worker("peers.lru", {"trace": str(trace.path), "events": sizes.small})
    name = "libCacheSim LRU, process_trace, half of the frames asked for"
    yield _rates("upstream at order 0, requests", ours, peer, name, ">= 3 x", sizes.rounds)


def models(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """A whole replay beside other ways to do it, or only its first step."""
    trace = traces.of(sizes.middle)
    given = {
        "peers.plain_oracle": (ORACLE_EVENTS, "plain-Python oracle", ">= 100 x"),
        "peers.simpy_model": (SIMPY_EVENTS, "SimPy, the occupancy step", ">= 50 x"),
        "peers.duckdb_window": (DUCKDB_EVENTS, "DuckDB window query, the occupancy step", ">= 10 x"),
    }
    for task, (events, name, goal) in given.items():
        ours = _replaying(trace, [ONE])
        peer = Worker(task, {"trace": str(trace.path), "events": events})
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
    """The most anonymous memory of `pagetide replay`, on few and on many events, each time the first."""

    def first(trace: Trace) -> Measured:
        act = replay_command(trace)

        def run() -> Taken:
            forget(trace.path)
            return act()

        return run

    acts = {str(events): first(traces.of(events)) for events in sizes.rss}
    runs = interleaved(acts, min(sizes.rounds, 2))  # as good as the same each time
    less, more = (
        Figure.memory(f"the same on {_million(events)} events", runs[str(events)]) for events in sizes.rss
    )
    what = f"peak RssAnon of pagetide replay, 1 policy, {_million(sizes.rss[1])} events"
    yield Row(what, more, less, ("<= 700 MiB", "<= 1.05 x"))


def processes(traces: Traces, sizes: Sizes) -> Iterator[Row]:
    """Two processes on two traces beside one."""
    trace = traces.of(sizes.middle)
    some = [_replaying(each, [ONE]) for each in (trace, traces.copy_of(trace))]

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

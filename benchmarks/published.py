"""Published results of page reporting, beside a replay of your own trace under the same settings.

Usage: python -m benchmarks.published OUT.trace [steady|cold]. Prints Markdown tables, which docs/published.md
reads.
What was published is HyperAlloc's evaluation (EuroSys '25; figure files of its artifact: clang 16 built
in a guest of 16 GiB and 12 CPUs, Linux 6.1) and the upstream series (Duyck, lore, v10 to v17). Nothing
that was run is modelled here: ours is a replay of another build on another guest, so only shapes compare.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.build import stages_path
from benchmarks.pages import table
from benchmarks.settling import settled
from replay import Options, Replay, Result
from replay import replay as replayed
from tracer import Trace, open_trace

GIB, MINUTE_S = 1 << 30, 60
STATIC, UNREPORTED = 658.6, 484.2  # GiB*min: 16 GiB all the time, assumed; and its RSS, measured in one run
# GiB*min of the build by (order, delay, capacity).
PUBLISHED = {
    (9, "2s", 32): 434.5,
    (9, "2s", 512): 431.3,
    (9, "100ms", 32): 438.3,
    (9, "100ms", 512): 435.4,
    (0, "2s", 32): 390.1,
    (0, "2s", 512): 379.0,
    (0, "100ms", 32): 449.3,
    (0, "100ms", 512): 441.9,
}
BUILD_MIN = {(9, "2s"): 41.2, (9, "100ms"): 41.2, (0, "2s"): 48.6, (0, "100ms"): 61.1}  # at capacity 32
# GiB of RSS, default settings, one run: at the end of its stages.
STAGES = {"idle": 12.2, "clean": 11.6, "sources deleted": 8.0}
BEGINNINGS = "steady", "cold"
Key = tuple[int, str, int]


@dataclass(frozen=True)
class Row:
    """One setting: what to replay, and what was published of it."""

    label: str
    policy: str
    published: float | None = None


def rows() -> list[Row]:
    """What is replayed. The baselines come first; `untold` reports nothing any more after the start."""
    untold = [
        Row(f"untold, o={order}", f"upstream:order={order},delay=1h", UNREPORTED if order == 9 else None)
        for order in (9, 0)
    ]
    told = [
        Row(f"o={o} d={d} c={c}", f"upstream:order={o},delay={d},capacity={c}", gib_min)
        for (o, d, c), gib_min in PUBLISHED.items()
    ]
    bounds = [Row(f"oracle, o={order}", f"oracle:order={order}") for order in (9, 0)]
    return [Row("static", "never", STATIC), *untold, *told, *bounds]


@dataclass(frozen=True)
class Footprint:
    """Managed minus reclaimed memory over time: `time_s` from the start of the replay, `gib` then."""

    time_s: NDArray[np.float64]
    gib: NDArray[np.float64]

    @classmethod
    def of(cls, result: Result) -> "Footprint":
        """From a result's timeline."""
        line = result.timeline
        backed = (line["managed_bytes"] - line["reclaimed_bytes"]).to_numpy() / GIB
        return cls(line["time_s"].to_numpy(), backed)

    def gib_min(self, until_s: float) -> float:
        """Its trapezoid integral up to an instant, as published figures were made from samples of RSS."""
        seen = self.time_s <= until_s
        times = np.concatenate(([0.0], self.time_s[seen]))
        levels = np.concatenate((self.gib[:1], self.gib[seen]))
        return float(np.trapezoid(levels, times)) / MINUTE_S

    def at(self, instant_s: float) -> float:
        """GiB at an instant, the last told by then."""
        return float(self.gib[max(int(np.searchsorted(self.time_s, instant_s, "right")) - 1, 0)])


@dataclass(frozen=True)
class Stages:
    """When each stage of the recorded work ended, in seconds from the start of the replay."""

    ends_s: dict[str, float]

    @classmethod
    def of(cls, trace: Trace, start_ns: int) -> "Stages":
        """As the build wrote them; without that file the whole trace is the build."""
        file = stages_path(Path(trace.path))
        ends = json.loads(file.read_text()) if file.exists() else {"build": trace.span_ns[1]}
        return cls({name: (end_ns - start_ns) / 1e9 for name, end_ns in ends.items()})

    @property
    def build_s(self) -> float:
        """When the build itself ended."""
        return self.ends_s["build"]


def ratio(ours: float, base: float) -> str:
    """A share, or nothing where there is no base."""
    return f"{ours / base:.3f}" if base else "-"


def footprints(done: Replay, asked: Sequence[Row], stages: Stages) -> dict[str, float]:
    """GiB*min of the build by label."""
    pairs = zip(asked, done.results, strict=True)
    return {row.label: Footprint.of(result).gib_min(stages.build_s) for row, result in pairs}


def settings_table(done: Replay, asked: Sequence[Row], stages: Stages) -> str:
    """Every setting: the build's footprint beside the published one; reports and refaults of the whole."""
    ours = footprints(done, asked, stages)
    return table(
        (
            "setting",
            "GiB*min of the build",
            "of static",
            "of untold o=9",
            "published GiB*min",
            "of static",
            "of untold",
            "reclaimed mean GiB",
            "of the oracle's",
            "refaults GiB",
            "redundant GiB",
            "calls",
            "passes",
            "entries walked, M",
            "p50 s",
            "divergence",
        ),
        (_setting(row, result, ours) for row, result in zip(asked, done.results, strict=True)),
    )


def _setting(row: Row, result: Result, ours: dict[str, float]) -> list[str]:
    told, page = result.summary, row.published
    reclaimed, reports = told["reclaimed"], told["reports"]
    share = reclaimed["share_of_oracle"]
    return [
        row.label,
        f"{ours[row.label]:.2f}",
        ratio(ours[row.label], ours["static"]),
        ratio(ours[row.label], ours["untold, o=9"]),
        *(("-", "-", "-") if page is None else (f"{page:.1f}", ratio(page, STATIC), ratio(page, UNREPORTED))),
        f"{(reclaimed['mean_bytes'] or 0) / GIB:.2f}",
        "-" if share is None else f"{share:.3f}",
        f"{told['refaults']['bytes'] / GIB:.2f}",
        f"{reports['redundant_bytes'] / GIB:.2f}",
        f"{reports['calls']:,}",
        f"{reports['passes']:,}",
        f"{told['work']['entries_walked'] / 1e6:,.1f}",
        *(
            "-" if value is None else f"{value:.2f}"
            for value in (told["latency_s"]["p50"], told["divergence"])
        ),
    ]


def label(key: Key) -> str:
    """A setting's name in the tables."""
    return "o={} d={} c={}".format(*key)


COMPARISONS: list[tuple[str, Key, Key]] = [
    ("order 0 / order 9, d=2s c=32", (0, "2s", 32), (9, "2s", 32)),
    ("order 0 / order 9, d=100ms c=32", (0, "100ms", 32), (9, "100ms", 32)),
    ("delay 100ms / 2s, o=9 c=32", (9, "100ms", 32), (9, "2s", 32)),
    ("capacity 512 / 32, o=9 d=2s", (9, "2s", 512), (9, "2s", 32)),
    ("delay 100ms / 2s, o=0 c=32", (0, "100ms", 32), (0, "2s", 32)),
    ("capacity 512 / 32, o=0 d=2s", (0, "2s", 512), (0, "2s", 32)),
]


def shape_table(done: Replay, asked: Sequence[Row], stages: Stages) -> str:
    """What each knob does, as ratios: footprint ours and published, published per minute of the build
    (its runs at order 0 took longer, ours cannot), and refaults and calls of ours.
    """
    ours = footprints(done, asked, stages)
    told = {row.label: result.summary for row, result in zip(asked, done.results, strict=True)}

    def line(what: str, key: Key, base: Key) -> list[str]:
        mine, its = told[label(key)], told[label(base)]
        level = (PUBLISHED[key] / BUILD_MIN[key[:2]], PUBLISHED[base] / BUILD_MIN[base[:2]])
        return [
            what,
            ratio(ours[label(key)], ours[label(base)]),
            ratio(PUBLISHED[key], PUBLISHED[base]),
            ratio(*level),
            ratio(mine["refaults"]["bytes"], its["refaults"]["bytes"]),
            ratio(mine["reports"]["calls"], its["reports"]["calls"]),
        ]

    return table(
        ("knob", "footprint", "published", "published, mean GiB", "refaults", "calls"),
        (line(*each) for each in COMPARISONS),
    )


def stages_table(done: Replay, asked: Sequence[Row], stages: Stages) -> str:
    """GiB that the host backs at the end of each stage, beside what was published."""
    seen = dict(zip((row.label for row in asked), done.results, strict=True))
    chosen = ["static", label((9, "2s", 32)), label((9, "100ms", 32)), label((0, "2s", 32))]
    lines = {name: Footprint.of(seen[name]) for name in chosen}
    free = {
        name: Footprint(line["time_s"].to_numpy(), line[f"{name}_bytes"].to_numpy() / GIB)
        for line in [seen[chosen[1]].timeline]
        for name in ("free", "reportable")
    }

    def cells(name: str, end_s: float) -> list[str]:
        published = STAGES.get(name)
        gib = [f"{each.at(end_s):.2f}" for each in (*lines.values(), *free.values())]
        return [name, f"{end_s:.0f} s", *gib, "-" if published is None else f"{published:.1f}"]

    headings = ("stage", "ends at", *chosen, "free", "in 2 MiB wholly free", "published, o=9 d=2s c=32")
    return table(headings, (cells(*each) for each in stages.ends_s.items()))


def memory_line(done: Replay) -> str:
    """What the guest managed and used, so that footprints have a scale."""
    line = done.results[0].timeline
    managed, used = line["managed_bytes"] / GIB, (line["managed_bytes"] - line["free_bytes"]) / GIB
    low, high, first, last = (float(of) for of in (used.min(), used.max(), managed[0], managed[-1]))  # type: ignore[arg-type]
    return f"Used: {low:.2f} to {high:.2f} GiB; managed: {first:.2f} GiB at first, {last:.2f} at the end"


def report(trace: Trace, start: str) -> None:
    """The tables of one way to begin."""
    asked, begin = rows(), time.perf_counter()
    done = replayed(trace, [row.policy for row in asked], Options(start=start))
    took_s = time.perf_counter() - begin
    stages = Stages.of(trace, done.start.now_ns)
    print(f"\n{memory_line(done)}")
    print(f"\n## --start {start} ({len(asked)} settings and their ceilings in {took_s:.0f} s)\n")
    print(settings_table(done, asked, stages))
    print(shape_table(done, asked, stages))
    print(stages_table(done, asked, stages), flush=True)


def main(path: Path, beginnings: Sequence[str]) -> None:
    """All tables of a trace, then the settling of an idle guest."""
    trace = open_trace(path)
    guest, (first_ns, last_ns) = trace.manifest.guest, trace.span_ns
    print(
        f"{path.name}: {trace.rows:,} events over {(last_ns - first_ns) / 6e10:.1f} min, {guest.cpus} CPUs,"
    )
    print(f"Linux {guest.kernel_release}, lost {trace.manifest.lost}")
    for start in beginnings:
        report(trace, start)
    seconds, passes = settled()
    print(f"\nidle guest, 32 GiB: all at the host after {seconds:.1f} s, {passes} passes (published: 30 s)")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or BEGINNINGS)

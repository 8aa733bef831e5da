"""How right the model was, run by run, and the table of it that the README has.

Usage: python -m tests.guest.verdict FOLDER… [--write README.md]
Each FOLDER is one that `tests.guest.lab` made: ROUND/NAME/{RUNG}.trace and truth.parquet.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.pages import quote
from benchmarks.pages import table as markdown
from replay.device import Device
from replay.truth.accuracy import Accuracy, accuracy
from tracer import open_trace

RUNGS = ("tracepoints", "kprobes", "fentry")
# What QEMU takes here to give memory back, where passes are not followed: `discard_ns` of these very runs.
HOST = Device(call_ns=100_000, byte_ns=0.145)
_MANY = 20  # ranges in a call that is worth a measurement
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Held:
    """One recording held against its host."""

    kernel: str
    name: str
    rung: str
    lost: int
    found: Accuracy

    @property
    def key(self) -> Key:
        """Recordings of the same key are rounds of the same thing."""
        return self.kernel, self.name, self.rung


def of_run(folder: Path) -> Iterator[Held]:
    """Every recording of one machine."""
    for rung in RUNGS:
        path = folder / f"{rung}.trace"
        if path.exists():
            trace = open_trace(path)
            kernel = ".".join(trace.manifest.guest.kernel_release.split(".")[:2])
            found = accuracy(trace, folder / "truth.parquet", device=HOST)
            yield Held(kernel, folder.name, rung, trace.manifest.lost, found)


def all_in(folders: Iterable[Path]) -> Iterator[Held]:
    """Every recording below these folders, round by round."""
    for folder in folders:
        for truth in sorted(folder.rglob("truth.parquet")):
            yield from of_run(truth.parent)


def discard_ns(truth: Path) -> float | None:
    """What a byte took to be discarded, in the median of the large calls that had any to discard."""
    calls = (
        pl.read_parquet(truth)
        .filter(pl.col("pfn").is_not_null())
        .group_by("batch")
        .agg((pl.col("ts_ns").max() - pl.col("ts_ns").min()).alias("ns"), pl.col("pages").sum(), pl.len())
        .filter(pl.col("len") >= _MANY)
        .select(pl.col("ns") / (pl.col("pages") * 4096))
        .to_series()
    )
    touched = calls.filter(calls > 0.01)
    return float(touched.median()) if len(touched) else None  # type: ignore[arg-type] # of floats


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _calls(found: Accuracy) -> float | None:
    """Share of all calls, on either side, that are the same in both."""
    most = max(found.batches.truth, found.batches.predicted)
    return found.batches.same / most if most else None


def _drop(found: Accuracy) -> float | None:
    """What the host had less after the passes, beside what the model says."""
    return found.host.drop_bytes / found.host.new_bytes if found.host and found.host.new_bytes else None


Shows = Callable[[Accuracy], float | None]
# What a column is called, and what it shows of one recording.
COLUMNS: Mapping[str, tuple[Shows, ...]] = {
    "reports": (lambda found: found.reports.truth,),
    "found / right, %": (
        lambda found: _percent(found.reports.recall),
        lambda found: _percent(found.reports.precision),
    ),
    "frames, %": (
        lambda found: _percent(found.frames.recall),
        lambda found: _percent(found.frames.precision),
    ),
    "p90 ms": (lambda found: _ms(found.time_error.p90),),
    "passes, % / false": (
        lambda found: _percent(found.passes.recall),
        lambda found: found.passes.predicted - found.passes.same,
    ),
    "calls, %": (lambda found: _percent(_calls(found)),),
    "heads, %": (lambda found: _percent(found.heads.recall if found.heads else None),),
    "took heads, %": (lambda found: _percent(found.took_heads),),
    "drop, %": (lambda found: _percent(_drop(found)),),
    "off, %": (lambda found: _percent(found.host.off_share if found.host else None),),
}


def table(held: Iterable[Held]) -> str:
    """Markdown: a row for each kernel, workload and rung; of several rounds the median, least and most."""
    rounds: dict[Key, list[Held]] = {}
    for each in held:
        rounds.setdefault(each.key, []).append(each)
    head = ["kernel", "workload", "rung", "rounds", *COLUMNS]
    lines: list[list[str]] = []
    for (kernel, name, rung), runs in sorted(rounds.items(), key=lambda item: _place(item[0])):
        cells = [
            " / ".join(_cell(each(run.found) for run in runs) for each in shows) for shows in COLUMNS.values()
        ]
        lost = sum(run.lost for run in runs)
        lines.append([kernel, name, rung + (f", {lost} lost" if lost else ""), str(len(runs)), *cells])
    return markdown(head, lines)


def _place(key: Key) -> tuple[list[int], str, int]:
    kernel, name, rung = key
    return [int(part) for part in kernel.split(".")], name, RUNGS.index(rung)


def _cell(values: Iterable[float | None]) -> str:
    """The median, and the range where there is one."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    texts = [_number(value) for value in (median(known), known[0], known[-1])]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]}-{texts[2]})"


def _number(value: float) -> str:
    """Rounded such that only what is whole looks whole: 99.996 is no 100."""
    text = f"{value:.2f}" if abs(value) < 100 or value != int(value) else f"{value:.0f}"
    if text == "100.00" and value < 100:
        return "99.99"
    return text.rstrip("0").rstrip(".") if "." in text else text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guest.verdict", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, help="put the table between this page's lines <!-- truth -->")
    options = parser.parse_args()
    text = table(all_in(options.folders))
    print(text, end="")
    costs = [cost for folder in options.folders for truth in sorted(folder.rglob("truth.parquet"))
             if (cost := discard_ns(truth))]  # fmt: skip
    if costs:
        print(f"the host took {median(costs):.3f} ({min(costs):.3f}-{max(costs):.3f}) ns a byte to discard")
    if options.write and not quote(options.write, "truth", text):
        print(f"{options.write} has no lines <!-- truth -->", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

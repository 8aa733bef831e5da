"""The cards of the traces in `data/`: what ran, about which guest, how to record it again, how right it is.

Usage: python -m data.cards [NAME…]. Measures these traces (all of them) and writes their cards and the page
`data/README.md`. A card is `data/cards/NAME.json`; the page is made of them.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from benchmarks.pages import quote, replace_text, table
from data.workloads import NAMES, Workload, load
from replay import validate
from replay.validation import Verdict
from tracer import Manifest, Trace, open_trace

HERE = Path(__file__).parent
CARDS = HERE / "cards"
LICENCE = "Apache-2.0, as the project"
MOST_BYTES, MOST_TOTAL_BYTES = 8 << 20, 60 << 20
MOST_WRONG, MOST_IMPOSSIBLE = 1e-3, 200e-6  # shares: of changed frames, of steps
MIB = 1 << 20
HEADINGS = (
    "trace",
    "what ran",
    "layers",
    "seconds",
    "events",
    "MiB",
    "wrong frames",
    "impossible per million",
    "samples right",
)


@dataclass(frozen=True)
class Fidelity:
    """How right the model is about a trace (`pagetide validate`)."""

    steps: int
    impossible: int
    frames_changed: int
    frames_wrong: int
    samples_judged: int
    samples_right: int

    @classmethod
    def of(cls, verdict: Verdict) -> "Fidelity":
        """Out of a verdict."""
        counts = verdict.fidelity
        return cls(
            counts["steps"],
            counts["exit_of_used"] + counts["entry_of_free"],
            counts["frames_changed"],
            counts["frames_wrong"],
            len(verdict.judged),
            verdict.right,
        )

    @property
    def wrong_share(self) -> float:
        """Of the frames that changed."""
        return self.frames_wrong / max(1, self.frames_changed)

    @property
    def impossible_share(self) -> float:
        """Of the steps."""
        return self.impossible / max(1, self.steps)


@dataclass(frozen=True)
class Card:
    """Everything to be known about one trace."""

    name: str
    what: str
    why: str
    again: str
    guest: str
    recorded: str
    layers: tuple[str, ...]
    rung: str
    duration_s: float
    events: int
    lost: int
    size_bytes: int
    fidelity: Fidelity
    licence: str
    sha256: str

    @property
    def faults(self) -> list[str]:
        """What keeps it from being shipped."""
        checks = {
            f"{self.lost:,} events are lost": self.lost > 0,
            f"{self.size_bytes / MIB:.1f} MiB are too large": self.size_bytes > MOST_BYTES,
        }
        return [fault for fault, found in checks.items() if found]

    @property
    def blemishes(self) -> list[str]:
        """Where the model is less right about it than about a guest whose kernel traces all it does."""
        wrong, impossible = self.fidelity.wrong_share, self.fidelity.impossible_share
        checks = {
            f"{wrong:.2%} of the changed frames are wrong": wrong > MOST_WRONG,
            f"{impossible:.3%} of the steps are impossible": impossible > MOST_IMPOSSIBLE,
        }
        return [blemish for blemish, found in checks.items() if found]


def checksum(trace: Path) -> str:
    """Of a trace's folder: the SHA-256 of what `sha256sum` prints of its files in order of their names."""
    names = sorted(str(path.relative_to(trace)) for path in trace.rglob("*") if path.is_file())
    lines = (f"{sha256((trace / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return sha256("".join(lines).encode()).hexdigest()


def guest_of(manifest: Manifest) -> str:
    """The guest in one line."""
    guest, reporting = manifest.guest, manifest.reporting
    managed = sum(zone.managed for zone in manifest.zones) * guest.page_size / 2**30
    active = f"reporting active at order {reporting.order}" if reporting.active else "no reporting"
    return (
        f"Linux {guest.kernel_release} {guest.machine}, {guest.cpus} CPUs, {managed:.1f} GiB managed, "
        f"HZ {guest.hz}, THP {guest.thp_mode}, {active}"
    )


def recorded(trace: Trace) -> str:
    """The day it was recorded, as the guest's clock had it."""
    clock = trace.manifest.clock
    return datetime.fromtimestamp(clock.wall_ns / 1e9, UTC).date().isoformat() if clock else "unknown"


def measured(workload: Workload, path: Path) -> Card:
    """A trace's card."""
    trace = open_trace(path)
    trace.verify()
    manifest = trace.manifest
    first_ns, last_ns = trace.span_ns
    return Card(
        workload.name,
        workload.what,
        " ".join(workload.why.split()),
        f"python -m data.record {workload.name}",
        guest_of(manifest),
        recorded(trace),
        tuple(manifest.layers),
        manifest.rung,
        round((last_ns - first_ns) / 1e9, 1),
        trace.rows,
        manifest.lost,
        trace.size_bytes,
        Fidelity.of(validate(trace)),
        LICENCE,
        checksum(path),
    )


def read(name: str) -> Card:
    """The card of that name."""
    fields = json.loads((CARDS / f"{name}.json").read_text())
    return Card(**{**fields, "layers": tuple(fields["layers"]), "fidelity": Fidelity(**fields["fidelity"])})


def write(card: Card, folder: Path = CARDS) -> None:
    """As JSON."""
    folder.mkdir(exist_ok=True)
    replace_text(folder / f"{card.name}.json", json.dumps(asdict(card), indent=1) + "\n")


def shipped() -> list[str]:
    """The names of the traces that are there."""
    return [name for name in NAMES if (HERE / f"{name}.trace").exists()]


def page(cards: list[Card]) -> str:
    """The table of all cards, and each by itself."""
    total = sum(card.size_bytes for card in cards) / MIB
    events = sum(card.events for card in cards)
    right = sum(card.fidelity.wrong_share <= MOST_WRONG for card in cards)
    possible = sum(card.fidelity.impossible_share <= MOST_IMPOSSIBLE for card in cards)
    sums = (
        f"\n{len(cards)} traces, {events:,} events, {total:.1f} MiB. At most {MOST_WRONG:.1%} of the changed "
        f"frames are wrong in {right} of them, at most {MOST_IMPOSSIBLE * 1e6:.0f} of a million steps "
        f"impossible in {possible}.\n\n"
    )
    sections = (line for card in cards for line in _section(card))
    return table(HEADINGS, map(_cells, cards)) + sums + "\n".join(sections)


def _cells(card: Card) -> tuple[str, ...]:
    right = card.fidelity
    return (
        f"[{card.name}](#{card.name})",
        card.what,
        ", ".join(card.layers),
        f"{card.duration_s:.0f}",
        f"{card.events:,}",
        f"{card.size_bytes / MIB:.1f}",
        f"{right.wrong_share:.3%}",
        f"{right.impossible_share * 1e6:.0f}",
        f"{right.samples_right} of {right.samples_judged}",
    )


def _section(card: Card) -> Iterator[str]:
    right = card.fidelity
    yield f"## {card.name}\n\n{card.what}.\n\n{card.why}\n"
    yield f"- guest: {card.guest}"
    yield f"- recorded {card.recorded}, by {card.rung}, layers: {', '.join(card.layers)}"
    yield f"- {card.events:,} events in {card.duration_s} s, {card.lost} lost; {card.size_bytes:,} bytes"
    yield (
        f"- fidelity: {right.frames_wrong:,} of {right.frames_changed:,} changed frames wrong at the end, "
        f"{right.impossible:,} of {right.steps:,} steps impossible, "
        f"{right.samples_right} of {right.samples_judged} samples right"
    )
    yield f"- again: `{card.again}`"
    yield f"- licence: {card.licence}; checksum: `{card.sha256}`\n"


def rewrite_page() -> None:
    """`data/README.md`, of the cards as they are."""
    quote(HERE / "README.md", "cards", page([read(name) for name in shipped()]))


def main(names: list[str]) -> int:
    """Measure these; 1 if one of them is not fit to be shipped."""
    faults = 0
    for name in names or shipped():
        card = measured(load(name), HERE / f"{name}.trace")
        write(card)
        faults += len(card.faults)
        print(f"{name}: {'; '.join([*card.faults, *card.blemishes]) or 'fit'}")
    rewrite_page()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

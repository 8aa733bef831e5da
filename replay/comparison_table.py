"""The comparison in a terminal: what people decide by, in tables that fit 80 columns.

The same rows in each: how soon and how much, at what price, with what work under the zone's lock, what
became of waiting memory by when, and why memory does not come back.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from replay.composition import SAMPLED
from replay.pictures import over_time
from replay.tables import new_console, new_table, print_hanging, shorter, size, tight
from tracer import plain
from tracer.units import human_duration

if TYPE_CHECKING:
    from replay.api import Replay
    from replay.engine import Options
    from replay.results import Result

GIB = 1 << 30
Cells = Callable[[dict[str, Any]], Sequence[str]]

SOON = ("p50", "p90", "p99", "mean", "GiB*s", "ceiling", "missed", "left")
SOON_LEGEND = """\
p50 p90 p99: latency of what was reported   mean: reclaimed on average
GiB*s: the same over time   ceiling: share of the most possible at its order
missed: in use again before it was reported   left: unreported at the end"""

PRICE = ("refault", "redund.", "calls", "held", "hits", "diverg.", "CPU")
PRICE_LEGEND = """\
refault: reclaimed, then used again   redund.: reported, the host lacked it
held: GiB*s out of the allocator's reach   hits: blocks taken while held
diverg.: exits of other blocks than the model's lists would hand out; what is
above that of never at the same order is where the trace cannot follow
CPU: of host and guest, estimated, without exits for calls (docs/costs.md)"""

WORK = ("looked at", "longest", "locks", "rotated", "moved", "resets", "caught", "lost")
WORK_LEGEND = """\
looked at: list entries and bits   longest: entries under one hold of the lock
rotated: lists   moved: tail insertions moved aside   resets: of boundaries
caught: hints of freed blocks   lost: of them, dropped or no longer true"""

WITHIN_S = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 60.0)
WITHIN_LEGEND = """\
of what became reportable: reported / missed by then, in %; the rest waits"""

# A part of managed memory, and its title.
WHY = {
    "reclaimed": "reclaimed",
    "never_backed": "fresh",
    "stranded": "stranded",
    "gated": "gated",
    "waiting": "waiting",
    "held": "held",
    "kept": "kept",
}
WHY_LEGEND = """\
fresh: came while recording, never used   waiting: reportable, for a pass
stranded: free, but not all of its unit   gated: reportable, a watermark refuses
held: the policy or the device has it     kept: reported, the host backs it"""


def comparison_table(done: "Replay", options: "Options") -> None:
    """One row a policy in each table; then what they need, and how right the trace is."""
    console = new_console()
    _heading(console, done, options)
    rows = list(zip(_labels([result.policy for result in done.results]), done.results, strict=True))
    for line in _orders(rows):
        print_hanging(console, line)
    within = [at for at in WITHIN_S if at <= _span_s(done)]
    _section(console, "how soon, how much", rows, SOON, _soon, SOON_LEGEND)
    if picture := over_time(rows):
        table, legend = picture
        console.print()
        console.print(table)
        console.print(legend, style="dim")
    _section(console, "at what price", rows, PRICE, _price, PRICE_LEGEND)
    _section(console, "the work to find it", rows, WORK, _work, WORK_LEGEND)
    titles = [tight(human_duration(at)) for at in within]
    _section(console, "by when", rows, titles, lambda told: _by_when(told, within), WITHIN_LEGEND)
    _why_table(console, rows)
    _needs(console, rows)
    for line in _trust(done.fidelity):
        console.print(line)


def _span_s(done: "Replay") -> float:
    first_ns, last_ns = done.trace.span_ns
    return (last_ns - first_ns) / 1e9


def _heading(console: Console, done: "Replay", options: "Options") -> None:
    console.print(
        f"{plain(str(done.trace.place))}: {done.trace.rows:,} events over {_span_s(done):.1f} s, "
        f"Linux {plain(done.trace.manifest.guest.kernel_release)}\n"
        f"start {done.start_word(options)}, backing {options.backing}",
        soft_wrap=True,
    )
    if (partial := done.trace.partial) is not None:
        line = f"PARTIAL, up to there only: {partial.what}: {partial.how}"
        console.print(plain(line), style="bold", markup=False)
    for line in done.limits:
        console.print(f"note: {plain(line)}", style="dim", markup=False)


def _orders(rows: list[tuple[str, "Result"]]) -> list[str]:
    """What each order begins with, and the most that is possible at it: policies at different orders
    compare by bytes, not by shares. The order of most rows comes first, and does not name them.
    """
    by_order: dict[int, list[tuple[str, Result]]] = {}
    for label, result in rows:
        by_order.setdefault(result.run.setting.order, []).append((label, result))
    lines: list[str] = []
    for order, members in sorted(by_order.items(), key=lambda each: -len(each[1])):
        names = f" ({', '.join(label for label, _ in members)})" if lines else ""
        start_bytes = max(result.summary["reclaimed"]["start_bytes"] for _, result in members)
        most = members[0][1].oracle_byte_seconds
        possible = "" if most is None else f", at most {shorter(most / GIB)} GiB*s"
        lines.append(f"order {order}{names}: {size(start_bytes)} reclaimed at the start{possible}")
    return lines


def _section(
    console: Console,
    title: str,
    rows: list[tuple[str, "Result"]],
    columns: Sequence[str],
    cells: Cells,
    legend: str,
) -> None:
    table = new_table(title, *columns)
    for label, result in rows:
        table.add_row(label, *cells(result.summary))
    console.print()
    console.print(table)
    console.print(legend, style="dim")


def _soon(told: dict[str, Any]) -> list[str]:
    latency, reclaimed = told["latency_s"], told["reclaimed"]
    share = reclaimed["share_of_oracle"]
    return [
        *(tight(human_duration(latency[name])) for name in ("p50", "p90", "p99")),
        size(reclaimed["mean_bytes"]),
        shorter(reclaimed["byte_seconds"] / GIB),
        "-" if share is None else f"{share:.1%}",
        size(told["missed"]["bytes"]),
        size(told["unreported_end_bytes"]),
    ]


def _price(told: dict[str, Any]) -> list[str]:
    held_gib_s = told["held_frame_seconds"] * told["page_size"] / GIB
    return [
        size(told["refaults"]["bytes"]),
        size(told["reports"]["redundant_bytes"]),
        shorter(told["reports"]["calls"]),
        shorter(held_gib_s),
        shorter(told["collisions"]["blocks"]),
        "-" if told["divergence"] is None else f"{told['divergence']:.1%}",
        tight(human_duration(told["cost_s"]["total"])),
    ]


def _work(told: dict[str, Any]) -> list[str]:
    work = told["work"]
    names = ("max_entries_per_lock", "lock_takes", "list_rotations", "tail_redirects", "boundary_resets")
    looked_at = work["entries_walked"] + work["bits_scanned"]
    lost = work["hints_dropped"] + work["rechecks_failed"]
    return [shorter(count) for count in (looked_at, *(work[name] for name in names))] + [
        shorter(work["hints_captured"]),
        shorter(lost),
    ]


def _by_when(told: dict[str, Any], within: Sequence[float]) -> list[str]:
    incidence = told["incidence"]
    if incidence is None:
        return ["-"] * len(within)
    rows = [incidence["within_s"].index(at) for at in within]
    return [f"{100 * incidence['reported'][k]:.0f}/{100 * incidence['missed'][k]:.0f}" for k in rows]


def _why_table(console: Console, rows: list[tuple[str, "Result"]]) -> None:
    """Mean bytes of each part of free memory; what is used is the same for all policies."""
    console.print(f"\nwhy memory does not come back, on average: {_used(rows[0][1])}", soft_wrap=True)
    table = new_table("policy", *WHY.values())
    for label, result in rows:
        means = result.mean_bytes
        table.add_row(label, *(size(means[part]) for part in WHY))
    console.print(table)
    console.print(WHY_LEGEND, style="dim")


def _used(result: "Result") -> str:
    """Managed memory, and what of it is used."""
    means = result.mean_bytes
    managed = sum(mean for mean in means.values() if mean is not None)
    used = sum(means[part] or 0 for part in ("other_used", *SAMPLED))
    apart = ", ".join(
        f"{name} {size(means[part])}"
        for part, name in (("page_cache", "page cache"), ("on_pcp", "per-CPU lists"))
        if means[part] is not None
    )
    by_what = apart or "the trace has no samples that tell by what"
    return f"{size(managed)} managed, {size(used)} used\n({by_what})"


def _needs(console: Console, rows: list[tuple[str, "Result"]]) -> None:
    """Each setting, what a kernel would need for it, and what its row does not show."""
    console.print()
    for label, result in rows:
        print_hanging(console, f"{label}: {result.run.setting.text}", style="dim")
        imposed = "".join(f"; {name}: {number:,}" for name, number in result.imposes.items()).replace(
            "_", " "
        )
        needs = plain(result.run.setting.policy.needs_of_kernel)
        print_hanging(console, f"kernel: {needs}{imposed}", 1, style="dim")
        for line in result.run.notes:
            print_hanging(console, f"note: {plain(line)}", 1, style="dim")


def _labels(names: list[str]) -> list[str]:
    """The policies' names, numbered where one occurs more than once."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(f"{name}#{seen[name]}" if names.count(name) > 1 else name)
    return labels


def _trust(fidelity: dict[str, int | None]) -> list[str]:
    """How right the trace is, in a line or two."""
    steps = fidelity["steps"] or 0
    impossible = (fidelity["exit_of_used"] or 0) + (fidelity["entry_of_free"] or 0)
    share = impossible / max(steps, 1)
    lost = fidelity["lost_events"]
    lines = [f"trust: {impossible:,} of {steps:,} steps impossible ({share:.4%}), {lost:,} events lost"]
    if fidelity["direct_frees"]:
        lines.append(f"       {fidelity['direct_frees']:,} frees past the per-CPU lists, known by hindsight")
    if fidelity["frames_corrected"]:
        lines.append(f"       {fidelity['frames_corrected']:,} frames corrected by snapshots in between")
    if fidelity["frames_wrong"] is not None:
        wrong, changed = fidelity["frames_wrong"], fidelity["frames_changed"]
        lines.append(f"       {wrong:,} of {changed:,} changed frames wrong at the end")
    return lines

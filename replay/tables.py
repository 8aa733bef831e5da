"""What people see in a terminal: tables that fit 80 columns, with units."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from replay.capabilities import in_words
from replay.composition import SAMPLED
from replay.parameters import Parameter, word_of
from replay.policies.protocol import Policy
from tracer import human_bytes, plain
from tracer.units import human_duration

if TYPE_CHECKING:
    from replay.api import Replay
    from replay.engine import Options
    from replay.results import Result

WIDTH = 80


LEGEND = """\
p50 p90 p99: latency of what was reported   mean: reclaimed on average
ceiling: share of what could be reclaimed at this order, reporting instantly
missed: in use again before it was reported   refault: reclaimed, used again
redund.: reported although the host lacked it already"""

# Columns of the second table: a part of managed memory, and its title.
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


def new_console() -> Console:
    """stdout; 80 columns where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def new_table(*columns: str) -> Table:
    """A table without lines: the first column is text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def replay_table(done: "Replay", options: "Options") -> None:
    """One row a policy: how soon, how much, at what cost; then how right the trace is."""
    console = new_console()
    first_ns, last_ns = done.trace.span_ns
    guest = done.trace.manifest.guest
    console.print(
        f"{plain(str(done.trace.path))}: {done.trace.rows:,} events over {(last_ns - first_ns) / 1e9:.1f} s, "
        f"Linux {plain(guest.kernel_release)}\nstart {done.start_word(options)}, backing {options.backing}",
        soft_wrap=True,
    )
    for line in done.limits:
        console.print(f"note: {plain(line)}", style="dim", markup=False)
    table = new_table(
        "policy", "p50", "p90", "p99", "mean", "ceiling", "missed", "refault", "redund.", "calls"
    )
    labels = _labels([result.policy for result in done.results])
    for label, result in zip(labels, done.results, strict=True):
        table.add_row(label, *_row(result.summary))
    console.print(table)
    console.print(LEGEND, style="dim")
    _why_table(console, labels, done)
    for label, result in zip(labels, done.results, strict=True):
        console.print(f"  {label}: {result.run.setting.text}", style="dim")
        for line in result.notes:
            console.print(f"    {line}", markup=False)
    for line in _trust(done.fidelity):
        console.print(line)


def _why_table(console: Console, labels: list[str], done: "Replay") -> None:
    """Mean bytes of each part of free memory; what is used is the same for all policies."""
    console.print(f"\nwhy memory does not come back, on average: {_used(done.results[0])}", soft_wrap=True)
    table = new_table("policy", *WHY.values())
    for label, result in zip(labels, done.results, strict=True):
        means = result.mean_bytes
        table.add_row(label, *(_size(means[part]) for part in WHY))
    console.print(table)
    console.print(WHY_LEGEND, style="dim")


def _used(result: "Result") -> str:
    """Managed memory, and what of it is used."""
    means = result.mean_bytes
    managed = sum(mean for mean in means.values() if mean is not None)
    used = sum(means[part] or 0 for part in ("other_used", *SAMPLED))
    apart = ", ".join(
        f"{name} {_size(means[part])}"
        for part, name in (("page_cache", "page cache"), ("on_pcp", "per-CPU lists"))
        if means[part] is not None
    )
    by_what = apart or "the trace has no samples that tell by what"
    return f"{_size(managed)} managed, {_size(used)} used\n({by_what})"


def _size(mean_bytes: float | None) -> str:
    return "-" if mean_bytes is None else _tight(human_bytes(mean_bytes))


def _labels(names: list[str]) -> list[str]:
    """The policies' names, numbered where one occurs more than once."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(f"{name}#{seen[name]}" if names.count(name) > 1 else name)
    return labels


def _row(summary: dict[str, Any]) -> list[str]:
    latency, reclaimed = summary["latency_s"], summary["reclaimed"]
    share = reclaimed["share_of_oracle"]
    mean = reclaimed["mean_bytes"]
    return [
        *(_tight(human_duration(latency[name])) for name in ("p50", "p90", "p99")),
        _size(mean),
        "-" if share is None else f"{share:.1%}",
        _tight(human_bytes(summary["missed"]["bytes"])),
        _tight(human_bytes(summary["refaults"]["bytes"])),
        _tight(human_bytes(summary["reports"]["redundant_bytes"])),
        f"{summary['reports']['calls']:,}",
    ]


def _tight(text: str) -> str:
    """A quantity without the space before its unit."""
    return text.replace(" ", "")


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


def policy_table(policies: list[Policy]) -> None:
    """Each policy with its parameters, needs and source."""
    console = new_console()
    for policy in policies:
        console.print(f"[bold]{policy.name}[/bold]: {escape(plain(policy.summary))}")
        for parameter in policy.parameters:
            console.print(f"  {parameter.name}={_default(parameter)}  {parameter.meaning}", markup=False)
        console.print(f"  needs of the trace: {in_words(policy.requires) or 'nothing'}", markup=False)
        for lacking, shows in sorted(policy.without.items()):
            console.print(f"  without {in_words([lacking])}: {shows}", markup=False)
        console.print(f"  needs of a kernel: {plain(policy.needs_of_kernel)}", markup=False)
        console.print(f"  source: {plain(policy.source)}", style="dim", markup=False)


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "(pageblock order)"
    return word_of(parameter.written(parameter.default))

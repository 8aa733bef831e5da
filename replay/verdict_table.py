"""What `pagetide validate` shows: counts, snapshots, the drift over time as a strip, divergences."""

from collections.abc import Iterator

from rich.table import Table

from replay.counting import Counted
from replay.drift import CAUSES, JUDGED_STEPS, Divergence
from replay.tables import new_console, new_table, print_hanging
from replay.truth.table import accuracy_lines, accuracy_table
from replay.validation import Verdict
from tracer import can_show, plain
from tracer.units import human_duration

STRIP_MARKS = 60
MARKS, ASCII_MARKS = tuple("█░· "), tuple("#x. ")  # right, wrong, quiet, none
SHOWN = 12  # divergences


def verdict_table(verdict: Verdict) -> None:
    """Frames and free blocks, model against kernel."""
    console = new_console()
    path, name = plain(str(verdict.trace.place)), plain(verdict.snapshot.name)
    console.print(f"{path}: the model against the {name} snapshot", markup=False)
    console.print(_counts(verdict))
    if len(verdict.comparisons) > 1:
        console.print(_snapshots(verdict))
    if verdict.orders:
        console.print(_free_blocks(verdict))
    for line in _drift(verdict):
        console.print(line, markup=False)
    divergences = [each for drift in verdict.drifts for each in drift.divergences]
    if divergences:
        console.print(_divergences(verdict, divergences[:SHOWN]))
        if len(divergences) > SHOWN:
            console.print(f"and {len(divergences) - SHOWN:,} more (--json has them all)")
        for cause in sorted({each.cause for each in divergences[:SHOWN]}):
            console.print(f"  {cause}: {CAUSES[cause]}", style="dim")
    if verdict.truth:
        console.print(accuracy_table(verdict.truth))
        for line in accuracy_lines(verdict.truth):
            print_hanging(console, plain(line))
    for warning in verdict.warnings:
        console.print(f"note: {plain(warning)}", style="dim", markup=False)


def _counts(verdict: Verdict) -> Table:
    f, last = verdict.fidelity, verdict.last
    impossible = f["exit_of_used"] + f["entry_of_free"]
    table = new_table("", "count", "share")
    table.add_row("steps", f"{f['steps']:,}", "")
    table.add_row("impossible: exit of a used frame", f"{f['exit_of_used']:,}", "")
    table.add_row("impossible: entry of a free frame", f"{f['entry_of_free']:,}", "")
    table.add_row("impossible steps", f"{impossible:,}", f"{verdict.impossible_share:.4%} of steps")
    table.add_row("frees past the per-CPU lists, by hindsight", f"{f['direct_frees']:,}", "")
    if blocks := len(verdict.taken.rows):
        table.add_row("blocks that compaction took, by its searches", f"{blocks:,}", "")
    for name, what in (("outside", "events outside every zone"), ("unknown_ops", "events of unknown ops")):
        if f[name]:
            table.add_row(what, f"{f[name]:,}", "")
    table.add_row("events lost while recording", f"{f['lost_events']:,}", "")
    table.add_row("frames compared", f"{f['frames_checked']:,}", "")
    table.add_row("frames that changed", f"{f['frames_changed']:,}", "")
    table.add_row("frames wrong", f"{f['frames_wrong']:,}", f"{verdict.wrong_share:.4%} of changed")
    for cause, frames in last.wrong_by_cause.items():
        if frames:
            table.add_row(f"  {cause}", f"{frames:,}", "")
    table.add_row("frames in limbo (held by the guest's reporting)", f"{f['frames_limbo']:,}", "")
    if lists := verdict.lists:
        share = f"of {lists['compared']:,}"
        table.add_row("blocks on another list than read at the end", f"{lists['elsewhere']:,}", share)
        table.add_row("blocks out of their list's order", f"{lists['out_of_order']:,}", share)
    for when, price in zip(("start", "end"), last.prices, strict=True):
        if price:
            share = f"{price.elsewhere / price.frames:.2%} of {price.frames:,}"
            table.add_row(f"free frames on another type's list, {when}", f"{price.elsewhere:,}", share)
    table.add_row("orders wrong", f"{f['orders_wrong']:,}", f"of {f['orders_checked']:,}")
    return table


def _snapshots(verdict: Verdict) -> Table:
    """A row for each snapshot; the model starts anew from the one before it."""
    table = new_table("snapshot", "at", "steps", "impossible", "changed", "wrong", "share", "limbo", "orders")
    first_ns = verdict.trace.span_ns[0]
    for found in verdict.comparisons:
        counts = found.counts
        table.add_row(
            plain(found.snapshot.name),
            human_duration((found.snapshot.end_ns - first_ns) / 1e9),
            f"{counts['steps']:,}",
            f"{counts['exit_of_used'] + counts['entry_of_free']:,}",
            f"{counts['frames_changed']:,}",
            f"{counts['frames_wrong']:,}",
            f"{found.wrong_share:.3%}",
            f"{counts['frames_limbo']:,}",
            f"{counts['orders_wrong']}",
        )
    return table


def _free_blocks(verdict: Verdict) -> Table:
    """Free blocks by order of each zone, the model's above the kernel's."""
    table = new_table("free blocks", *(str(order) for order in range(len(verdict.orders[0].kernel))))
    for found in verdict.orders:
        name = plain(verdict.zones[found.zone])
        table.add_row(f"{name} model", *map(str, found.model))
        table.add_row(f"{name} kernel", *map(str, found.kernel))
    return table


def _drift(verdict: Verdict) -> Iterator[str]:
    """How many samples are right, and a strip of marks for each zone over time."""
    samples = [each for drift in verdict.drifts for each in drift.samples]
    if not samples:
        yield "samples: none were recorded"
        return
    judged = len(verdict.judged)
    share = f" ({verdict.right / judged:.1%})" if judged else ""
    yield f"samples right in all orders: {verdict.right:,} of {judged:,}{share}"
    right, wrong, quiet, _ = _marks()
    first_ns, last_ns = verdict.trace.span_ns
    width = max(-(-(last_ns - first_ns) // STRIP_MARKS), 1_000_000_000)
    for zone in sorted({each.zone for each in samples}):
        marks: dict[int, list[Counted]] = {}
        for each in samples:
            if each.zone == zone:
                marks.setdefault((each.reading.begin_ns - first_ns) // width, []).append(each)
        strip = "".join(_mark(marks.get(place, [])) for place in range(max(marks) + 1))
        yield f"  {plain(verdict.zones[zone]):<10} {strip}"
    yield (
        f"  a mark is {human_duration(width / 1e9)}: {right} right, {wrong} wrong, "
        f"{quiet} under {JUDGED_STEPS} events"
    )


def _marks() -> tuple[str, ...]:
    """What stdout can show."""
    return MARKS if can_show("".join(MARKS)) else ASCII_MARKS


def _mark(samples: list[Counted]) -> str:
    judged = [each for each in samples if each.steps >= JUDGED_STEPS]
    right, wrong, quiet, none = _marks()
    if not samples:
        return none
    if not judged:
        return quiet
    return wrong if any(each.wrong for each in judged) else right


def _stop(verdict: Verdict, divergence: Divergence) -> str:
    """What ended a divergence that no sample did."""
    return "the end" if divergence.from_ns > verdict.last.before.end_ns else "a resync"


def _divergences(verdict: Verdict, found: list[Divergence]) -> Table:
    table = new_table("wrong in", "from", "until", "samples", "because of", "orders: model - kernel")
    first_ns = verdict.trace.span_ns[0]
    for each in found:
        orders = ", ".join(f"{order}:{count:+}" for order, count in enumerate(each.difference) if count)
        table.add_row(
            plain(verdict.zones[each.zone]),
            human_duration((each.from_ns - first_ns) / 1e9),
            human_duration((each.until_ns - first_ns) / 1e9) if each.until_ns else _stop(verdict, each),
            f"{each.samples:,}",
            each.cause,
            orders if len(orders) <= 30 else orders[:27] + "...",
        )
    return table

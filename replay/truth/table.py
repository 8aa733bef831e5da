"""What `pagetide validate --truth` shows of the comparison with a host."""

from rich.table import Table

from replay.tables import new_table, size
from replay.truth.accuracy import Accuracy, Errors, Found


def accuracy_table(found: Accuracy) -> Table:
    """A row for each thing compared."""
    table = new_table("host against model", "host", "model", "same", "recall", "precision")
    _row(table, "reports (pfn, size, within 1 s)", found.reports)
    _row(table, "distinct frames", found.frames)
    _row(table, "passes", found.passes)
    _row(table, "batches, same order", found.batches)
    if found.heads:
        _row(table, "reported heads at the end", found.heads)
    return table


def accuracy_lines(found: Accuracy) -> list[str]:
    """What is no count: times and memory."""
    how = "as the guest's own reporting worked" if found.followed else "on the model's own timers"
    lines = [
        f"reports predicted by {found.setting.policy.name} {how}",
        f"time error of reports: {_times(found.time_error)}; of passes: {_times(found.pass_error)}",
        f"batches with the same members in any order: {found.same_members:,} of {found.batches.truth:,}",
        f"told again in vain (model): {size(found.redundant_bytes)}",
    ]
    if found.took_heads is not None:
        lines.append(f"blocks that allocations broke and were at the head of a list: {found.took_heads:.3%}")
    if (host := found.host) is not None:
        lines.append(
            f"host's memory fell by {size(host.drop_bytes)} in {host.passes} passes that discarded "
            f"{size(host.discarded_bytes)}; the model says {size(host.new_bytes)}; "
            f"{host.passes_within} of the passes agree to 1 %"
        )
        if host.most_off_bytes is not None and host.off_share is not None:
            lines.append(
                f"host's memory over time: at most {size(host.most_off_bytes)} "
                f"({host.off_share:.2%} of the guest's) beside the model's"
            )
    return lines


def _row(table: Table, name: str, found: Found) -> None:
    shares = ("-" if share is None else f"{share:.2%}" for share in (found.recall, found.precision))
    table.add_row(name, f"{found.truth:,}", f"{found.predicted:,}", f"{found.same:,}", *shares)


def _times(errors: Errors) -> str:
    if errors.p50 is None or errors.p90 is None or errors.max is None:
        return "none"
    return f"p50 {errors.p50 * 1e3:.1f}, p90 {errors.p90 * 1e3:.1f}, most {errors.max * 1e3:.1f} ms"

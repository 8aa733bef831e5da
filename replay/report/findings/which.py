"""Which policy to choose, and how much that matters."""

from replay.report.choice import NOTHING_BYTES, WORTH, WORTH_A_PATCH, Choice
from replay.report.findings.words import counted, listed, path_of, piece_of
from replay.report.rows import Row, Rows
from tracer import human_bytes
from tracer.units import human_duration


def which(rows: Rows, choice: Choice | None) -> list[str]:
    """The choice, and what speaks for something else."""
    if choice is None:
        return [
            "Nothing was replayed that a released kernel has, so there is nothing to choose from today.",
            "Replay all policies: leave out `--policy`.",
        ]
    row = choice.row
    if choice.ceiling / row.duration_s < NOTHING_BYTES:
        most = human_bytes(choice.ceiling / row.duration_s)
        return [
            (
                f"It hardly matters: at order {row.order} at most {most} could come back on average, "
                "whatever the policy."
            ),
            f"`{row.label}` ({row.who}) is the one that needs no patch.",
        ]
    return [
        f"Choose `{row.label}` ({row.who}): it needs no patch and brings back {_got(row)}.",
        *_dearer(choice),
        *_cheaper(choice),
        *_patches(rows, choice),
        *_cautioned(rows, choice),
    ]


def _got(row: Row) -> str:
    share = (
        ""
        if row.share is None
        else f", {row.share:.1%} of the most that reporting in pieces of {piece_of(row)} could"
    )
    return f"{human_bytes(row.mean_bytes)} on average{share}"


def _dearer(choice: Choice) -> list[str]:
    lead = "If memory is worth more to you than CPU:"
    return [
        f"{lead} `{row.label}` brings {_more(choice, row)} more, for {_prices(choice.row, row)}."
        for row in choice.dearer
    ]


def _cheaper(choice: Choice) -> list[str]:
    return [f"`{row.label}` brings the same for {_prices(choice.row, row)}." for row in choice.cheaper]


def _patches(rows: Rows, choice: Choice) -> list[str]:
    """What a patched kernel would bring more; else that none would."""
    if not choice.patches:
        return [
            f"No patch that was replayed brings {WORTH:.0%} more, so none is worth carrying for this guest."
        ]
    best = max(choice.patches, key=lambda row: row.byte_seconds)
    gain = best.mean_bytes - choice.row.mean_bytes
    share = gain / choice.row.managed_bytes if choice.row.managed_bytes else 0.0
    verdict = "Worth looking at a patch" if share >= WORTH_A_PATCH else "Hardly worth a patch"
    line = (
        f"{verdict}: the best, `{best.label}`, brings {_more(choice, best)} more, {share:.1%} of the "
        f"guest's memory, for {_prices(choice.row, best)}."
    )
    others = [row for row in choice.patches if row is not best]
    if others:
        line += " Less than that: " + listed(f"`{row.label}` ({_more(choice, row)})" for row in others) + "."
    return [line, _instead(rows, choice.row)]


def _instead(rows: Rows, row: Row) -> str:
    """What to try before a patch: the delay of the policy that is there."""
    if "delay" not in row.told["params"]:
        return "A patch has to be carried from kernel to kernel: weigh that against the gain."
    policy = row.told["policy"]
    return (
        f"The smallest patch is a shorter delay of `{row.label}`, one constant of the kernel. What it "
        f"brings: `pagetide sweep {path_of(rows)} --policy {policy} --set delay=100ms,500ms,2s`."
    )


def _cautioned(rows: Rows, choice: Choice) -> list[str]:
    return [
        f"`{row.label}` (Linux {row.since} and later) has {human_bytes(row.mean_bytes)} on average, but is "
        f"not for all the time: {row.caution}."
        for row in rows.rows
        if row.caution and row is not choice.row
    ]


def _more(choice: Choice, row: Row) -> str:
    gain = human_bytes(row.mean_bytes - choice.row.mean_bytes)
    return f"{gain} ({100 * choice.more(row):+.1f} points)"


def _prices(from_: Row, to: Row) -> str:
    """Refaults, report calls and CPU, of one after that of the other."""
    changes = (
        ("refaults", *(human_bytes(row.told["refaults"]["bytes"]) for row in (from_, to))),
        ("calls", *(f"{row.told['reports']['calls']:,}" for row in (from_, to))),
        ("CPU", *(human_duration(row.cpu_s) for row in (from_, to))),
    )
    return listed(
        (f"{name} {one}" if one == other else f"{name} {one} to {other}") for name, one, other in changes
    )


def apart(rows: Rows, choice: Choice | None) -> list[str]:
    """How far apart policies at the choice's order are that could run all the time."""
    if choice is None or not choice.ceiling:
        return []
    same = [row for row in rows.possible if row.order == choice.row.order]
    if len(same) < 2:
        return []
    shares = {row.label: row.byte_seconds / choice.ceiling for row in same}
    spread = max(shares.values()) - min(shares.values())
    each = listed(
        f"`{label}` {share:.1%}" for label, share in sorted(shares.items(), key=lambda each: -each[1])
    )
    verdict = (
        f"Hardly: what a kernel could do is {100 * spread:.1f} points apart at order {choice.row.order}"
        if spread < WORTH
        else (
            f"Somewhat: what a kernel could do is up to {100 * spread:.1f} points apart at order "
            f"{choice.row.order}"
        )
    )
    near = sum(abs(choice.more(row)) < WORTH for row in same if row is not choice.row)
    lines = [f"{verdict}: {each} of the ceiling."]
    if near:
        lines.append(
            f"Less than a point is no reason to choose: {counted(near, 'other is', 'others are')} as good "
            f"as `{choice.row.label}`, and that one is in the kernel."
        )
    return lines

"""Which policy to choose, and how much that matters."""

from replay.report.choice import NOTHING_BYTES, WORTH, WORTH_A_PATCH, Choice
from replay.report.findings.words import listed, path_of, percent, piece_of, times
from replay.report.rows import Row, Rows
from tracer import human_bytes
from tracer.units import human_duration


def which(rows: Rows, choice: Choice | None) -> list[str]:
    """The choice, and what speaks for something else that needs no patch."""
    if choice is None:
        return [
            "Nothing was replayed that a released kernel has, so there is nothing to choose from today.",
            "Replay all policies: leave out `--policy`.",
        ]
    row = choice.row
    if choice.ceiling / row.duration_s < NOTHING_BYTES:
        most = human_bytes(choice.ceiling / row.duration_s)
        lead = (
            f"It hardly matters: at order {row.order} at most {most} could come back on average, "
            "whatever the policy."
        )
        return [lead, f"`{row.label}` ({row.who}) is the one that needs no patch.", *_lower(rows, choice)]
    return [
        f"Choose `{row.label}` ({row.who}): it needs no patch and brings back {_got(row)}.",
        *_lower(rows, choice),
        *_dearer(choice),
        *_cheaper(choice),
        *_cautioned(rows, choice),
    ]


def _got(row: Row) -> str:
    told = f"{human_bytes(row.mean_bytes)} on average"
    if row.of_memory is not None:
        told += f", {row.of_memory:.0%} of the guest's memory"
    if row.share is not None:
        told += f" and {row.share:.1%} of the most that reporting in pieces of {piece_of(row)} could"
    return told


def _lower(rows: Rows, choice: Choice) -> list[str]:
    """What lower orders bring."""
    lines = [_at_lower_order(choice, row) for row in choice.lower]
    if rows.trace["backing"] == "4k" and any(choice.more(row) >= WORTH for row in choice.lower):
        lines.append(
            "That is with a host that backs the guest in 4 KiB pages, as was assumed here. With huge pages "
            f"there it can bring less: `pagetide report {path_of(rows)} --backing thp -o thp.html`."
        )
    return lines


def _at_lower_order(choice: Choice, row: Row) -> str:
    if choice.more(row) < WORTH:
        return (
            f"Order {row.order} is not worth it here: `{row.label}` brings back {_gain(choice, row)}, for "
            f"{_prices(choice.row, row)}."
        )
    takes = f" It takes {row.how}, which Linux {row.since} and later have." if row.how else ""
    return (
        f"**Then look at order {row.order}**: `{row.label}` brings back {_gain(choice, row)}, for "
        f"{_prices(choice.row, row)}.{takes}"
    )


def _dearer(choice: Choice) -> list[str]:
    lead = "If memory is worth more to you than CPU:"
    return [
        f"{lead} `{row.label}` brings back {_gain(choice, row)}, for {_prices(choice.row, row)}."
        for row in choice.dearer
    ]


def _cheaper(choice: Choice) -> list[str]:
    return [f"`{row.label}` brings the same for {_prices(choice.row, row)}." for row in choice.cheaper]


def _cautioned(rows: Rows, choice: Choice) -> list[str]:
    return [
        f"`{row.label}` (Linux {row.since} and later) is no alternative, though it has "
        f"{human_bytes(row.mean_bytes)} back: {row.caution}."
        for row in rows.rows
        if row.caution and row is not choice.row
    ]


def _gain(choice: Choice, row: Row) -> str:
    """What it has back more, or less, in bytes and of the guest's memory."""
    gain = row.mean_bytes - choice.row.mean_bytes
    more = "more" if gain >= 0 else "less"
    return f"{human_bytes(abs(gain))} {more} ({percent(abs(choice.more(row)))} of the guest's memory)"


def _prices(from_: Row, to: Row) -> str:
    """CPU, refaults and report calls of one after that of the other."""
    one, other = from_.told, to.told
    return listed(
        (
            times("the CPU", from_.cpu_s, to.cpu_s, human_duration),
            times("the refaults", one["refaults"]["bytes"], other["refaults"]["bytes"], human_bytes),
            times("the report calls", one["reports"]["calls"], other["reports"]["calls"], "{:,}".format),
        )
    )


def apart(rows: Rows, choice: Choice | None) -> list[str]:
    """Is any patch worth carrying, and how far apart are policies at the choice's order?"""
    if choice is None or not choice.ceiling:
        return []
    return [*_patches(choice), *_smallest(rows, choice), *_side_by_side(rows, choice)]


def _patches(choice: Choice) -> list[str]:
    """The verdict: what the best of them brings more."""
    if not choice.patches:
        return []
    best = choice.patches[0]
    share, told = choice.more(best), f"the best, `{best.label}`, brings back {_gain(choice, best)}"
    if share < WORTH:
        return [
            (
                f"Hardly: no patch that was replayed brings {WORTH:.0%} of the guest's memory more, so none "
                f"is worth carrying; {told}."
            )
        ]
    price = f"for {_prices(choice.row, best)}"
    if share < WORTH_A_PATCH:
        return [f"A little, hardly enough to carry a patch for: {told}, {price}."]
    return [f"Yes, a patch is worth a look: {told}, {price}."]


def _side_by_side(rows: Rows, choice: Choice) -> list[str]:
    same = [row for row in rows.possible if row.order == choice.row.order]
    if len(same) < 2:
        return []
    ranked = sorted(same, key=lambda row: -row.byte_seconds)
    each = listed(
        f"`{row.label}` {human_bytes(row.mean_bytes)} ({row.byte_seconds / choice.ceiling:.1%})"
        for row in ranked
    )
    spread = ranked[0].mean_bytes - ranked[-1].mean_bytes
    share = percent(spread / choice.row.managed_bytes)
    return [
        (
            f"At order {choice.row.order}, what kernels could do all the time is {human_bytes(spread)} "
            f"apart, {share} of the guest's memory. On average, and of the ceiling at that order: {each}."
        )
    ]


def _smallest(rows: Rows, choice: Choice) -> list[str]:
    """The smallest patch there is: another delay of the policy that is there."""
    row = choice.row
    if not choice.patches or "delay" not in row.told["params"]:
        return []
    turned = [each for each in choice.patches if each.told["policy"] == row.told["policy"]]
    if turned:
        each = turned[0]
        if each is choice.patches[0]:
            return [f"It is the smallest patch too: {each.how}."]
        told = f"`{each.label}` ({each.how}): {_gain(choice, each)}, for {_prices(row, each)}."
        return [f"The smallest patch is {told}"]
    policy = row.told["policy"]
    return [
        (
            f"The smallest patch is a shorter delay of `{row.label}`, one constant of the kernel. What it "
            f"brings: `pagetide sweep {path_of(rows)} --policy {policy} --set delay=100ms,500ms,2s`."
        )
    ]

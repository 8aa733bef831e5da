"""How far the numbers go."""

from replay.report.choice import Choice
from replay.report.findings.words import listed, path_of, whom
from replay.report.rows import Row, Rows
from tracer import human_bytes
from tracer.units import human_duration

SHORT_S = 60.0  # a replay below this says little about a guest


def how_far(rows: Rows, choice: Choice | None) -> list[str]:
    """What one recording can say, and what was assumed."""
    row = whom(rows, choice)
    lines = [_length(rows), _start(rows, row)]
    if row is not None:
        lines += [_divergence(rows, row), _backing(rows)]
    lines.append(
        "CPU is an estimate from constants measured on one machine (docs/costs.md). Memory, latencies and "
        "counts are not: they follow from the events recorded, by the model's rules (docs/model.md)."
    )
    return [line for line in lines if line]


def _length(rows: Rows) -> str:
    seconds = rows.trace["duration_s"]
    told = f"One recording of {human_duration(seconds)}"
    if seconds < SHORT_S:
        return (
            f"{told} is short: it says what happened then, hardly what is usual. Record minutes before you "
            "decide."
        )
    return f"{told}: another load, or another hour, can give other numbers."


def _start(rows: Rows, row: Row | None) -> str:
    start = rows.trace["start"]
    if start == "cold":
        return (
            "The replay begins cold: nothing had been reported, as in a guest whose device has just come up."
        )
    if row is None or start != "steady":
        return ""
    return (
        f"Assumed, for all policies alike: the guest has been up for a while. {_assumed(row)} That makes "
        "policies look alike, the more the shorter the trace is, and using that memory again is among the "
        f"refaults. `pagetide report {path_of(rows)} --start cold -o cold.html` begins with nothing "
        "reported."
    )


def _assumed(row: Row) -> str:
    """How much of what is back was so at the start, and how much came by what was replayed."""
    begin, mean, reports = row.told["reclaimed"]["start_bytes"], row.mean_bytes, row.told["reports"]
    told = max(reports["bytes"] - reports["redundant_bytes"] - reports["acknowledged_only_bytes"], 0)
    line = (
        f"{human_bytes(begin)} were reclaimed before the first event, and `{row.label}` gave back "
        f"{human_bytes(told)} while the trace ran"
    )
    if begin + told:
        line += f": {begin / (begin + told):.0%} of all that came back is assumed"
    left = min(begin - row.told["refaults"]["bytes"], mean)
    if left > 0:
        line += f". At least {human_bytes(left)} of the {human_bytes(mean)} on average are nothing else"
    return f"{line}."


def _divergence(rows: Rows, row: Row) -> str:
    ours, floor = row.told["divergence"], rows.floor(row.order)
    if ours is None or floor is None or floor.told["divergence"] is None:
        return ""
    theirs = floor.told["divergence"]
    follow = (
        "the trace can follow it: its numbers are firm"
        if ours <= theirs + 0.1
        else "what it would change in the guest the trace cannot follow: its numbers are estimates"
    )
    return (
        "The replay keeps the page that each allocation really got. Of those that broke a free piece, "
        f"{ours:.1%} took another one than `{row.label}` would have had at the head of its list; "
        f"{theirs:.1%} with no reporting at all. So {follow}. {_others(rows, row)}"
    ).strip()


def _others(rows: Rows, row: Row) -> str:
    """How much further from the recording the other policies' lists are."""
    others = {
        each.label: each.told["divergence"]
        for each in rows.rows
        if each is not row and not each.bound and each.told["divergence"] is not None
    }
    if not others or max(others.values()) <= row.told["divergence"] + 0.1:
        return ""
    each = listed(f"`{label}` {share:.0%}" for label, share in others.items())
    return f"Others' lists are further from what the guest did, and their numbers less firm: {each}."


def _backing(rows: Rows) -> str:
    backing = rows.trace["backing"]
    if backing != "4k":
        return ""
    return (
        "The host is taken to back the guest in 4 KiB pages; with huge pages there (`--backing thp`), "
        "refaults and prices differ."
    )

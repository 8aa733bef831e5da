"""What a replay found out, in plain words with the numbers in them: pure functions over the answer.

A word between backquotes is a name or a command. Numbers come from the answer alone, so that none can go
stale; what to choose is `replay.report.choice`'s.
"""

# ruff: noqa: ISC004 - a finding is a list of sentences, some of them longer than a line

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from replay.report.choice import NOTHING_BYTES, WORTH, Choice, choose
from replay.report.rows import Row, Rows
from tracer import human_bytes
from tracer.units import human_duration

SHORT_S = 60.0  # a replay below this says little about a guest
WITHIN_S = (1.0, 10.0, 60.0)

# Of a part of managed memory: what it is, and what would bring it back.
STAYS = {
    "other_used": "in use by processes and the kernel; only using less brings it back",
    "page_cache": "page cache: in use, as far as reporting can see; dropping or limiting the cache frees it",
    "on_pcp": "on per-CPU lists, which reporting does not look at",
    "stranded": "free, but in pieces smaller than {piece}; a lower reporting order gets at it",
    "waiting": "free, and waits for the next pass; a shorter delay brings it sooner",
    "gated": "free, but a watermark keeps the policy from taking it; smaller batches or more memory help",
    "held": "being reported at that moment",
    "kept": "reported, but the host still backs it, because of its larger pages or since it discards nothing",
    "never_backed": "new and never used: the host has not backed it yet",
}


@dataclass(frozen=True)
class Finding:
    """A question, and what the numbers say to it: the first line is the answer, the others say why."""

    name: str
    title: str
    lines: list[str]


def findings(answer: dict[str, Any]) -> list[Finding]:
    """All that an answer gives, the choice first."""
    rows = Rows.of(answer)
    if not rows.rows or not rows.trace["duration_s"] or not rows.trace["events"]:
        return [_nothing(rows)]
    choice = choose(rows)
    parts: Sequence[tuple[str, str, Callable[[Rows, Choice | None], list[str]]]] = (
        ("choice", "Which policy to choose", _choice),
        ("differences", "Does the choice of a policy matter here?", _differences),
        ("pieces", "What is out of reach at this order?", _pieces),
        ("soon", "How soon does memory come back?", _soon),
        ("price", "What does it cost?", _price),
        ("stays", "What does not come back, and why?", _stays),
        ("believe", "How far do these numbers go?", _believe),
    )
    told = [Finding(name, title, lines(rows, choice)) for name, title, lines in parts]
    return [finding for finding in told if finding.lines]


def _nothing(rows: Rows) -> Finding:
    trace = rows.trace
    what = f"{trace['events']:,} events over {human_duration(trace['duration_s'])}"
    return Finding(
        "nothing",
        "There is nothing to judge yet",
        [
            f"The trace has {what}: no time in which memory could come back.",
            "Record for longer, at best some minutes under the load that matters: "
            "`pagetide record guest.trace --duration 5min`.",
        ],
    )


def _subject(rows: Rows, choice: Choice | None) -> Row | None:
    """Whom the details are about: the choice, else the best of what a kernel could do, else none."""
    if choice:
        return choice.row
    return max(rows.possible, key=lambda row: row.byte_seconds, default=None)


# Which


def _choice(rows: Rows, choice: Choice | None) -> list[str]:
    if choice is None:
        return [
            "Nothing was replayed that a released kernel has, so there is nothing to choose from today.",
            "Replay all policies: leave out `--policy`.",
        ]
    row = choice.row
    if choice.ceiling / row.duration_s < NOTHING_BYTES:
        most = human_bytes(choice.ceiling / row.duration_s)
        return [
            f"It hardly matters: at order {row.order} at most {most} could come back on average, whatever "
            f"the policy.",
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
        else f", {row.share:.1%} of the most that reporting in pieces of {_piece(row)} could"
    )
    return f"{human_bytes(row.mean_bytes)} on average{share}"


def _piece(row: Row) -> str:
    return human_bytes(row.piece_bytes)


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
    line = (
        f"A patched kernel could have {_more(choice, best)} more with `{best.label}`, for "
        f"{_prices(choice.row, best)}."
    )
    others = [row for row in choice.patches if row is not best]
    if others:
        line += (
            " Less than that, but more than without a patch: "
            + _list(f"`{row.label}` ({_more(choice, row)})" for row in others)
            + "."
        )
    return [line, _instead(rows, choice.row)]


def _instead(rows: Rows, row: Row) -> str:
    """What to try before a patch: the delay of the policy that is there."""
    if "delay" not in row.told["params"]:
        return "A patch has to be carried from kernel to kernel: weigh that against the gain."
    policy = row.told["policy"]
    return (
        f"Before a patch, look at what `{row.label}` does with a shorter delay, which is one constant in "
        f"the kernel: "
        f"`pagetide sweep {_path(rows)} --policy {policy} --set delay=100ms,500ms,2s`."
    )


def _path(rows: Rows) -> str:
    """The trace's path, as a shell takes it."""
    return shlex.quote(rows.trace["path"])


def _cautioned(rows: Rows, choice: Choice) -> list[str]:
    return [
        f"`{row.label}` (Linux {row.since} and later) has {human_bytes(row.mean_bytes)} on average, "
        f"but is not for all the time: {row.caution}."
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
    return _list(
        (f"{name} {one}" if one == other else f"{name} {one} to {other}") for name, one, other in changes
    )


def _differences(rows: Rows, choice: Choice | None) -> list[str]:
    """How far apart policies at the choice's order are that could run all the time."""
    if choice is None or not choice.ceiling:
        return []
    same = [row for row in rows.possible if row.order == choice.row.order]
    if len(same) < 2:
        return []
    shares = {row.label: row.byte_seconds / choice.ceiling for row in same}
    spread = max(shares.values()) - min(shares.values())
    each = _list(
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
            f"Less than a point is no reason to choose: {_number(near, 'other is', 'others are')} as good as "
            f"`{choice.row.label}`, and that one is in the kernel."
        )
    return lines


def _pieces(rows: Rows, choice: Choice | None) -> list[str]:
    """Free memory that is too fragmented for the order, beside what policies can get."""
    row = _subject(rows, choice)
    if row is None:
        return []
    free = row.told["free"]
    total, stranded = free["byte_seconds"], free["stranded_byte_seconds"]
    if not total:
        return ["No memory was free at any time."]
    lines = [
        f"{stranded / total:.1%} of the free memory ({human_bytes(stranded / row.duration_s)} of "
        f"{human_bytes(total / row.duration_s)} on average) is in pieces smaller than {_piece(row)}: no "
        f"policy gets "
        f"at it at order {row.order}."
    ]
    if (
        not row.order
        or stranded < WORTH * total
        or any(each.order < row.order and not each.bound for each in rows.rows)
    ):
        return lines
    if row.since:
        policy = row.told["policy"]
        lines.append(
            "A lower order would, for more refaults and many more calls, where the host backs the guest in "
            "small "
            f"pages. Compare: `pagetide report {_path(rows)} --policy {policy} --policy {policy}:order=5 "
            f"--policy {policy}:order=0`."
        )
    return lines


# How


def _soon(rows: Rows, choice: Choice | None) -> list[str]:
    row = _subject(rows, choice)
    if row is None:
        return []
    latency, missed = row.told["latency_s"], row.told["missed"]["bytes"]
    left = row.told["unreported_end_bytes"]
    rest = (
        f"{human_bytes(missed)} were in use again before they were reported, {human_bytes(left)} still "
        f"waited at the end."
    )
    if latency["p50"] is None:
        return [f"`{row.label}` reported nothing new while the trace ran. {rest}"]
    lines = [
        f"With `{row.label}` half of what it reports is back at the host {human_duration(latency['p50'])} "
        f"after it became "
        f"free, 90 % within {human_duration(latency['p90'])}, 99 % within {human_duration(latency['p99'])}.",
        f"Of what became free in whole pieces, {_by_when(row)}. {rest}" if row.told["incidence"] else rest,
    ]
    sooner = [
        each
        for each in rows.possible
        if each is not row
        and each.told["latency_s"]["p50"] is not None
        and each.told["latency_s"]["p50"] < latency["p50"] / 2
    ]
    if sooner:
        each = _list(f"`{one.label}` {human_duration(one.told['latency_s']['p50'])}" for one in sooner)
        lines.append(f"Half of it, and in less than half the time: {each}.")
    return lines


def _by_when(row: Row) -> str:
    incidence = row.told["incidence"]
    known = [at for at in WITHIN_S if at in incidence["within_s"]]
    at = [incidence["within_s"].index(each) for each in known]
    if not at:
        return "the replay is too short to say by when"
    return _list(
        f"{incidence['reported'][k]:.0%} are reported and {incidence['missed'][k]:.0%} used again within "
        f"{human_duration(when)}"
        for k, when in zip(at, known, strict=True)
    )


def _price(rows: Rows, choice: Choice | None) -> list[str]:
    row = _subject(rows, choice)
    if row is None:
        return []
    told = row.told
    refaults, cost, calls = told["refaults"]["bytes"], told["cost_s"], told["reports"]["calls"]
    lines = [
        f"`{row.label}` takes {human_duration(row.cpu_s)} of CPU of host and guest in "
        f"{human_duration(row.duration_s)} "
        f"({row.cpu_s / row.duration_s:.2%} of one CPU, estimated) and {calls:,} report calls.",
        f"Most of the price is memory that is used again: {human_bytes(refaults)} had to be backed anew, "
        f"{human_duration(cost['refault'])} of that CPU."
        if refaults
        else "Nothing that was reclaimed was used again, so nothing had to be backed anew.",
    ]
    most = [each for each in rows.rows if each.bound and each.order == row.order and each.byte_seconds]
    if refaults and most:
        best = max(most, key=lambda each: each.byte_seconds)
        lines.append(
            f"`{best.label}`, the best at any price, has {human_bytes(best.told['refaults']['bytes'])} of "
            f"them."
        )
    return lines


def _stays(rows: Rows, choice: Choice | None) -> list[str]:
    row = _subject(rows, choice)
    if row is None:
        return []
    means = {part: row.mean(value) for part, value in row.told["unreclaimed"].items()}
    known = {part: mean for part, mean in means.items() if mean}
    managed = row.mean_bytes + sum(known.values())
    large = [part for part in sorted(known, key=lambda part: -known[part]) if known[part] >= managed / 1000]
    lead = (
        f"Of {human_bytes(managed)} of memory, `{row.label}` has {human_bytes(row.mean_bytes)} back on "
        f"average "
        f"({row.mean_bytes / managed:.0%}). The rest, on average:"
        if managed
        else "The guest has no memory."
    )
    piece = _piece(row)
    return [lead, *(f"{human_bytes(known[part])}: {STAYS[part].format(piece=piece)}." for part in large)]


# How far to believe it


def _believe(rows: Rows, choice: Choice | None) -> list[str]:
    row = _subject(rows, choice)
    lines = [_length(rows), _start(rows, row)]
    if row is not None:
        lines += [_divergence(rows, row), _backing(rows)]
    lines.append(
        "CPU is an estimate from constants measured on one machine (docs/costs.md); memory, latencies and "
        "counts are exact "
        "for the events recorded."
    )
    return [line for line in lines if line]


def _length(rows: Rows) -> str:
    seconds = rows.trace["duration_s"]
    told = f"One recording of {human_duration(seconds)}"
    if seconds < SHORT_S:
        return (
            f"{told} is short: it says what happened then, hardly what is usual. Record minutes before you "
            f"decide."
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
    begin = row.told["reclaimed"]["start_bytes"]
    return (
        f"The replay begins as in a guest that has been up for a while: {human_bytes(begin)} were "
        f"reclaimed before the first "
        "event, so policies look alike on a short trace (`--start cold` shows how soon they get there)."
    )


def _divergence(rows: Rows, row: Row) -> str:
    ours, floor = row.told["divergence"], rows.floor(row.order)
    if ours is None or floor is None or floor.told["divergence"] is None:
        return ""
    theirs = floor.told["divergence"]
    follow = (
        "the trace can follow it"
        if ours <= theirs + 0.1
        else "what it would change in the guest, the trace cannot follow"
    )
    return (
        f"Every page keeps the frame it really had. {ours:.0%} of the exits that broke a free piece took "
        f"another one than the "
        f"lists of `{row.label}` would have handed out, {theirs:.0%} with no reporting at all: {follow}."
    )


def _backing(rows: Rows) -> str:
    backing = rows.trace["backing"]
    if backing != "4k":
        return ""
    return (
        "The host is taken to back the guest in 4 KiB pages; with huge pages there (`--backing thp`), "
        "refaults and prices differ."
    )


def _list(parts: Any) -> str:  # noqa: ANN401 - any iterable of text
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else str(last)


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"

"""How soon memory comes back, at what price, and why the rest stays."""

from typing import Any

from replay.report.choice import WORTH, Choice
from replay.report.findings.words import listed, path_of, percent, piece_of, whom
from replay.report.rows import Row, Rows
from tracer import human_bytes
from tracer.units import human_duration

WITHIN_S = (1.0, 10.0, 60.0)
ENDS = ("reported", "missed")
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


def in_pieces(rows: Rows, choice: Choice | None) -> list[str]:
    """Free memory that is too fragmented for the order, beside what policies can get."""
    row = whom(rows, choice)
    if row is None:
        return []
    free = row.told["free"]
    total, stranded = free["byte_seconds"], _stranded(row)
    if not total:
        return ["No memory was free at any time."]
    lines = [
        (
            f"{stranded / total:.1%} of the free memory ({human_bytes(stranded / row.duration_s)} of "
            f"{human_bytes(total / row.duration_s)} on average) is in pieces smaller than {piece_of(row)}: "
            f"no policy gets at it at order {row.order}."
        )
    ]
    lower = [each for each in rows.rows if each.order < row.order and not each.bound]
    if lower:
        return [*lines, *_lower(row, lower)]
    if not row.order or stranded < WORTH * total:
        return lines
    if row.since:
        policy = row.told["policy"]
        lines.append(
            "A lower order would, for more refaults and many more calls, where the host backs the guest "
            f"in small pages. Compare: `pagetide report {path_of(rows)} --policy {policy} --policy "
            f"{policy}:order=5 --policy {policy}:order=0`."
        )
    return lines


def _stranded(row: Row) -> float:
    """Byte seconds in too small pieces, without what came back before its piece was broken."""
    told = row.told["unreclaimed"]["stranded"]
    return float(row.told["free"]["stranded_byte_seconds"] if told is None else told)


def _lower(row: Row, lower: list[Row]) -> list[str]:
    """What is in too small pieces at lower orders that were replayed, a line for each order."""
    stranded = {each.order: each for each in sorted(lower, key=lambda each: each.order, reverse=True)}
    return [
        f"At order {order} (pieces of {piece_of(each)}) it is "
        f"{human_bytes(_stranded(each) / row.duration_s)}, "
        f"{_stranded(each) / each.told['free']['byte_seconds']:.1%}."
        for order, each in stranded.items()
    ]


def how_soon(rows: Rows, choice: Choice | None) -> list[str]:
    """Latency of what is reported, and what becomes of the rest."""
    row = whom(rows, choice)
    if row is None:
        return []
    latency, missed = row.told["latency_s"], row.told["missed"]["bytes"]
    left = row.told["unreported_end_bytes"]
    rest = (
        f"{human_bytes(missed)} were in use again before they were reported, {human_bytes(left)} still "
        "waited at the end."
    )
    if latency["p50"] is None:
        return [f"`{row.label}` reported nothing new while the trace ran. {rest}"]
    lines = [
        (
            f"With `{row.label}` half of what it reports is back at the host "
            f"{human_duration(latency['p50'])} after it became free, 90% within "
            f"{human_duration(latency['p90'])}, 99% within {human_duration(latency['p99'])}."
        ),
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
        each = listed(f"`{one.label}` {human_duration(one.told['latency_s']['p50'])}" for one in sooner)
        lines.append(f"Faster by half and more: half is back within {each}.")
    return lines


def _by_when(row: Row) -> str:
    incidence = row.told["incidence"]
    known = [at for at in WITHIN_S if at in incidence["within_s"]]
    at = [incidence["within_s"].index(each) for each in known]
    while len(at) > 1 and _same_by(incidence, *at[-2:]):
        at.pop()
    if not at:
        return "the replay is too short to say by when"
    return listed(
        f"{incidence['reported'][k]:.0%} are reported and {incidence['missed'][k]:.0%} used again within "
        f"{human_duration(when)}"
        for k, when in zip(at, known, strict=False)
    )


def _same_by(incidence: dict[str, Any], one: int, other: int) -> bool:
    """Is there nothing to tell of the later one, to the percent?"""
    return all(round(incidence[what][one], 2) == round(incidence[what][other], 2) for what in ENDS)


def at_what_price(rows: Rows, choice: Choice | None) -> list[str]:
    """CPU and calls, and what of it is memory that is used again."""
    row = whom(rows, choice)
    if row is None:
        return []
    cost, calls = row.told["cost_s"], row.told["reports"]["calls"]
    return [
        (
            f"`{row.label}` takes {human_duration(row.cpu_s)} of CPU of host and guest in "
            f"{human_duration(row.duration_s)} ({percent(row.cpu_s / row.duration_s)} of one CPU, estimated) "
            f"and {calls:,} report call{'s' if calls != 1 else ''}."
        ),
        *_used_again(rows, row),
        (
            f"Reporting itself: {human_duration(cost['walk'])} of the guest's CPU to find the memory, "
            f"{human_duration(cost['discard'])} of the host's to take it. Exits for the calls are not in it."
        ),
    ]


def _used_again(rows: Rows, row: Row) -> list[str]:
    """What memory costs that comes back and is used again, and whose doing that is."""
    refaults = row.told["refaults"]["bytes"]
    if not refaults:
        return ["Nothing that was reclaimed was used again, so nothing had to be backed anew."]
    lines = [
        (
            f"Memory that is used again: {human_bytes(refaults)} had to be backed anew, "
            f"{human_duration(row.told['cost_s']['refault'])} of the host's CPU, and a CPU of the guest "
            "waits meanwhile."
        )
    ]
    most = [each for each in rows.rows if each.bound and each.order == row.order and each.byte_seconds]
    if most:
        best = max(most, key=lambda each: each.byte_seconds)
        lines.append(
            f"With `{best.label}`, which no kernel can do, {human_bytes(best.told['refaults']['bytes'])} "
            "would have to be: so much is the load's doing, not the policy's."
        )
    return lines


def what_stays(rows: Rows, choice: Choice | None) -> list[str]:
    """Why memory does not come back, the largest part first."""
    row = whom(rows, choice)
    if row is None:
        return []
    means = {part: row.mean(value) for part, value in row.told["unreclaimed"].items()}
    known = {part: mean for part, mean in means.items() if mean}
    managed = row.mean_bytes + sum(known.values())
    large = [part for part in sorted(known, key=lambda part: -known[part]) if known[part] >= managed / 1000]
    lead = (
        f"Of {human_bytes(managed)} of memory, `{row.label}` has {human_bytes(row.mean_bytes)} back on "
        f"average ({row.mean_bytes / managed:.0%}). The rest, on average:"
        if managed
        else "The guest has no memory."
    )
    piece = piece_of(row)
    return [lead, *(f"{human_bytes(known[part])}: {STAYS[part].format(piece=piece)}." for part in large)]

"""What a fleet teaches, in sentences whose numbers come from its tables."""

from collections.abc import Iterator

from replay.fleets.bootstrap import DRAWS, LEVEL
from replay.fleets.display import written
from replay.fleets.fleet import Gains
from replay.fleets.measures import WEIGHTS
from replay.report.findings import Finding
from replay.report.fleet.compared import POINT, SHARE, Compared, points, points_ends


def findings(of: Compared) -> list[Finding]:
    """All of them, in the order of the page."""
    return [
        Finding("choice", "Which setting for this fleet?", list(_choice(of))),
        Finding("gains", "Who gains?", list(_gains(of))),
        Finding("stranded", "What stays away?", list(_stranded(of))),
        Finding("soon", "How soon?", list(_soon(of))),
        Finding("sure", "How sure is that?", list(_sure(of))),
    ]


def _choice(of: Compared) -> Iterator[str]:
    base, best = of.baseline, of.best
    here = (
        f"`{of.names[base]}` gives back {of.mean(base, SHARE)} of a guest's memory {of.ends(base, SHARE)}, "
        f"{of.mean(base, 'given_back_gib')} on average"
    )
    if best is None:
        yield f"{here}. No other setting that one could have was replayed."
        return
    gain = of.gains[best]
    yield f"{_verdict(of, best, gain)} {here[0].upper()}{here[1:]}."
    for setting in (each for each in of.others if each != best or gain.mean < POINT):
        yield _beside(of, setting, of.gains[setting])
    for setting in (each for each in of.reporting if of.bound(each)):
        told = f"{of.mean(setting, SHARE)} {of.ends(setting, SHARE)}"
        yield f"A bound: `{of.names[setting]}` gives back {told}."


def _verdict(of: Compared, best: str, gain: Gains) -> str:
    """Which one, in a sentence. Less than a point is no reason for a change."""
    keep = f"Keep `{of.names[of.baseline]}`"
    if gain.mean < POINT:
        return f"{keep}: the most that another setting brings is {points(gain.mean)} points of memory."
    if gain.low is None:
        return (
            f"`{of.names[best]}` brings {points(gain.mean)} points on this guest; of others it says nothing."
        )
    if gain.low <= 0:
        return f"{keep}: that `{of.names[best]}` brings more may be chance {points_ends(gain)}."
    patch = "" if of.today(best) else ", but no released kernel has it"
    return (
        f"`{of.names[best]}` brings {points(gain.mean)} points of memory {points_ends(gain)}"
        f"{_price(of, best)}{patch}."
    )


def _beside(of: Compared, setting: str, gain: Gains) -> str:
    open_ = gain.low is not None and gain.high is not None and gain.low <= 0 <= gain.high
    sure = "; the sign is open" if open_ else ""
    patch = "" if of.today(setting) else " No released kernel has it."
    name = of.names[setting]
    told = f"`{name}`: {points(gain.mean)} points {points_ends(gain)}{_price(of, setting)}{sure}."
    return told + patch


def _price(of: Compared, setting: str) -> str:
    named = (("refaults", "refaults_gib_per_hour"), ("CPU", "cpu_s_per_hour"))
    ratios = {what: of.times(setting, measure) for what, measure in named}
    told = [f"{ratio:.2g}x the {what}" for what, ratio in ratios.items() if ratio is not None]
    return f", for {' and '.join(told)}" if told else ""


def _gains(of: Compared) -> Iterator[str]:
    if of.best is None:
        yield "There is no other setting to gain from."
        return
    gain, name, base = of.gains[of.best], of.names[of.best], of.names[of.baseline]
    table, number = gain.guests, gain.guests.height
    winners = table.filter(table["difference"] > POINT)
    yield (
        f"With `{name}` instead of `{base}` {winners.height:,} of {number:,} guests "
        f"({gain.share_gaining:.0%}) gain more than a point of their memory."
    )
    if number == 1:
        return
    first, last = table.row(0, named=True), table.row(-1, named=True)
    middle = float(table["difference"].to_numpy()[(number - 1) // 2])
    yield (
        f"From {points(last['difference'])} points ({last['guest']}) to {points(first['difference'])} "
        f"({first['guest']}), {points(middle)} in the middle."
    )
    in_bytes = of.fleet.gains(of.best, of.baseline).guests["difference"]
    total = float(in_bytes.sum())
    if number >= 10 and total > 0:
        most = in_bytes.head(-(-number // 10))
        part = float(most.sum()) / total
        yield f"The tenth of guests that gains most has {part:.0%} of all that is gained, in GiB."
    if losers := table.filter(table["difference"] < -POINT).height:
        yield f"{losers:,} guests lose more than a point."


def _stranded(of: Compared) -> Iterator[str]:
    yield _over(of, of.baseline, "stranded_share", "of the free memory is in pieces smaller than a unit")
    if of.best is not None:
        row = of.statistic(of.best, "stranded_share")
        if row["mean"] is not None:
            yield f"With `{of.names[of.best]}` it is {written('stranded_share', row['mean'])}."
    row = of.statistic(of.baseline, "ceiling_share")
    if row["mean"] is not None:
        share = written("ceiling_share", row["mean"])
        yield f"Of what could be reported at its order, at once, it gives back {share}."


def _soon(of: Compared) -> Iterator[str]:
    yield _over(of, of.baseline, "latency_p50_s", "is what half of the reported memory waited at most")
    yield _over(of, of.baseline, "latency_p90_s", "is what 90% of it waited at most")


def _over(of: Compared, setting: str, measure: str, what: str) -> str:
    row = of.statistic(setting, measure)
    if row["mean"] is None:
        return f"With `{of.names[setting]}` nothing is known of that."
    low, middle, high = (written(measure, row[name]) for name in ("p5", "p50", "p95"))
    if of.fleet.count == 1:
        return f"With `{of.names[setting]}`, {middle} {what}."
    return (
        f"With `{of.names[setting]}`, {middle} {what} in the guest in the middle; over guests {low} to "
        f"{high} (5% to 95%)."
    )


def _sure(of: Compared) -> Iterator[str]:
    if of.fleet.count == 1:
        yield "One guest says nothing of others: there are no intervals."
        return
    yield (
        f"Intervals are in brackets: {LEVEL:.0%} of those made like that hold the mean of all guests from "
        f"which these {of.fleet.count:,} were drawn (a bootstrap, {DRAWS:,} draws of whole guests, BCa)."
    )
    yield "It does not know how these guests were chosen, nor what they do at other times of the day."
    best = {weights: _best_by(of, weights) for weights in WEIGHTS}
    if None not in best.values():
        told = ", ".join(f"{WEIGHTS[weights]} `{name}`" for weights, name in best.items())
        same = len(set(best.values())) == 1
        name = next(iter(best.values()))
        yield (
            f"Whether guests count alike, by memory or by memory and time: `{name}` gives back most of what "
            "can be had."
            if same
            else f"What gives back most depends on how guests are weighted: {told}."
        )


def _best_by(of: Compared, weights: str) -> str | None:
    """The setting that can be had and gives back most of the memory of the fleet."""
    table = of.weighted[weights].statistics.filter(measure=SHARE).select("setting", "mean").drop_nulls()
    told = [(share, of.names[each]) for each, share in table.iter_rows() if each in of.possible]
    return max(told)[1] if told else None

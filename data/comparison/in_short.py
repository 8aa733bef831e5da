"""What the comparison teaches, in five sentences for the README."""

from collections import Counter
from statistics import median

from data.comparison.answers import (
    AT_0,
    CALLS,
    CPU_S,
    DIVERGENCE,
    IN_A_KERNEL,
    LATER,
    OF_ALL,
    REFAULTS,
    SOONER,
    Answers,
    as_list,
    bullets,
    factor,
    named_spread,
    percent,
    span,
    told,
    told_more,
)
from data.comparison.choosing import WORTH, helps_of

VERDICTS = {
    "nothing": "nothing brings a point",
    "order": "a lower order helps most",
    "delay": "a shorter delay helps most",
    "policy": "another policy helps most",
}


def in_short(answers: Answers) -> str:
    """The sentences, as a list."""
    return bullets(
        [_choice(answers), _stranded(answers), _delay(answers), _order_0(answers), _trust(answers)]
    )


def apart(answers: Answers) -> dict[str, float]:
    """By trace, how far the best of the kernel's policies is above the worst."""
    found: dict[str, list[float]] = {}
    for policy in IN_A_KERNEL:
        for trace, share in answers.over(OF_ALL, policy).items():
            found.setdefault(trace, []).append(share)
    return {trace: max(shares) - min(shares) for trace, shares in found.items()}


def verdicts(answers: Answers) -> str:
    """What helps most, and on which traces."""
    kinds: dict[str, list[str]] = {}
    for trace in answers.traces:
        kinds.setdefault(helps_of(answers, trace).most, []).append(trace)
    return "; ".join(
        f"{words} on {as_list(kinds[kind])}" for kind, words in VERDICTS.items() if kind in kinds
    )


def stranded(answers: Answers, setting: str = "oracle") -> dict[str, float]:
    """By trace, what even reporting at once leaves of what all orders could reclaim."""
    return {trace: 1 - share for trace, share in answers.over(OF_ALL, setting).items()}


def origin(answers: Answers) -> str:
    """How many traces of which kernels, how long, and whether they are whole."""
    rows = [answers.rows[trace, "steady", "4k", "never"] for trace in answers.traces]
    kernels = Counter(row["kernel_release"] for row in rows)
    lossy = [row["trace"] for row in rows if row["exit_code"]]
    return (
        f"{len(rows)} traces of {sum(row['duration_s'] for row in rows) / 60:.0f} min in all, "
        + as_list(f"{number} from Linux {release}" for release, number in kernels.most_common())
        + (f"; {as_list(lossy)} not whole" if lossy else ", all of them whole")
    )


def _choice(answers: Answers) -> str:
    spans = apart(answers)
    near = sum(each < WORTH for each in spans.values())
    return (
        f"**Which policy?** At order 9 {as_list(IN_A_KERNEL)} reclaim within one percentage point of each "
        f"other on {near} of {len(spans)} traces, and are {span(max(spans.values()))} apart at most. "
        f"Beside the default (`upstream`), {verdicts(answers)}."
    )


def _stranded(answers: Answers) -> str:
    of_5 = median(stranded(answers, "oracle:order=5").values())
    return (
        f"**Order 9 leaves stranded** {named_spread(stranded(answers), percent)} of the free memory, "
        f"at order 5 it is {percent(of_5)} in the median."
    )


def _delay(answers: Answers) -> str:
    return (
        f"**A delay of 100 ms** instead of 2 s brings {told_more(answers, SOONER)}, in the median for "
        f"{_prices(answers, SOONER)}; 10 s bring {told_more(answers, LATER)}."
    )


def _order_0(answers: Answers) -> str:
    return (
        f"**Order 0** brings {told_more(answers, AT_0)}, in the median for {_prices(answers, AT_0)}; "
        f"on a host that discards whole 2 MiB only {told_more(answers, AT_0, backing='2m')}."
    )


def _prices(answers: Answers, setting: str) -> str:
    priced = (("refaults", REFAULTS), ("calls", CALLS), ("CPU", CPU_S))
    ratios = {name: answers.times(shows, setting).values() for name, shows in priced}
    return as_list(f"{factor(median(each))} the {name}" for name, each in ratios.items() if each)


def _trust(answers: Answers) -> str:
    return (
        f"**How far to believe it:** {origin(answers)}, on one kind of machine. Every page keeps the frame "
        f"it had: at order 9 {told(answers, DIVERGENCE, percent)} of the exits took another block than the "
        "lists of `upstream` would have given; if nothing is reported, "
        f"{told(answers, DIVERGENCE, percent, 'never')} do."
    )

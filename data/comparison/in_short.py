"""What the comparison teaches, in five sentences for the README."""

from collections import Counter
from statistics import median

from data.comparison.answers import (
    AT_0,
    AT_5,
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

IDLE = "idle"  # the trace on which nothing runs


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
    """On which traces an order, a delay or a policy is worth a change."""
    found = {trace: helps_of(answers, trace).by for trace in answers.traces}
    lower = [trace for trace in found if found[trace]["order"].share >= WORTH]
    sooner = [trace for trace in found if found[trace]["delay"].share >= WORTH]
    beyond = {trace: by["policy"].share - max(by["delay"].share, 0) for trace, by in found.items()}
    other = [trace for trace in found if beyond[trace] >= WORTH]
    return (
        f"a lower order brings a point or more on {_some(lower, answers)}, a delay of 100 ms on "
        f"{_some(sooner, answers)}, another policy a point more than that delay on {_some(other, answers)}"
    )


def _some(traces: list[str], answers: Answers) -> str:
    """How many traces, and which."""
    if not traces:
        return "none"
    if len(traces) == len(answers.traces):
        return f"all {len(traces)} traces"
    return f"{len(traces)} ({as_list(traces)})"


def stranded(answers: Answers, setting: str = "oracle") -> dict[str, float]:
    """By trace, what even reporting at once leaves of what all orders could reclaim."""
    return {trace: 1 - share for trace, share in answers.over(OF_ALL, setting).items()}


def at_rest(answers: Answers) -> str:
    """What is stranded where nothing runs: the machine's own, not the workloads'."""
    share = stranded(answers).get(IDLE)
    if share is None:
        return ""
    return (
        f" On `{IDLE}` it is {percent(share)}: that much was in pieces on this machine before anything ran."
    )


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
        f"Beside the default (`upstream`, 2 s), {verdicts(answers)}."
    )


def _stranded(answers: Answers) -> str:
    of_5 = median(stranded(answers, "oracle:order=5").values())
    return (
        f"**Order 9 leaves stranded** {named_spread(stranded(answers), percent)} of the free memory, "
        f"at order 5 it is {percent(of_5)} in the median.{at_rest(answers)}"
    )


def _delay(answers: Answers) -> str:
    return (
        f"**A delay of 100 ms** instead of 2 s brings {told_more(answers, SOONER)}, in the median for "
        f"{_prices(answers, SOONER)}; 10 s bring {told_more(answers, LATER)}."
    )


def _order_0(answers: Answers) -> str:
    return (
        f"**Order 0** brings {told_more(answers, AT_0)}, in the median for {_prices(answers, AT_0)}; "
        f"order 5 {told_more(answers, AT_5)}, for {_prices(answers, AT_5)}. Order 0 on a host that discards "
        f"whole 2 MiB only: {told_more(answers, AT_0, backing='2m')}."
    )


def _prices(answers: Answers, setting: str) -> str:
    priced = (("refaults", REFAULTS), ("calls", CALLS), ("CPU", CPU_S))
    ratios = {name: answers.times(shows, setting).values() for name, shows in priced}
    return as_list(f"{factor(median(each))} the {name}" for name, each in ratios.items() if each)


def _trust(answers: Answers) -> str:
    return (
        f"**How far to believe it:** {origin(answers)}, on one kind of machine. Every page keeps the frame "
        f"it had: at order 9 {told(answers, DIVERGENCE, percent)} of the exits that broke free blocks took "
        "another one than "
        "the lists of `upstream` would have given; if nothing is reported, "
        f"{told(answers, DIVERGENCE, percent, 'never')} do."
    )

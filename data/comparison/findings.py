"""What the comparison teaches, in sentences whose numbers come from the table, so that none can go stale.

Shares are of what all orders could reclaim, differences of them in percentage points.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from data import cards
from data.comparison.answers import (
    AT_0,
    AT_5,
    AT_9,
    CALLS,
    CPU_S,
    DIVERGENCE,
    GAIN,
    IN_A_KERNEL,
    LARGER,
    LATER,
    OF_ALL,
    P50_S,
    REFAULTS,
    SOONER,
    Answers,
    Shows,
    as_list,
    bullets,
    column,
    factor,
    fine_percent,
    named_spread,
    percent,
    span,
    spread,
    told,
    told_more,
)
from data.comparison.in_short import apart, at_rest, origin, stranded, verdicts
from data.comparison.replayed import UNTOLD

EQUAL = 0.001  # shares nearer than this are the same, and so are values that differ by less of the best


def findings(answers: Answers) -> str:
    """All of them, as a list."""
    parts: list[Callable[[Answers], Iterator[str]]] = [
        _choice, _ranking, _stranded, _delay, _capacity, _order_0, _hosts, _floor, _cold, _placement, _trust,
    ]  # fmt: skip
    return bullets(" ".join(part(answers)) for part in parts)


# Which policy


def _choice(answers: Answers) -> Iterator[str]:
    four = as_list(f"`{policy}`" for policy in IN_A_KERNEL)
    yield "**Which policy?**"
    yield f"At order 9 the four that a kernel can do ({four}) are"
    yield f"{named_spread(apart(answers), span)} points apart in what they reclaim."
    yield f"Beside the default (`upstream`, 2 s), {verdicts(answers)}."


def _ranking(answers: Answers) -> Iterator[str]:
    yield "**Does the ranking change?**"
    yield f"By what they reclaim the four come in {rankings(answers)} different orders on"
    yield f"{len(answers.traces)} traces. The best, or equal to it: by reclaimed memory"
    yield f"{_won(winners(answers, OF_ALL, least=False))}; by p50 latency"
    yield f"{_won(winners(answers, P50_S, least=True))}; by CPU {_won(winners(answers, CPU_S, least=True))}."


def winners(answers: Answers, shows: Shows, *, least: bool) -> Counter[str]:
    """On how many traces each of the kernel's policies is the best; equal ones count all."""
    found: Counter[str] = Counter()
    for trace in answers.traces:
        values = {
            each: value for each in IN_A_KERNEL if (value := answers.shown(shows, trace, each)) is not None
        }
        if values:
            best = min(values.values()) if least else max(values.values())
            found.update(each for each, value in values.items() if abs(value - best) <= EQUAL * best)
    return found


def rankings(answers: Answers) -> int:
    """In how many orders the kernel's policies come by reclaimed memory; equal ones have no order."""

    def ranks(trace: str) -> tuple[int, ...]:
        shares = [answers.shown(OF_ALL, trace, policy) or 0 for policy in IN_A_KERNEL]
        return tuple(sum(other > share + EQUAL for other in shares) for share in shares)

    return len({ranks(trace) for trace in answers.traces})


def _won(counts: Mapping[str, int]) -> str:
    known = sorted(counts.items(), key=lambda item: -item[1])
    return as_list(f"`{policy}` on {number}" for policy, number in known) if known else "none"


# What an order leaves, what a delay buys, and what they cost


def _stranded(answers: Answers) -> Iterator[str]:
    yield "**What order 9 leaves stranded:**"
    yield f"{named_spread(stranded(answers), percent)} of what could come back, since it is free, but not in"
    yield "whole 2 MiB. At order 5 (128 KiB) it is"
    yield f"{named_spread(stranded(answers, 'oracle:order=5'), percent)}.{at_rest(answers)}"


def _delay(answers: Answers) -> Iterator[str]:
    yield "**What delay buys.**"
    yield f"100 ms instead of 2 s bring {told_more(answers, SOONER)}, for {_prices(answers, SOONER)};"
    yield f"10 s bring {told_more(answers, LATER)}, for {_prices(answers, LATER)}."


def _capacity(answers: Answers) -> Iterator[str]:
    yield "**What capacity buys.**"
    yield f"512 blocks in a call instead of 32 bring {told_more(answers, LARGER)}, for"
    yield f"{_prices(answers, LARGER)}. A pass leaves out a zone that has not a whole batch above its low"
    yield "watermark, and 512 blocks of order 9 are 1 GiB."


def _order_0(answers: Answers) -> Iterator[str]:
    yield "**What order 0 costs.**"
    yield f"`upstream` at order 0 brings {told_more(answers, AT_0)}, for {_prices(answers, AT_0)}."
    yield f"By refaults it is cheapest on {cheapest(answers, AT_0)}."
    yield f"At order 5 it brings {told_more(answers, AT_5)}, for {_prices(answers, AT_5)}; the order is a"
    yield "parameter of the kernel. A pass takes about a sixteenth of each list, and at order 0 lists are"
    yield "long: of what reporting can add after the start it gets"
    yield f"{told(answers, GAIN, percent, AT_0)} there, and"
    yield f"{told(answers, GAIN, percent, AT_9)} at order 9."


def _prices(answers: Answers, setting: str) -> str:
    """Refaults, calls and CPU, as multiples of the default's."""
    priced = (("refaults", REFAULTS), ("calls", CALLS), ("CPU", CPU_S))
    return ", ".join(
        f"{name} {spread(answers.times(shows, setting).values(), factor)}" for name, shows in priced
    )


def cheapest(answers: Answers, setting: str) -> str:
    """The three traces on which a setting has the fewest refaults beside the default, and how many."""
    times = answers.times(REFAULTS, setting)
    first = sorted(times, key=times.__getitem__)[:3]
    return as_list(f"{trace} ({factor(times[trace])})" for trace in first) if first else "none"


def _hosts(answers: Answers) -> Iterator[str]:
    on_2m, on_thp = told_more(answers, AT_0, backing="2m"), told_more(answers, AT_0, backing="thp")
    calls = spread(answers.times(CALLS, AT_0, backing="2m").values(), factor)
    cpu = spread(answers.times(CPU_S, AT_0, backing="thp").values(), factor)
    yield "**With huge pages at the host.**"
    yield f"Where it discards whole 2 MiB only, order 0 brings {on_2m}, for calls {calls}."
    yield f"Where it splits huge pages, order 0 brings {on_thp}, for CPU {cpu},"
    yield "not counting what the guest loses with them."


def _floor(answers: Answers) -> Iterator[str]:
    pairs = answers.beside(OF_ALL, UNTOLD, "oracle")
    floor = {trace: ours / most for trace, (ours, most) in pairs.items() if most}
    yield "**What is there before a trace begins.**"
    yield f"A guest that has reported all and then stops (`untold`) keeps {named_spread(floor, percent)}"
    yield "of what the oracle reclaims at order 9, so look at the gain, the share of the rest:"
    yield f"{told(answers, GAIN, percent)} for `upstream`."


def _cold(answers: Answers) -> Iterator[str]:
    share = column("reclaimed_share_of_oracle")
    each = (f"`{name}` {told(answers, share, percent, name, start='cold')}" for name in IN_A_KERNEL)
    yield "**A guest that has never reported.**"
    yield f"From a cold start, of the oracle's: {as_list(each)}. `bitmap` and `hints` never hear of what was"
    yield "free before."


# How far to believe it


def _placement(answers: Answers) -> Iterator[str]:
    yield "**Recorded placement.**"
    yield f"At order 9 {told(answers, DIVERGENCE, percent)} of the recorded exits that"
    yield "broke a free block did not take the head of"
    yield "the list that `upstream` would have left;"
    yield f"{told(answers, DIVERGENCE, percent, 'never')} where nothing is reported, since the"
    yield "recorded guests do report, and what their lists were at the start is mostly not known."
    yield f"At order 0 it is {told(answers, DIVERGENCE, percent, AT_0)} beside"
    yield f"{told(answers, DIVERGENCE, percent, 'never:order=0')}. What a policy would have changed there, a"
    yield "replay cannot follow."


def _trust(answers: Answers) -> Iterator[str]:
    yield "**One kind of machine.**"
    yield f"{origin(answers)}. Of their steps"
    yield f"{named_spread(impossible(answers), fine_percent)} were impossible, and of the frames that changed"
    yield f"{named_spread(wrong(answers), fine_percent)} were wrong in the end. Other memory, CPUs and load"
    yield "give other numbers; small differences on few traces are no reason to choose."


def impossible(answers: Answers) -> dict[str, float]:
    """By trace, the share of its steps that were impossible."""
    steps, wrong = (answers.over(column(name)) for name in ("steps", "impossible_steps"))
    return {trace: wrong[trace] / steps[trace] for trace in steps if steps[trace]}


def wrong(answers: Answers) -> dict[str, float]:
    """By trace, the share of its changed frames that the model has wrong at the end; of those with a card."""
    named = [trace for trace in answers.traces if (cards.CARDS / f"{trace}.json").exists()]
    return {trace: cards.read(trace).fidelity.wrong_share for trace in named}

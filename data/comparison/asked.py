"""Numbers in the answers of `docs/faq.md` and `docs/accuracy.md`: sentences and tables of the comparison."""

from collections.abc import Callable, Mapping
from statistics import median

from benchmarks.pages import table
from data.comparison.answers import (
    AT_0,
    AT_5,
    AT_9,
    CALLS,
    CPU_S,
    OF_ALL,
    P50_S,
    P99_S,
    REFAULTS,
    SOONER,
    Answers,
    Shows,
    a_minute,
    bytes_,
    cell,
    column,
    count,
    cpu,
    factor,
    fine_percent,
    named_spread,
    percent,
    seconds,
    spread,
    told,
    told_more,
)
from data.comparison.findings import impossible, wrong
from data.comparison.in_short import at_rest, stranded
from replay.composition import PARTS

MADE_BY = "(`make results`)"
REDUNDANT = column("reports_redundant_bytes")
BLOCKS = column("reports_blocks")
TOLD = "reclaimed"
PAGE_CACHE = "page_cache"
# What the table of parts shows, and which parts of managed memory that is.
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "reclaimed": (TOLD,),
    "in pieces": ("stranded",),
    "waits, gated, held": ("waiting", "gated", "held", "kept"),
    "never used": ("never_backed",),
    "page cache": (PAGE_CACHE,),
    "per-CPU lists": ("on_pcp",),
    "other use": ("other_used",),
}


def share_of(*parts: str) -> Shows:
    """A share of managed memory over time; None where the trace does not tell a part."""

    def shows(row: Mapping[str, float | None]) -> float | None:
        byte_seconds = {part: row[_column(part)] for part in PARTS}
        known = [byte_seconds[part] for part in parts]
        if None in known:
            return None
        whole = sum(value for value in byte_seconds.values() if value is not None)
        return sum(value for value in known if value is not None) / whole

    return shows


def _column(part: str) -> str:
    return f"{part}_byte_seconds" if part == TOLD else f"unreclaimed_{part}_byte_seconds"


def parts(answers: Answers) -> str:
    """Where each trace's managed memory is, on average, under `upstream`."""
    columns = [answers.over(share_of(*names)) for names in HEADINGS.values()]
    lines = [[trace, *(cell(values.get(trace), percent) for values in columns)] for trace in answers.traces]
    middle = [percent(median(values.values())) for values in columns]
    return table(["trace", *HEADINGS], [*lines, ["*median*", *middle]]) + f"\n{MADE_BY}\n"


def slow(answers: Answers) -> str:
    """How long `upstream` takes, in a settled guest and in one that never reported."""
    return _text(
        "In a guest that has reported before, half of what is reported has waited",
        f"{told(answers, P50_S, seconds)}, the slowest hundredth {told(answers, P99_S, seconds)} or more.",
        "In one that begins to report, so that all its free memory waits at once, it is",
        f"{told(answers, P50_S, seconds, start='cold')} and",
        f"{told(answers, P99_S, seconds, start='cold')}.",
    )


def order_0(answers: Answers) -> str:
    """What lower orders bring and cost."""
    return _text(*(f"{_bought(answers, f'Order {setting[-1]}', setting)}." for setting in (AT_0, AT_5)))


def delay(answers: Answers) -> str:
    """What a shorter delay brings and costs."""
    return _text(_bought(answers, "A delay of 100 ms", SOONER) + ".")


def _bought(answers: Answers, name: str, setting: str) -> str:
    priced = (("refaults", REFAULTS), ("calls", CALLS), ("CPU", CPU_S))
    prices = (f"{what} {spread(answers.times(shows, setting).values(), factor)}" for what, shows in priced)
    return f"{name} brings {told_more(answers, setting)}, for {', '.join(prices)}"


def pieces(answers: Answers) -> str:
    """What order 9 cannot report, since it is in pieces."""
    return _text(
        f"Of the free memory that could come back, {named_spread(stranded(answers), percent)} is in pieces",
        f"smaller than 2 MiB.{at_rest(answers)}",
    )


def page_cache(answers: Answers) -> str:
    """How much of the guests' memory files hold."""
    return _text(
        f"Files hold {told(answers, share_of(PAGE_CACHE), percent)} of managed memory in the shipped traces",
        "that tell it, on average over each.",
    )


def hosts(answers: Answers) -> str:
    """What order 0 brings by the pages of the host."""
    backings = {"4k": "4 KiB pages", "thp": "huge pages that it splits", "2m": "whole 2 MiB only"}
    lines = [
        [
            words,
            *(spread(answers.over(OF_ALL, each, backing).values(), percent) for each in (AT_9, AT_0)),
            *(spread(answers.over(a_minute(CPU_S), each, backing).values(), cpu) for each in (AT_9, AT_0)),
            *(spread(answers.over(a_minute(CALLS), each, backing).values(), count) for each in (AT_9, AT_0)),
        ]
        for backing, words in backings.items()
    ]
    headings = [
        f"{what}, order {order}"
        for what in ("reclaimed", "CPU a minute", "calls a minute")
        for order in (9, 0)
    ]
    return table(["the host backs the guest by", *headings], lines) + f"\n{MADE_BY}\n"


def price(answers: Answers) -> str:
    """What reporting costs in a guest with the default."""
    refault_share = {
        trace: ours / all_
        for trace in answers.traces
        if (ours := answers.shown(column("cost_refault_s"), trace)) is not None
        and (all_ := answers.shown(CPU_S, trace))
    }
    return _text(
        f"The default costs {told(answers, a_minute(CPU_S), cpu)} of CPU a minute, host and guest together,",
        f"of which {named_spread(refault_share, percent)} are refaults, by prices that are estimates.",
        f"Reclaimed and then used again are {told(answers, a_minute(REFAULTS), bytes_)} a minute.",
    )


def hinting(answers: Answers) -> str:
    """Free page hinting beside reporting."""
    name = "balloon-hinting"
    return _text(
        f"Hinting every 10 s tells {told(answers, a_minute(BLOCKS), count, name)} blocks a minute, each time",
        f"all of them: {told(answers, a_minute(REDUNDANT), bytes_, name)} a minute that the host lacked",
        f"already. Reporting tells {told(answers, a_minute(BLOCKS), count)} blocks a minute, and",
        f"{told(answers, a_minute(REDUNDANT), bytes_)} that the host lacked.",
    )


def trust(answers: Answers) -> str:
    """How right the model is about the shipped traces."""
    return _text(
        f"Of the steps of the {len(answers.traces)} shipped traces",
        f"{named_spread(impossible(answers), fine_percent)} were impossible, and of the frames that changed",
        f"{named_spread(wrong(answers), fine_percent)} were wrong in the end.",
    )


def _text(*sentences: str) -> str:
    return " ".join(sentences) + f" {MADE_BY}\n"


FAQ: Mapping[str, Callable[[Answers], str]] = {
    "parts": parts,
    "slow": slow,
    "delay": delay,
    "order 0": order_0,
    "pieces": pieces,
    "page cache": page_cache,
    "hosts": hosts,
    "price": price,
    "hinting": hinting,
}

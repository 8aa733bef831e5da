"""Recipes by name. Each tells what share of the guest's memory a kind holds at the top of its wave; the
rate follows from that (Little's law: objects there = rate * mean lifetime), so that a preset fits a guest
of any size.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replay.generating.recipe import NAMES, Kind, Recipe
from tracer import Fault

_S = 10**9
_KIB, _MIB = 1 << 10, 1 << 20


def _holding(share: float, memory_bytes: int, kind: Kind) -> Kind:
    """The kind, of such a rate that it holds this share of memory."""
    return replace(kind, rate=round(share * memory_bytes / (kind.size_bytes * kind.lifetime_ns / _S), 6))


def _background(memory: int) -> tuple[Kind, ...]:
    """What every guest has: files in the cache, and kernel structures, a few of them very old."""
    files = Kind("files", 0, _MIB, 1.0, 2, 30 * _S, "log-normal", 1.5)
    slab = Kind("slab", 0, 64 * _KIB, 1.0, 1, 10 * _S, "log-normal", 2.0, "unmovable")
    dentries = Kind("dentries", 0, 64 * _KIB, 1.0, 0, 20 * _S, "log-normal", 2.0, "reclaimable")
    held = ((0.10, files), (0.01, slab), (0.01, dentries))
    return tuple(_holding(share, memory, kind) for share, kind in held)


def _steady(memory: int) -> Recipe:
    heaps = _holding(0.25, memory, Kind("heaps", 0, 32 * _MIB, 1.0, 0, 20 * _S))
    return Recipe((heaps, *_background(memory)), warmup_ns=60 * _S)


def _waves(memory: int) -> Recipe:
    heaps = _holding(0.5, memory, Kind("heaps", 0, 32 * _MIB, 1.0, 0, 5 * _S, wave="sine"))
    return Recipe((heaps, *_background(memory)), duration_ns=120 * _S, warmup_ns=60 * _S)


def _churn(memory: int) -> Recipe:
    buffers = _holding(0.02, memory, Kind("buffers", 0, 4 * _MIB, 0.5, 0, _S // 2))
    return Recipe((buffers, *_background(memory)), duration_ns=30 * _S, warmup_ns=30 * _S)


def _leak(memory: int) -> Recipe:
    lost = Kind("lost", round(0.005 * memory / (8 * _MIB), 6), 8 * _MIB, 1.0, 0, 0)
    return Recipe((lost, *_background(memory)))


def _burst(memory: int) -> Recipe:
    jobs = Kind("jobs", 0, 64 * _MIB, 0.5, 0, 3 * _S, "fixed", wave="square", period_ns=30 * _S, duty=0.2)
    return Recipe((_holding(0.5, memory, jobs), *_background(memory)), warmup_ns=30 * _S)


PRESETS: dict[str, tuple[Callable[[int], Recipe], str]] = {
    "steady": (_steady, "processes of 32 MiB come and go and hold a quarter of memory"),
    "waves": (_waves, "the same, up to half of memory and back to none, once a minute"),
    "churn": (_churn, "buffers of 4 MiB that live for half a second"),
    "leak": (_leak, "half a percent of memory a second that never comes back"),
    "burst": (_burst, "half of memory within 6 s, given back 3 s later, every 30 s"),
}


def preset(name: str, kinds: list[str] | None = None, **changes: Any) -> Recipe:  # noqa: ANN401 - Recipe's
    """A recipe by name, with other `kinds` (texts, as of `--kind`) and other parameters of `Recipe`.

    `none` is a recipe without kinds: give some.

    Raises:
        Fault: when there is no such preset or parameter, or a value cannot be.
    """
    if name != "none" and name not in PRESETS:
        known = ", ".join(["none", *PRESETS])
        raise Fault(f"there is no preset {name!r:.40}", "its name is not known", f"known: {known}")
    for each in changes.keys() - NAMES:
        raise Fault(
            f"a recipe has no {each!r}", "its name is not known", f"known: {', '.join(sorted(NAMES))}"
        )
    memory = changes.get("memory_bytes", 16 << 30)
    if name != "none":
        made = PRESETS[name][0](max(memory, _MIB))
        return replace(made.with_kinds(kinds or []), **changes)
    given = {text.partition(":")[0]: Kind(text.partition(":")[0]) for text in kinds or []}
    return replace(Recipe(tuple(given.values())).with_kinds(kinds or []), **changes)

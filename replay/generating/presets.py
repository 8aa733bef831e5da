"""Recipes by name. Each tells what share of the guest's memory a kind holds at the top of its wave; the
rate follows from that (Little's law: objects there = rate * mean lifetime), so that a preset fits a guest
of any size.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replay.generating.kind import FOREVER_NS, Kind
from replay.generating.recipe import NAMES, Recipe
from tracer import Fault

_S = 10**9
_KIB, _MIB = 1 << 10, 1 << 20


def _holding(share: float, memory_bytes: int, kind: Kind) -> Kind:
    """The kind, of such a rate that it holds this share of memory: while it grows, half of its size."""
    held_s = (kind.lifetime_ns + kind.growth_ns / 2) / _S
    return replace(kind, rate=round(share * memory_bytes / (kind.size_bytes * held_s), 6))


_HEAPS = Kind("heaps", size_bytes=32 * _MIB, size_sigma=1.0, growth_ns=2 * _S, lifetime_ns=20 * _S)
_FILES = Kind(
    "files", size_bytes=_MIB, size_sigma=1.0, order=2, lifetime_ns=30 * _S, ages="log-normal", age_sigma=1.5
)
_SLAB = Kind(
    "slab", size_bytes=64 * _KIB, size_sigma=1.0, order=1, growth_ns=_S, lifetime_ns=10 * _S,
    ages="log-normal", age_sigma=2.0, type="unmovable",
)  # fmt: skip
_DENTRIES = replace(_SLAB, name="dentries", order=0, lifetime_ns=20 * _S, type="reclaimable")
_BUFFERS = Kind("buffers", size_bytes=4 * _MIB, size_sigma=0.5, growth_ns=_S // 10, lifetime_ns=_S // 2)
_LOST = Kind("lost", size_bytes=8 * _MIB, size_sigma=1.0, growth_ns=_S, lifetime_ns=FOREVER_NS)
_JOBS = Kind(
    "jobs", size_bytes=64 * _MIB, size_sigma=0.5, growth_ns=_S, lifetime_ns=3 * _S, ages="fixed",
    wave="square", period_ns=30 * _S, duty=0.2,
)  # fmt: skip


def _background(memory: int) -> tuple[Kind, ...]:
    """What every guest has: files in the cache, and kernel structures, a few of them very old."""
    held = ((0.10, _FILES), (0.01, _SLAB), (0.01, _DENTRIES))
    return tuple(_holding(share, memory, kind) for share, kind in held)


def _steady(memory: int) -> Recipe:
    return Recipe((_holding(0.25, memory, _HEAPS), *_background(memory)), warmup_ns=60 * _S)


def _waves(memory: int) -> Recipe:
    heaps = _holding(0.5, memory, replace(_HEAPS, lifetime_ns=5 * _S, wave="sine"))
    return Recipe((heaps, *_background(memory)), duration_ns=120 * _S, warmup_ns=60 * _S)


def _churn(memory: int) -> Recipe:
    buffers = _holding(0.02, memory, _BUFFERS)
    return Recipe((buffers, *_background(memory)), duration_ns=30 * _S, warmup_ns=30 * _S)


def _leak(memory: int) -> Recipe:
    lost = replace(_LOST, rate=round(0.005 * memory / _LOST.size_bytes, 6))
    return Recipe((lost, *_background(memory)))


def _burst(memory: int) -> Recipe:
    return Recipe((_holding(0.5, memory, _JOBS), *_background(memory)), warmup_ns=30 * _S)


PRESETS: dict[str, tuple[Callable[[int], Recipe], str]] = {
    "steady": (_steady, "processes of 32 MiB come and go and hold a quarter of memory"),
    "waves": (_waves, "the same, up to half of memory and back to none, once a minute"),
    "churn": (_churn, "buffers of 4 MiB that live for half a second"),
    "leak": (_leak, "half a percent of memory a second that never comes back"),
    "burst": (_burst, "half of memory within 6 s, given back 3 s later, every 30 s"),
}


def preset(name: str, kinds: list[str] | None = None, **changes: Any) -> Recipe:  # noqa: ANN401 - values of Recipe's
    """A recipe by name, changed.

    Args:
        name: steady, waves, churn, leak, burst, or none: a recipe without kinds, so give some.
        kinds: texts as of `--kind`; one of a name that is there changes it, others are added.
        changes: other parameters of `Recipe`.

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
    memory = changes.get("memory_bytes")
    if not isinstance(memory, int) or memory < _MIB:
        memory = Recipe.memory_bytes  # what cannot be is refused below
    base = Recipe((_HEAPS,)) if name == "none" else PRESETS[name][0](memory)
    wanted: dict[str, Kind] = {} if name == "none" else {kind.name: kind for kind in base.kinds}
    for text in kinds or []:
        called, _, values = text.partition(":")
        wanted[called] = wanted.get(called, Kind(called)).changed(values)
    return replace(base, **{"kinds": tuple(wanted.values()), **changes})

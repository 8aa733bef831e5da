"""A kind of objects that come and go in a synthetic guest, and how people write it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from replay.generating.checking import between, one_of, refuse, whole_between, write_size
from replay.parameters import pairs
from tracer import Fault, duration_ns, size_bytes, write_duration

FOREVER_NS = 0  # a lifetime: it never leaves
TYPES = ("unmovable", "movable", "reclaimable")  # as the kernel numbers them
AGES = ("fixed", "exponential", "log-normal")
WAVES = ("none", "sine", "square")
MOST_SIGMA = 4.0
MOST_NS = 30 * 86_400 * 10**9  # of what takes its time


@dataclass(frozen=True)
class Kind:
    """A kind of objects: a process's heap, a file in the cache, a kernel structure.

    Attributes:
        name: letters, digits, - and _.
        rate: objects a second that come, at the top of the wave.
        size_bytes: of an object, on average.
        size_sigma: sigma of the logarithm of sizes (log-normal); 0: all are alike.
        order: of the blocks an object is made of.
        growth_ns: from an object's first allocation to its last, about; objects that grow at the same time
            come to lie between each other. 0: at once.
        lifetime_ns: from an object's last allocation to its first free, on average; FOREVER_NS: it stays.
        ages: how lifetimes are spread: exponential, fixed or log-normal.
        age_sigma: of log-normal ones, as `size_sigma`.
        type: migratetype of its pages: movable, unmovable or reclaimable.
        wave: how the rate changes with time: none does not, sine goes from 0 up to the rate and back once a
            period, square is the rate for the first `duty` of each period and 0 for the rest.
        period_ns: of the wave.
        duty: of a square wave, from 0 to 1.
    """

    name: str
    rate: float = 1.0
    size_bytes: int = 1 << 20
    size_sigma: float = 0.0
    order: int = 0
    growth_ns: int = 0
    lifetime_ns: int = 10**10
    ages: str = "exponential"
    age_sigma: float = 1.0
    type: str = "movable"
    wave: str = "none"
    period_ns: int = 60 * 10**9
    duty: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            Fault: naming the key.
        """
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", self.name):
            how = "a kind's name has letters, digits, - and _, at most 32"
            raise refuse(f"the name {self.name!r:.40}", how, "write --kind cache:rate=5, say")
        where = f"{self.name}: "
        between(where + "rate", self.rate, 0, 1e9, "objects a second")
        whole_between(where + "size", self.size_bytes, 1, 1 << 50, "bytes")
        between(where + "size-sigma", self.size_sigma, 0, MOST_SIGMA, "0 makes all sizes alike")
        whole_between(where + "order", self.order, 0, 20, "2^order pages are a block")
        whole_between(where + "growth", self.growth_ns, 0, MOST_NS, "nanoseconds")
        whole_between(where + "lifetime", self.lifetime_ns, 0, 1 << 60, "nanoseconds, or forever")
        between(where + "age-sigma", self.age_sigma, 0, MOST_SIGMA, "of log-normal lifetimes")
        whole_between(where + "period", self.period_ns, 1000, MOST_NS, "at least 1us")
        between(where + "duty", self.duty, 0, 1, "a share of the period")
        for key, value, words in (("ages", self.ages, AGES), ("type", self.type, TYPES)):
            one_of(where + key, value, words)
        one_of(where + "wave", self.wave, WAVES)

    @property
    def text(self) -> str:
        """As `--kind` takes it, every key told."""
        written = ",".join(f"{key}={_written(self, key)}" for key in KEYS)
        return f"{self.name}:{written}"

    def changed(self, text: str) -> "Kind":
        """With other values: `key=value,key=value`.

        Raises:
            Fault: for an unknown key, or a value that is none.
        """
        given = {}
        for key, value in pairs(text, f"--kind {self.name}:{text}").items():
            if key not in KEYS:
                how = f"in --kind {self.name}:{text}"
                raise Fault(f"a kind of objects has no {key!r}", how, f"known: {', '.join(KEYS)}")
            field, read = KEYS[key]
            given[field] = read(value)
        return replace(self, **given)


def _written(kind: Kind, key: str) -> str:
    value = getattr(kind, KEYS[key][0])
    if key == "size":
        return write_size(value)
    if key in ("growth", "lifetime", "period"):
        return "forever" if key == "lifetime" and value == FOREVER_NS else write_duration(value)
    return str(value)


def _lifetime(text: str) -> int:
    if text == "forever":
        return FOREVER_NS
    value_ns = duration_ns(text)
    if value_ns == 0:
        raise refuse("lifetime=0", "what leaves at once was never there", "write 1ms or forever, say")
    return value_ns


def real(text: str) -> float:
    """A number as people write it.

    Raises:
        Fault: when it is none.
    """
    if not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{0,18})?(e-?[0-9]{1,2})?", text):
        raise Fault(
            f"{text!r:.40} is not a number", "it has other characters than 0-9 and a point", "write 0.5"
        )
    return float(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Fault(f"{text!r:.40} is not a whole number", "it has other characters than 0-9", "write 9, say")
    return int(text)


# key on the command line -> (attribute, how its text is read)
KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "rate": ("rate", real),
    "size": ("size_bytes", size_bytes),
    "size-sigma": ("size_sigma", real),
    "order": ("order", _whole),
    "growth": ("growth_ns", duration_ns),
    "lifetime": ("lifetime_ns", _lifetime),
    "ages": ("ages", str),
    "age-sigma": ("age_sigma", real),
    "type": ("type", str),
    "wave": ("wave", str),
    "period": ("period_ns", duration_ns),
    "duty": ("duty", real),
}

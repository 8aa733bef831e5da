"""What a synthetic trace is made of: a guest's memory, what is in it at the start, and what comes and goes.

The same recipe makes the same events, column by column; the manifest of a trace holds the command line
that says all of it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from replay.parameters import pairs
from tracer import Fault, duration_ns, human_bytes, size_bytes, write_duration
from tracer.units import SIZES_BYTES

FOREVER_NS = 0  # a lifetime: it never leaves
TYPES = ("unmovable", "movable", "reclaimable")  # as the kernel numbers them
AGES = ("fixed", "exponential", "log-normal")
WAVES = ("none", "sine", "square")
MOST_KINDS = 100
MOST_SIGMA = 4.0
MOST_NS = 30 * 86_400 * 10**9  # of a duration or a warm-up
# page size -> (max order, pageblock order): x86-64; arm64 with pages of 16 KiB and of 64 KiB.
ORDERS = {4096: (10, 9), 16384: (11, 11), 65536: (13, 13)}


def refuse(what: str, how: str, fix: str) -> Fault:
    """The fault of a parameter that cannot be."""
    return Fault(f"{what} is not possible", how, fix)


@dataclass(frozen=True)
class Kind:
    """A kind of objects: a process's heap, a file in the cache, a kernel structure.

    Attributes:
        rate: objects a second that come, at the top of the wave.
        size_bytes: of an object, on average.
        size_sigma: sigma of the logarithm of sizes (log-normal); 0: all are alike.
        order: of the blocks an object is made of.
        lifetime_ns: from an object's last allocation to its first free, on average; FOREVER_NS: it stays.
        ages: how lifetimes are spread. age_sigma: of log-normal ones.
        type: migratetype of its pages.
        wave: how the rate changes with time: sine goes from 0 up to the rate and back once a period,
            square is the rate for the first `duty` of each period and 0 for the rest.
    """

    name: str
    rate: float = 1.0
    size_bytes: int = 1 << 20
    size_sigma: float = 0.0
    order: int = 0
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
        _between(where + "rate", self.rate, 0, 1e9, "objects a second")
        _between(where + "size", self.size_bytes, 1, 1 << 50, "bytes")
        _between(where + "size-sigma", self.size_sigma, 0, MOST_SIGMA, "0 makes all sizes alike")
        _between(where + "order", self.order, 0, 20, "2^order pages are a block")
        _between(where + "lifetime", self.lifetime_ns, 0, 1 << 60, "nanoseconds, or forever")
        _between(where + "age-sigma", self.age_sigma, 0, MOST_SIGMA, "of log-normal lifetimes")
        _between(where + "period", self.period_ns, 1000, MOST_NS, "at least 1us")
        _between(where + "duty", self.duty, 0, 1, "a share of the period")
        for key, value, words in (("ages", self.ages, AGES), ("type", self.type, TYPES)):
            _one_of(where + key, value, words)
        _one_of(where + "wave", self.wave, WAVES)

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
    if key in ("lifetime", "period"):
        return "forever" if key == "lifetime" and value == FOREVER_NS else write_duration(value)
    return str(value)


def write_size(size: int) -> str:
    """A size as `size_bytes` reads it, in the largest binary unit that holds it exactly."""
    unit = next(name for name in ("TiB", "GiB", "MiB", "KiB", "B") if size % SIZES_BYTES[name] == 0)
    return f"{size // SIZES_BYTES[unit]}{unit}"


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
    "lifetime": ("lifetime_ns", _lifetime),
    "ages": ("ages", str),
    "age-sigma": ("age_sigma", real),
    "type": ("type", str),
    "wave": ("wave", str),
    "period": ("period_ns", duration_ns),
    "duty": ("duty", real),
}


@dataclass(frozen=True)
class Recipe:
    """A synthetic trace.

    Attributes:
        memory_bytes: managed memory of all nodes.
        zones: (name, bytes) of the zones below Normal, on node 0, from the lowest pfn up.
        holes: share of each zone's span that has no memory, in pieces of `hole_bytes`.
        used: share of each zone that is in use all the time, from its start, in whole pageblocks.
        pinned: share of the other pageblocks of which one page, anywhere in it, is in use all the time.
        warmup_ns: how long the kinds come and go before the trace begins.
        max_order, pageblock_order: None: those of a kernel with such pages.
    """

    kinds: tuple[Kind, ...]
    memory_bytes: int = 16 << 30
    page_bytes: int = 4096
    duration_ns: int = 60 * 10**9
    warmup_ns: int = 0
    seed: int = 1
    used: float = 0.2
    pinned: float = 0.0
    holes: float = 0.0
    hole_bytes: int = 128 << 20
    nodes: int = 1
    zones: tuple[tuple[str, int], ...] = ()
    cpus: int = 4
    max_order: int | None = None
    pageblock_order: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            Fault: naming the parameter.
        """
        if self.page_bytes not in ORDERS and (self.max_order is None or self.pageblock_order is None):
            known = ", ".join(human_bytes(size) for size in ORDERS)
            what, how = f"--page-size {self.page_bytes}B", f"orders are known for {known}"
            raise refuse(what, how, "choose one, or give --max-order and --pageblock-order, too")
        if self.page_bytes & (self.page_bytes - 1) or not 1 << 12 <= self.page_bytes <= 1 << 24:
            how = "a page is a power of two from 4KiB to 16MiB"
            raise refuse(f"--page-size {self.page_bytes}B", how, "write 4KiB or 64KiB")
        _between("--max-order", self.top_order, 1, 15, "units go up to order 15")
        _between("--pageblock-order", self.block_order, 1, self.top_order, "at most the max order")
        _between("--memory", self.memory_bytes, 64 * self.page_bytes, 1 << 50, "at least 64 pages")
        _between("--duration", self.duration_ns, 1000, MOST_NS, "from 1us to 30 days")
        _between("--warmup", self.warmup_ns, 0, MOST_NS, "at most 30 days")
        _between("--seed", self.seed, 0, (1 << 63) - 1, "a whole number below 2^63")
        for name, share in (("--used", self.used), ("--pinned", self.pinned)):
            _between(name, share, 0, 1, "a share")
        _between("--holes", self.holes, 0, 0.99, "a share of a zone's span")
        _between("--hole-size", self.hole_bytes, self.page_bytes, 1 << 45, "at least a page")
        _between("--nodes", self.nodes, 1, 64, "NUMA nodes")
        _between("--cpus", self.cpus, 1, 4096, "CPUs")
        self._check_kinds()
        self._check_zones()

    def _check_kinds(self) -> None:
        names = [kind.name for kind in self.kinds]
        if not any(kind.rate for kind in self.kinds) or len(names) > MOST_KINDS:
            how = f"{len(names)} kinds, with a rate of {sum(kind.rate for kind in self.kinds):g} in all"
            raise refuse(
                "a trace of these kinds", how, f"give 1 to {MOST_KINDS}: --kind heap:rate=5,size=8MiB"
            )
        if len(set(names)) < len(names):
            raise refuse("two kinds of one name", ", ".join(names), "name each once")
        for kind in self.kinds:
            _between(f"{kind.name}: order", kind.order, 0, self.top_order, "at most the max order")
            if kind.size_bytes > self.memory_bytes:
                how = f"the guest has {human_bytes(self.memory_bytes)}"
                raise refuse(f"{kind.name}: size={write_size(kind.size_bytes)}", how, "make it smaller")

    def _check_zones(self) -> None:
        names = [name for name, _ in self.zones]
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9]{1,16}", name) or name == "Normal" or names.count(name) > 1:
                raise refuse(
                    f"--zone {name:.20}", "letters and digits, once, not Normal", "write --zone DMA32=3GiB"
                )
        below, left = sum(size for _, size in self.zones), self.memory_bytes // self.nodes
        if any(size < 64 * self.page_bytes for _, size in self.zones) or below >= left:
            how = f"node 0 has {human_bytes(left)}, its zones below Normal {human_bytes(below)}"
            raise refuse("such zones", how, "leave some for Normal, and 64 pages or more for each")

    @property
    def top_order(self) -> int:
        """The largest order with a free list."""
        return ORDERS[self.page_bytes][0] if self.max_order is None else self.max_order

    @property
    def block_order(self) -> int:
        """Of a pageblock."""
        return ORDERS[self.page_bytes][1] if self.pageblock_order is None else self.pageblock_order

    def with_kinds(self, texts: list[str]) -> "Recipe":
        """With kinds added or changed: `NAME:key=value,key=value`, as of `--kind`.

        Raises:
            Fault: for a text that is none.
        """
        kinds = {kind.name: kind for kind in self.kinds}
        for text in texts:
            name, _, changes = text.partition(":")
            kinds[name] = kinds.get(name, Kind(name)).changed(changes)
        return replace(self, kinds=tuple(kinds.values()))

    @property
    def command_line(self) -> list[str]:
        """The command that makes this trace again, every parameter told."""
        words = ["pagetide", "generate", "--preset", "none"]
        words += ["--memory", write_size(self.memory_bytes), "--page-size", write_size(self.page_bytes)]
        words += ["--max-order", str(self.top_order), "--pageblock-order", str(self.block_order)]
        words += ["--nodes", str(self.nodes), "--cpus", str(self.cpus)]
        for name, size in self.zones:
            words += ["--zone", f"{name}={write_size(size)}"]
        words += ["--holes", str(self.holes), "--hole-size", write_size(self.hole_bytes)]
        words += ["--used", str(self.used), "--pinned", str(self.pinned)]
        words += ["--duration", write_duration(self.duration_ns), "--warmup", write_duration(self.warmup_ns)]
        words += ["--seed", str(self.seed)]
        for kind in self.kinds:
            words += ["--kind", kind.text]
        return words

    @property
    def events_expected(self) -> int:
        """About how many events it makes, for a progress bar."""
        per_s = 0.0
        for kind in self.kinds:
            blocks = max(1.0, kind.size_bytes / (self.page_bytes << kind.order))
            share = {"none": 1.0, "sine": 0.5, "square": kind.duty}[kind.wave]
            per_s += kind.rate * share * blocks * (1 if kind.lifetime_ns == FOREVER_NS else 2)
        return math.ceil(per_s * self.duration_ns / 1e9)


def _between(name: str, value: float, least: float, most: float, what: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # NaN is not between
        raise refuse(f"{name} {value!r:.40}", f"it must be from {least:,} to {most:,}", what)


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise refuse(f"{name}={value!s:.40}", f"it must be {' or '.join(words)}", "choose one of these")


NAMES = {field.name for field in fields(Recipe)}

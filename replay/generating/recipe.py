"""What a synthetic trace is made of: a guest's memory, what is in it at the start, and what comes and goes.

The same recipe makes the same events, column by column; the manifest of a trace holds the command line
that says all of it.
"""

import math
import re
from dataclasses import dataclass, fields

from replay.generating.checking import between, refuse, whole_between, write_size
from replay.generating.kind import FOREVER_NS, MOST_NS, Kind
from tracer import human_bytes, write_duration

MOST_KINDS = 100
MOST_ZONES = 8  # below Normal
# page size -> (max order, pageblock order): x86-64; arm64 with pages of 16 KiB and of 64 KiB.
ORDERS = {4096: (10, 9), 16384: (11, 11), 65536: (13, 13)}


@dataclass(frozen=True)
class Recipe:
    """A synthetic trace.

    Attributes:
        kinds: what comes and goes.
        memory_bytes: managed memory of all nodes.
        page_bytes: of a page frame.
        duration_ns: of the trace.
        seed: of all that chance decides.
        nodes: NUMA nodes of equal size.
        cpus: dealt out to the nodes in turn.
        zones: (name, bytes) of the zones below Normal, on node 0, from the lowest pfn up.
        holes: share of each zone's span that has no memory, in pieces of `hole_bytes`.
        hole_bytes: of a piece.
        used: share of each zone that is in use all the time, from its start, in whole pageblocks.
        pinned: share of the other pageblocks of which one page, anywhere in it, is in use all the time.
        warmup_ns: how long the kinds come and go before the trace begins.
        max_order: the largest order with a free list. None: that of a kernel with such pages.
        pageblock_order: the same of a pageblock.
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
        whole_between("--max-order", self.top_order, 1, 15, "units go up to order 15")
        whole_between("--pageblock-order", self.block_order, 1, self.top_order, "at most the max order")
        whole_between("--memory", self.memory_bytes, 64 * self.page_bytes, 1 << 50, "at least 64 pages")
        whole_between("--duration", self.duration_ns, 1000, MOST_NS, "from 1us to 30 days")
        whole_between("--warmup", self.warmup_ns, 0, MOST_NS, "at most 30 days")
        whole_between("--seed", self.seed, 0, (1 << 63) - 1, "a whole number below 2^63")
        for name, share in (("--used", self.used), ("--pinned", self.pinned)):
            between(name, share, 0, 1, "a share")
        between("--holes", self.holes, 0, 0.99, "a share of a zone's span")
        whole_between("--hole-size", self.hole_bytes, self.page_bytes, 1 << 45, "at least a page")
        whole_between("--nodes", self.nodes, 1, 64, "NUMA nodes")
        whole_between("--cpus", self.cpus, 1, 4096, "CPUs")
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
            whole_between(f"{kind.name}: order", kind.order, 0, self.top_order, "at most the max order")
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
        least = 64 * self.page_bytes
        if any(size < least for _, size in self.zones) or below + least > left or len(names) > MOST_ZONES:
            how = f"node 0 has {human_bytes(left)}, its zones below Normal {human_bytes(below)}"
            raise refuse("a guest with such zones", how, f"leave {human_bytes(least)} or more for each")

    @property
    def top_order(self) -> int:
        """The largest order with a free list."""
        return ORDERS[self.page_bytes][0] if self.max_order is None else self.max_order

    @property
    def block_order(self) -> int:
        """Of a pageblock."""
        return ORDERS[self.page_bytes][1] if self.pageblock_order is None else self.pageblock_order

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
        """About how many events it makes, those of the warm-up too: for a progress bar."""
        per_s = 0.0
        for kind in self.kinds:
            blocks = max(1.0, kind.size_bytes / (self.page_bytes << kind.order))
            share = {"none": 1.0, "sine": 0.5, "square": kind.duty}[kind.wave]
            per_s += kind.rate * share * blocks * (1 if kind.lifetime_ns == FOREVER_NS else 2)
        return math.ceil(per_s * (self.warmup_ns + self.duration_ns) / 1e9)


NAMES = {field.name for field in fields(Recipe)}

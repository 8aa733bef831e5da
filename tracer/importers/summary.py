"""What a file says, gathered block by block, but for its rows and its losses."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tracer.faults import Fault
from tracer.format import Op
from tracer.importers.blocks import Block
from tracer.importers.events import BY_OP
from tracer.importers.frames_seen import FramesSeen
from tracer.importers.headers import Headers

BUDDY, OWNER = {Op.ZONE_LOCKED, Op.PCPU_DRAIN}, {Op.PAGE_ALLOC, Op.PAGE_FREE}


@dataclass
class Summary:
    """Everything about a file but its rows, gathered block by block."""

    headers: Headers = field(default_factory=Headers)
    frames: FramesSeen = field(default_factory=FramesSeen)
    lines: int = 0
    other: int = 0
    kept: Counter[int] = field(default_factory=Counter)
    bad: Counter[int] = field(default_factory=Counter)
    no_page: Counter[int] = field(default_factory=Counter)
    first_bad: str | None = None
    tells_losses: bool = False  # a line of it says that events are missing
    microseconds: int = 0
    no_cpu: int = 0
    threads: int = 0
    unknown_flags: set[str] = field(default_factory=set)
    pageblock_order: int | None = None
    order: int = 0  # the largest
    migratetype: int = 0  # the largest
    cpu: int = 0  # the largest

    def add(self, block: Block) -> None:
        """Take in the next block, but for its losses."""
        for line in block.comments:
            self.headers.read(line)
        self.lines, self.other = self.lines + block.lines, self.other + block.other
        self.bad += block.bad
        self.tells_losses |= bool(block.marks)
        self.no_page += block.no_page
        self.first_bad = self.first_bad or block.first_bad
        self.microseconds += block.microseconds
        self.no_cpu, self.threads = self.no_cpu + block.no_cpu, self.threads + block.threads
        self.unknown_flags |= block.unknown_flags
        self.pageblock_order = self.pageblock_order or block.pageblock_order
        rows = block.rows
        if len(rows["op"]):
            counts = np.bincount(rows["op"]).tolist()
            self.kept += Counter({op: count for op, count in enumerate(counts) if count})
            self.frames.add(rows["pfn"], rows["order"])
            self.order = max(self.order, int(rows["order"].max()))
            self.migratetype = max(self.migratetype, int(rows["migratetype"].max()))
            self.cpu = max(self.cpu, int(rows["cpu"].max()))

    @property
    def recorded(self) -> set[Op]:
        """The events that were switched on: seen, or named by a header."""
        named = {op for op, event in BY_OP.items() if event.name in self.headers.events}
        return named | {Op(op) for op in self.kept}

    def layers(self, name: str) -> list[str]:
        """What of the guest the events of the file tell.

        Raises:
            Fault: when it is too little.
        """
        recorded = self.recorded
        if recorded >= BUDDY:
            return ["buddy", "frame"] if recorded >= OWNER else ["buddy"]
        if recorded >= OWNER:
            return ["owner"]
        fix = (
            "record kmem:mm_page_alloc_zone_locked, kmem:mm_page_pcpu_drain and kmem:mm_page_free, "
            "or at least kmem:mm_page_alloc and kmem:mm_page_free; text must name the event on each line"
        )
        if not self.kept:
            bad = f"; {self.bad.total()} of them cannot be read, the first: {self.first_bad}"
            how = f"none of its {self.lines} lines is one" + (bad if self.bad else "")
            raise Fault(f"{name} has no page alloc/free events", how, fix)
        found = ", ".join(f"{self.kept[op]} {BY_OP[Op(op)].event}" for op in sorted(self.kept))
        raise Fault(f"the events of {name} cannot be replayed", f"it has only {found}", fix)

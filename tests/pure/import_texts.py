"""Random page events, and how kernels and tools of several years print them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tracer import open_trace
from tracer.faults import ExitCode, Fault
from tracer.format import Op
from tracer.importers.blocks import Block
from tracer.importers.importing import Wanted, import_file

NAMES = {
    Op.ZONE_LOCKED: "kmem:mm_page_alloc_zone_locked",
    Op.PCPU_DRAIN: "kmem:mm_page_pcpu_drain",
    Op.EXTFRAG: "kmem:mm_page_alloc_extfrag",
    Op.PAGE_FREE: "kmem:mm_page_free",
    Op.PAGE_ALLOC: "kmem:mm_page_alloc",
    Op.COMPACTION_ISOLATE: "compaction:mm_compaction_isolate_freepages",
    Op.FAST_ISOLATE: "compaction:mm_compaction_fast_isolate_freepages",
}
ISOLATES = (Op.COMPACTION_ISOLATE, Op.FAST_ISOLATE)
FLAGS = {
    "GFP_KERNEL": 0xCC0,
    "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP": 0x140DCA,
    "GFP_TRANSHUGE": 0x1C24CA,
    "none": 0,
    "0x400000": 0x400000,
}


@dataclass(frozen=True)
class Task:
    comm: str
    pid: int
    tgid: int


@dataclass(frozen=True)
class Event:
    """One event; `more`: extfrag's and compaction's fields."""

    op: Op
    ts_ns: int
    cpu: int
    pfn: int
    order: int
    migratetype: int
    refill: int
    more: tuple[int, ...]
    flags: str
    task: Task

    @property
    def row(self) -> dict[str, int]:
        """The columns of FORMAT.md."""
        order, migratetype, aux = self.order, self.migratetype, 0
        if self.op == Op.ZONE_LOCKED:
            aux = self.refill
        elif self.op == Op.EXTFRAG:
            aux = self.more[0] | migratetype << 8 | self.more[1] << 16 | (self.more[2] != 0) << 24
        elif self.op == Op.PAGE_FREE:
            migratetype = -1
        elif self.op in ISOLATES:
            order, migratetype = 0, -1
            aux = min(self.more[0], 65535) | min(self.more[1], 65535) << 16 | min(self.more[2], 65535) << 32
        return {
            "ts_ns": self.ts_ns, "op": int(self.op), "pfn": self.pfn, "order": order,
            "migratetype": migratetype, "cpu": self.cpu, "aux": aux,
        }  # fmt: skip


def hex_pfn(pfn: int) -> str:
    return f"{pfn:#x}"


def fields(event: Event, number: Callable[[int], str], page: str = "0xffffea0004a1b2c0") -> str:
    """As TP_printk of kmem.h and compaction.h prints them; before 5.14 pfns were decimal."""
    at = f"page={page} pfn={number(event.pfn)}"
    if event.op in ISOLATES:
        over, scanned, taken = event.more
        end = event.pfn + over
        return f"range=(0x{event.pfn:x} ~ 0x{end:x}) nr_scanned={scanned} nr_taken={taken}"
    if event.op == Op.EXTFRAG:
        fallback, other, owned = event.more
        return (
            f"{at} alloc_order={event.order} fallback_order={fallback} pageblock_order=9 "
            f"alloc_migratetype={event.migratetype} fallback_migratetype={other} "
            f"fragmenting={int(fallback < 9)} change_ownership={owned}"
        )
    text = f"{at} order={event.order}"
    if event.op != Op.PAGE_FREE:
        text += f" migratetype={event.migratetype}"
    if event.op == Op.ZONE_LOCKED and event.refill != 2:
        text += f" percpu_refill={event.refill}"
    return text + (f" gfp_flags={event.flags}" if event.op == Op.PAGE_ALLOC else "")


def unparsed(event: Event) -> str:
    """What perf prints when it cannot evaluate an event's format: its raw fields."""
    if event.op in ISOLATES:
        over, scanned, taken = event.more
        named: dict[str, Any] = {
            "start_pfn": event.pfn, "end_pfn": event.pfn + over, "nr_scanned": scanned, "nr_taken": taken
        }  # fmt: skip
    elif event.op == Op.EXTFRAG:
        named = {
            "pfn": hex_pfn(event.pfn), "alloc_order": event.order, "fallback_order": event.more[0],
            "alloc_migratetype": event.migratetype, "fallback_migratetype": event.more[1],
            "change_ownership": event.more[2],
        }  # fmt: skip
    else:
        named = {"pfn": event.pfn, "order": event.order}
        if event.op == Op.PAGE_ALLOC:
            named["gfp_flags"] = "0xcc0"
        if event.op != Op.PAGE_FREE:
            named["migratetype"] = event.migratetype
        if event.op == Op.ZONE_LOCKED and event.refill != 2:
            named["percpu_refill"] = event.refill
    return "[FAILED TO PARSE] " + " ".join(f"{key}={value}" for key, value in named.items())


def seconds(ts_ns: int, digits: int) -> str:
    return f"{ts_ns // 10**9}.{ts_ns % 10**9 // 10 ** (9 - digits):0{digits}d}"


def perf(event: Event) -> str:
    task, name = event.task, NAMES[event.op]
    stamp = seconds(event.ts_ns, 6)
    page = "0x12" if event.pfn % 2 else "(nil)"
    head = f"{task.comm:>16} {task.pid:5d} [{event.cpu:03d}] {stamp:>12}: "
    return f"{head}{name:>40}: {fields(event, hex_pfn, page)}"


def perf_ns_with_pids(event: Event) -> str:
    task, stamp = event.task, seconds(event.ts_ns, 9)
    who = f"{task.comm:>16} {task.tgid:5d}/{task.pid:<5d} [{event.cpu:03d}]"
    return f"{who} {stamp:>15}: {NAMES[event.op]}: {fields(event, str)}"


def perf_with_period_and_unparsed(event: Event) -> str:
    task, stamp = event.task, seconds(event.ts_ns, 9)
    head = f"{task.comm:>16} {task.pid:5d} [{event.cpu:03d}] {stamp:>15}:          1 "
    return f"{head}{NAMES[event.op]}: {unparsed(event)}"


def perf_bare(event: Event) -> str:
    """-F cpu,time,event,trace."""
    return f"[{event.cpu:03d}] {seconds(event.ts_ns, 9)}: {NAMES[event.op]}: {fields(event, hex_pfn)}"


def ftrace(event: Event) -> str:
    task, stamp = event.task, seconds(event.ts_ns, 6)
    head = f"{task.comm:>16}-{task.pid:<7d} [{event.cpu:03d}] d..2. {stamp:>12}: "
    page = "(____ptrval____)" if event.pfn % 2 else "          (null)"
    return f"{head}{NAMES[event.op].partition(':')[2]}: {fields(event, hex_pfn, page)}"


def ftrace_with_tgid(event: Event) -> str:
    """Old kernels: four flags, pfns in decimal; options/record-tgid."""
    task, stamp = event.task, seconds(event.ts_ns, 6)
    head = f"{task.comm:>16}-{task.pid:<5d} ({task.tgid:7d}) [{event.cpu:03d}] .... {stamp:>12}: "
    return f"{head}{NAMES[event.op].partition(':')[2]}: {fields(event, str)}"


def trace_cmd(event: Event) -> str:
    task, stamp = event.task, seconds(event.ts_ns, 9)
    name = NAMES[event.op].partition(":")[2] + ":"
    return (
        f"{task.comm:>16}-{task.pid:<5d} [{event.cpu:03d}] {stamp:>15}: {name:<21} {fields(event, hex_pfn)}"
    )


PERF = {"perf": perf, "pid/tid, ns": perf_ns_with_pids, "period, raw": perf_with_period_and_unparsed,
        "bare": perf_bare}  # fmt: skip
FTRACE = {"trace": ftrace, "tgid, decimal": ftrace_with_tgid, "trace-cmd": trace_cmd}

# Names of tasks as nasty as 15 bytes allow.
NASTY = (
    "bash", "Web Content", "<idle>", "<...>", "kworker/u16:3", "[9] 1.000000: x", "a-1 [002] d..1.",
    "x 12 34 5", "mm_page_free:", "PERF_RECORD_LOS", "CPU:1 [LOST 9 E", "pfn=0x1 order=2", "# not this", "",
)  # fmt: skip
COMMS = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=15)
)


@st.composite
def events(draw: st.DrawFn, *, microseconds: bool) -> list[Event]:
    """Events in time order."""
    small = st.integers(0, 5)
    steps = draw(st.lists(st.integers(0, 5_000_000_000), min_size=1, max_size=12))
    found, ts_ns = [], draw(st.integers(0, 10**15))
    for step in steps:
        ts_ns += step
        op = draw(st.sampled_from(list(NAMES)))
        counts = st.integers(0, 100_000)
        kinds = (counts,) * 3 if op in ISOLATES else (small, small, st.integers(0, 1))
        more = draw(st.tuples(*kinds))
        pid = draw(st.integers(0, 4_194_303))
        found.append(
            Event(
                op=op,
                ts_ns=ts_ns // 1000 * 1000 if microseconds else ts_ns,
                cpu=draw(st.integers(0, 8191)),
                pfn=draw(st.integers(1, (1 << 40) - 200_000)),
                order=draw(st.integers(0, 10)),
                migratetype=draw(small),
                refill=draw(st.integers(0, 2)),
                more=more,
                flags=draw(st.sampled_from(list(FLAGS))),
                task=Task(draw(COMMS), pid, draw(st.integers(0, 4_194_303))),
            )
        )  # fmt: skip
    return found


def imported(folder: Path, text: str | bytes, name: str = "a.txt", **over: Any) -> Any:
    """The trace that an import of this text gives, and what the import said of it."""
    file, out = folder / name, folder / "out.trace"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = import_file(Wanted(str(file), out, ["pagetide", "import"], force=True, **over))
    return open_trace(out), said


def rows_of(block: Block) -> list[dict[str, int]]:
    columns = {name: values.tolist() for name, values in block.rows.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def rows(trace: Any) -> list[dict[str, int]]:
    found: list[dict[str, int]] = trace.events.collect().to_dicts()
    return found


def lines(*texts: str) -> str:
    return "".join(f"{text}\n" for text in texts)


def refused(call: Callable[[], object], code: ExitCode = ExitCode.USAGE) -> Fault:
    """The fault of a call, in its three lines."""
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == code
    assert len(str(caught.value).splitlines()) == 3
    return caught.value

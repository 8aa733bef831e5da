"""The probes of one recording: compiled, attached and calibrated.

This needs BCC, and with it a whole compiler; it runs in a process of its own (`kernel`).
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.faults import Fault, environment
from tracer.format import Op
from tracer.image import kallsyms
from tracer.probes import functions, hooks, library, points
from tracer.probes.calibration import PageMap, page_map, split, stir
from tracer.probes.counters import possible_cpus, recursion_misses
from tracer.probes.ladder import Ladder, climb, rung_of
from tracer.probes.points import BUDDY, LAYERS, Tracepoint
from tracer.probes.prints import captured
from tracer.probes.program import Options, pair_function, raw_functions, source
from tracer.probes.ring import RECORD_WORDS, STRIDE_BYTES, Ring
from tracer.probes.tracefs import MOUNT_COMMAND, ensure_mounted

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADERS = Path(__file__).parent / "headers"
KERNEL_SOURCE = "BCC_KERNEL_SOURCE"
_CALIBRATION_ROUNDS = 5


def kernel_headers(release: str | None = None) -> Path | None:
    """The guest's own kernel headers when they are present and fit, else None."""
    build = Path("/lib/modules") / (release or os.uname().release) / "build"
    return build if (build / "include/linux/kconfig.h").is_file() else None


@contextlib.contextmanager
def header_tree() -> Iterator[None]:
    """Point BCC at our own header tree unless real ones are there or the user named some."""
    if KERNEL_SOURCE in os.environ or kernel_headers():
        yield
        return
    os.environ[KERNEL_SOURCE] = str(HEADERS)
    try:
        yield
    finally:
        del os.environ[KERNEL_SOURCE]


def _refusal(error: Exception, output: list[str]) -> Fault:
    """Why BCC could not compile, load or attach, from its own words."""
    telling = [line.strip() for line in output if "error" in line.lower() or "not permitted" in line]
    first = (str(error).splitlines() or [type(error).__name__])[0]
    how = (telling[0] if telling else first)[:200]
    if "not permitted" in str(error) or "not permitted" in how:
        return environment(
            "the kernel refuses to load BPF programs",
            how,
            "record as root (CAP_BPF and CAP_PERFMON); else look for lockdown or a seccomp filter:"
            " pagetide doctor",
        )
    return environment("the BPF program does not compile or attach here", how, "pagetide doctor")


@dataclass(frozen=True)
class Wanted:
    """What to record.

    Attributes:
        layer: buddy, frame or both.
        ring_bytes: a power of two, at least a page.
        orders: least and most order to keep; None: all.
        ranges: [first, end) pfn ranges to keep; empty: all.
        with_pid, with_gfp: record who asked for a page, and how.
    """

    layer: str = "buddy"
    ring_bytes: int = 64 << 20
    orders: tuple[int, int] | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    with_pid: bool = False
    with_gfp: bool = False


@dataclass(frozen=True)
class Slot:
    """What counts in one place of the counters.

    Attributes:
        row: which place.
        unseen_filtered: what escapes the program counts as filtered: nearly all of
            it is of an order that is not kept.
        prog_fd: of the first copy, where the kernel counts the runs it skipped, else None.
        misses_before: what it had skipped when recording began.
    """

    row: int
    name: str
    kind: str
    op: int
    unseen_filtered: bool = False
    prog_fd: int | None = None
    misses_before: int | None = None


class Attachment:
    """Attached probes, in the process that attached them.

    Attributes:
        ring_fd, counters_fd: the maps to read.
        cpus: slots of each counter.
        points: the tracepoints, in the order of their counters; those of functions come behind.
        kinds: by op, tracepoint or raw_tracepoint.
        reasons: by op, why it is no raw tracepoint although it could be.
        hooks: what is attached to functions, and what is not and why.
        ladder: the rung that is in use, and why no higher one.
        page_map: where struct pages lie, if that was found out.
        early: records that came out while calibrating.

    Raises (on creation):
        Fault: when a required tracepoint is missing, or BPF is refused.
    """

    def __init__(self, wanted: Wanted) -> None:
        page_size = os.sysconf("SC_PAGE_SIZE")
        ensure_mounted()
        layers = LAYERS[wanted.layer]
        if lacking := points.missing(layers):
            raise environment(
                f"this kernel shows no {', '.join(lacking)}",
                "tracefs has no such event",
                f"{MOUNT_COMMAND} (as root), or use a kernel with CONFIG_TRACING",
            )
        self.points = points.available(points.chosen(layers))
        cpus = possible_cpus()
        options = Options(
            wanted.ring_bytes,
            cpus,
            page_size,
            orders=wanted.orders,
            ranges=wanted.ranges,
            with_pid=wanted.with_pid,
            with_gfp=wanted.with_gfp,
        )
        self.cpus, self._orders = cpus, wanted.orders
        ladder = climb()
        self._plan = _plan(ladder) if BUDDY in layers else functions.Plan()
        first, others = len(self.points), len(self._plan.ops)
        extra = functions.source(self._plan, first) if others else ""
        self._bpf = _load(source(self.points, options, others=others, extra=extra))
        self.ring_fd, self.counters_fd = self._bpf[b"events"].map_fd, self._bpf[b"counters"].map_fd
        self._ring = Ring(self.ring_fd, wanted.ring_bytes, page_size)
        self.kinds = {point.op: "tracepoint" for point in self.points}
        self.reasons: dict[int, str] = {}
        self._raw: dict[int, RawProbe] = {}
        self.early: list[NDArray[np.uint64]] = []
        self.page_map: PageMap | None = None
        self._calibrate(page_size)
        self.hooks = hooks.Hooks()
        if any(point.unless == points.TO_PCP_LISTS for point in self.points):
            hooks.mark(self._bpf, self.hooks, points.SOFTIRQ)
        self.ladder = self._climb(ladder, layers)

    def _climb(self, ladder: Ladder, layers: Iterable[str]) -> Ladder:
        """Attach to functions what can be; let go of tracepoints that those make needless."""
        hooks.attach(self._bpf, self._plan, self.hooks, pages_known=self.page_map is not None)
        needless = points.needless(self.hooks.ops, layers)
        for point in self.points:
            if point.op in needless and point.op in self._raw:
                self._raw[point.op].detach()
            elif point.op in needless:
                self._bpf.detach_tracepoint(point.name.encode())
        return rung_of(ladder, self.hooks)

    def _calibrate(self, page_size: int) -> None:
        """Find out how pages map to frames, and put raw forms in the place of tracepoints if they do."""
        told = self._page_maps(page_size)
        maps = {op: one for op, one in told.items() if isinstance(one, PageMap)}
        self.reasons = {op: one for op, one in told.items() if isinstance(one, str)}
        self.page_map = next(iter(maps.values()), None)
        one = self.page_map or PageMap(0, 1)
        replaced = [point for point in self.points if maps.get(point.op) == one]
        for point in replaced:
            self._bpf.detach_tracepoint(point.name.encode())
        table = self._bpf[b"pages"]
        table[0] = table.Leaf(one.base, one.size, one.shift, 1)
        for point in replaced:
            self._raw[point.op] = RawProbe(self._bpf, point, raw_functions(point))
            self.kinds[point.op] = "raw_tracepoint"

    def _page_maps(self, page_size: int) -> dict[int, PageMap | str]:
        """By op of each probe that has a raw form: where pages lie, or why it cannot be used."""
        told: dict[int, PageMap | str] = {}
        watched: dict[int, RawProbe] = {}
        for point in self.points:
            if point.raw:
                try:
                    with captured():
                        load_raw(self._bpf, raw_functions(point))  # refused now, not when it is needed
                        watched[point.op] = RawProbe(self._bpf, point, [pair_function(point)])
                except Exception as error:
                    told[point.op] = (str(error).splitlines() or [type(error).__name__])[0]
        if not watched:
            return told
        pairs = [self._pairs(page_size) for _ in range(_CALIBRATION_ROUNDS)]
        for probe in watched.values():
            probe.detach()
        self._pairs(page_size)  # takes what came out before that
        about = np.concatenate(pairs)
        index = about[:, 1] >> np.uint64(48) & np.uint64(0xFF)
        ops = {number: point.op for number, point in enumerate(self.points) if point.op in watched}
        return told | {op: page_map(about[index == number]) for number, op in ops.items()}

    def _pairs(self, page_size: int) -> "NDArray[np.uint64]":
        """Calibration records of some stirring; what else comes out is kept for the first drain."""
        room = np.empty((self._ring.size_bytes // STRIDE_BYTES, RECORD_WORDS), np.uint64)
        stir(page_size)
        time.sleep(0.001)
        about, others = split(room[: self._ring.drain_into(room)].copy())
        self.early.append(others)
        return about

    @property
    def slots(self) -> list[Slot]:
        """What each counter in use counts, in their order."""
        told = [self._slot(row, point) for row, point in enumerate(self.points)]
        for one in self.hooks.attached:
            told += [Slot(self._row(op), one.unit.target, one.kind, int(op)) for op in one.ops]
        return told

    def _row(self, op: Op) -> int:
        """The counter of a function's op. One that could not be attached has one, too."""
        return len(self.points) + self._plan.ops.index(op)

    @property
    def rows(self) -> int:
        """How many counters there are, in use or not."""
        return len(self.points) + len(self._plan.ops)

    @property
    def notes(self) -> list[str]:
        """What of the kernel's functions is not recorded on this rung, a line each."""
        if not self._plan.units:
            return []
        return [f"{name} is not recorded: {why}" for name, why in self.hooks.left_out.items()]

    def _slot(self, row: int, point: Tracepoint) -> Slot:
        raw, kind = self._raw.get(point.op), self.kinds[point.op]
        if raw is None:
            return Slot(row, point.name, kind, int(point.op))
        filtered = point.unless != "0" or self._orders is not None
        return Slot(row, point.name, kind, int(point.op), filtered, raw.first_fd, raw.misses_before)


def load_raw(bpf: Any, functions: list[str]) -> list[Any]:  # noqa: ANN401 - BCC has no types
    """Programs for a raw tracepoint, loaded once each.

    Raises:
        Exception: BCC's, when the kernel refuses one.
    """
    return [bpf.load_func(name.encode(), library.load().BPF.RAW_TRACEPOINT) for name in functions]


class RawProbe:
    """Programs on a raw tracepoint, attached one behind the other.

    Attributes:
        first_fd: the first one.
        misses_before: how often the kernel had skipped it before; None: it does not count that.
    """

    def __init__(self, bpf: Any, point: Tracepoint, functions: list[str]) -> None:  # noqa: ANN401 - a bcc.BPF
        """Load and attach.

        Raises:
            Exception: BCC's, when the kernel refuses.
        """
        self._links: list[int] = []
        loaded = load_raw(bpf, functions)
        self.first_fd = loaded[0].fd
        self.misses_before = recursion_misses(self.first_fd)
        for program in loaded:
            link = library.load().lib.bpf_attach_raw_tracepoint(program.fd, point.event.encode())
            if link < 0:
                self.detach()
                raise OSError(f"raw tracepoint {point.event} cannot be attached")
            self._links.append(link)

    def detach(self) -> None:
        """Stop it."""
        while self._links:
            os.close(self._links.pop())


def _plan(ladder: Ladder) -> functions.Plan:
    """What may be attached to functions; nothing is looked up where nothing is allowed."""
    if not ladder.kinds:
        return functions.Plan()
    return functions.plan(kallsyms.read(functions.all_names()), ladder.kinds)


def _load(text: str) -> Any:  # noqa: ANN401 - a bcc.BPF, which has no types
    bcc = library.load()
    failure: Exception | None = None
    with header_tree(), captured() as output:
        try:
            return bcc.BPF(text=text.encode())
        except Exception as error:
            failure = error
    raise _refusal(failure, output)

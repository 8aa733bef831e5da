"""The way data flows: batches -> buddy -> policy -> device -> host -> meters.

One pass over the trace for any number of settings: those of one reporting order share step 1.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from replay.address_map import AddressMap
from replay.buddy.area import new_area
from replay.buddy.occupancy import Occupancy
from replay.buddy.ops import meaning_of
from replay.buddy.rules import rules_of
from replay.buddy.steps import Columns
from replay.capabilities import CPU
from replay.crew import THREADS, Crew, usable_cpus
from replay.device import Device
from replay.fragmentation import Fragmentation
from replay.geometry import Geometry
from replay.parameters import Parameter
from replay.policies.building import build
from replay.policies.fitness import notes, refuse_unfit
from replay.policies.protocol import STARTS, Setting
from replay.sampled import Sampled
from replay.schedule import Schedule
from replay.sizing import Sizes, refuse_larger
from replay.start import Start, refuse_filtered, start_of
from replay.start_block import unreported
from replay.state import BACKINGS, new_state
from replay.stretches import Brought, stretches
from replay.survey import Survey, Unreadable
from replay.worker import Worker
from tracer import Fault, Guest, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.buddy.reduced import Reduced

INHIBIT = Parameter("inhibit", "bool", False, "the host acknowledges reports and discards nothing (on, off)")
LOGGING = Parameter("logging", "bool", False, "keep a row for each reported block")
ADDRESS_MAP = Parameter("address_map", "bool", False, "also tell what was reclaimed where")
FRAGMENTATION = Parameter("fragmentation", "bool", False, "also tell free memory by order over time")

MAX_BINS = 2000
MIN_BIN_NS = 100_000_000
LOG_ROWS = 1 << 16


@dataclass(frozen=True)
class Options:
    """How to replay, for all policies alike.

    Attributes:
        start: steady (what is reportable is reported already), cold (the device registers when the
            replay begins) or recorded (as the guest's own reporting had it).
        backing: how the host backs memory: 4k, 2m or thp.
        device: the reporting device: how long a call takes, which fail, when it is there.
        inhibit: the host acknowledges reports and does nothing, as while memory is pinned for a device.
        logging: keep a row for each reported block.
        fragmentation: also tell free memory by order over time, at the price of a model of all orders.
        address_map: also tell what was used, free and reclaimed where (`AddressMap`).
        worker: instants of the guest's own reporting that a model of it follows; none by default.
        threads: that policies share, by default one for each CPU this process may use. They change nothing.
    """

    start: str = "steady"
    backing: str = "4k"
    inhibit: bool = False
    device: Device = field(default_factory=Device)
    logging: bool = False
    fragmentation: bool = False
    address_map: bool = False
    worker: Worker = field(default_factory=Worker)
    threads: int = field(default_factory=usable_cpus)

    def check(self) -> None:
        """Refuse words that do not exist, and devices that cannot.

        Raises:
            Fault: naming the word.
        """
        if not isinstance(self.device, Device):
            how = f"it is a {type(self.device).__name__}"
            raise Fault(f"device={self.device!r} is not possible", how, "give a replay.Device")
        self.device.check()
        THREADS.number(self.threads)
        for flag in (INHIBIT, LOGGING, FRAGMENTATION, ADDRESS_MAP):
            flag.flag(getattr(self, flag.name))
        for name, word, words in (
            ("start", self.start, STARTS),
            ("backing", self.backing, tuple(BACKINGS)),
        ):
            if word not in words:
                raise Fault(
                    f"--{name} {word} is not possible",
                    f"it must be {', '.join(words)}",
                    "choose one of them",
                )


class Group:
    """Everything at one reporting order: step 1, and the policies that live on it.

    Attributes:
        schedules: one per setting, in the order given.
        address_map: None where it was not asked for.
    """

    def __init__(
        self,
        guest: Guest,
        meaning: "NDArray[np.uint8]",
        geometry: Geometry,
        start: Start,
        end_ns: int,
        settings: Sequence[Setting],
        options: Options,
        bins_ns: "NDArray[np.int64] | None" = None,
        done: Occupancy | None = None,
    ) -> None:
        """`bins_ns`: instants at which the timelines are told, the last one `end_ns`; None: `bins`.
        `done`: step 1 where it is done elsewhere, before the first event; None: it is done here.
        """
        self.guest, self.geometry, self.start, self.options = guest, geometry, start, options
        self.end_ns = end_ns
        self.bins_ns = bins(start.now_ns, end_ns) if bins_ns is None else bins_ns
        rules = rules_of(guest)
        self.occupancy = done or Occupancy(meaning, geometry, rules, start.state, start.now_ns, self.bins_ns)
        blocks = start.blocks(geometry, options.start)
        self.schedules = [self._schedule(setting, blocks) for setting in settings]
        self._crew = Crew(self.schedules, options.threads)
        self.address_map = (
            AddressMap(geometry, start, self.bins_ns, len(settings)) if options.address_map else None
        )
        self.start = start.without_frames()

    def _schedule(self, setting: Setting, blocks: "NDArray[np.void]") -> Schedule:
        options, now_ns = self.options, self.start.now_ns
        registers = options.start == "cold" or not blocks["reported"].all()
        program = build(setting, self.guest, self.geometry)
        if not (program.reports and options.device.from_start):
            blocks = unreported(blocks)
        state = new_state(
            self.geometry,
            new_area(self.geometry, self.geometry.order, rules_of(self.guest), self.start.types),
            backing=options.backing,
            inhibited=options.inhibit,
            device=options.device.row(
                program.capacity,
                program.per_call or program.capacity,
                forward=program.forward,
                to_tail=program.to_tail,
            ),
            switches_ns=options.device.switches_ns(now_ns),
            worker_ns=(options.worker.passes_ns, options.worker.done_ns),
            bins_ns=self.bins_ns,
            log_rows=LOG_ROWS + program.capacity if options.logging else 1,
            logging=options.logging,
        )
        schedule = Schedule(state, program, setting.named)
        clock_known = options.start == "cold"
        begun = {"clock_known": clock_known, "registers": registers}
        schedule.start(blocks, self.occupancy.zone_free(), **begun, now_ns=now_ns)
        return schedule

    def feed(self, columns: Columns) -> None:
        """Live through one batch of events, all later than the start."""
        if self.address_map is None:
            self._live(self.occupancy.reduce(columns))
            return
        for part, next_ns in self.address_map.parts(columns):
            self._live(self.occupancy.reduce(part))
            self._look(next_ns)

    def correct(self, state: "NDArray[np.uint8]", now_ns: int) -> None:
        """Take over what a snapshot says of the frames at `now_ns`, after the events up to it."""
        self._look(now_ns)
        self._live(self.occupancy.correct(state, now_ns))

    def _look(self, until_ns: int | None) -> None:
        if self.address_map is not None and until_ns is not None:
            self.address_map.look(self.occupancy, self.schedules, until_ns)

    def _live(self, parts: "Iterable[Reduced]") -> None:
        for part in parts:
            self.live(part, int(self.occupancy.totals["now_ns"][0]))

    def live(self, part: "Reduced", until_ns: int) -> None:
        """Let all policies live through what a stretch of events comes to; `until_ns`: its last instant."""
        self._crew.each(partial(Schedule.advance, events=part.events, counts=part.counts, until_ns=until_ns))

    def finish(self) -> None:
        """Close the books at the end of the trace."""
        self.occupancy.finish(self.end_ns)
        self._crew.each(partial(Schedule.finish, end_ns=self.end_ns))
        if self.address_map is not None:
            self.address_map.finish(self.occupancy, self.schedules)


def bins(first_ns: int, last_ns: int) -> "NDArray[np.int64]":
    """Instants at which the timelines are told: at most 2000, at least 100 ms apart, the last one
    at the end.
    """
    width = max(MIN_BIN_NS, -(-(last_ns - first_ns) // MAX_BINS))
    inner = np.arange(first_ns, last_ns, width, dtype=np.int64)[1:]
    return np.append(inner, np.int64(last_ns))


def sizes_of(trace: Trace, options: Options) -> Sizes:
    """What replays of this trace take."""
    return Sizes(
        trace.manifest.guest,
        trace.zones,
        meaning_of(trace),
        len(bins(*trace.span_ns)),
        LOG_ROWS if options.logging else 0,
        options.fragmentation,
    )


@dataclass(frozen=True)
class Run:
    """One setting, replayed: its schedule, and what it shares with others.

    Attributes:
        group: step 1, with all of the same reporting order.
        sampled: what the trace's samples tell of used memory.
        fragmentation: free memory by order over time, None where it was not asked for.
        direct_frees: frees that were found to have gone straight into the buddy (`hindsight`).
        notes: what it does not show, since the trace does not tell it.
    """

    setting: Setting
    schedule: Schedule
    group: Group
    sampled: Sampled = field(default_factory=Sampled)
    fragmentation: Fragmentation | None = None
    direct_frees: int = 0
    notes: tuple[str, ...] = ()


def run_all(
    trace: Trace,
    settings: Sequence[Setting],
    options: Options,
    tell: Callable[[int], None] = lambda _rows: None,
) -> list[Run]:
    """Replay a trace under all settings in one pass; a run for each, in their order.

    `tell` hears of events read; all are read twice where the survey is not kept (`survey.rows_to_read`).

    Raises:
        Fault: when the trace cannot be replayed, or not under one of these policies.
    """
    refuse(trace, settings, options)
    guest, meaning = trace.manifest.guest, meaning_of(trace)
    whole = Geometry.of(guest, trace.zones)
    survey = Survey.of(trace, whole, meaning, tell)
    cpus = any(CPU in setting.policy.requires for setting in settings)
    events = stretches(trace, survey.batches(cpus=cpus), whole, meaning, tell)
    start = start_of(trace, whole, events).typed(trace, whole, survey.types)
    end_ns = trace.span_ns[1]
    groups = {
        order: Group(guest, meaning, Geometry.of(guest, trace.zones, order), start, end_ns, chosen, options)
        for order, chosen in by_order(settings).items()
    }
    bins_ns = bins(start.now_ns, end_ns)
    fragmentation = Fragmentation.of(trace, meaning, start, bins_ns) if options.fragmentation else None
    livers: list[Group | Fragmentation] = [*groups.values()]
    if fragmentation:
        livers.append(fragmentation)
    del start
    for stretch in events:
        for liver in livers:
            if isinstance(stretch, Brought):
                liver.correct(stretch.model.settled, stretch.shot.end_ns)
            else:
                liver.feed(stretch)
    for liver in livers:
        liver.finish()
    return runs_of(trace, settings, groups, len(survey.direct), fragmentation)


def refuse(trace: Trace, settings: Sequence[Setting], options: Options) -> None:
    """Refuse what cannot be replayed, before anything is read.

    Raises:
        Fault: for such options or such a trace; for a policy that it does not tell enough for; for more than
            there is memory for.
    """
    options.check()
    refuse_filtered(trace)
    refuse_unfit(trace, settings)
    refuse_larger(sizes_of(trace, options), list(settings), str(trace.place))


def by_order(settings: Sequence[Setting]) -> dict[int, list[Setting]]:
    """Settings by their reporting order: those of one order are a `Group`."""
    groups: dict[int, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.order, []).append(setting)
    return groups


def runs_of(
    trace: Trace,
    settings: Sequence[Setting],
    groups: dict[int, Group],
    direct_frees: int,
    fragmentation: Fragmentation | None = None,
) -> list[Run]:
    """A run for each setting, in their order. `groups`: by reporting order, all finished."""
    sampled = Sampled.of(trace, next(iter(groups.values())).bins_ns) if groups else Sampled()
    shared = (sampled, fragmentation, direct_frees)
    runs = {
        id(setting): Run(setting, schedule, groups[order], *shared, tuple(notes(trace, setting)))
        for order, chosen in by_order(settings).items()
        for setting, schedule in zip(chosen, groups[order].schedules, strict=True)
    }
    return [runs[id(setting)] for setting in settings]


def run_readable(
    trace: Trace,
    settings: Sequence[Setting],
    options: Options,
    tell: Callable[[int], None] = lambda _rows: None,
) -> tuple[Trace, list[Run]]:
    """As `run_all`; of a trace that cannot be read to its end, the runs up to there, and that `partial`
    trace.
    """
    try:
        return trace, run_all(trace, settings, options, tell)
    except Unreadable as fault:
        return fault.readable, run_all(fault.readable, settings, options, tell)

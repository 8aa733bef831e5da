"""The way data flows: batches -> buddy -> policy -> device -> host -> meters.

One pass over the trace for any number of settings: those of one reporting order share step 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.buddy.geometry import Geometry
from replay.buddy.occupancy import Occupancy
from replay.device import Device
from replay.policies.protocol import STARTS, Program, Setting
from replay.schedule import Schedule
from replay.start import Start, event_columns
from replay.state import BACKINGS, new_state
from tracer import Fault, Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BINS = 2000
MIN_BIN_NS = 100_000_000
LOG_ROWS = 1 << 16


@dataclass(frozen=True)
class Options:
    """How to replay, for all policies alike.

    Attributes:
        start: steady (what is reportable is reported already), cold (the device registers at the
            first event) or recorded (as the guest's own reporting had it).
        backing: how the host backs memory: 4k, 2m or thp.
        logging: keep a row for each reported block.
    """

    start: str = "steady"
    backing: str = "4k"
    device: Device = Device()
    logging: bool = False

    def check(self) -> None:
        """Refuse words that do not exist.

        Raises:
            Fault: naming the word.
        """
        for name, word, words in (("start", self.start, STARTS), ("backing", self.backing, tuple(BACKINGS))):
            if word not in words:
                raise Fault(f"--{name} {word} is not possible", f"it must be {', '.join(words)}", "choose one of them")


class Group:
    """Everything at one reporting order: step 1, and the policies that live on it."""

    def __init__(self, trace: Trace, start: Start, order: int, settings: Sequence[Setting], options: Options) -> None:
        guest = trace.manifest.guest
        self.geometry = Geometry.of(guest, trace.zones, order)
        self.bins_ns = bins(*trace.span_ns)
        self.occupancy = Occupancy(guest, self.geometry, start.state, start.now_ns, self.bins_ns)
        self.schedules = {id(setting): self._schedule(trace, start, setting, options) for setting in settings}

    def _schedule(self, trace: Trace, start: Start, setting: Setting, options: Options) -> Schedule:
        blocks = list(start.blocks(self.geometry, options.start))
        requested = options.start == "cold" or any(not block.reported for block in blocks)
        guest = trace.manifest.guest
        program: Program = setting.policy.build(guest, self.geometry, setting.params, requested, start.now_ns)
        state = new_state(
            self.geometry,
            backing=options.backing,
            capacity=program.capacity,
            call_ns=options.device.call_ns,
            byte_ns=options.device.byte_ns,
            bins_ns=self.bins_ns,
            log_rows=LOG_ROWS + program.capacity if options.logging else 1,
            logging=options.logging,
            to_tail=program.to_tail,
        )
        schedule = Schedule(state, program)
        schedule.start(
            blocks if program.reports else [block.unreported() for block in blocks],
            self.occupancy.zone_free(),
            clock_known=options.start == "cold",
            now_ns=start.now_ns,
        )
        return schedule

    def feed(self, columns: "dict[str, NDArray[Any]]") -> None:
        """Live through one batch of events."""
        for part in self.occupancy.reduce(columns):
            now_ns = int(self.occupancy.totals["now_ns"][0])
            for schedule in self.schedules.values():
                schedule.advance(part.events, part.counts, now_ns)

    def finish(self, end_ns: int) -> None:
        """Close the books at the end of the trace."""
        self.occupancy.finish(end_ns)
        for schedule in self.schedules.values():
            schedule.finish(end_ns)


def bins(first_ns: int, last_ns: int) -> "NDArray[np.int64]":
    """Instants at which the timelines are told: at most 2000, at least 100 ms apart, the last one
    at the end.
    """
    width = max(MIN_BIN_NS, -(-(last_ns - first_ns) // MAX_BINS))
    inner = np.arange(first_ns, last_ns, width, dtype=np.int64)[1:]
    return np.append(inner, np.int64(last_ns))


def run_groups(
    trace: Trace,
    settings: Sequence[Setting],
    options: Options,
    tell: Callable[[int], None] = lambda _rows: None,
) -> dict[int, Group]:
    """Replay a trace under all settings in one pass; the finished groups by reporting order.

    Raises:
        Fault: when the trace cannot be replayed.
    """
    options.check()
    first_ns, last_ns = trace.span_ns
    start = Start.of(trace, Geometry.of(trace.manifest.guest, trace.zones))
    orders = sorted({setting.order for setting in settings})
    groups = {
        order: Group(trace, start, order, [s for s in settings if s.order == order], options) for order in orders
    }
    for columns in event_columns(trace):
        rows = len(columns["ts_ns"])
        begin = int(np.searchsorted(columns["ts_ns"], first_ns, "right"))
        if begin < rows:
            fresh = {name: values[begin:] for name, values in columns.items()}
            for group in groups.values():
                group.feed(fresh)
        tell(rows)
    for group in groups.values():
        group.finish(last_ns)
    return groups

"""The state of one replay, and how its meters grow with time."""

from dataclasses import dataclass, field, replace

from tests.oracle.frames import FrameModel
from tests.oracle.guest import NS_PER_MS, align_down, block_frames
from tests.oracle.host import BACKED, RECLAIMED, Host
from tests.oracle.lists import FreeLists
from tests.oracle.outcome import PARTS, Composition, Outcome, ReportRow, Work
from tests.oracle.pageblocks import PageblockTypes
from tests.oracle.setup import Setup


@dataclass
class Isolated:
    """A block the policy holds outside the lists, until the report it is in completes.

    ``since`` is the clock of each of its units at isolation (None: unknown), ``intact`` the units
    that have stayed wholly free from then on, ``exited`` the frames that have left the buddy from
    then on.  A collided block is no longer held, but the device still has it until it is ``done``.
    """

    zone: int
    pfn: int
    order: int
    isolated_ns: int
    since: dict[int, int | None]
    intact: set[int]
    exited: set[int] = field(default_factory=set)
    collided: bool = False
    done: bool = False


class World:
    """The state at ``now``, and what has been measured up to it."""

    def __init__(self, setup: Setup) -> None:
        """Build the state at t0."""
        setup.check()
        self.setup = setup
        self.guest = setup.guest
        self.reporting_order = setup.reporting_order
        self.now = setup.t0_ns
        self.cpu = 0  # of the event that is applied
        self.registered = True
        self.frames = FrameModel(setup.guest, setup.state)
        self.types = PageblockTypes(setup.guest.pageblock_order, setup.types)
        self.lists = FreeLists(setup.guest, self.reporting_order, self.types)
        self.host = Host(setup.backing, setup.guest.page_size)
        self.batch: list[Isolated] = []
        self.since: dict[int, int | None] = {}
        self.last_freed: dict[int, int | None] = {}  # kept when the unit breaks
        self.told: set[int] = set()
        self.free_history: list[list[tuple[int, int]]] = [[] for _ in self.guest.zones]
        self.free_at_start = list(self.frames.n_free)
        self._init_meters()

    def _init_meters(self) -> None:
        self.reports: list[ReportRow] = []
        self.latency: list[tuple[int, int, int]] = []
        self.missed: list[tuple[int | None, int, int]] = []
        self.left_censored_bytes = 0
        self.passes = 0
        self.calls = 0
        self.failed_calls = 0
        self.lists_told = 0  # reports, of one call or several
        self.blocks = 0
        self.bytes = 0
        self.redundant_bytes = 0
        self.acknowledged_only_bytes = 0
        self.start_bytes = 0
        self.peak_bytes = 0
        self.reclaimed_byte_ns = 0
        self.managed_byte_ns = 0
        self.free_byte_ns = 0
        self.reportable_byte_ns = 0
        self.held_frame_ns = 0
        self.collision_blocks = 0
        self.collision_bytes = 0
        self.work = Work()
        self.walked_in_hold = 0
        self.corrected = 0
        self.refused: set[int] = set()  # zones whose last visit a watermark refused
        self.compositions: list[Composition] = []
        self.part_frame_ns: Composition = dict.fromkeys(PARTS, 0)

    # -- what the state says -----------------------------------------------------------------

    def size(self, order: int) -> int:
        """Bytes of a block."""
        return self.guest.page_size << order

    def units_of(self, pfn: int, order: int) -> list[int]:
        """The aligned runs of 2**R frames that share a frame with the block, ascending."""
        first = align_down(pfn, self.reporting_order)
        return list(range(first, pfn + (1 << order), 1 << self.reporting_order))

    def held(self, zone: int) -> int:
        """Frames of the zone the policy holds isolated."""
        return sum(1 << b.order for b in self.batch if b.zone == zone and not b.collided)

    def in_flight(self, unit: int) -> bool:
        """Whether the policy or the device has the unit, in this wholly-free period of it."""
        return any(unit in block.intact for block in self.batch if not (block.done and block.collided))

    def zone_free(self, zone: int, t: int) -> int:
        """NR_FREE_PAGES as the replay knows it: one count per completed millisecond.

        The free frames, held ones included, after the last event of an earlier millisecond.
        """
        for ts, count in reversed(self.free_history[zone]):
            if ts // NS_PER_MS < t // NS_PER_MS:
                return count
        return self.free_at_start[zone]

    # -- time ---------------------------------------------------------------------------------

    def advance(self, t: int) -> None:
        """Let time pass to ``t`` with nothing changing: the exact integrals grow."""
        if t < self.now:
            raise AssertionError("time runs backwards")
        page, elapsed = self.guest.page_size, t - self.now
        if elapsed:
            self._note_peak()
        self.reclaimed_byte_ns += len(self.host.reclaimed) * page * elapsed
        self.managed_byte_ns += self.frames.n_managed * page * elapsed
        self.free_byte_ns += self.frames.free_count() * page * elapsed
        self.reportable_byte_ns += len(self.since) * self.size(self.reporting_order) * elapsed
        if self.setup.bins_ns and elapsed:
            self._note_composition(t)
        self.now = t

    def _note_composition(self, t: int) -> None:
        """What managed memory is made of from now to ``t``: at the bins before ``t``, and over time."""
        parts = self.composition()
        for part, frames in parts.items():
            self.part_frame_ns[part] += frames * (t - self.now)
        self.compositions += [dict(parts) for at in self.setup.bins_ns if self.now <= at < t]

    def composition(self) -> Composition:
        """Frames of each part, counted one by one."""
        parts = dict.fromkeys(PARTS, 0)
        for frame in self.frames.managed:
            parts[self.part_of(frame)] += 1
        return parts

    def part_of(self, frame: int) -> str:
        """The part of managed memory a frame belongs to: why the host has it, or has it not."""
        unit = align_down(frame, self.reporting_order)
        what = self.host.state[frame]
        if what != BACKED:
            return "reclaimed" if what == RECLAIMED else "never_backed"
        if self.frames.state_of(frame) == "used":
            return "used"
        if unit not in self.since:
            return "stranded"
        if self.in_flight(unit):
            return "held"
        if unit in self.told:
            return "kept"
        return "gated" if self.guest.zone_of_range(frame, 1) in self.refused else "waiting"

    def _note_peak(self) -> None:
        """The peak is of what an instant ends with, not of what passes within one."""
        self.peak_bytes = max(self.peak_bytes, len(self.host.reclaimed) * self.guest.page_size)

    def observe(self) -> None:
        """After every event and every completed report."""

    # -- what a policy overrides --------------------------------------------------------------

    def next_action_ts(self) -> int | None:
        """When the policy acts next."""
        return None

    def act(self) -> None:
        """The policy's action, at ``now``."""

    def arrive(self, zone: int, pfn: int, order: int) -> None:
        """An ordinary free has been merged to the listed block (pfn, order >= R).

        The end of __free_one_page(), where page_reporting_notify_free() is.  Not for put-backs, nor
        while no device is registered.
        """

    def on_units_freed(self, units: list[int]) -> None:
        """The units became wholly free by the event at ``now``, which has been applied."""

    def on_start(self, unflagged: list[int]) -> None:
        """The start state is built; ``unflagged`` are the listed heads that are not reported."""

    def on_registered(self) -> None:
        """A device registers at ``now``."""

    def on_unregistered(self) -> None:
        """The device unregisters; a pass under way, of which it waits for the end, runs on."""

    def on_reshuffled(self, zone: int) -> None:
        """Compaction has searched the free lists of a zone."""

    def put_back_to_tail(self) -> bool:
        """Whether a put-back goes to the tail (else by the ordinary rule)."""
        return True

    def map_bits(self) -> tuple[int, int]:
        """Bits of the policy's maps, and how many of them cover no managed frame."""
        return 0, 0

    # -- the zone lock ------------------------------------------------------------------------

    def take_lock(self) -> None:
        """A hold of the zone lock begins."""
        self.work.lock_takes += 1
        self.walked_in_hold = 0

    def walk_entry(self) -> None:
        """One entry of a free list is looked at under the lock."""
        self.work.entries_walked += 1
        self.walked_in_hold += 1
        self.work.max_entries_per_lock = max(self.work.max_entries_per_lock, self.walked_in_hold)

    # -- booking ------------------------------------------------------------------------------

    def note_latency(self, since: dict[int, int | None], new_frames: list[int]) -> None:
        """One sample per unit with newly reclaimed bytes, by the clocks in ``since``."""
        new_in: dict[int, int] = {}
        for frame in new_frames:
            unit = align_down(frame, self.reporting_order)
            new_in[unit] = new_in.get(unit, 0) + self.guest.page_size
        for unit, new_bytes in sorted(new_in.items()):
            clock = since[unit]
            if clock is None:
                self.left_censored_bytes += new_bytes
            else:
                self.latency.append((self.now - clock, new_bytes, unit))

    def _release(self, block: Isolated) -> None:
        """The block is held no more from ``now`` on."""
        self.held_frame_ns += (self.now - block.isolated_ns) << block.order

    def _unreported_end_bytes(self) -> int:
        """Backed bytes of the units that are wholly free at the end and were not told."""
        waiting = [unit for unit in self.since if unit not in self.told]
        backed = sum(self.host.backed_in(block_frames(u, self.reporting_order)) for u in waiting)
        return backed * self.guest.page_size

    def _outcome(self) -> Outcome:
        for block in self.batch:
            if not block.collided:
                self._release(block)
        bits, bits_of_holes = self.map_bits()
        return Outcome(
            frames=self.frames,
            reports=self.reports,
            latency=self.latency,
            missed=self.missed,
            left_censored_bytes=self.left_censored_bytes,
            unreported_end_bytes=self._unreported_end_bytes(),
            passes=self.passes,
            calls=self.calls,
            failed_calls=self.failed_calls,
            blocks=self.blocks,
            bytes=self.bytes,
            redundant_bytes=self.redundant_bytes,
            acknowledged_only_bytes=self.acknowledged_only_bytes,
            reclaimed_end_bytes=len(self.host.reclaimed) * self.guest.page_size,
            start_bytes=self.start_bytes,
            peak_bytes=self.peak_bytes,
            reclaimed_byte_ns=self.reclaimed_byte_ns,
            managed_byte_ns=self.managed_byte_ns,
            free_byte_ns=self.free_byte_ns,
            reportable_byte_ns=self.reportable_byte_ns,
            refault_frames=self.host.refault_frames,
            held_frame_ns=self.held_frame_ns,
            collision_blocks=self.collision_blocks,
            collision_bytes=self.collision_bytes,
            exit_of_used=self.frames.exit_of_used,
            entry_of_free=self.frames.entry_of_free,
            outside=self.frames.outside,
            corrected=self.corrected,
            work=replace(self.work, tail_redirects=self.lists.tail_redirects),
            lists_end={key: list(heads) for key, heads in self.lists.lists.items() if heads},
            compositions=self.compositions,
            part_frame_ns=self.part_frame_ns,
            bits=bits,
            bits_of_holes=bits_of_holes,
        )

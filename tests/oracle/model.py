"""A slow, plain oracle for replaying Linux free page reporting over a trace of buddy events.

Everything is kept per page frame in sets, dicts and lists, so that each rule can be checked by
reading it.  Nothing here is fast and nothing here is clever.

The layers, from the bottom up:

* ``FrameModel``     which frames are free (occupancy), from the recorded events alone;
* ``PageblockTypes`` the migratetype of every pageblock;
* ``FreeLists``      the buddy free lists of orders >= R, with the kernel's head and tail rules;
* ``Host``           per frame: backed, reclaimed (given up because of a report) or fresh;
* ``Replay``         one replay in virtual time; its subclasses are the policies;
* ``simulate``       the entry point, which returns an ``Outcome``.

A *unit* is an aligned run of 2**R frames wholly inside one zone, R being the reporting order.
Time is in nanoseconds, memory in frames unless a name says bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

UNMOVABLE, MOVABLE, RECLAIMABLE = 0, 1, 2
MERGEABLE = frozenset({UNMOVABLE, MOVABLE, RECLAIMABLE})

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
HOST_PAGE_BYTES = 2 * 1024 * 1024

PARTS = ("reclaimed", "never_backed", "used", "stranded", "gated", "waiting", "held", "kept")
BACKED, RECLAIMED, FRESH = "backed", "reclaimed", "fresh"
IDLE, REQUESTED, ACTIVE = "IDLE", "REQUESTED", "ACTIVE"

Event = tuple[int, str, int, int, int]
"""(ts_ns, 'enter' | 'exit', pfn, order, migratetype or -1 when unknown)."""

Correction = tuple[int, dict[int, str]]
"""(ts_ns, frame -> 'used' | 'free'): what a snapshot says at that instant, after the events up to it."""

ListKey = tuple[int, int, int]
"""(zone index, order, migratetype)."""

Composition = dict[str, int]
"""Part of managed memory -> frames, or frame ns; see ``Replay.part_of``."""

ReportRow = tuple[int, int, int, int, int, int, int]
"""(submit_ns, done_ns, call_no, pass_no, pfn, order, new_bytes); both numbers count from 1."""


# ---------------------------------------------------------------------------------------------
# The guest
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zone:
    """One zone, [start_pfn, end_pfn); watermarks and boost in pages (``struct zone``)."""

    name: str
    start_pfn: int
    end_pfn: int
    min: int
    low: int
    boost: int


@dataclass(frozen=True)
class Guest:
    """What never changes about a guest; ``max_order`` is inclusive (MAX_PAGE_ORDER)."""

    zones: tuple[Zone, ...]
    max_order: int
    pageblock_order: int
    hz: int | None
    page_size: int = 4096
    n_migratetypes: int = 5
    isolate_migratetype: int | None = 4
    by_pageblock: bool = True  # 6.10: a free block is on the list of its pageblock's type

    def zone_of_range(self, pfn: int, n_frames: int) -> int | None:
        """Index of the zone that wholly contains the frames [pfn, pfn + n_frames), if any."""
        for index, zone in enumerate(self.zones):
            if zone.start_pfn <= pfn and pfn + n_frames <= zone.end_pfn:
                return index
        return None


def block_frames(pfn: int, order: int) -> range:
    """The frames of the block at ``pfn`` of ``order``."""
    return range(pfn, pfn + (1 << order))


def align_down(pfn: int, order: int) -> int:
    """``pfn`` rounded down to a multiple of 2**order."""
    return pfn >> order << order


def align_up(pfn: int, order: int) -> int:
    """``pfn`` rounded up to a multiple of 2**order."""
    return align_down(pfn + (1 << order) - 1, order)


def is_aligned(pfn: int, order: int) -> bool:
    """Whether ``pfn`` is a multiple of 2**order."""
    return align_down(pfn, order) == pfn


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up (the kernel's DIV_ROUND_UP)."""
    return -(-numerator // denominator)


# ---------------------------------------------------------------------------------------------
# What an op means
# ---------------------------------------------------------------------------------------------


def meaning_of(
    op: str,
    order: int,
    recorded: set[str],
    pcp_orders: set[int],
    *,
    owners_only: bool,
    by_pageblock: bool = True,
) -> str:
    """What an op does to the buddy: enter, exit, fallback, claim, isolate, put_back or nothing, by its name.

    ``recorded`` are the ops that the trace has probes for. Without ``by_pageblock`` (before 6.10) each
    extfrag is followed by the zone_locked of what was taken.
    """
    if owners_only:
        return {"page_alloc": "exit", "page_free": "enter"}.get(op, "nothing")
    always = {
        "zone_locked": "exit",
        "extfrag": "fallback" if by_pageblock else "claim",
        "isolate": "isolate",
        "put_back": "put_back",
        "buddy_free": "enter",
    }
    if op in always:
        return always[op]
    if "buddy_free" in recorded:
        return "nothing"  # every entry that is not a put-back has told itself
    if op == "pcpu_drain" or (op == "page_free" and order not in pcp_orders):
        return "enter"
    return "nothing"


# ---------------------------------------------------------------------------------------------
# Occupancy
# ---------------------------------------------------------------------------------------------


class FrameModel:
    """Which frames are managed and which of those are free: step 1, the trace's own truth.

    A frame is absent (not managed), used (managed, not free), free (managed and free) or unknown:
    nothing was read of it, and its first event says what it was.
    """

    def __init__(self, guest: Guest, state: dict[int, str]) -> None:
        """Start from ``state``: frame -> 'used' | 'free' | 'absent' | 'unknown'; the others are absent."""
        self.guest = guest
        self.managed: set[int] = set()
        self.unknown: set[int] = set()
        self.free: list[set[int]] = [set() for _ in guest.zones]
        self.entry_of_free = 0
        self.exit_of_used = 0
        self.outside = 0
        for pfn, what in state.items():
            self._start_frame(pfn, what)

    def _start_frame(self, pfn: int, what: str) -> None:
        if what == "absent":
            return
        if what not in ("used", "free", "unknown"):
            raise ValueError(f"frame {pfn}: unknown state {what!r}")
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is None:
            raise ValueError(f"frame {pfn} is {what} but lies in no zone")
        if what == "unknown":
            self.unknown.add(pfn)
            return
        self.managed.add(pfn)
        if what == "free":
            self.free[zone].add(pfn)

    def state_of(self, pfn: int) -> str:
        """'used', 'free', 'absent' or 'unknown'."""
        if pfn in self.unknown:
            return "unknown"
        if pfn not in self.managed:
            return "absent"
        return "free" if any(pfn in free for free in self.free) else "used"

    def free_count(self) -> int:
        """Number of free frames of the guest."""
        return sum(len(free) for free in self.free)

    def zone_of_event(self, pfn: int, order: int) -> int | None:
        """The zone of a well-formed event: aligned, order <= max_order, inside one zone."""
        if not 0 <= order <= self.guest.max_order or not is_aligned(pfn, order):
            return None
        return self.guest.zone_of_range(pfn, 1 << order)

    def enter(self, pfn: int, order: int) -> bool:
        """All 2**order frames become free; absent and unknown ones become managed.

        An event that finds a frame free already counts once in ``entry_of_free``.  A malformed
        event is ignored, counts in ``outside`` and returns False.
        """
        zone = self.zone_of_event(pfn, order)
        if zone is None:
            self.outside += 1
            return False
        frames = set(block_frames(pfn, order))
        if frames & self.free[zone]:
            self.entry_of_free += 1
        self.unknown -= frames
        self.managed |= frames
        self.free[zone] |= frames
        return True

    def exit(self, pfn: int, order: int) -> bool:
        """All 2**order frames become used; absent and unknown ones become managed.

        An event that finds a frame neither free nor unknown counts once in ``exit_of_used``.  A
        malformed event is ignored, counts in ``outside`` and returns False.
        """
        zone = self.zone_of_event(pfn, order)
        if zone is None:
            self.outside += 1
            return False
        frames = set(block_frames(pfn, order))
        if frames - self.free[zone] - self.unknown:
            self.exit_of_used += 1
        self.unknown -= frames
        self.managed |= frames
        self.free[zone] -= frames
        return True

    def correct(self, pfn: int, what: str) -> None:
        """A snapshot says that one frame is 'used' or 'free'; no step, so nothing is impossible."""
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is None:
            return
        self.unknown.discard(pfn)
        self.managed.add(pfn)
        (self.free[zone].add if what == "free" else self.free[zone].discard)(pfn)

    def is_wholly_free(self, pfn: int, order: int) -> bool:
        """Whether [pfn, pfn + 2**order) lies wholly inside one zone and all of it is free."""
        zone = self.guest.zone_of_range(pfn, 1 << order)
        if zone is None:
            return False
        return all(frame in self.free[zone] for frame in block_frames(pfn, order))

    def free_units(self, order: int) -> list[int]:
        """The wholly free units of ``order``, ascending."""
        units = []
        for zone in self.guest.zones:
            for pfn in range(align_up(zone.start_pfn, order), zone.end_pfn, 1 << order):
                if self.is_wholly_free(pfn, order):
                    units.append(pfn)
        return sorted(units)

    def free_blocks(self) -> dict[tuple[int, int], list[int]]:
        """(zone index, order) -> heads of the maximal aligned free blocks <= max_order, ascending.

        This is what a buddy allocator holds when everything that can merge has merged.
        """
        blocks: dict[tuple[int, int], list[int]] = {}
        for index, zone in enumerate(self.guest.zones):
            pfn = zone.start_pfn
            while pfn < zone.end_pfn:
                if pfn not in self.free[index]:
                    pfn += 1
                    continue
                order = self._largest_free_order_at(pfn)
                blocks.setdefault((index, order), []).append(pfn)
                pfn += 1 << order
        return blocks

    def _largest_free_order_at(self, pfn: int) -> int:
        """The largest order <= max_order at which ``pfn`` heads an aligned, wholly free block."""
        order = 0
        while (
            order < self.guest.max_order
            and is_aligned(pfn, order + 1)
            and self.is_wholly_free(pfn, order + 1)
        ):
            order += 1
        return order


class PageblockTypes:
    """The migratetype of every pageblock; all MOVABLE at the start (pageblock_flags)."""

    def __init__(self, pageblock_order: int) -> None:
        """All pageblocks start as MOVABLE."""
        self.pageblock_order = pageblock_order
        self._types: dict[int, int] = {}

    def get(self, pfn: int) -> int:
        """get_pageblock_migratetype(): the type of the pageblock that contains ``pfn``."""
        return self._types.get(pfn >> self.pageblock_order, MOVABLE)

    def touched(self, pfn: int, order: int) -> list[int]:
        """First frames of the pageblocks that share a frame with the block."""
        first = align_down(pfn, self.pageblock_order)
        return list(range(first, pfn + (1 << order), 1 << self.pageblock_order))

    def set_touched(self, pfn: int, order: int, migratetype: int) -> None:
        """set_pageblock_migratetype() on every pageblock the block touches."""
        for start in self.touched(pfn, order):
            self._types[start >> self.pageblock_order] = migratetype

    def make_movable(self, pfn: int, order: int) -> None:
        """Every covered pageblock of a mergeable type becomes MOVABLE.

        mm/page_alloc.c __isolate_free_page(), for order >= pageblock_order - 1.
        """
        for start in self.touched(pfn, order):
            if self.get(start) in MERGEABLE:
                self._types[start >> self.pageblock_order] = MOVABLE


# ---------------------------------------------------------------------------------------------
# Free lists
# ---------------------------------------------------------------------------------------------


@dataclass
class Listed:
    """A block on a free list; ``reported`` is PG_reported, valid only on a buddy head."""

    zone: int
    order: int
    migratetype: int
    reported: bool = False


class FreeLists:
    """Free lists per (zone, order, migratetype) for the orders R..max_order (free_area)."""

    def __init__(self, guest: Guest, reporting_order: int, types: PageblockTypes) -> None:
        """Empty lists."""
        self.guest = guest
        self.types = types
        self.reporting_order = reporting_order
        self.blocks: dict[int, Listed] = {}
        self.lists: dict[ListKey, list[int]] = {}

    def heads(self, key: ListKey) -> list[int]:
        """The block heads on one list, from head to tail."""
        return self.lists.setdefault(key, [])

    def nr_free(self, zone: int, order: int) -> int:
        """free_area[order].nr_free: blocks of this order, all migratetypes, reported included."""
        return sum(1 for b in self.blocks.values() if (b.zone, b.order) == (zone, order))

    def has(self, zone: int, pfn: int, order: int) -> bool:
        """page_is_buddy(): ``pfn`` heads a listed block of exactly ``order`` in ``zone``."""
        block = self.blocks.get(pfn)
        return block is not None and (block.zone, block.order) == (zone, order)

    def add(self, zone: int, pfn: int, order: int, migratetype: int, *, tail: bool) -> None:
        """add_to_free_list() or add_to_free_list_tail(); the block is unflagged."""
        if pfn in self.blocks:
            raise AssertionError(f"block {pfn} is listed twice")
        self.blocks[pfn] = Listed(zone, order, migratetype)
        heads = self.heads((zone, order, migratetype))
        heads.insert(len(heads) if tail else 0, pfn)

    def remove(self, pfn: int) -> Listed:
        """del_page_from_free_list(): the block leaves its list and loses its flag."""
        block = self.blocks.pop(pfn)
        self.heads((block.zone, block.order, block.migratetype)).remove(pfn)
        return block

    def rotate_to_front(self, key: ListKey, pfn: int) -> bool:
        """list_rotate_to_front() unless list_is_first(); returns whether anything moved."""
        heads = self.heads(key)
        index = heads.index(pfn)
        heads[:] = heads[index:] + heads[:index]
        return index != 0

    def free(self, zone: int, pfn: int, order: int, *, to_tail: bool = False) -> None:
        """An ordinary free: from 6.10 on, pageblock by pageblock (split_large_buddy())."""
        piece = min(order, max(self.guest.pageblock_order, self.reporting_order))
        if not self.guest.by_pageblock:
            piece = order
        for start in range(pfn, pfn + (1 << order), 1 << piece):
            self.insert(zone, start, piece, self.types.get(start), to_tail=to_tail)

    def insert(self, zone: int, pfn: int, order: int, migratetype: int, *, to_tail: bool) -> None:
        """__free_one_page(): merge upwards, then place the merged block.

        ``to_tail`` is FPI_TO_TAIL; without it the ordinary rule holds: to the tail if a further
        merge is likely, else to the head.
        """
        while order < self.guest.max_order:
            buddy = pfn ^ (1 << order)
            if not self.has(zone, buddy, order):
                break
            if not self._may_merge(buddy, order, migratetype):
                break
            self.remove(buddy)
            pfn = min(pfn, buddy)
            order += 1
        tail = to_tail or self._merge_likely(zone, pfn, order)
        self.add(zone, pfn, order, migratetype, tail=tail)

    def _may_merge(self, buddy: int, order: int, migratetype: int) -> bool:
        """Below pageblock_order always; from there on equal types or two mergeable ones.

        mm/page_alloc.c __free_one_page(), migratetype_is_mergeable().
        """
        if order < self.guest.pageblock_order:
            return True
        other = self.types.get(buddy)
        merge = other == migratetype or (other in MERGEABLE and migratetype in MERGEABLE)
        if merge and self.guest.by_pageblock:
            self.types.set_touched(buddy, 0, migratetype)
        return merge

    def _merge_likely(self, zone: int, pfn: int, order: int) -> bool:
        """buddy_merge_likely(): the next-higher buddy is free, so this block may merge soon."""
        if order >= self.guest.max_order - 1:
            return False
        combined = pfn & ~(1 << order)
        higher_buddy = combined ^ (1 << (order + 1))
        return self.has(zone, higher_buddy, order + 1)

    def move_blocks(self, start: int, migratetype: int) -> None:
        """move_freepages(): blocks of the pageblock at ``start`` go to other lists' tails, ascending.

        They stay reported; a block larger than the pageblock stays where it is.
        """
        inside = block_frames(start, self.guest.pageblock_order)
        for pfn in sorted(p for p in self.blocks if p in inside):
            block = self.blocks[pfn]
            if block.migratetype != migratetype and block.order <= self.guest.pageblock_order:
                self.remove(pfn)
                self.add(block.zone, pfn, block.order, migratetype, tail=True)
                self.blocks[pfn].reported = block.reported

    def containing(self, pfn: int, order: int) -> int | None:
        """Head of the listed block that contains the whole of [pfn, pfn + 2**order), if any."""
        for bigger in range(order, self.guest.max_order + 1):
            head = align_down(pfn, bigger)
            block = self.blocks.get(head)
            if block is not None and block.order == bigger:
                return head
        return None

    def take(self, pfn: int, order: int, migratetype: int = -1) -> int:
        """Take [pfn, pfn + 2**order) out of the lists; returns how many frames were listed.

        From a bigger block by splitting; otherwise every listed block inside the range goes.
        """
        head = self.containing(pfn, order)
        if head is not None:
            self._take_from(head, pfn, order, migratetype)
            return 1 << order
        inside = [p for p in self.blocks if p in block_frames(pfn, order)]
        return sum(1 << self.remove(p).order for p in inside)

    def _take_from(self, head: int, pfn: int, order: int, migratetype: int) -> None:
        """expand(): each half that is not wanted goes to the head of a list, unflagged.

        Of its own list, unless it is known which one the block left.
        """
        block = self.remove(head)
        if migratetype < 0:
            migratetype = block.migratetype
        for piece, piece_order in split_toward(head, block.order, pfn, order):
            self.add(block.zone, piece, piece_order, migratetype, tail=False)


def split_toward(head: int, block_order: int, pfn: int, order: int) -> list[tuple[int, int]]:
    """The halves left over when (head, block_order) is split down to (pfn, order).

    Largest first, each as (pfn, order).
    """
    pieces = []
    while block_order > order:
        block_order -= 1
        upper = head + (1 << block_order)
        if pfn >= upper:
            pieces.append((head, block_order))
            head = upper
        else:
            pieces.append((upper, block_order))
    return pieces


# ---------------------------------------------------------------------------------------------
# The host
# ---------------------------------------------------------------------------------------------


@dataclass
class Discard:
    """What one reported block gave the host, in frames."""

    new: list[int] = field(default_factory=list)
    redundant: int = 0
    acknowledged_only: int = 0


class Host:
    """What the host backs, frame by frame; only managed frames have an entry.

    Backing '4k' works per frame.  '2m' discards and backs whole aligned 2 MiB host pages.  'thp'
    discards per frame, but a touch in a wholly absent host page brings all of it back.
    """

    def __init__(self, backing: str, page_size: int) -> None:
        """A host that knows no frame yet."""
        if backing not in ("4k", "2m", "thp"):
            raise ValueError(f"unknown backing {backing!r}")
        self.backing = backing
        self.host_page = HOST_PAGE_BYTES // page_size
        self.state: dict[int, str] = {}
        self.reclaimed: set[int] = set()
        self.refault_frames = 0

    def set(self, frame: int, what: str) -> None:
        """Give one frame its state; ``reclaimed`` is the set of frames in that state."""
        self.state[frame] = what
        if what == RECLAIMED:
            self.reclaimed.add(frame)
        else:
            self.reclaimed.discard(frame)

    def backed_in(self, frames: Iterable[int]) -> int:
        """How many of the frames are backed."""
        return sum(1 for frame in frames if self.state[frame] == BACKED)

    def discard(self, pfn: int, order: int) -> Discard:
        """A report of the block completed (madvise or fallocate on the host's side).

        Every backed frame that the backing can discard is reclaimed; one already reclaimed or
        still fresh is redundant.  With 2m what lies outside whole host pages is acknowledged and
        nothing happens to it.
        """
        result = Discard()
        block = block_frames(pfn, order)
        for frame in block:
            if self.backing == "2m" and not self._host_page_inside(frame, block):
                result.acknowledged_only += 1
            elif self.state[frame] == BACKED:
                self.set(frame, RECLAIMED)
                result.new.append(frame)
            else:
                result.redundant += 1
        return result

    def _host_page_inside(self, frame: int, block: range) -> bool:
        """Whether the host page of ``frame`` lies wholly inside the block."""
        page = self._page_frames(frame // self.host_page)
        return page[0] >= block[0] and page[-1] <= block[-1]

    def _page_frames(self, page: int) -> range:
        return range(page * self.host_page, (page + 1) * self.host_page)

    def touch(self, frames: Iterable[int]) -> None:
        """The guest uses the frames: what the host lacks of them is backed again.

        A reclaimed frame that is backed anew counts as a refault, a fresh one does not.  Host
        page by host page, each decided on its state before the touch.
        """
        by_page: dict[int, list[int]] = {}
        for frame in frames:
            by_page.setdefault(frame // self.host_page, []).append(frame)
        for page, touched in by_page.items():
            for frame in self._brought_back(page, touched):
                if self.state[frame] == RECLAIMED:
                    self.refault_frames += 1
                self.set(frame, BACKED)

    def _brought_back(self, page: int, touched: list[int]) -> list[int]:
        """The frames of one host page that a touch of ``touched`` makes the host back."""
        lacking_touched = self._lacking(touched)
        lacking_page = self._lacking(self._page_frames(page))
        if self.backing == "2m" and lacking_touched:
            return lacking_page
        if self.backing == "thp" and len(lacking_page) == self.host_page:
            return lacking_page
        return lacking_touched

    def _lacking(self, frames: Iterable[int]) -> list[int]:
        """Those of the frames that are managed and reclaimed or fresh."""
        return [f for f in frames if f in self.state and self.state[f] != BACKED]


# ---------------------------------------------------------------------------------------------
# The result
# ---------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one replay measured."""

    frames: FrameModel
    reports: list[ReportRow]
    latency: list[tuple[int, int, int]]
    missed: list[tuple[int | None, int, int]]
    left_censored_bytes: int
    unreported_end_bytes: int
    passes: int
    calls: int
    blocks: int
    bytes: int
    redundant_bytes: int
    acknowledged_only_bytes: int
    reclaimed_end_bytes: int
    start_bytes: int
    peak_bytes: int
    reclaimed_byte_ns: int
    managed_byte_ns: int
    free_byte_ns: int
    reportable_byte_ns: int
    refault_frames: int
    held_frame_ns: int
    collision_blocks: int
    collision_bytes: int
    exit_of_used: int
    entry_of_free: int
    outside: int
    corrected: int
    entries_walked: int
    rotations: int
    lists_end: dict[ListKey, list[int]]
    compositions: list[Composition]
    part_frame_ns: Composition

    def free_units(self, order: int) -> list[int]:
        """The wholly free units of ``order`` at the end."""
        return self.frames.free_units(order)

    def free_blocks(self) -> dict[tuple[int, int], list[int]]:
        """The maximal aligned free blocks at the end, per (zone index, order)."""
        return self.frames.free_blocks()


# ---------------------------------------------------------------------------------------------
# Replay
# ---------------------------------------------------------------------------------------------


@dataclass
class Isolated:
    """A block the policy holds outside the lists, until the report it is in completes.

    ``since`` is the clock of each of its units at isolation (None: unknown), ``intact`` the units
    that have stayed wholly free from then on, ``exited`` the frames that have left the buddy from
    then on.  A collided block is no longer held, but the device still has it.
    """

    zone: int
    pfn: int
    order: int
    isolated_ns: int
    since: dict[int, int | None]
    intact: set[int]
    exited: set[int] = field(default_factory=set)
    collided: bool = False


@dataclass(frozen=True)
class Setup:
    """The arguments of one replay."""

    guest: Guest
    state: dict[int, str]
    reported_heads: set[int]
    t0_ns: int
    end_ns: int
    events: list[Event]
    params: dict[str, Any]
    start: str
    backing: str
    call_ns: int
    byte_ns: float
    observer: Callable[[Replay], None] | None = None
    corrections: list[Correction] = field(default_factory=list)
    listed: list[tuple[int, int, int]] = field(default_factory=list)
    bins_ns: list[int] = field(default_factory=list)


class ReplayOver(Exception):
    """A report would complete after the end of the replay: the policy acts no more."""


class Replay:
    """One replay in virtual time.  As it stands it is the policy ``never``."""

    reports_at_all = False

    def __init__(self, setup: Setup) -> None:
        """Build the state at t0; ``run`` replays."""
        self.setup = setup
        self.guest = setup.guest
        self.reporting_order: int = setup.params.get("order", setup.guest.pageblock_order)
        self.now = setup.t0_ns
        self.next_event = 0
        self.next_correction = 0
        self.frames = FrameModel(setup.guest, setup.state)
        self.types = PageblockTypes(setup.guest.pageblock_order)
        self.lists = FreeLists(setup.guest, self.reporting_order, self.types)
        self.host = Host(setup.backing, setup.guest.page_size)
        self.batch: list[Isolated] = []
        self.since: dict[int, int | None] = {}
        self.last_freed: dict[int, int | None] = {}  # kept when the unit breaks
        self.told: set[int] = set()
        self.free_history: list[list[tuple[int, int]]] = [[] for _ in self.guest.zones]
        self.free_at_start = [len(free) for free in self.frames.free]
        self._init_meters()
        self._check_arguments()

    def _init_meters(self) -> None:
        self.reports: list[ReportRow] = []
        self.latency: list[tuple[int, int, int]] = []
        self.missed: list[tuple[int | None, int, int]] = []
        self.left_censored_bytes = 0
        self.passes = 0
        self.calls = 0
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
        self.entries_walked = 0
        self.rotations = 0
        self.corrected = 0
        self.refused: set[int] = set()  # zones whose last visit a watermark refused
        self.compositions: list[Composition] = []
        self.part_frame_ns: Composition = dict.fromkeys(PARTS, 0)

    def _check_arguments(self) -> None:
        setup = self.setup
        if setup.start not in ("steady", "cold", "recorded"):
            raise ValueError(f"unknown start {setup.start!r}")
        if not 0 <= self.reporting_order <= self.guest.max_order:
            raise ValueError("the reporting order is out of range")
        if setup.end_ns < setup.t0_ns:
            raise ValueError("the replay ends before it starts")
        times = [event[0] for event in setup.events]
        if times != sorted(times) or (times and times[0] < setup.t0_ns):
            raise ValueError("events must be ordered in time and not before t0")
        for _, kind, _, _, migratetype in setup.events:
            if kind not in ("enter", "exit") or migratetype >= self.guest.n_migratetypes:
                raise ValueError(f"bad event kind {kind!r} or migratetype {migratetype}")

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
        """Whether a report under way covers this wholly-free period of the unit."""
        return any(unit in block.intact for block in self.batch)

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
        self.managed_byte_ns += len(self.frames.managed) * page * elapsed
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
        self.compositions += [parts for at in self.setup.bins_ns if self.now <= at < t]

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
        if self.setup.observer is not None:
            self.setup.observer(self)

    def apply_events(self, t: int) -> None:
        """Apply the events with ts <= t that are still to come."""
        while (ts := self.next_event_ts()) is not None and ts <= t:
            self.apply_next()

    def next_event_ts(self) -> int | None:
        """Time of the next event or correction inside the replay, if there is one."""
        times = [event[0] for event in self.setup.events[self.next_event : self.next_event + 1]]
        if self.next_correction < len(self.setup.corrections):
            times.append(self.setup.corrections[self.next_correction][0])
        ts = min(times, default=self.setup.end_ns + 1)
        return ts if ts <= self.setup.end_ns else None

    def run(self) -> Outcome:
        """Replay [t0, end]: an event goes before an action of the same time."""
        self._start()
        with contextlib.suppress(ReplayOver):
            self._run_loop()
        self.apply_events(self.setup.end_ns)
        self.advance(self.setup.end_ns)
        self._note_peak()
        self.compositions += [self.composition() for at in self.setup.bins_ns if at == self.now]
        return self._outcome()

    def _run_loop(self) -> None:
        while True:
            event_ts, action_ts = self.next_event_ts(), self.next_action_ts()
            if event_ts is not None and (action_ts is None or event_ts <= action_ts):
                self.apply_next()
            elif action_ts is not None and action_ts <= self.setup.end_ns:
                self.advance(action_ts)
                self.act()
            else:
                return

    # -- what a policy overrides --------------------------------------------------------------

    def next_action_ts(self) -> int | None:
        """When the policy acts next."""
        return None

    def act(self) -> None:
        """The policy's action, at ``now``."""

    def notify(self) -> None:
        """page_reporting_notify_free(): an ordinary insertion of order >= R has happened."""

    def on_units_freed(self, units: list[int]) -> None:
        """The units became wholly free by the event at ``now``, which has been applied."""

    def on_start(self, unflagged: list[int]) -> None:
        """The start state is built; ``unflagged`` are the listed heads that are not reported."""

    def put_back_to_tail(self) -> bool:
        """Whether a put-back goes to the tail (else by the ordinary rule)."""
        return True

    # -- the start ----------------------------------------------------------------------------

    def _start(self) -> None:
        for frame in self.frames.managed:
            self.host.set(frame, BACKED)
        for unit in self.frames.free_units(self.reporting_order):
            self.since[unit] = self.setup.t0_ns if self.setup.start == "cold" else None
        blocks = self._start_blocks()
        for head, order, migratetype in self.setup.listed:
            found = [block for block in blocks if (block[0], block[2]) == (head, order)]
            for block in found:
                blocks.remove(block)
                self.lists.add(block[1], head, order, migratetype, tail=True)
                if order >= self.guest.pageblock_order:
                    self.types.set_touched(head, order, migratetype)
        for head, zone, order in blocks:
            self.lists.add(zone, head, order, self.types.get(head), tail=True)
        for head in sorted(self.lists.blocks):
            if self._reported_at_start(head):
                self._report_at_start(head)
        self.start_bytes = len(self.host.reclaimed) * self.guest.page_size
        self.on_start([p for p in sorted(self.lists.blocks) if not self.lists.blocks[p].reported])
        self.observe()

    def _start_blocks(self) -> list[tuple[int, int, int]]:
        """(head, zone, order) of the maximal free blocks of order >= R, in ascending pfn."""
        found = []
        for (zone, order), heads in self.frames.free_blocks().items():
            if order >= self.reporting_order:
                found += [(head, zone, order) for head in heads]
        return sorted(found)

    def _reported_at_start(self, head: int) -> bool:
        if not self.reports_at_all or self.setup.start == "cold":
            return False
        return self.setup.start == "steady" or head in self.setup.reported_heads

    def _report_at_start(self, head: int) -> None:
        """The block was reported before t0: flagged, gone from the host, its units told."""
        block = self.lists.blocks[head]
        block.reported = True
        self.host.discard(head, block.order)
        self.told |= set(self.units_of(head, block.order))

    # -- events -------------------------------------------------------------------------------

    def apply_next(self) -> None:
        """The next event or, after the events of its time, the next correction."""
        coming = self.setup.corrections[self.next_correction : self.next_correction + 1]
        events = self.setup.events[self.next_event : self.next_event + 1]
        if coming and (not events or coming[0][0] < events[0][0]):
            self.next_correction += 1
            self.apply_correction(*coming[0])
        else:
            self.apply_event()

    def apply_correction(self, ts: int, state: dict[int, str]) -> None:
        """A snapshot: what it knows better of the frames, unit by unit in each zone."""
        self.advance(ts)
        for index, zone in enumerate(self.guest.zones):
            frames = [f for f in range(zone.start_pfn, zone.end_pfn) if state.get(f) in ("used", "free")]
            for unit in sorted({align_down(frame, self.reporting_order) for frame in frames}):
                inside = [f for f in frames if align_down(f, self.reporting_order) == unit]
                self._correct_unit(index, unit, {f: state[f] for f in inside})
            self.free_history[index].append((ts, len(self.frames.free[index])))
        self.observe()

    def _correct_unit(self, zone: int, unit: int, said: dict[int, str]) -> None:
        """Frames of one unit: first those that are in use after all, then those that are free.

        A free frame that is in use exited unseen: its unit breaks, the host backs it.  A frame that
        is free entered unseen: nobody knows when, so the clock of a unit that becomes wholly free
        by it is unknown.  An absent frame that is free appears fresh; one in use is backed.
        """
        for frame, what in said.items():
            if what == "used":
                self._found_used(frame, unit)
        for frame, what in said.items():
            if what == "free" and self.frames.state_of(frame) != "free":
                before = self.frames.state_of(frame)
                self.corrected += before != "unknown"
                if before != "used":
                    self.host.set(frame, FRESH if before == "absent" else BACKED)
                self.frames.correct(frame, "free")
        if unit not in self.since and self.frames.is_wholly_free(unit, self.reporting_order):
            self.since[unit] = None
            self.last_freed[unit] = None
            self._insert(zone, unit, self.reporting_order)
            self.on_units_freed([unit])

    def _found_used(self, frame: int, unit: int) -> None:
        """One frame is in use: if the model held it free, it has left the buddy."""
        before = self.frames.state_of(frame)
        if before == "free":
            self.corrected += 1
            broken = unit in self.since
            if broken:
                self._note_missed(unit)
            self.host.touch([frame])
            self.frames.correct(frame, "used")
            for block in self.batch:
                block.exited |= {frame} & set(block_frames(block.pfn, block.order))
            if broken:
                self._forget(unit)
                self._take(unit, self.reporting_order, -1)
        else:
            if before != "used":
                self.host.set(frame, BACKED)
            self.frames.correct(frame, "used")

    def _forget(self, unit: int) -> None:
        """The unit is no longer wholly free."""
        del self.since[unit]
        self.told.discard(unit)
        for block in self.batch:
            block.intact.discard(unit)

    def apply_event(self) -> None:
        """Apply the next event: occupancy, host, units, lists, in that order."""
        ts, kind, pfn, order, migratetype = self.setup.events[self.next_event]
        self.next_event += 1
        self.advance(ts)
        zone = self.frames.zone_of_event(pfn, order)
        if zone is None:
            self.frames.outside += 1
        elif kind == "enter":
            self._apply_enter(zone, pfn, order, migratetype)
        else:
            self._apply_exit(pfn, order, migratetype)
        if zone is not None:
            self.free_history[zone].append((ts, len(self.frames.free[zone])))
        self.observe()

    def _apply_enter(self, zone: int, pfn: int, order: int, migratetype: int) -> None:
        """The block enters the buddy; a frame that was absent is fresh on the host, an unknown one not."""
        before = {frame: self.frames.state_of(frame) for frame in block_frames(pfn, order)}
        self.frames.enter(pfn, order)
        for frame, what in before.items():
            if what in ("absent", "unknown"):  # an unknown one was in use, so the host backs it
                self.host.set(frame, FRESH if what == "absent" else BACKED)
        freed = self._units_just_freed(pfn, order)
        for unit in freed:
            self.since[unit] = self.now
            self.last_freed[unit] = self.now
        if migratetype >= 0:
            self._learn(pfn, order, migratetype)
        for piece, piece_order in self._step2(pfn, order, freed):
            new = "absent" in before.values() and "unknown" not in before.values()
            self._insert(zone, piece, piece_order, new=new)
        self.on_units_freed(freed)

    def _learn(self, pfn: int, order: int, migratetype: int) -> None:
        """An event tells the type of its pageblocks: what is free in them is on the lists of it."""
        for start in self.types.touched(pfn, order):
            if self.types.get(start) != migratetype:
                self.types.set_touched(start, 0, migratetype)
                self.lists.move_blocks(start, migratetype)

    def _units_just_freed(self, pfn: int, order: int) -> list[int]:
        """Units the block touches that are wholly free now and were not before."""
        return [
            unit
            for unit in self.units_of(pfn, order)
            if unit not in self.since and self.frames.is_wholly_free(unit, self.reporting_order)
        ]

    def _step2(self, pfn: int, order: int, units: list[int]) -> list[tuple[int, int]]:
        """The list operations of an event: the whole block if all its units changed, else each.

        ``units`` are those that became, or stopped being, wholly free, ascending.
        """
        if order >= self.reporting_order and units == self.units_of(pfn, order):
            return [(pfn, order)]
        return [(unit, self.reporting_order) for unit in units]

    def _insert(self, zone: int, pfn: int, order: int, *, new: bool = False) -> None:
        """An ordinary free of a block of order >= R; it notifies after it (__free_one_page()).

        Memory new to the guest goes where isolated blocks go (__free_pages_core(), FPI_TO_TAIL).
        """
        self.lists.free(zone, pfn, order, to_tail=new and self.put_back_to_tail())
        self.notify()

    def _apply_exit(self, pfn: int, order: int, migratetype: int) -> None:
        """The block leaves the buddy: every frame of it counts as touched at once.

        ``migratetype`` is that of the list it leaves, -1 when unknown: what is left of a split block
        stays on that list, and from 6.10 on it is the type of the pageblocks.
        """
        frames = block_frames(pfn, order)
        if self.guest.by_pageblock and migratetype >= 0:
            self._learn(pfn, order, migratetype)
        broken = [unit for unit in self.units_of(pfn, order) if unit in self.since]
        for unit in broken:
            self._note_missed(unit)
        self.host.touch(frames)
        for frame in frames:
            if frame not in self.frames.managed:
                self.host.set(frame, BACKED)
        self.frames.exit(pfn, order)
        for unit in broken:
            self._forget(unit)
        for block in self.batch:
            block.exited |= set(frames) & set(block_frames(block.pfn, block.order))
        for piece, piece_order in self._step2(pfn, order, broken):
            self._take(piece, piece_order, migratetype)

    def _note_missed(self, unit: int) -> None:
        """A wholly free unit is about to break: missed unless told or in flight."""
        if unit in self.told or self.in_flight(unit):
            return
        backed = self.host.backed_in(block_frames(unit, self.reporting_order))
        missed_bytes = backed * self.guest.page_size
        if missed_bytes == 0:
            return
        since = self.since[unit]
        if since is None:
            self.left_censored_bytes += missed_bytes
        self.missed.append((None if since is None else self.now - since, missed_bytes, unit))

    def _take(self, pfn: int, order: int, migratetype: int) -> None:
        """Take the range out of the lists and out of the blocks held isolated."""
        taken = 0
        for block in self.batch:
            overlap = set(block_frames(pfn, order)) & set(block_frames(block.pfn, block.order))
            if overlap and not block.collided:
                taken += len(overlap)
                self._collide(block, pfn, order)
        taken += self.lists.take(pfn, order, migratetype)
        if taken != 1 << order:
            raise AssertionError(f"took {taken} frames of {1 << order} at {pfn}")

    def _collide(self, block: Isolated, pfn: int, order: int) -> None:
        """The recorded exit wins over the isolation: the rest of the block goes back at once."""
        block.collided = True
        self._release(block)
        self.collision_blocks += 1
        self.collision_bytes += self.size(block.order)
        for piece, piece_order in split_toward(block.pfn, block.order, pfn, order):
            self._put_back(block.zone, piece, piece_order, self.types.get(piece))

    def _release(self, block: Isolated) -> None:
        """The block is held no more from ``now`` on."""
        self.held_frame_ns += (self.now - block.isolated_ns) << block.order

    def _put_back(self, zone: int, pfn: int, order: int, migratetype: int) -> None:
        """__putback_isolated_page(): may merge, no notify (FPI_SKIP_REPORT_NOTIFY)."""
        self.lists.insert(zone, pfn, order, migratetype, to_tail=self.put_back_to_tail())

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

    def _unreported_end_bytes(self) -> int:
        """Backed bytes of the units that are wholly free at the end and were not told."""
        waiting = [unit for unit in self.since if unit not in self.told]
        backed = sum(self.host.backed_in(block_frames(u, self.reporting_order)) for u in waiting)
        return backed * self.guest.page_size

    def _outcome(self) -> Outcome:
        for block in self.batch:
            if not block.collided:
                self._release(block)
        return Outcome(
            frames=self.frames,
            reports=self.reports,
            latency=self.latency,
            missed=self.missed,
            left_censored_bytes=self.left_censored_bytes,
            unreported_end_bytes=self._unreported_end_bytes(),
            passes=self.passes,
            calls=self.calls,
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
            entries_walked=self.entries_walked,
            rotations=self.rotations,
            lists_end={key: list(heads) for key, heads in self.lists.lists.items() if heads},
            compositions=self.compositions,
            part_frame_ns=self.part_frame_ns,
        )


# ---------------------------------------------------------------------------------------------
# The policies
# ---------------------------------------------------------------------------------------------


class NeverReplay(Replay):
    """``never``: nothing is reported and nothing was; the lower bound."""

    def __init__(self, setup: Setup) -> None:
        """Only the parameter ``order`` is known."""
        super().__init__(setup)
        check_params(setup.params, {"order"})


class OracleReplay(Replay):
    """``oracle``: each unit is reported the instant it becomes wholly free; the upper bound.

    Unless the host backs no frame of it.  No isolation, gate, batch, flag or service time.
    """

    reports_at_all = True

    def __init__(self, setup: Setup) -> None:
        """With 2m a unit must consist of whole host pages."""
        super().__init__(setup)
        check_params(setup.params, {"order"})
        if setup.backing == "2m" and (1 << self.reporting_order) < self.host.host_page:
            raise NotImplementedError("oracle with backing 2m needs units of >= 2 MiB")

    def on_units_freed(self, units: list[int]) -> None:
        """Report at the moment of the event that freed them."""
        for unit in units:
            self._report_unit(unit)

    def on_start(self, unflagged: list[int]) -> None:
        """At t0 every wholly free unit that is not reported yet is reported, in ascending pfn."""
        for head in unflagged:
            self.on_units_freed(self.units_of(head, self.lists.blocks[head].order))

    def _report_unit(self, unit: int) -> None:
        """One unit, one block, one call; what of it the host lacked already is redundant."""
        order = self.reporting_order
        if self.host.backed_in(block_frames(unit, order)) == 0:
            return
        new = self.host.discard(unit, order).new
        self.calls += 1
        self.blocks += 1
        self.bytes += self.size(order)
        new_bytes = len(new) * self.guest.page_size
        self.redundant_bytes += self.size(order) - new_bytes
        self.reports.append((self.now, self.now, self.calls, 0, unit, order, new_bytes))
        self.note_latency(self.since, new)
        self.told.add(unit)


class UpstreamReplay(Replay):
    """``upstream``: free page reporting as merged in 5.7 (mm/page_reporting.c)."""

    reports_at_all = True

    def __init__(self, setup: Setup) -> None:
        """See ``simulate`` for the parameters."""
        super().__init__(setup)
        params = setup.params
        check_params(params, UPSTREAM_PARAMS)
        self.delay_ns: int = params.get("delay_ns", 2 * NS_PER_S)
        self.capacity: int = params.get("capacity", 32)
        self.budget: int = params.get("budget", 16)
        self.gate: bool = params.get("gate", True)
        self.rounding: str = params.get("rounding", "none")
        self.putback: str = params.get("putback", "tail")
        self.status = IDLE
        self.deadline: int | None = None
        if self.rounding not in ("none", "wheel") or self.putback not in ("tail", "head"):
            raise ValueError("rounding is none or wheel, putback is tail or head")
        if self.capacity < 1 or self.budget < 1 or self.delay_ns < 0:
            raise ValueError("capacity and budget are at least 1, the delay is not negative")

    def put_back_to_tail(self) -> bool:
        """Tail from 5.10 on; before, the ordinary rule (head at the two top orders)."""
        return self.putback == "tail"

    # -- requests -----------------------------------------------------------------------------

    def on_start(self, unflagged: list[int]) -> None:
        """page_reporting_register() requests once; recorded does if there is work left."""
        start = self.setup.start
        if start == "cold" or (start == "recorded" and unflagged):
            self.status = REQUESTED
            self.deadline = self._timer()

    def notify(self) -> None:
        """__page_reporting_request(): only a request that finds IDLE arms the timer."""
        if self.status == IDLE:
            self.deadline = self._timer()
        self.status = REQUESTED

    def _timer(self) -> int:
        """When work queued now with the delay runs."""
        if self.rounding == "none" or self.guest.hz is None:
            return self.now + self.delay_ns
        jiffies0, mono0 = self.setup.params.get("jiffies0"), self.setup.params.get("mono0_ns")
        phase = None if jiffies0 is None or mono0 is None else (jiffies0, mono0)
        return wheel_timer(self.now, self.delay_ns, self.guest.hz, phase)

    def next_action_ts(self) -> int | None:
        """The timer, if it is armed."""
        return self.deadline

    # -- a pass -------------------------------------------------------------------------------

    def act(self) -> None:
        """page_reporting_process(): one pass over all zones."""
        self.passes += 1
        self.status = ACTIVE
        self.deadline = None
        for zone in range(len(self.guest.zones)):
            self.refused.add(zone)
            if self._gate_open(zone):
                self.refused.discard(zone)
                self._process_zone(zone)
        if self.status == REQUESTED:
            self.deadline = self._timer()
        else:
            self.status = IDLE

    def _gate_open(self, zone: int) -> bool:
        """page_reporting_process_zone(): low watermark plus one full batch must stay free."""
        if not self.gate:
            return True
        limits = self.guest.zones[zone]
        needed = limits.low + limits.boost + (self.capacity << self.reporting_order)
        return self.zone_free(zone, self.now) - self.held(zone) > needed

    def _process_zone(self, zone: int) -> None:
        """Orders upwards, migratetypes upwards except ISOLATE; then the rest of the batch."""
        for order in range(self.reporting_order, self.guest.max_order + 1):
            for migratetype in range(self.guest.n_migratetypes):
                if migratetype != self.guest.isolate_migratetype:
                    self._cycle((zone, order, migratetype))
        if self.batch:
            self._report_batch()

    def _cycle(self, key: ListKey) -> None:
        """page_reporting_cycle(): walk one list from its head."""
        zone, order, _ = key
        if not self.lists.heads(key):
            return
        budget = ceil_div(self.lists.nr_free(zone, order), self.capacity * self.budget)
        index = 0
        while index < len(self.lists.heads(key)):
            pfn = self.lists.heads(key)[index]
            self.entries_walked += 1
            if self.lists.blocks[pfn].reported:
                index += 1
            elif budget < 0:
                self.status = REQUESTED
                self._make_first(key, pfn)
                return
            elif len(self.batch) < self.capacity:
                if not self._isolate(pfn):
                    self._make_first(key, pfn)
                    return
                # the entry left the list, so heads(key)[index] is its successor now
            else:
                self._make_first(key, pfn)
                self._report_batch()
                budget -= 1
                index = 0

    def _make_first(self, key: ListKey, pfn: int) -> None:
        """Rotate so that the walk resumes here next time."""
        if self.lists.rotate_to_front(key, pfn):
            self.rotations += 1

    def _isolate(self, pfn: int) -> bool:
        """__isolate_free_page(): refused if the zone would fall to its min watermark."""
        zone, order = self.lists.blocks[pfn].zone, self.lists.blocks[pfn].order
        available = self.zone_free(zone, self.now) - self.held(zone)
        if not available > self.guest.zones[zone].min + (1 << order):
            self.refused.add(zone)
            return False
        self.lists.remove(pfn)
        if order >= self.guest.pageblock_order - 1:
            self._make_movable(pfn, order)
        units = self.units_of(pfn, order)
        clocks = {unit: self.since[unit] for unit in units}
        self.batch.append(Isolated(zone, pfn, order, self.now, clocks, set(units)))
        return True

    def _make_movable(self, pfn: int, order: int) -> None:
        """The pageblocks turn MOVABLE; from 6.10 on, what else is free in them moves along."""
        before = {start: self.types.get(start) for start in self.types.touched(pfn, order)}
        self.types.make_movable(pfn, order)
        for start, migratetype in before.items():
            if self.guest.by_pageblock and self.types.get(start) != migratetype:
                self.lists.move_blocks(start, self.types.get(start))

    # -- a report -----------------------------------------------------------------------------

    def _report_batch(self) -> None:
        """Report the batch and drain it.

        The slots were filled from the high index down, so scatter-gather order is the reverse of
        the order of isolation.  Events up to the completion apply before it.
        """
        sg_list = list(reversed(self.batch))
        submit = self.now
        total = sum(self.size(block.order) for block in sg_list)
        done = submit + self.setup.call_ns + int(self.setup.byte_ns * total)
        if done > self.setup.end_ns:
            raise ReplayOver
        self.apply_events(done)
        self.advance(done)
        self.calls += 1
        for block in sg_list:
            self._complete(block, submit)
        self.host.touch(frame for block in sg_list for frame in sorted(block.exited))
        self.batch = []
        for block in sg_list:
            if not block.collided:
                self._drain(block)
        self.observe()

    def _complete(self, block: Isolated, submit: int) -> None:
        """The device is done with one block: the host has what the backing lets it have."""
        page = self.guest.page_size
        result = self.host.discard(block.pfn, block.order)
        new_bytes = len(result.new) * page
        self.blocks += 1
        self.bytes += self.size(block.order)
        self.redundant_bytes += result.redundant * page
        self.acknowledged_only_bytes += result.acknowledged_only * page
        self.reports.append((submit, self.now, self.calls, self.passes, block.pfn, block.order, new_bytes))
        # Since it last became wholly free: later than at isolation for a unit that broke and came back.
        clocks = {unit: self.last_freed.get(unit, clock) for unit, clock in block.since.items()}
        self.note_latency(clocks, result.new)
        self.told |= block.intact

    def _drain(self, block: Isolated) -> None:
        """page_reporting_drain(): put back; flag it only if it did not merge."""
        self._release(block)
        self._put_back(block.zone, block.pfn, block.order, self.types.get(block.pfn))
        if self.lists.has(block.zone, block.pfn, block.order):
            self.lists.blocks[block.pfn].reported = True


UPSTREAM_PARAMS = {
    "order",
    "delay_ns",
    "capacity",
    "budget",
    "gate",
    "rounding",
    "putback",
    "jiffies0",
    "mono0_ns",
}


def check_params(params: dict[str, Any], known: set[str]) -> None:
    """Refuse a parameter the policy does not have."""
    unknown = set(params) - known
    if unknown:
        raise ValueError(f"unknown parameters {sorted(unknown)}")


def wheel_timer(now: int, delay_ns: int, hz: int, phase: tuple[int, int] | None) -> int:
    """When the timer wheel fires a delay armed at ``now`` (kernel/time/timer.c calc_index()).

    ``phase`` is (jiffies0, mono0_ns), one instant in both clocks; without it half a step is the
    expected rounding.
    """
    delta = ceil_div(delay_ns * hz, NS_PER_S)
    step = wheel_step(delta)
    if phase is None:
        return now + delay_ns + step * NS_PER_S // (2 * hz)
    jiffies0, mono0 = phase
    expires = jiffies0 + (now - mono0) * hz // NS_PER_S + delta
    fire = (expires // step + 1) * step
    return mono0 + ceil_div((fire - jiffies0) * NS_PER_S, hz)


def wheel_step(delta: int) -> int:
    """Granularity in jiffies of the wheel level for a timer ``delta`` jiffies away."""
    if delta < 63:
        return 1
    if delta < 504:
        return 8
    if delta < 4032:
        return 64
    return 512


POLICIES: dict[str, type[Replay]] = {
    "never": NeverReplay,
    "oracle": OracleReplay,
    "upstream": UpstreamReplay,
}


def simulate(
    guest: Guest,
    state: dict[int, str],
    reported_heads: set[int],
    t0_ns: int,
    end_ns: int,
    events: list[Event],
    policy: str,
    params: dict[str, Any],
    start: str,
    backing: str,
    call_ns: int = 600_000,
    byte_ns: float = 0,
    observer: Callable[[Replay], None] | None = None,
    corrections: list[Correction] | None = None,
    listed: list[tuple[int, int, int]] | None = None,
    bins_ns: list[int] | None = None,
) -> Outcome:
    """Replay the events of [t0_ns, end_ns] under one policy.

    Policies: ``never`` and ``oracle`` (parameter order), ``upstream`` (order, delay_ns, capacity,
    budget, gate, rounding 'none' | 'wheel', putback 'tail' | 'head', jiffies0, mono0_ns).
    ``observer`` sees the replay after the start, every event and every completed report.
    ``corrections`` are snapshots in between; ``listed``, as (pfn, order, migratetype), the free lists
    that were read at the start, each from head to tail. ``bins_ns``: instants at which the outcome
    tells what managed memory was made of.
    """
    setup = Setup(
        guest,
        state,
        reported_heads,
        t0_ns,
        end_ns,
        events,
        params,
        start,
        backing,
        call_ns,
        byte_ns,
        observer,
        corrections or [],
        listed or [],
        bins_ns or [],
    )
    return POLICIES[policy](setup).run()

"""Start, events and snapshots: what they do to the state of a replay."""

from tests.oracle.guest import align_down, block_frames, overlap
from tests.oracle.host import BACKED, FRESH
from tests.oracle.lists import split_toward
from tests.oracle.setup import Event
from tests.oracle.world import Isolated, World


class Events(World):
    """What happens to the guest, whatever the policy is."""

    reports_at_all = False

    # -- the start ----------------------------------------------------------------------------

    def _start(self) -> None:
        self.host.back(self.frames.managed)
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

    def apply_correction(self, ts: int, state: dict[int, str]) -> None:
        """A snapshot: what it knows better of the frames, unit by unit in each zone."""
        self.cpu = 0
        self.advance(ts)
        for index, zone in enumerate(self.guest.zones):
            frames = [f for f in range(zone.start_pfn, zone.end_pfn) if state.get(f) in ("used", "free")]
            for unit in sorted({align_down(frame, self.reporting_order) for frame in frames}):
                inside = [f for f in frames if align_down(f, self.reporting_order) == unit]
                self._correct_unit(index, unit, {f: state[f] for f in inside})
            self.free_history[index].append((ts, self.frames.n_free[index]))
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

    def apply_event(self, event: Event, cpu: int) -> None:
        """Apply one event: occupancy, host, units, lists, in that order."""
        ts, kind, pfn, order, migratetype = event
        self.cpu = cpu
        self.advance(ts)
        if kind == "reshuffle":
            self._apply_reshuffle(pfn)
            return
        if kind == "claim":
            self._learn(pfn, order, migratetype)
            return
        zone = self.frames.zone_of_event(pfn, order)
        if zone is None:
            self.frames.outside += 1
        elif kind == "enter":
            self._apply_enter(zone, pfn, order, migratetype)
        else:
            self._apply_exit(pfn, order, migratetype)
        if zone is not None:
            self.free_history[zone].append((ts, self.frames.n_free[zone]))
        self.observe()

    def _apply_reshuffle(self, pfn: int) -> None:
        """Compaction moves nothing that the events do not tell; only the policy may care."""
        zone = self.guest.zone_of_range(pfn, 1)
        if zone is not None:
            self.on_reshuffled(zone)

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
        """An ordinary free of a block of order >= R: each piece arrives when it is inserted.

        Memory new to the guest goes to the tail (__free_pages_core(), FPI_TO_TAIL).
        """
        for piece, piece_order in self.lists.pieces(pfn, order):
            merged = self.lists.insert(zone, piece, piece_order, self.types.get(piece), to_tail=new)
            if self.registered:
                self.arrive(zone, *merged)

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
            if not self.frames.is_managed(frame):
                self.host.set(frame, BACKED)
        self.frames.exit(pfn, order)
        for unit in broken:
            self._forget(unit)
        for block in self.batch:
            block.exited |= set(overlap(frames, block_frames(block.pfn, block.order)))
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
            frames = overlap(block_frames(pfn, order), block_frames(block.pfn, block.order))
            if frames and not block.collided:
                taken += len(frames)
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

    def _put_back(self, zone: int, pfn: int, order: int, migratetype: int) -> None:
        """__putback_isolated_page(): may merge, no notify (FPI_SKIP_REPORT_NOTIFY)."""
        self.lists.insert(zone, pfn, order, migratetype, to_tail=self.put_back_to_tail())

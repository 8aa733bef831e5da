"""The buddy free lists of orders >= R, with the kernel's head and tail rules."""

from dataclasses import dataclass

from tests.oracle.guest import MERGEABLE, Guest, align_down, block_frames
from tests.oracle.pageblocks import PageblockTypes

ListKey = tuple[int, int, int]
"""(zone index, order, migratetype)."""


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
        """Empty lists without marks.

        A mark is a block that stands for the tail of its list: what is added to the tail goes just
        before it (``boundary``: v10's get_unreported_tail()).
        """
        self.guest = guest
        self.types = types
        self.reporting_order = reporting_order
        self.blocks: dict[int, Listed] = {}
        self.lists: dict[ListKey, list[int]] = {}
        self.marks: dict[ListKey, int] = {}
        self.tail_redirects = 0

    def heads(self, key: ListKey) -> list[int]:
        """The block heads on one list, from head to tail."""
        return self.lists.setdefault(key, [])

    def reported(self, zone: int, order: int) -> int:
        """How many listed blocks of this order are flagged reported."""
        return sum(1 for b in self.blocks.values() if (b.zone, b.order) == (zone, order) and b.reported)

    def nr_free(self, zone: int, order: int) -> int:
        """free_area[order].nr_free: blocks of this order, all migratetypes, reported included."""
        return sum(len(heads) for key, heads in self.lists.items() if key[:2] == (zone, order))

    def has(self, zone: int, pfn: int, order: int) -> bool:
        """page_is_buddy(): ``pfn`` heads a listed block of exactly ``order`` in ``zone``."""
        block = self.blocks.get(pfn)
        return block is not None and (block.zone, block.order) == (zone, order)

    def add(self, zone: int, pfn: int, order: int, migratetype: int, *, tail: bool) -> None:
        """add_to_free_list() or add_to_free_list_tail(); the block is unflagged."""
        if pfn in self.blocks:
            raise AssertionError(f"block {pfn} is listed twice")
        self.blocks[pfn] = Listed(zone, order, migratetype)
        key = (zone, order, migratetype)
        heads = self.heads(key)
        if tail and key in self.marks:
            heads.insert(heads.index(self.marks[key]), pfn)
            self.tail_redirects += 1
        else:
            heads.insert(len(heads) if tail else 0, pfn)

    def remove(self, pfn: int) -> Listed:
        """del_page_from_free_list(): the block leaves its list and loses its flag.

        If it was the mark, the next one towards the tail is, and behind the last one nothing is
        (v10's page_reporting_pull_boundary()).
        """
        block = self.blocks.pop(pfn)
        key = (block.zone, block.order, block.migratetype)
        heads = self.heads(key)
        if self.marks.get(key) == pfn:
            behind = heads[heads.index(pfn) + 1 :]
            del self.marks[key]
            if behind:
                self.marks[key] = behind[0]
        heads.remove(pfn)
        return block

    def rotate_to_front(self, key: ListKey, pfn: int) -> bool:
        """list_rotate_to_front() unless list_is_first(); returns whether anything moved."""
        heads = self.heads(key)
        index = heads.index(pfn)
        heads[:] = heads[index:] + heads[:index]
        return index != 0

    def pieces(self, pfn: int, order: int) -> list[tuple[int, int]]:
        """What an ordinary free inserts: from 6.10 on, pageblock by pageblock (split_large_buddy())."""
        piece = min(order, max(self.guest.pageblock_order, self.reporting_order))
        if not self.guest.by_pageblock:
            piece = order
        return [(start, piece) for start in range(pfn, pfn + (1 << order), 1 << piece)]

    def free(self, zone: int, pfn: int, order: int) -> None:
        """An ordinary free of a whole block, as such."""
        for start, piece in self.pieces(pfn, order):
            self.insert(zone, start, piece, self.types.get(start), to_tail=False)

    def insert(self, zone: int, pfn: int, order: int, migratetype: int, *, to_tail: bool) -> tuple[int, int]:
        """__free_one_page(): merge upwards, then place the merged block, which is returned.

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
        return pfn, order

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
        for pfn in [p for p in inside if p in self.blocks]:
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
        inside = [p for p in block_frames(pfn, order) if p in self.blocks]
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

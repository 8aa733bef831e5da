"""The order of free lists, read from a memory that others write to."""

import struct
from dataclasses import dataclass, field

import pytest

from tests.pure.small_types import Builder
from tracer.format import LIST_COLUMNS, Zone
from tracer.guest import lists
from tracer.guest.lists import (
    Layout,
    Lists,
    NoLists,
    Where,
    ZoneAt,
    find_pages,
    find_zones,
    layout,
    table,
    walk_all,
)
from tracer.image.btf import BadTypes, Member, Types
from tracer.probes.calibration import PageMap

NODE, NAMES, BASE = 0x1000_0000, 0x2000_0000, 0x3000_0000
TYPES, ORDERS = 2, 3
# struct page: flags, lru, private; struct free_area: lists, nr_free; struct zone: name, free_area.
LAYOUT = Layout(
    zones=Member(8, 2 * 136),
    zone_size=136,
    name=0,
    areas=16,
    area_size=40,
    lists=Member(0, 16 * TYPES),
    count=32,
    page_size=32,
    links=8,
    order=24,
)
PAGES = PageMap(BASE, 32)


def zone(name: str, start: int, spanned: int) -> Zone:
    return Zone(0, name, start, spanned, spanned, spanned, 0, 0, 0, 0, 0)


ZONES = [zone("DMA", 0, 16), zone("Normal", 16, 240)]


@dataclass
class FakeMemory:
    """Words by address; unwritten ones are zero. `on_read` runs before each read."""

    words: dict[int, int] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    reads: int = 0
    on_read: object = None

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        if callable(self.on_read):
            self.on_read(self.reads)
        if address in self.texts:
            return self.texts[address].ljust(size, b"\0")[:size]
        return struct.pack(f"<{size // 8}Q", *(self.words.get(address + at, 0) for at in range(0, size, 8)))

    def set_list(self, zone: int, order: int, kind: int, pfns: list[int]) -> None:
        """Link these blocks in this order, and set their order."""
        area = NODE + 8 + zone * 136 + 16 + order * 40
        head = area + 16 * kind
        chain = [head, *(BASE + pfn * 32 + 8 for pfn in pfns)]
        after = [*chain[1:], head]
        for link, following, previous in zip(chain, after, [chain[-1], *chain[:-1]], strict=True):
            self.words[link], self.words[link + 8] = following, previous
        for pfn in pfns:
            self.words[BASE + pfn * 32 + 24] = order
        self._count(area, zone, order)

    def _count(self, area: int, zone: int, order: int) -> None:
        count = 0
        for kind in range(TYPES):
            head = area + 16 * kind
            link = self.words.get(head, head)
            while link != head:
                count, link = count + 1, self.words[link]
        self.words[area + 32] = count


def memory() -> FakeMemory:
    """Two zones with empty lists, then some blocks."""
    made = FakeMemory()
    for number, one in enumerate(ZONES):
        made.words[NODE + 8 + number * 136] = NAMES + number * 64
        made.texts[NAMES + number * 64] = one.name.encode()
        for order in range(ORDERS):
            for kind in range(TYPES):
                made.set_list(number, order, kind, [])
    made.set_list(0, 2, 0, [4])
    made.set_list(1, 1, 0, [18, 40, 22])
    made.set_list(1, 1, 1, [100])
    made.set_list(1, 2, 1, [248, 16, 120, 32])
    return made


WHERE = Where(LAYOUT, [ZoneAt(0, "DMA", NODE + 8), ZoneAt(0, "Normal", NODE + 8 + 136)], PAGES)


def read(made: FakeMemory) -> dict[tuple[int, int], list[list[int]]]:
    return {(one.zone, one.order): one.blocks for one in walk_all(made, WHERE, ZONES, range(1, ORDERS))}


def test_blocks_are_told_from_head_to_tail() -> None:
    assert read(memory()) == {
        (0, 1): [[], []],
        (0, 2): [[4], []],
        (1, 1): [[18, 40, 22], [100]],
        (1, 2): [[], [248, 16, 120, 32]],
    }


def test_the_table_has_a_row_for_each_block() -> None:
    told = table([Lists(1, 9, [[512], [2048, 1024]], 5, 7), Lists(1, 10, [[], []], 8, 9)])
    assert told.schema.names == list(LIST_COLUMNS)
    assert [str(kind) for kind in told.schema.types] == list(LIST_COLUMNS.values())
    assert [tuple(row.values()) for row in told.to_pylist()] == [
        (1, 9, 0, 0, 512, 5, 7),
        (1, 9, 1, 0, 2048, 5, 7),
        (1, 9, 1, 1, 1024, 5, 7),
    ]
    assert table([]).num_rows == 0
    assert table([]).schema == told.schema


def test_zones_are_found_by_their_names() -> None:
    made = memory()
    made.words[0x500], made.words[0x508] = NODE, 0
    assert find_zones(made, LAYOUT, {"node_data": 0x500}, [0]) == WHERE.zones
    assert find_zones(made, LAYOUT, {"contig_page_data": NODE}, [0]) == WHERE.zones


@pytest.mark.parametrize("symbols", [{}, {"node_data": 0, "vmemmap_base": 0}])
def test_hidden_addresses_are_a_reason(symbols: dict[str, int]) -> None:
    with pytest.raises(NoLists, match="node_data"):
        find_zones(memory(), LAYOUT, symbols, [0])
    with pytest.raises(NoLists, match="vmemmap_base"):
        find_pages(memory(), symbols, LAYOUT)


def test_the_kernels_own_variable_tells_where_pages_lie() -> None:
    made = memory()
    made.words[0x600] = BASE
    assert find_pages(made, {"vmemmap_base": 0x600}, LAYOUT) == PAGES


def test_a_zone_that_is_not_there_is_a_reason() -> None:
    with pytest.raises(NoLists, match="no zone Movable"):
        list(walk_all(memory(), WHERE, [zone("Movable", 0, 256)], range(1)))


@pytest.mark.parametrize("reads", [2, 3, 4, 5, 6])
def test_a_list_that_changes_under_us_is_walked_again(reads: int) -> None:
    made = memory()

    def take_the_head(now: int) -> None:
        if now == reads:  # after the look at the heads: before a block, or before the last look
            made.set_list(1, 1, 0, [40, 22])

    made.on_read = take_the_head
    (told,) = walk_all(made, WHERE, ZONES[1:], range(1, 2))
    assert told.blocks == [[40, 22], [100]]
    assert told.read_begin_ns <= told.read_ts_ns


def spoil_order(made: FakeMemory) -> None:
    made.words[BASE + 40 * 32 + 24] = 0


def spoil_link_back(made: FakeMemory) -> None:
    made.words[BASE + 40 * 32 + 16] = BASE + 22 * 32 + 8


def spoil_link_away(made: FakeMemory) -> None:
    made.words[BASE + 40 * 32 + 8] = BASE + 4 * 32 + 8  # a frame of another zone


def spoil_link_between_pages(made: FakeMemory) -> None:
    made.words[BASE + 40 * 32 + 8] = BASE + 22 * 32 + 9


def spoil_link_to_odd_frame(made: FakeMemory) -> None:
    made.words[BASE + 40 * 32 + 8] = BASE + 23 * 32 + 8


def spoil_loop(made: FakeMemory) -> None:
    made.words[BASE + 22 * 32 + 8] = BASE + 18 * 32 + 8
    made.words[BASE + 18 * 32 + 16] = BASE + 22 * 32 + 8


def spoil_count(made: FakeMemory) -> None:
    made.words[NODE + 8 + 136 + 16 + 40 + 32] += 1


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_order,
        spoil_link_back,
        spoil_link_away,
        spoil_link_between_pages,
        spoil_link_to_odd_frame,
        spoil_loop,
        spoil_count,
    ],
)
def test_what_does_not_fit_together_is_never_told(spoil: object) -> None:
    made = memory()
    assert callable(spoil)
    spoil(made)
    with pytest.raises(NoLists, match=r"zone Normal, order 1, changed in each of \d+ walks"):
        read(made)
    assert made.reads < 100 * lists.ATTEMPTS


def test_the_layout_comes_from_the_kernels_description() -> None:
    made = Builder()
    word, pointer = made.integer("unsigned long", 8), made.pointer()
    head = made.structure("list_head", 16, [("next", pointer, 0), ("prev", pointer, 8)])
    area = made.structure("free_area", 40, [("free_list", made.array(head, 2), 0), ("nr_free", word, 32)])
    one = made.structure("zone", 136, [("name", pointer, 0), ("free_area", made.array(area, 3), 16)])
    made.structure("pglist_data", 400, [("id", word, 0), ("node_zones", made.array(one, 2), 8)])
    made.structure("page", 32, [("flags", word, 0), ("lru", head, 8), ("private", word, 24)])
    assert layout(Types(made.bytes())) == LAYOUT
    without = Builder()
    without.structure("page", 32, [("flags", without.integer("long", 8), 0)])
    with pytest.raises(BadTypes, match="does not describe"):
        layout(Types(without.bytes()))

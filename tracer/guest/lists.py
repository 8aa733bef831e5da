"""The order of the free lists, read from the kernel's memory while it works.

Nothing can be locked from here, so each (zone, order) is walked between two looks at its list heads:
if the heads and the count of free blocks did not change, every block pointed back at the one before it,
was of the right order, and there were as many as counted, then that is the order there was.
"""

import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracer.format import LIST_COLUMNS, Zone
from tracer.image import kallsyms
from tracer.image.btf import BadTypes, Member, Types, load
from tracer.image.kcore import Kcore, Memory
from tracer.probes.calibration import PageMap

if TYPE_CHECKING:
    import pyarrow as pa

ATTEMPTS = 20
_LIST_HEAD = 16  # two pointers: next, previous
_NODES, _ONE_NODE, _PAGES = "node_data", "contig_page_data", "vmemmap_base"
_NAME_BYTES = 16


class NoLists(Exception):  # noqa: N818 - a fact of the kernel, told as a reason
    """The lists cannot be read here, or did not stand still."""


class _Moved(Exception):  # noqa: N818
    """The list changed while it was walked."""


@dataclass(frozen=True)
class Layout:
    """Where things lie in this kernel's structs, in bytes."""

    zones: Member  # pglist_data.node_zones
    zone_size: int
    name: int  # zone.name, a pointer
    areas: int  # zone.free_area
    area_size: int
    lists: Member  # free_area.free_list, one list_head per migratetype
    count: int  # free_area.nr_free
    page_size: int  # of struct page
    links: int  # page.lru
    order: int  # page.private: the order of a free block


@dataclass(frozen=True)
class Lists:
    """All lists of one zone and order, each from head to tail."""

    zone: int
    order: int
    blocks: list[list[int]]  # by migratetype, pfns
    read_begin_ns: int
    read_ts_ns: int


@dataclass(frozen=True)
class ZoneAt:
    """Where a struct zone lies."""

    node: int
    name: str
    address: int


@dataclass(frozen=True)
class Where:
    """All that is needed to read the lists."""

    layout: Layout
    zones: list[ZoneAt]
    pages: PageMap


def find(nodes: Iterable[int], pages: PageMap | None = None) -> Where:
    """Look for the zones of these nodes. `pages`: as the probes found it, else the kernel is asked.

    Raises:
        NoLists: with the reason.
    """
    try:
        symbols = kallsyms.read([_NODES, _ONE_NODE, _PAGES])
        known = layout(load())
        memory = Kcore()
    except (OSError, BadTypes) as error:
        raise NoLists(str(error)) from error
    try:
        addresses = {name: symbol.address for name, symbol in symbols.items()}
        where = pages or find_pages(memory, addresses, known)
        return Where(known, find_zones(memory, known, addresses, nodes), where)
    except OSError as error:
        raise NoLists(str(error)) from error
    finally:
        memory.close()


class FreeLists:
    """The free lists of the running kernel. Opened with privileges, read on without them."""

    def __init__(self, where: Where) -> None:
        """Open the kernel's memory.

        Raises:
            NoLists: when it is closed to us.
        """
        self._where = where
        try:
            self._memory = Kcore()
        except OSError as error:
            raise NoLists(str(error)) from error

    def read(self, zones: list[Zone], orders: range) -> "pa.Table":
        """The lists of these orders now, with the columns of LIST_COLUMNS; `zones` is what zone counts.

        Raises:
            NoLists: with the reason.
        """
        try:
            return table(walk_all(self._memory, self._where, zones, orders))
        except OSError as error:
            raise NoLists(str(error)) from error

    def close(self) -> None:
        """Close the kernel's memory."""
        self._memory.close()


def layout(types: Types) -> Layout:
    """From the kernel's description of its types.

    Raises:
        BadTypes: naming what it does not describe.
    """

    def member(name: str, field: str) -> Member:
        found = types.member(name, field)
        if found is None:
            raise BadTypes(f"BTF does not describe {name}.{field}")
        return found

    def size(name: str) -> int:
        found = types.size(name)
        if not found:
            raise BadTypes(f"BTF does not describe struct {name}")
        return found

    return Layout(
        zones=member("pglist_data", "node_zones"),
        zone_size=size("zone"),
        name=member("zone", "name").offset,
        areas=member("zone", "free_area").offset,
        area_size=size("free_area"),
        lists=member("free_area", "free_list"),
        count=member("free_area", "nr_free").offset,
        page_size=size("page"),
        links=member("page", "lru").offset,
        order=member("page", "private").offset,
    )


def walk_all(memory: Memory, where: Where, zones: list[Zone], orders: range) -> Iterator[Lists]:
    """Every zone and order, zones in the order given.

    Raises:
        NoLists: when a zone is not found, or a list does not stand still.
        OSError: when memory cannot be read.
    """
    addresses = {(at.node, at.name): at.address for at in where.zones}
    for index, zone in enumerate(zones):
        address = addresses.get((zone.node, zone.name))
        if address is None:
            raise NoLists(f"node {zone.node} has no zone {zone.name} in the kernel's memory")
        for order in orders:
            yield _steady(memory, where, address, zone, index, order)


def _steady(memory: Memory, where: Where, address: int, zone: Zone, index: int, order: int) -> Lists:
    area = address + where.layout.areas + order * where.layout.area_size
    for _ in range(ATTEMPTS):
        begin = time.monotonic_ns()
        try:
            blocks = _walk(memory, where, area, zone, order)
        except _Moved:
            continue
        return Lists(index, order, blocks, begin, time.monotonic_ns())
    raise NoLists(f"the free lists of zone {zone.name}, order {order}, changed in each of {ATTEMPTS} walks")


def _walk(memory: Memory, where: Where, area: int, zone: Zone, order: int) -> list[list[int]]:
    """Pfns by migratetype.

    Raises:
        _Moved: when anything does not fit together.
    """
    known = where.layout
    before = memory.read(area, known.area_size)
    (count,) = struct.unpack_from("<Q", before, known.count)
    blocks: list[list[int]] = []
    for place in range(known.lists.offset, known.lists.offset + known.lists.size, _LIST_HEAD):
        first, last = struct.unpack_from("<QQ", before, place)
        left = count - sum(map(len, blocks))
        blocks.append(list(_follow(memory, where, (area + place, first, last), zone, order, left)))
    if memory.read(area, known.area_size) != before or sum(map(len, blocks)) != count:
        raise _Moved
    return blocks


def _follow(
    memory: Memory, where: Where, ends: tuple[int, int, int], zone: Zone, order: int, most: int
) -> Iterator[int]:
    """Pfns from head to tail, `most` at most. `ends`: address of the head, first link, last link."""
    known, (head, link, last) = where.layout, ends
    previous = head
    while link != head:
        most -= 1
        page = link - known.links
        pfn = _pfn(page, where.pages)
        if most < 0 or not zone.start_pfn <= pfn < zone.end_pfn or pfn % (1 << order):
            raise _Moved
        data = memory.read(page, known.page_size)
        following, back = struct.unpack_from("<QQ", data, known.links)
        if back != previous or struct.unpack_from("<Q", data, known.order) != (order,):
            raise _Moved
        yield pfn
        previous, link = link, following
    if previous != last:
        raise _Moved


def _pfn(page: int, pages: PageMap) -> int:
    pfn, rest = divmod((page - pages.base) % (1 << 64), pages.size)
    if rest:
        raise _Moved
    return pfn


def find_zones(memory: Memory, known: Layout, symbols: dict[str, int], nodes: Iterable[int]) -> list[ZoneAt]:
    """Where the struct zones of these nodes lie.

    Raises:
        NoLists: when the kernel hides its addresses.
        OSError: when memory cannot be read.
    """
    found = []
    for node in nodes:
        start = _node(memory, symbols, node) + known.zones.offset
        for address in range(start, start + known.zones.size, known.zone_size):
            name = memory.read(_pointer(memory, address + known.name), _NAME_BYTES)
            found.append(ZoneAt(node, name.split(b"\0")[0].decode(errors="replace"), address))
    return found


def _node(memory: Memory, symbols: dict[str, int], node: int) -> int:
    """Where a node's struct pglist_data lies: in a table of pointers, or alone in kernels for one node."""
    if symbols.get(_NODES):
        return _pointer(memory, symbols[_NODES] + 8 * node)
    if symbols.get(_ONE_NODE):
        return symbols[_ONE_NODE]
    raise NoLists(f"/proc/kallsyms tells no address of {_NODES} or {_ONE_NODE}")


def find_pages(memory: Memory, symbols: dict[str, int], known: Layout) -> PageMap:
    """Where the struct pages lie, from the kernel's own variable.

    Raises:
        NoLists: when it has none, or hides addresses.
        OSError: when memory cannot be read.
    """
    if not symbols.get(_PAGES):
        raise NoLists(f"/proc/kallsyms tells no address of {_PAGES}")
    return PageMap(_pointer(memory, symbols[_PAGES]), known.page_size)


def _pointer(memory: Memory, address: int) -> int:
    (value,) = struct.unpack("<Q", memory.read(address, 8))
    return int(value)


def table(lists: Iterable[Lists]) -> "pa.Table":
    """One row per block, with the columns of LIST_COLUMNS."""
    import pyarrow as pa

    rows = [
        (one.zone, one.order, kind, position, pfn, one.read_begin_ns, one.read_ts_ns)
        for one in lists
        for kind, blocks in enumerate(one.blocks)
        for position, pfn in enumerate(blocks)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(LIST_COLUMNS)
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in LIST_COLUMNS.items()])
    return pa.table([list(column) for column in columns], schema=schema)

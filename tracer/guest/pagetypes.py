"""Free blocks and pageblocks by migratetype, as /proc/pagetypeinfo shows them (mm/vmstat.c).

The kernel makes that text by walking every free list under the zone's lock, and every pageblock: it
is read beside the first and the last snapshot, never each second. It stops at 100,000 blocks of a
list (Linux 5.5 and later), so the lock is held for no longer than that takes.
"""

import re
import time
from typing import TYPE_CHECKING

from tracer.faults import Fault, environment
from tracer.format import PageTypes

if TYPE_CHECKING:
    from tracer.guest.files import GuestFiles

_FREE = re.compile(r"Node +(\d{1,9}), zone +(\S+), type +(\S+) ((?: *>?\d{1,18}\b)+)\s*$")
_BLOCKS = re.compile(r"Node +(\d{1,9}), zone +(\S+)((?: +\d{1,18}\b)+)\s*$")
_COUNT = re.compile(r"(>?)(\d+)")
_BLOCKS_BEGIN = "Number of blocks type"
_MIXED_BEGIN = "Number of mixed blocks"  # of kernels that track page owners: not wanted

Place = tuple[int, str]  # node and zone


def parse_page_types(
    text: str, migratetypes: list[str], read_begin_ns: int, read_end_ns: int
) -> list[PageTypes]:
    """Zones in the text's order; each node brings its headings anew.

    Raises:
        Fault: when a zone does not tell of all `migratetypes` (their names in the kernel's numbering),
            or a line of theirs has another form than any known kernel's.
    """
    free: dict[Place, dict[str, list[tuple[str, str]]]] = {}
    blocks: dict[Place, list[int]] = {}
    heading = ""
    for line in text.splitlines():
        if not line.startswith("Node"):
            heading = line
        elif found := _FREE.match(line):
            free.setdefault((int(found[1]), found[2]), {})[found[3]] = _COUNT.findall(found[4])
        elif not heading.startswith(_MIXED_BEGIN):
            found = _BLOCKS.match(line)
            if found is None or not heading.startswith(_BLOCKS_BEGIN):
                raise _unknown_form(f"the line {line[:80]!r}")
            blocks[int(found[1]), found[2]] = [int(count) for count in found[3].split()]
    if not free or free.keys() != blocks.keys():
        raise _unknown_form("zones with free blocks and none with pageblocks, or the other way round")
    return [
        _zone(place, rows, blocks[place], migratetypes, (read_begin_ns, read_end_ns))
        for place, rows in free.items()
    ]


def _zone(
    place: Place,
    rows: dict[str, list[tuple[str, str]]],
    blocks: list[int],
    migratetypes: list[str],
    read_ns: tuple[int, int],
) -> PageTypes:
    orders = {len(counts) for counts in rows.values()}
    if set(rows) != set(migratetypes) or len(blocks) != len(migratetypes) or len(orders) != 1:
        raise _unknown_form(f"other migratetypes or orders in zone {place[1]} than elsewhere")
    by_type = [rows[name] for name in migratetypes]
    return PageTypes(
        *place,
        free_blocks=[[int(count) for _, count in counts] for counts in by_type],
        cut_off=[
            [kind, order]
            for kind, counts in enumerate(by_type)
            for order, (mark, _) in enumerate(counts)
            if mark
        ],
        pageblocks=blocks,
        read_begin_ns=read_ns[0],
        read_end_ns=read_ns[1],
    )


def read_page_types(files: "GuestFiles", migratetypes: list[str]) -> list[PageTypes]:
    """What every zone's free lists and pageblocks are now, with the instants around the read.

    Raises:
        Fault: when the file cannot be read, or has another form than any known kernel's.
    """
    begin_ns = time.monotonic_ns()
    text = files.text("pagetypeinfo")
    return parse_page_types(text, migratetypes, begin_ns, time.monotonic_ns())


def _unknown_form(has: str) -> Fault:
    return environment(
        f"/proc/pagetypeinfo has {has}",
        "its text has another form than any known kernel's",
        "report this kernel to the project, with that file",
    )

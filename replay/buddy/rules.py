"""Where kernels differ in how blocks move between lists.

The rules themselves are in `lists` and `claims`; these are the switches, as presets by the release
that brought the change. A trace names its kernel, and no probe of it could tell more.
"""

import re
from dataclasses import dataclass

from tracer import Guest


@dataclass(frozen=True)
class Rules:
    """What a kernel does.

    Attributes:
        to_tail: isolated blocks are put back to the tail of their list, and so is memory that comes
            online (FPI_TO_TAIL, mm/page_alloc.c since 5.10); before, as any other free.
        by_pageblock: a free block is always on the list of its pageblock's type (mm/page_alloc.c
            since 6.10, "page_alloc: freelist migratetype hygiene"): a steal without a claim leaves
            the rest where it was, a merge across pageblocks takes on the type of what was freed,
            blocks above the pageblock order enter pageblock by pageblock, and blocks move whenever
            the type does. Before, what was stolen from moved to the list of the thief.
    """

    to_tail: bool = True
    by_pageblock: bool = True


PRESETS = {
    "5.7": Rules(to_tail=False, by_pageblock=False),
    "5.10": Rules(by_pageblock=False),
    "6.10": Rules(),
}


def preset_of(guest: Guest) -> str:
    """The preset of a guest's kernel, by its release; the newest where that is no number."""
    release = re.match(r"(\d+)\.(\d+)", guest.kernel_release)
    if not release:
        return "6.10"
    version = int(release[1]), int(release[2])
    since = {name: tuple(map(int, name.split("."))) for name in PRESETS}
    return max((name for name in PRESETS if since[name] <= version), key=since.__getitem__, default="5.7")


def rules_of(guest: Guest) -> Rules:
    """What a guest's kernel does."""
    return PRESETS[preset_of(guest)]

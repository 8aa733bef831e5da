"""The host, per frame: backed, reclaimed (given up because of a report) or fresh."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.oracle.guest import block_frames

HOST_PAGE_BYTES = 2 * 1024 * 1024
BACKED, RECLAIMED, FRESH = "backed", "reclaimed", "fresh"


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

    def back(self, frames: Iterable[int]) -> None:
        """Frames that it has not heard of before are backed."""
        self.state |= dict.fromkeys(frames, BACKED)

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
        inside: Iterable[int] = block
        if self.backing == "2m":
            inside = [frame for frame in block if self._host_page_inside(frame, block)]
        reached = [self.state[frame] for frame in inside]
        result.acknowledged_only = len(block) - len(reached)
        result.redundant = len(reached) - reached.count(BACKED)
        result.new = [frame for frame, what in zip(inside, reached, strict=True) if what == BACKED]
        self.state |= dict.fromkeys(result.new, RECLAIMED)
        self.reclaimed |= set(result.new)
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
        if self.backing == "4k" or not lacking_touched:
            return lacking_touched
        lacking_page = self._lacking(self._page_frames(page))
        if self.backing == "2m":
            return lacking_page
        if self.backing == "thp" and len(lacking_page) == self.host_page:
            return lacking_page
        return lacking_touched

    def _lacking(self, frames: Iterable[int]) -> list[int]:
        """Those of the frames that are managed and reclaimed or fresh."""
        return [f for f in frames if f in self.state and self.state[f] != BACKED]

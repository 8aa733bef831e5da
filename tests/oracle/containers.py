"""What captured hints can be kept in: a set, a ring, or an array for each CPU."""

from collections.abc import Callable

from tests.oracle.outcome import Work


class Container:
    """Hints, each the first frame of a block that was freed; the meters of ``work`` grow along.

    A pass is ``begin``, ``take`` until there is none, ``end``.
    """

    delayed = True  # gone over some time after the first hint, not at once

    def __init__(self, size: int, work: Work, is_listed: Callable[[int], bool]) -> None:
        """``size`` in hints; ``is_listed`` tells whether a free block heads at a frame."""
        self.size = size
        self.work = work
        self.is_listed = is_listed
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        raise NotImplementedError

    def capture(self, pfn: int, cpu: int) -> None:
        """A block was freed by a CPU, and heads at ``pfn`` now."""
        raise NotImplementedError

    def wants_a_pass(self) -> bool:
        """Whether there is something to go over."""
        raise NotImplementedError

    def begin(self) -> None:
        """A pass begins."""

    def take(self) -> int | None:
        """The next hint of the pass, which leaves the container."""
        raise NotImplementedError

    def end(self) -> None:
        """The pass has ended; its last report is back."""


class HintSet(Container):
    """One hint a unit, without limit, gone over in ascending order, as a bitmap would be."""

    def clear(self) -> None:
        """Forget all."""
        self.hints: set[int] = set()
        self.cursor = -1

    def capture(self, pfn: int, cpu: int) -> None:
        """A hint that is in already is no new one."""
        if pfn not in self.hints:
            self.hints.add(pfn)
            self.work.hints_captured += 1

    def wants_a_pass(self) -> bool:
        """Any hint will do."""
        return bool(self.hints)

    def begin(self) -> None:
        """From the first frame on."""
        self.cursor = -1

    def take(self) -> int | None:
        """The next one ahead of the cursor; those that come behind it wait for the next pass."""
        ahead = [pfn for pfn in self.hints if pfn > self.cursor]
        if not ahead:
            return None
        self.cursor = min(ahead)
        self.hints.remove(self.cursor)
        self.work.bits_scanned += 1
        return self.cursor


class HintRing(Container):
    """``size`` hints for all CPUs, gone over from the oldest on; when it is full the oldest is lost.

    Hints are counted from the first one ever; ``oldest`` is the number of the oldest one kept.
    """

    def clear(self) -> None:
        """Forget all."""
        self.hints: list[int] = []
        self.oldest = 0
        self.until = 0

    def capture(self, pfn: int, cpu: int) -> None:
        """A new entry, in the place of the oldest one if need be."""
        if len(self.hints) == self.size:
            self._drop_oldest()
            self.work.hints_dropped += 1
        self.hints.append(pfn)
        self.work.hints_captured += 1

    def _drop_oldest(self) -> int:
        self.oldest += 1
        return self.hints.pop(0)

    def wants_a_pass(self) -> bool:
        """Any hint will do."""
        return bool(self.hints)

    def begin(self) -> None:
        """Up to the newest hint there is; those that come during the pass wait."""
        self.until = self.oldest + len(self.hints)

    def take(self) -> int | None:
        """The oldest one, if it was there when the pass began."""
        return self._drop_oldest() if self.oldest < self.until else None


class HintArrays(Container):
    """``size`` hints for each CPU (guest_free_page() of Lal's v8, guest_page_hinting.c).

    A full array is tidied; one that is still full waits to be gone over, and takes no more until then.
    """

    delayed = False

    def clear(self) -> None:
        """Forget all."""
        self.arrays: dict[int, list[int]] = {}
        self.full: set[int] = set()
        self.cpu = -1
        self.looked_at = 0

    def capture(self, pfn: int, cpu: int) -> None:
        """An entry of the CPU's own array."""
        if cpu in self.full:
            self.work.hints_dropped += 1
            return
        array = self.arrays.setdefault(cpu, [])
        array.append(pfn)
        self.work.hints_captured += 1
        if len(array) == self.size:
            self._tidy(cpu)

    def _tidy(self, cpu: int) -> None:
        """Throw out what no longer heads a free block; does that not help, the array waits."""
        free = [pfn for pfn in self.arrays[cpu] if self.is_listed(pfn)]
        self.work.rechecks_failed += self.size - len(free)
        self.arrays[cpu] = free
        if len(free) == self.size:
            self.full.add(cpu)

    def wants_a_pass(self) -> bool:
        """A full array."""
        return bool(self.full)

    def begin(self) -> None:
        """The array of the lowest CPU that waits."""
        self.cpu = min(self.full)
        self.looked_at = 0

    def take(self) -> int | None:
        """One entry after the other; the array stays full meanwhile."""
        if self.looked_at == self.size:
            return None
        self.looked_at += 1
        return self.arrays[self.cpu][self.looked_at - 1]

    def end(self) -> None:
        """The array is empty."""
        self.arrays[self.cpu] = []
        self.full.remove(self.cpu)


CONTAINERS: dict[str, type[Container]] = {"set": HintSet, "ring": HintRing, "array": HintArrays}

"""Who may take how much memory: tasks ask before they take it, and are served in that order."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from replay.available import Available, available
from tracer import Fault, human_bytes
from tracer.faults import environment

# Of what is available. The rest is for what nobody asks for: allocators' slack, and everything else here.
SHARE = 0.9

W = TypeVar("W")


class Decision(NamedTuple, Generic[W]):
    """What becomes of a wish. `refused`: what there is without all others; None where it is granted."""

    who: W
    need_bytes: int
    refused: Available | None


@dataclass
class Room(Generic[W]):
    """What was granted to whom, and who waits.

    Nobody overtakes: a large one waits until enough of the others are done, while those that asked later
    wait behind it.

    Attributes:
        held: bytes that somebody has taken by now, granted or not, on top of what an idle one holds.
        measure: what is available at this moment.
    """

    held: Callable[[W], int]
    measure: Callable[[], Available] = available
    granted: dict[W, int] = field(default_factory=dict)
    waiting: deque[tuple[W, int]] = field(default_factory=deque)

    def ask(self, who: W, need_bytes: int) -> None:
        """A wish. It takes the place of an earlier one: who asks anew has given back what it had."""
        self.leave(who)
        self.waiting.append((who, need_bytes))

    def leave(self, who: W) -> None:
        """Neither has nor wants anything any more."""
        self.granted.pop(who, None)
        self.waiting = deque(wish for wish in self.waiting if wish[0] != who)

    def decide(self, others: list[W]) -> Iterator[Decision[W]]:
        """Grant or refuse what can be told by now.

        What was granted counts whole, because it may be taken at any moment; what is taken already is no
        longer among what is available, and is counted back.

        Args:
            others: all that may hold memory.
        """
        while self.waiting:
            who, need = self.waiting[0]
            there = self.measure()
            holds = {each: self.held(each) for each in others}
            whole = Available(int(SHARE * (there.size_bytes + sum(holds.values()))), there.source)
            spoken_for = sum(max(size, holds.get(each, 0)) for each, size in self.granted.items())
            # With nothing granted, nothing will be given back: what idle ones hold is theirs to reuse.
            if self.granted and spoken_for + need > whole.size_bytes >= need:
                return
            self.waiting.popleft()
            if need <= whole.size_bytes:
                self.granted[who] = need
            yield Decision(who, need, None if need <= whole.size_bytes else whole)


def anonymous_bytes(pid: int) -> int:
    """Memory that a process has taken for itself (RssAnon); 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:")), 0)


def too_much(need_bytes: int, whole: Available) -> Fault:
    """The fault of a task that asks for more than there will ever be."""
    return environment(
        f"this takes {human_bytes(need_bytes)} of memory, more than a task can get here",
        f"{human_bytes(whole.size_bytes)} are for a task that runs alone: {SHARE:.0%} of what is available "
        f"({whole.source})",
        "replay fewer policies at once, at a higher order, or on a larger machine",
    )

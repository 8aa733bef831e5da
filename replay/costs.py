"""What a policy costs, estimated: counts of what was done, times what one of each takes.

An estimate for comparing policies, not a measurement of a guest: `docs/costs.md` says what it leaves
out. Everything is priced after the replay; nothing a policy does depends on it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from replay.exact import SECOND_NS
from replay.parameters import Parameter, Value
from tracer import Fault


@dataclass(frozen=True)
class Share(Parameter):
    """A knob from 0 to 1."""

    def parse(self, text: str) -> float:
        """The number a user wrote.

        Raises:
            Fault: when it is none, or not from 0 to 1.
        """
        number = text.isascii() and text.replace(".", "", 1).isdigit()
        return self.check(float(text) if number else -1.0, text)

    def check(self, share: float, text: str) -> float:
        """The number, when it is a share. `text`: as it was written.

        Raises:
            Fault: when it is not from 0 to 1.
        """
        if not 0 <= share <= 1:
            how = "it must be a number from 0 to 1"
            raise Fault(f"{self.name}={text} is not possible", how, f"{self.name}: {self.meaning}")
        return share


DISCARD = Parameter(
    "discard",
    ("dontneed", "free"),
    "dontneed",
    "how the host discards: MADV_DONTNEED takes memory at once, MADV_FREE under pressure",
)
PRESSURE = Share("pressure", "share", 0.0, "of what was freed and is used again, the share taken by then")
REFAULT = Parameter("refault", "duration", 3_070, "a host page fault, without zeroing", maximum=SECOND_NS)


def _check_number(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:  # type: ignore[operator] # a number
        how = "it must be a number, and not negative"
        raise Fault(f"{name}={value!r} is not possible", how, "docs/costs.md says what it is")


@dataclass(frozen=True)
class Costs:
    """What one of each takes, in ns of CPU, and how the host discards.

    Sources. *Measured*: `benchmarks/host_costs.py`, medians of 31 rounds on a 2-CPU virtual machine (AMD
    EPYC, Linux 6.18): no exits from a guest are in it. *Published*: the raw data of the inflate benchmark
    of HyperAlloc (EuroSys '25; Xeon Gold 6252, Linux 6.1, KVM, memory in 4 KiB pages and in 2 MiB pages),
    where a guest uses 18 GiB that its host had taken, and then uses them again: the difference is the
    refaults, exits and zeroing included.

    Attributes:
        discard: `dontneed` (what is reported is taken at once) or `free` (under pressure only).
        pressure: of what was freed and is used again, the share that the host had really taken; the
            user's. Only that is a refault. Of `dontneed`, all.
        refault_ns: a host page fault that a guest waits for, without its zeroing. Published: 3,761 ns
            for 4 KiB (10 runs: 3,490-3,933) and 358,855 ns for 2 MiB (355,612-368,583) are this and
            `zero_byte_ns`. Measured, without exits: 1,270 ns.
        zero_byte_ns: zeroing a byte. Published, see above. Measured: 0.073 ns.
        call_ns: madvise(2) of a range. Measured.
        dontneed_byte_ns: on top, MADV_DONTNEED of a byte in 4 KiB pages. Measured.
        dontneed_huge_byte_ns: the same in 2 MiB pages. Measured: 8.5 us for 2 MiB; published, as
            what taking used memory takes longer than taking memory never used: 5.8-11.6 us.
        free_byte_ns: on top, MADV_FREE of a byte in 4 KiB pages. Measured.
        free_huge_byte_ns: the same in 2 MiB pages. Measured.
        entry_ns: visiting an entry of a free list that is not in the cache. Measured; as all below.
        bit_ns: looking at a bit of a map in which few are set.
        lock_ns: taking a lock that nobody holds, and letting it go.
        hint_ns: setting a hint's bit and counting it.
        move_ns: taking a block off a list and putting it back, its visit included.
        rotation_ns: letting a list begin at another entry.
    """

    discard: str = "dontneed"
    pressure: float = 0.0
    refault_ns: float = 3_070
    zero_byte_ns: float = 0.17
    call_ns: float = 460
    dontneed_byte_ns: float = 0.056
    dontneed_huge_byte_ns: float = 0.004
    free_byte_ns: float = 0.045
    free_huge_byte_ns: float = 0.0018
    entry_ns: float = 190
    bit_ns: float = 0.006
    lock_ns: float = 2.2
    hint_ns: float = 4.6
    move_ns: float = 190
    rotation_ns: float = 3.2

    parameters: ClassVar[tuple[Parameter, ...]] = (DISCARD, PRESSURE, REFAULT)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            Fault: for a word, number or share that does not exist, and for a pressure that nothing waits for.
        """
        DISCARD.settled(self.discard)
        for name in [field.name for field in fields(self) if field.name != "discard"]:
            _check_number(name, getattr(self, name))
        PRESSURE.check(self.pressure, str(self.pressure))
        if self.pressure and self.discard != "free":
            raise Fault(
                f"pressure={self.pressure} says nothing of discard={self.discard}",
                "MADV_DONTNEED takes memory at once, under pressure or not",
                "add discard=free, or leave pressure out",
            )

    @classmethod
    def of(cls, given: Mapping[str, Value]) -> "Costs":
        """From values of `parameters`, by name."""
        names = {"refault": "refault_ns"}
        return cls(**{names.get(name, name): value for name, value in given.items()})  # type: ignore[arg-type] # as parsed

    @property
    def taken(self) -> float:
        """Of what was discarded and is used again, the share that must be backed anew."""
        return 1.0 if self.discard == "dontneed" else self.pressure

    def discard_byte_ns(self, *, huge: bool) -> float:
        """Discarding a byte in pages of this size."""
        if self.discard == "dontneed":
            return self.dontneed_huge_byte_ns if huge else self.dontneed_byte_ns
        return self.free_huge_byte_ns if huge else self.free_byte_ns


@dataclass(frozen=True)
class Counts:
    """What was done under one policy.

    Attributes:
        wait_ns: time the reporting device was busy.
        discards: ranges reported to a host that discards.
        discarded_bytes: of them, those that it still backed.
        faults: page faults that brought reclaimed memory back.
        refaulted_bytes: how much they brought.
        huge: is all of that in 2 MiB pages?
        moves: blocks isolated and put back.
        work: the counts of `work` in the answer, by name.
    """

    wait_ns: int
    discards: int
    discarded_bytes: int
    faults: int
    refaulted_bytes: int
    huge: bool
    moves: int
    work: Mapping[str, int]


def walk_ns(costs: Costs, moves: int, work: Mapping[str, int]) -> float:
    """CPU of the guest for finding and moving blocks. An entry that is moved is not also visited."""
    visits = max(work["entries_walked"] - moves, 0) + work["rechecks_failed"]
    return (
        costs.entry_ns * visits
        + costs.move_ns * moves
        + costs.bit_ns * work["bits_scanned"]
        + costs.lock_ns * work["lock_takes"]
        + costs.hint_ns * work["hints_captured"]
        + costs.rotation_ns * work["list_rotations"]
    )


def cost_s(costs: Costs, counts: Counts) -> dict[str, float]:
    """Seconds by cause.

    `device`: the reporting worker sleeps while the device is busy. `discard`: CPU of the host. `refault`:
    CPU of the host, for which a CPU of the guest waits. `walk`: CPU of the guest. `total`: CPU, the last
    three. The host discards while the device is busy, and sleeping costs nobody: `device` is not in it.
    """
    discard_ns = costs.call_ns * counts.discards
    discard_ns += costs.discard_byte_ns(huge=counts.huge) * counts.discarded_bytes
    refault_ns = costs.taken * (
        costs.refault_ns * counts.faults + costs.zero_byte_ns * counts.refaulted_bytes
    )
    cpu_ns = {
        "discard": discard_ns,
        "refault": refault_ns,
        "walk": walk_ns(costs, counts.moves, counts.work),
    }
    all_ns = {"device": counts.wait_ns, **cpu_ns, "total": sum(cpu_ns.values())}
    return {cause: ns / SECOND_NS for cause, ns in all_ns.items()}

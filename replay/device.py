"""The reporting device: takes a scatter-gather list of blocks to the host and is busy meanwhile.

It knows nothing of free areas. One list at a time, as virtio-balloon waits for its one buffer to be
used (drivers/virtio/virtio_balloon.c, virtballoon_free_page_report). One device is registered at a
time, if any (mm/page_reporting.c, page_reporting_register).
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numba as nb
import numpy as np

from replay import host
from replay.buddy.lists import slots_of
from replay.jit import Int, compiled
from replay.parameters import Parameter, values
from replay.state import DEVICE, NEVER, PAGE_SIZE, STATE, State
from replay.worker import first_later
from tracer import Fault, duration_ns, write_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray


LONGEST_NS = 3600 * 1_000_000_000
CALL = Parameter("call", "duration", 600_000, "a report call takes so long", maximum=LONGEST_NS)
GIB = Parameter("gib", "duration", 0, "and each GiB in it so long on top", maximum=LONGEST_NS)
MOST_SERVICE_NS = 1 << 60  # 36 years: longer than any replay, and sums of it are still int64
FAIL_EVERY = Parameter("fail-every", "int", 0, "one report in so many fails; 0: none does")


def _instant(text: str) -> int:
    """Into the replay, in ns."""
    return min(duration_ns(text), NEVER)


@dataclass(frozen=True)
class Spans(Parameter):
    """A knob that is written as FROM-TO, several joined by +; without TO: to the end."""

    def parse(self, text: str) -> Any:  # noqa: ANN401 - spans, where others have a number
        """[from, to) in ns for each span.

        Raises:
            Fault: for what is no time.
        """
        spans = [span.partition("-") for span in text.split("+")]
        return tuple((_instant(first), _instant(last) if last else NEVER) for first, _, last in spans)


REGISTERED = Spans("registered", "spans", "0s-", "when it is there: FROM-TO into the replay, joined by +")


@dataclass(frozen=True)
class Device:
    """A device, and when it is there. The default service time is that of a short call of stock
    Linux 6.1 under QEMU 7.2's software emulation; 32 blocks of 4 MiB that the host has to give back take some
    20 ms there (docs/truth.md), real hardware is faster.

    Attributes:
        call_ns: time of a report call.
        byte_ns: time a byte on top.
        fail_every: of how many lists one fails: the last of each so many; 0: none does.
        registered_ns: [from, to) since the start of the replay, for each time that it is registered,
            in order; by default all along.
    """

    call_ns: int = 600_000
    byte_ns: float = 0.0
    fail_every: int = 0
    registered_ns: tuple[tuple[int, int], ...] = ((0, NEVER),)

    parameters: ClassVar[tuple[Parameter, ...]] = (CALL, GIB, FAIL_EVERY, REGISTERED)

    @classmethod
    def parse(cls, text: str) -> "Device":
        """From `key=value,...`: call, gib, fail-every, registered.

        Raises:
            Fault: for an unknown key, or a value of the wrong form.
        """
        given: dict[str, Any] = values(text, cls.parameters, "--device")
        named = {"call_ns": given.get("call"), "fail_every": given.get("fail-every")}
        named |= {"registered_ns": given.get("registered")}
        if "gib" in given:
            named["byte_ns"] = given["gib"] / (1 << 30)
        device = cls(**{name: value for name, value in named.items() if value is not None})
        device.check()
        return device

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            Fault: for a value out of range; when a device goes before it comes, or registers while another
                is (the kernel says EBUSY).
        """
        CALL.number(self.call_ns)
        FAIL_EVERY.number(self.fail_every)
        self._check_byte_ns()
        self._check_spans()
        instants = [instant for span in self.registered_ns for instant in span]
        if any(a > b for a, b in pairwise(instants)):
            raise Fault(
                "a device cannot register while another one is registered",
                f"registered={self._spans} overlap (page_reporting_register: EBUSY)",
                "let each one end before the next begins",
            )

    def _check_byte_ns(self) -> None:
        value, most = self.byte_ns, LONGEST_NS / (1 << 30)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not 0 <= value <= most:
            how = f"it must be a number from 0 to {most:.0f}, an hour for each GiB"
            raise Fault(f"byte_ns={value!r} is not possible", how, "byte_ns: ns for each byte in a call")

    def _check_spans(self) -> None:
        for span in self.registered_ns if isinstance(self.registered_ns, tuple) else [self.registered_ns]:
            whole = isinstance(span, tuple) and all(type(instant) is int for instant in span)
            if not whole or len(span) != 2 or not all(0 <= instant <= NEVER for instant in span):
                how = f"{span!r} is no (from, to) in ns from 0 to NEVER (replay.state)"
                raise Fault(
                    f"registered_ns={self.registered_ns!r} is not possible", how, "give a tuple of such pairs"
                )
            if span[0] > span[1]:
                raise Fault(
                    f"registered={self._spans} is not possible",
                    "a device goes before it comes",
                    "FROM-TO: from the earlier to the later",
                )

    @property
    def _spans(self) -> str:
        """When it is there, as people write it."""
        ends = ["" if last == NEVER else write_duration(last) for _, last in self.registered_ns]
        begins = [write_duration(first) for first, _ in self.registered_ns]
        return "+".join(f"{first}-{last}" for first, last in zip(begins, ends, strict=True))

    @property
    def from_start(self) -> bool:
        """Is it registered when the replay begins?"""
        return any(first == 0 for first, _ in self.registered_ns)

    def switches_ns(self, start_ns: int) -> "NDArray[np.int64]":
        """The instants after the start at which it comes or goes, ascending; none that no replay lasts to."""
        found = [instant for span in self.registered_ns for instant in span if 0 < instant < NEVER // 2]
        return np.array([start_ns + instant for instant in found], np.int64)

    def row(self, capacity: int, per_call: int, *, forward: bool, to_tail: bool) -> "NDArray[np.void]":
        """How a replay begins with it (`state.DEVICE`); for the rest see `policies.protocol.Program`."""
        row = np.zeros(1, DEVICE)
        row["call_ns"], row["byte_ns"], row["fail_every"] = self.call_ns, self.byte_ns, self.fail_every
        row["capacity"] = row["first"] = capacity
        row["per_call"], row["forward"], row["to_tail"] = per_call, forward, to_tail
        row["registered"] = self.from_start
        return row


@compiled(nb.int64(STATE), inline=True)
def listed(s: State) -> Int:
    """How many blocks are in the list."""
    return s.device[0].capacity - s.device[0].first


@compiled(nb.int64(STATE, nb.int64), inline=True)
def slot_at(s: State, place: Int) -> Int:
    """The slot of a place in the list, as the device sees it: slots fill from the highest down."""
    device = s.device[0]
    return device.capacity - 1 - place if device.forward else device.first + place


@compiled(nb.void(STATE, nb.int64))
def submit(s: State, now_ns: Int) -> None:
    """Hand the filled slots to the device; it is busy until `done_ns`."""
    device = s.device[0]
    frames = np.int64(0)
    for index in range(device.first, device.capacity):
        slot = s.slots[index]
        frames += np.int64(1) << np.int64(slot.order)
        for unit in range(slot.unit, slot.unit + slots_of(s.area, np.int64(slot.order))):
            host.hand_over(s, unit, s.units[unit].epoch)
    calls = -(-listed(s) // device.per_call)
    calls = min(calls, MOST_SERVICE_NS // max(device.call_ns, 1))
    service_ns = calls * device.call_ns + np.int64(device.byte_ns * frames * s.shape[PAGE_SIZE])
    m = s.meters[0]
    m.lists += 1
    device.failed = device.fail_every > 0 and m.lists % device.fail_every == 0
    device.busy = 1
    device.submit_ns = now_ns
    device.done_ns = now_ns + service_ns
    recorded_ns = first_later(s.done_ns, now_ns)
    if recorded_ns < first_later(s.passes_ns, now_ns):  # the guest's own took so long, in the same pass
        device.done_ns = recorded_ns
    device.service_ns += device.done_ns - now_ns


@compiled(nb.int64(STATE), inline=True)
def next_switch_ns(s: State) -> Int:
    """When the device comes or goes next."""
    done = s.device[0].switch
    return s.switches_ns[done] if done < len(s.switches_ns) else NEVER

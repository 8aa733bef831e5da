"""The reporting device: takes a scatter-gather list of blocks to the host and is busy meanwhile.

It knows nothing of free areas. One call at a time, as virtio-balloon waits for its one buffer to be
used (drivers/virtio/virtio_balloon.c, virtballoon_free_page_report).
"""

from dataclasses import dataclass

import numba as nb
import numpy as np

from replay import host
from replay.buddy.lists import slots_of
from replay.jit import Int, compiled
from replay.state import PAGE_SIZE, STATE, State


@dataclass(frozen=True)
class Device:
    """Service times. The default was measured: stock Linux 6.1 under QEMU 7.2's software emulation,
    32 blocks of 2 or 4 MiB a call; real hardware is faster.

    Attributes:
        call_ns: time of a report call.
        byte_ns: time a byte on top.
    """

    call_ns: int = 600_000
    byte_ns: float = 0.0


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
    service_ns = device.call_ns + np.int64(device.byte_ns * frames * s.shape[PAGE_SIZE])
    device.busy = 1
    device.submit_ns = now_ns
    device.done_ns = now_ns + service_ns
    device.service_ns += service_ns

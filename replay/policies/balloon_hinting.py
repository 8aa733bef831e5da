"""`balloon-hinting`: virtio free page hinting, as in Linux since 4.20 (drivers/virtio/virtio_balloon.c).

The host asks, here every so often. The guest then *allocates* blocks of the maximum order until there are
none left, tells of each (`get_free_page_and_send`), and keeps them all until the host is done
(`VIRTIO_BALLOON_CMD_ID_DONE`), when it frees them, the last one first (`return_free_pages_to_mm`). It was
made for live migration: nothing remembers what was told, so each run tells everything again. An allocation
under memory pressure would get blocks back earlier (the driver's shrinker); here a recorded exit does.

The rules of the allocation are those of mm/page_alloc.c: zones from the highest down, never the Movable one
(`gfp_zone`, no __GFP_MOVABLE); down to the min watermark (no reclaim of any kind); the lists of unmovable
memory first, then those it falls back to, claiming the pageblock (`fallbacks`, `can_steal_fallback`).
A smaller order is not in the driver: then each list goes as a whole, the smallest blocks first.
"""

from collections.abc import Mapping

import numba as nb
import numpy as np

from replay.buddy.area import NOBODY, PAGEBLOCK_ORDER
from replay.geometry import MOVABLE, RECLAIMABLE, UNMOVABLE, Geometry
from replay.isolation import KEPT, hold, isolate, read_counts, undo
from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.parts import visit
from replay.policies.kit.timer import LONGEST_NS, SECOND_NS
from replay.policies.kit.unheard import unheard
from replay.policies.protocol import (
    DEADLINE,
    MEMORY,
    REGISTERED,
    REPORT,
    SETTLED,
    SLEEP,
    TELL,
    UNREGISTERED,
    WAKE,
    Knob,
    Policy,
    Program,
    new_memory,
)
from replay.state import MAX_ORDER, NEVER, STATE, State
from replay.state import ORDER as REPORTING_ORDER
from tracer import Guest

# Words of the policy's memory; from _MAY_TAKE on one for each zone.
_PHASE, _DEVICE, _BEGAN_NS, _FIRST_NS, _EVERY_NS, _HOLD_NS, _MAY_TAKE = range(1, 8)

_IDLE, _TELLING, _HOLDING = range(3)  # the phase: between runs, or where a run is
_THERE, _GONE, _ANOTHER = range(3)  # the device; another one: since this run began

_MOVABLE_ZONE = "Movable"


@compiled(nb.void(STATE, nb.int64, nb.int64))
def _take_zone(s: State, zone: Int, now_ns: Int) -> None:
    """Allocate from a zone until nothing is left, or the min watermark says no."""
    visit(s, zone, False, now_ns)
    for kind in (UNMOVABLE, RECLAIMABLE, MOVABLE):
        for order in range(s.shape[REPORTING_ORDER], s.shape[MAX_ORDER] + 1):
            becomes = UNMOVABLE if order >= s.area.shape[PAGEBLOCK_ORDER] else KEPT
            while s.area.lists[zone, order, kind].head != NOBODY:
                if not isolate(s, np.int64(s.area.lists[zone, order, kind].head), becomes, now_ns):
                    return


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _take_all(s: State, memory: Words, now_ns: Int) -> None:
    m, device = s.meters[0], s.device[0]
    for zone in range(len(s.zones) - 1, -1, -1):
        if memory[_MAY_TAKE + zone]:
            _take_zone(s, zone, now_ns)
    taken = device.capacity - device.first
    m.passes += 1
    m.entries_walked += taken
    m.lock_takes += taken
    m.max_entries_per_lock = max(m.max_entries_per_lock, min(taken, 1))


@compiled(nb.void(STATE, MEMORY, nb.int64))
def _end(s: State, memory: Words, now_ns: Int) -> None:
    """A run is over: free all, and wait for the next."""
    s.meters[0].lock_takes += undo(s, now_ns)
    memory[_PHASE], memory[DEADLINE] = _IDLE, NEVER
    if memory[_DEVICE] == _ANOTHER:
        memory[_DEVICE], memory[DEADLINE] = _THERE, now_ns + memory[_FIRST_NS]
    elif memory[_DEVICE] == _THERE and memory[_EVERY_NS]:
        memory[DEADLINE] = max(now_ns, memory[_BEGAN_NS] + memory[_EVERY_NS])


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    """virtio_balloon_report_free_page(), and when the host is done return_free_pages_to_mm()."""
    device = s.device[0]
    if memory[_PHASE] == _IDLE:
        read_counts(s, now_ns)
        memory[_BEGAN_NS] = now_ns
        _take_all(s, memory, now_ns)
        if device.first < device.capacity:
            memory[_PHASE] = _TELLING
            return REPORT
    elif memory[_PHASE] == _TELLING and memory[_HOLD_NS] and not device.failed:
        hold(s, now_ns)
        memory[_PHASE], memory[DEADLINE] = _HOLDING, now_ns + memory[_HOLD_NS]
        return SLEEP
    _end(s, memory, now_ns)
    return SLEEP


@compiled(TELL)
def _tell(_s: State, memory: Words, now_ns: Int, what: Int, _where: Int) -> None:
    """A device that goes lets a run under way come to its end; one that comes waits for that."""
    idle = memory[_PHASE] == _IDLE
    if what in (SETTLED, REGISTERED):
        memory[_DEVICE] = _THERE if idle else _ANOTHER
        if idle:
            memory[DEADLINE] = now_ns + memory[_FIRST_NS]
    elif what == UNREGISTERED:
        memory[_DEVICE] = _GONE
        if idle:
            memory[DEADLINE] = NEVER


def _build(_guest: Guest, geometry: Geometry, params: Mapping[str, Value]) -> Program:
    memory = new_memory(_MAY_TAKE + len(geometry.zones))
    memory[_FIRST_NS], memory[_EVERY_NS] = int(params["first"]), int(params["every"])
    memory[_HOLD_NS] = int(params["hold"])
    memory[_MAY_TAKE:] = [zone.name != _MOVABLE_ZONE for zone in geometry.zones]
    return Program(
        unheard,
        _wake,
        _tell,
        memory,
        capacity=geometry.units,
        per_call=int(params["capacity"]),
        forward=True,
        to_tail=False,
    )


POLICY = Policy(
    name="balloon-hinting",
    summary="virtio free page hinting: allocates all there is at the maximum order, tells, frees it",
    parameters=(
        Parameter("order", "int", None, "least order; default: the guest's maximum", of_guest="max_order"),
        Parameter("first", "duration", SECOND_NS, "until the first run", maximum=LONGEST_NS),
        Parameter(
            "every", "duration", 10 * SECOND_NS, "from run to run; 0s: one run only", maximum=LONGEST_NS
        ),
        Parameter("capacity", "int", 1, "blocks in one call", minimum=1),
        Parameter("hold", "duration", 0, "blocks are kept so long after the last call", maximum=LONGEST_NS),
    ),
    source="drivers/virtio/virtio_balloon.c, Linux 4.20 to 6.12",
    needs_of_kernel="Linux 4.20, a balloon with free page hinting; takes all large blocks meanwhile",
    build=_build,
    since="4.20",
    knobs={
        "first": Knob("a host that asks then", "4.20"),
        "every": Knob("a host that asks as often", "4.20"),
        "hold": Knob("a host that takes as long", "4.20"),
    },
    caution="made for live migration: each run allocates all large free blocks of the guest and tells all "
    "of them again",
)

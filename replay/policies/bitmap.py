"""`bitmap`: page hinting by a bit per block (Nitesh Narayan Lal, RFC v12 of 12 Aug 2019; the functions
have the names of mm/page_hinting.c in its other versions).

Each free that ends in a block of order >= R sets the bit of the block's head, in a bitmap over the
zone's span (`__page_hinting_enqueue`). As soon as a zone has `threshold` bits set, a work item scans
such zones in address order (`page_hinting_wq`, `scan_zone_bitmap`), isolates what is still free,
reports it in batches and returns it. There is no reported state, and a bit is cleared whatever
became of its block: a hint can be lost, and a block told again.
"""

from collections.abc import Mapping

import numba as nb

from replay.device import listed
from replay.geometry import Geometry
from replay.isolation import read_counts
from replay.jit import Int, Words, compiled
from replay.parameters import Parameter, Value
from replay.parts import visit
from replay.policies.kit.rechecking import give_back, hint_of, recheck
from replay.policies.kit.unit_bits import clear_bit, is_set, next_set, set_bit, words_for
from replay.policies.kit.work import OWN, begin, end, is_running, queue, told
from replay.policies.protocol import (
    ARRIVE,
    MEMORY,
    ORDER,
    REPORT,
    SLEEP,
    TELL,
    WAKE,
    Policy,
    Program,
    new_memory,
)
from replay.state import STATE, State
from tracer import Guest

# Words of the policy's memory: its own, then some for each zone, then the bits.
_THRESHOLD, _ZONE, _CURSOR, _BITS, _ZONES = range(OWN, OWN + 5)
# Of a zone: its first unit and the one past its last, and how many of its bits are set.
_FIRST, _END, _COUNT, _ZONE_WORDS = range(4)

_NOT_BEGUN = -1  # the cursor, before a zone's turn


@compiled(nb.int64(nb.int64), inline=True)
def _words_of(zone: Int) -> Int:
    return _ZONES + zone * _ZONE_WORDS


@compiled(ARRIVE)
def _arrive(
    s: State, memory: Words, now_ns: Int, unit: Int, _order: Int, merged: Int, quiet: bool, _cpu: Int
) -> Int:
    """__page_hinting_enqueue(): a bit that is set already can start a scan, too."""
    if quiet:
        return SLEEP
    head = hint_of(s, unit, merged)
    count = _words_of(s.area.blocks[head].zone) + _COUNT
    if not is_set(memory, memory[_BITS], head):
        set_bit(memory, memory[_BITS], head)
        memory[count] += 1
        s.meters[0].hints_captured += 1
    if memory[count] >= memory[_THRESHOLD]:
        queue(memory, now_ns)
    return SLEEP


@compiled(nb.boolean(STATE, MEMORY, nb.int64))
def _scan(s: State, memory: Words, now_ns: Int) -> bool:
    """scan_zone_bitmap(), from where it was; True when a batch is to be reported.

    The map is live: bits set ahead of the cursor while a report is under way are seen.
    """
    zone = _words_of(memory[_ZONE])
    if memory[_CURSOR] == _NOT_BEGUN:
        if memory[zone + _COUNT] < memory[_THRESHOLD]:
            return False
        visit(s, memory[_ZONE], False, now_ns)
        memory[_CURSOR] = memory[zone + _FIRST]
    last = memory[zone + _END]
    while memory[_CURSOR] < last:
        unit = next_set(memory, memory[_BITS], memory[_CURSOR], last)
        s.meters[0].bits_scanned += min(unit + 1, last) - memory[_CURSOR]
        memory[_CURSOR] = unit + 1
        if unit < last:
            clear_bit(memory, memory[_BITS], unit)
            memory[zone + _COUNT] -= 1
            if recheck(s, unit, now_ns):
                return True
    return listed(s) > 0


@compiled(nb.void(STATE, MEMORY))
def _forget(s: State, memory: Words) -> None:
    """page_hinting_cleanup(): the maps are empty."""
    for zone in range(len(s.zones)):
        memory[_words_of(zone) + _COUNT] = 0
    for word in range(memory[_BITS], len(memory)):
        memory[word] = 0


@compiled(WAKE)
def _wake(s: State, memory: Words, now_ns: Int) -> Int:
    """page_hinting_wq(): all zones in turn, giving way whenever a report is under way."""
    read_counts(s, now_ns)
    if is_running(memory):
        give_back(s, now_ns)
    else:
        begin(s, memory)
        memory[_ZONE], memory[_CURSOR] = 0, _NOT_BEGUN
    while memory[_ZONE] < len(s.zones):
        if _scan(s, memory, now_ns):
            return REPORT
        memory[_ZONE] += 1
        memory[_CURSOR] = _NOT_BEGUN
    if end(memory):
        _forget(s, memory)
    return SLEEP


@compiled(TELL)
def _tell(s: State, memory: Words, _now_ns: Int, what: Int, _where: Int) -> None:
    """page_hinting_disable(); a device that comes finds the maps empty."""
    if told(memory, what):
        _forget(s, memory)


def _units_of(geometry: Geometry) -> list[tuple[int, int]]:
    """Per zone, the units [first, end) that have a bit: all that its span touches."""
    size = 1 << geometry.order
    return [(zone.start_pfn // size, -(-zone.end_pfn // size)) for zone in geometry.zones]


def _imposed(geometry: Geometry) -> dict[str, int]:
    """Bits of all maps, and about how many of them are of holes: as many as blocks fit into them."""
    bits = [last - first for first, last in _units_of(geometry)]
    holes = [max(zone.spanned - zone.present, 0) >> geometry.order for zone in geometry.zones]
    return {"bits": sum(bits), "bits_of_holes": sum(holes)}


def _build(_guest: Guest, geometry: Geometry, params: Mapping[str, Value]) -> Program:
    bits = _ZONES + _ZONE_WORDS * len(geometry.zones)
    memory = new_memory(bits + words_for(geometry.units))
    memory[_THRESHOLD], memory[_BITS] = int(params["threshold"]), bits
    for zone, (first, last) in enumerate(_units_of(geometry)):
        at = _ZONES + zone * _ZONE_WORDS
        memory[at + _FIRST], memory[at + _END] = first, last
    return Program(
        _arrive,
        _wake,
        _tell,
        memory,
        capacity=int(params["capacity"]),
        forward=True,
        to_tail=False,
        imposes=_imposed(geometry),
    )


POLICY = Policy(
    name="bitmap",
    summary="page hinting by a bitmap of what was freed, as proposed in 2019",
    parameters=(
        ORDER,
        Parameter("threshold", "int", 16, "bits set in a zone that start a scan", minimum=1),
        Parameter("capacity", "int", 16, "blocks in one report call", minimum=1),
    ),
    source="Nitesh Narayan Lal, page hinting (page reporting), RFC v12, Aug 2019",
    needs_of_kernel="a hook in every free of order >= R, a bitmap over each zone's span",
    build=_build,
)

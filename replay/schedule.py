"""Step 2: one policy in virtual time, over the reduced events of a stretch of trace.

Events up to and including an instant apply before an action at it. A policy advances alone, on its
own timers, to the last instant of the stretch; nothing it does depends on where stretches end.
"""

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

from replay import bounds, host, meters
from replay.applying import apply, touches
from replay.buddy.area import PAGEBLOCK_ORDER
from replay.buddy.lists import flag_reported, link, pageblock_of, pageblock_type, slots_of
from replay.buddy.reduced import COUNT_DTYPE, COUNTS, REDUCED, REDUCED_DTYPE, TOUCH
from replay.device import listed, next_switch_ns, slot_at, submit
from replay.effort import ACTED_NS, is_worn_out, most_steps, worn_out
from replay.exact import settle
from replay.jit import Int, Records, Words, compiled
from replay.parts import close, put_in
from replay.policies.protocol import (
    CODE,
    DEADLINE,
    INSTANT,
    REGISTERED,
    REPORT,
    SETTLED,
    UNREGISTERED,
    Code,
)
from replay.start_block import START_BLOCKS
from replay.state import CLOCK_UNKNOWN, FREE, HELD_FRAMES, ISOLATED, STATE, TOLD, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.policies.protocol import Program

MS = 1_000_000
DONE, LOG_FULL, WORN_OUT = range(3)  # how an advance ends
EVENT, COUNT = 0, 1  # cursors into the two streams of a stretch; behind them, see `effort`


@compiled(nb.void(STATE))
def _complete(s: State) -> None:
    """The device is done: the host has discarded the blocks, or the report has failed."""
    device, m = s.device[0], s.meters[0]
    for place in range(0 if device.failed else listed(s)):
        slot = s.slots[slot_at(s, place)]
        m.calls += place % device.per_call == 0
        meters.report_block(s, np.int64(slot.unit), np.int64(slot.order), device.submit_ns, device.done_ns)
    if device.failed:  # as a whole
        calls = -(-listed(s) // device.per_call)
        m.calls += calls
        m.failed_calls += calls
    for index in range(device.first, device.capacity):
        slot = s.slots[index]
        for unit in range(slot.unit, slot.unit + slots_of(s.area, np.int64(slot.order))):
            host.hand_back(s, unit, device.done_ns)
    device.busy = 0


@compiled(nb.void(STATE, COUNTS, nb.int64[::1], nb.int64))
def _see_counts(s: State, counts: Records, cursors: Words, until_ns: Int) -> None:
    """Take in zone counts up to an instant; one shows once its millisecond is over (`read_counts`)."""
    while cursors[COUNT] < len(counts) and counts[cursors[COUNT]].ts_ns <= until_ns:
        count = counts[cursors[COUNT]]
        zone = s.zones[count.zone]
        if count.ts_ns // MS != zone.latest_ms:
            zone.free = zone.latest_free
            zone.latest_ms = count.ts_ns // MS
        zone.latest_free = count.free
        cursors[COUNT] += 1


@compiled(nb.boolean(STATE))
def _sweep(s: State) -> bool:
    """Report everything that is wholly free, as far as the log has room; True when all is done."""
    m = s.meters[0]
    while m.sweep:
        if not bounds.has_room(s):
            return False
        bounds.report_units(s, m.sweep - 1, m.sweep, m.sweep_ns)
        m.sweep = m.sweep + 1 if m.sweep < len(s.units) else 0
    return True


@compiled(nb.void(STATE, CODE, nb.int64))
def _switch(s: State, code: Code, now_ns: Int) -> None:
    """The device unregisters, or registers again.

    page_reporting_unregister() waits for a pass under way, and page_reporting_register() for it: while
    there are reports, a registration is put off.
    """
    device = s.device[0]
    device.switch += 1
    if device.registered:
        device.registered = 0
        code.tell(s, code.memory, now_ns, UNREGISTERED, 0)
    elif device.busy:
        device.awaited = not device.awaited
    else:
        device.registered = 1
        code.tell(s, code.memory, now_ns, REGISTERED, 0)


@compiled(nb.void(STATE, CODE, nb.int64))
def _act(s: State, code: Code, now_ns: Int) -> None:
    """The policy's turn: at its deadline, or since the device is done."""
    if s.device[0].busy:
        _complete(s)
    s.meters[0].acts += 1
    action = code.wake(s, code.memory, now_ns)
    if action == REPORT:
        submit(s, now_ns)
    elif action == INSTANT:
        s.meters[0].sweep = 1
        s.meters[0].sweep_ns = now_ns
    if s.device[0].awaited and not s.device[0].busy:
        s.device[0].awaited, s.device[0].registered = 0, 1
        code.tell(s, code.memory, now_ns, REGISTERED, 0)


@compiled(nb.int64(STATE, CODE, REDUCED, COUNTS, nb.int64[::1], nb.int64))
def _advance(s: State, code: Code, events: Records, counts: Records, cursors: Words, until_ns: Int) -> Int:
    """Apply all events, and let the policy act before `until_ns`; LOG_FULL asks to be called again.

    WORN_OUT: the policy has used up its steps.

    At `until_ns` itself more events may come with the next stretch, so no action happens then.
    """
    device = s.device[0]
    while True:
        if not _sweep(s):
            return LOG_FULL
        switch_ns = next_switch_ns(s)
        due_ns = min(switch_ns, device.done_ns if device.busy else code.memory[DEADLINE])
        while cursors[EVENT] < len(events) and events[cursors[EVENT]].ts_ns <= due_ns:
            if events[cursors[EVENT]].kind == TOUCH:
                cursors[EVENT] = touches(s, events, cursors[EVENT], due_ns)
                continue
            if not bounds.has_room(s):
                return LOG_FULL
            apply(s, code, events, cursors[EVENT])
            cursors[EVENT] += 1
            if not device.busy:
                due_ns = min(switch_ns, code.memory[DEADLINE])
        _see_counts(s, counts, cursors, due_ns)
        if due_ns >= until_ns:
            return DONE
        if not bounds.has_room(s):
            return LOG_FULL
        if due_ns == switch_ns:
            _switch(s, code, due_ns)
        else:
            _act(s, code, due_ns)
            if is_worn_out(s, cursors, due_ns):
                return WORN_OUT


@compiled(nb.void(STATE, nb.int64, nb.int64, nb.int64, nb.boolean, nb.boolean, nb.int64))
def _start_block(
    s: State, unit: Int, order: Int, migratetype: Int, reported: bool, clock_known: bool, now_ns: Int
) -> None:
    """List a block that is free when the replay starts, at its list's tail.

    `migratetype`: of the list it was read from, which from the pageblock order on is its pageblocks';
    -1 where that is not known.
    """
    if migratetype >= 0 and order >= s.area.shape[PAGEBLOCK_ORDER]:
        first = pageblock_of(s.area, unit)
        for pageblock in range(first, first + (np.int64(1) << (order - s.area.shape[PAGEBLOCK_ORDER]))):
            s.area.types[pageblock] = migratetype
    if migratetype < 0:
        migratetype = pageblock_type(s.area, unit)
    for each in range(unit, unit + slots_of(s.area, order)):
        s.units[each].epoch = 1
        s.units[each].since_ns = now_ns
        s.units[each].flags = FREE | (0 if clock_known else CLOCK_UNKNOWN) | (TOLD if reported else 0)
        put_in(s, each, now_ns)
    link(s.area, unit, order, migratetype, True)
    if not reported:
        return
    flag_reported(s.area, unit)
    for each in range(unit, unit + slots_of(s.area, order)):
        if host.discards(s, order):
            s.meters[0].start += host.discard_unit(s, each, np.uint32(1), now_ns)


@compiled(nb.void(STATE, START_BLOCKS, nb.boolean, nb.int64))
def _start_blocks(s: State, blocks: Records, clock_known: bool, now_ns: Int) -> None:
    """List the blocks (START_BLOCK) that are free when the replay starts, in their order."""
    for block in blocks:
        kind = (block.order, block.migratetype, block.reported)
        _start_block(s, block.unit, *kind, clock_known, now_ns)


@compiled(nb.int64(STATE, nb.int64))
def _finish(s: State, end_ns: Int) -> Int:
    """Close the books; returns the frames of units still waiting."""
    close(s, end_ns)
    for index in range(s.device[0].first, s.device[0].capacity):
        slot = s.slots[index]
        if slot.state == ISOLATED:
            settle(
                s.integrals,
                HELD_FRAMES,
                np.int64(1) << np.int64(slot.order),
                end_ns - slot.isolated_ns,
            )
    return meters.still_waiting(s, end_ns)


class Schedule:
    """One policy's run: its world, its program, and the report log as it is drained.

    Attributes:
        state: see `State`; read it when the run is finished.
        log: parts of the report log (`state.LOG` rows), in order.
        waiting_frames: frames of units still waiting at the end.
        in_python: its policy is plain Python: it stays in one thread.
    """

    def __init__(self, state: State, program: "Program", name: str = "") -> None:
        """`name`: what a fault calls it."""
        self.state, self.program, self.name = state, program, name
        self.log: list[NDArray[np.void]] = []
        self.waiting_frames = 0
        self.in_python = program.in_python
        self._code = Code(program.memory, program.arrive, program.wake, program.tell)
        self._begin_ns, self._events = 0, 0
        program.bind(state)

    def start(
        self,
        blocks: "NDArray[np.void]",
        zone_free: "NDArray[np.int64]",
        *,
        clock_known: bool,
        registers: bool,
        now_ns: int,
    ) -> None:
        """Set the lists and the host up as they are when the replay starts. `blocks`: START_BLOCK.
        `registers`: the device, if it is there, registers then, or finds memory that is not reported.
        """
        state = self.state
        self._begin_ns = now_ns
        state.levels["now_ns"] = now_ns
        state.zones["latest_free"] = zone_free
        state.zones["free"] = zone_free
        _start_blocks(state, blocks, clock_known, now_ns)
        if state.device["registered"][0]:
            what = REGISTERED if registers else SETTLED
            self.program.tell(state, self.program.memory, now_ns, what, 0)
            self.program.raise_failure()

    def advance(self, events: "NDArray[np.void]", counts: "NDArray[np.void]", until_ns: int) -> None:
        """Live through a stretch of reduced events; actions before `until_ns`, its last instant.

        Raises:
            Fault: when the policy takes so many steps that there would be no end of it.
        """
        self._events += len(events)
        cursors = np.array([0, 0, most_steps(self._events, self._begin_ns), 0], np.int64)
        while (ended := _advance(self.state, self._code, events, counts, cursors, until_ns)) == LOG_FULL:
            self._drain_log()
        self.program.raise_failure()
        if ended == WORN_OUT:
            raise worn_out(self.name, self.state.meters, int(cursors[ACTED_NS]) - self._begin_ns)

    def finish(self, end_ns: int) -> None:
        """Act up to the end of the trace, then close the books."""
        self.advance(np.empty(0, REDUCED_DTYPE), np.empty(0, COUNT_DTYPE), end_ns + 1)
        self.waiting_frames = _finish(self.state, end_ns)
        self._drain_log()

    @property
    def logged(self) -> int:
        """Rows of the log so far."""
        return sum(map(len, self.log)) + int(self.state.meters["logged"][0])

    def _drain_log(self) -> None:
        rows = int(self.state.meters["logged"][0])
        if rows:
            self.log.append(self.state.log[:rows].copy())
            self.state.meters["logged"] = 0

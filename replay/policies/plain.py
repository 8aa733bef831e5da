"""A policy in plain Python: the same three verbs as methods, called from the compiled engine.

For an idea to try, and for a second opinion on compiled code. A call costs some microseconds more than
a compiled one; what it decides is the same. `replay.isolation`'s functions can be called from it as they
are; `state` arrays are read by field: `s.zones["low"][zone]`.
"""

from collections.abc import Iterator
from itertools import count
from operator import index
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numba as nb

from replay.buddy.area import HELD, NOBODY, REPORTED
from replay.jit import Int, Words
from replay.policies.building import own_or_fault
from replay.policies.protocol import (
    ARRIVE,
    DEADLINE,
    INSTANT,
    REPORT,
    SLEEP,
    TELL,
    WAKE,
    Program,
    new_memory,
)
from replay.state import ISOLATE_TYPE, MAX_ORDER, MIGRATETYPES, NEVER, ORDER, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Verbs:
    """What a policy does; derive from it. Times are the guest's, in ns.

    Attributes:
        deadline_ns: when `wake` is called next; NEVER again from then on, until it is set anew.
    """

    deadline_ns: int = NEVER

    def arrive(
        self,
        s: State,
        now_ns: int,
        unit: int,
        order: int,
        merged: int,
        quiet: bool,
        cpu: int,
    ) -> int | None:
        """A block of `order` entered at `unit` and merged to order `merged`; see `protocol.ARRIVE`.

        Returns SLEEP (or None), or INSTANT.
        """

    def wake(self, s: State, now_ns: int) -> int | None:
        """The deadline is here, or the report is done. Returns SLEEP (or None), REPORT or INSTANT."""

    def tell(self, s: State, now_ns: int, what: int, where: int) -> None:
        """The device comes or goes, or compaction searched a zone; see `protocol.SETTLED` and its kin."""


def plain_program(verbs: Verbs, **more: Any) -> Program:  # noqa: ANN401 - Program's other fields
    """A program of verbs in plain Python. `more`: capacity, to_tail and so on, as in `Program`.

    What a verb raises ends the replay: a Fault and what is no Exception as it is, anything else as a Fault
    that names the line, with the exception as its cause.
    """
    memory = new_memory(_WORDS)
    calls = _Calls(verbs, memory)
    memory[_KEY] = next(_keys)
    _running[int(memory[_KEY])] = calls
    return Program(
        _arrive,
        _wake,
        _tell,
        memory,
        **more,
        in_python=True,
        bind=calls.bind,
        raise_failure=calls.raise_failure,
    )


def blocks(s: State, zone: int, order: int, migratetype: int) -> Iterator[int]:
    """The units that a free list's blocks begin with, from head to tail; the one just told may be taken."""
    unit = int(s.area.lists["head"][zone, order, migratetype])
    while unit != NOBODY:
        following = int(s.area.blocks["next"][unit])
        yield unit
        unit = following


def free_lists(s: State, zone: int) -> Iterator[tuple[int, int, int]]:
    """(zone, order, migratetype) of a zone's lists from the reporting order up, without ISOLATE's."""
    for order in range(int(s.shape[ORDER]), int(s.shape[MAX_ORDER]) + 1):
        for migratetype in range(int(s.shape[MIGRATETYPES])):
            if migratetype != s.shape[ISOLATE_TYPE]:
                yield zone, order, migratetype


def listed_order(s: State, unit: int) -> int:
    """Order of the block on a free list that begins with this unit; -1 where none does."""
    block = s.area.blocks[unit]
    return -1 if block["flags"] & HELD else int(block["order"])


def head_of(s: State, unit: int, order: int) -> int:
    """The unit that the block of this order around a unit begins with."""
    return int(unit) >> (order - int(s.shape[ORDER])) << (order - int(s.shape[ORDER]))


def is_reported(s: State, unit: int) -> bool:
    """Is the block that begins here flagged reported?"""
    return bool(s.area.blocks["flags"][unit] & REPORTED)


def room(s: State) -> int:
    """How many more blocks can be isolated into this batch."""
    return int(s.device["first"][0])


_KEY, _WORDS = 1, 2  # words of the memory: which calls are meant
MOST_WAKES = 1 << 20  # at one instant
_ANSWERS = {"arrive": (SLEEP, INSTANT), "wake": (SLEEP, REPORT, INSTANT), "tell": (SLEEP,)}
_keys = count(1)
_running: "WeakValueDictionary[int, _Calls]" = WeakValueDictionary()


class _Calls:
    """The calls of one replay into Python. Compiled code lets no exception through, so the first one is
    kept, and nothing is called any more.
    """

    def __init__(self, verbs: Verbs, memory: "NDArray[Any]") -> None:
        self.verbs, self.memory = verbs, memory
        self.state: State | None = None
        self.failure: BaseException | None = None
        self.place = ""
        self.wakes, self.woken_ns = 0, NEVER

    def bind(self, state: State) -> None:
        """The world of the replay, which these calls are from."""
        self.state = state

    def call(self, verb: str, now_ns: int, *more: int) -> int:
        """One verb; returns its action."""
        if self.failure:
            return SLEEP
        try:
            return self._checked(verb, now_ns, more)
        except BaseException as failure:  # Ctrl-C too
            self.failure, self.place = failure, f"in {verb} at {now_ns} ns"
            self.memory[DEADLINE] = NEVER
            return SLEEP

    def _checked(self, verb: str, now_ns: int, more: tuple[int, ...]) -> int:
        verbs, device = self.verbs, self.state.device  # type: ignore[union-attr] # bound before
        if verb == "wake":
            self._count_wakes(now_ns)
            verbs.deadline_ns = verbs.deadline_ns if verbs.deadline_ns > now_ns else NEVER
        action = getattr(verbs, verb)(self.state, now_ns, *more)
        action = SLEEP if action is None else action
        if action not in _ANSWERS[verb]:
            raise ValueError(f"{verb} returned {action!r}: it must be one of {_ANSWERS[verb]} or None")
        if action == REPORT and device["first"][0] == device["capacity"][0]:
            raise ValueError("wake asked for a report of nothing: no block is isolated")
        due_ns = index(verbs.deadline_ns)
        if due_ns < now_ns and action != REPORT and not device["busy"][0]:
            raise ValueError(f"deadline_ns is {due_ns} after {verb} at {now_ns}: that is over")
        self.memory[DEADLINE] = due_ns
        return int(action)

    def _count_wakes(self, now_ns: int) -> None:
        """A policy that asks to be woken at once, for ever, would never let time go on."""
        self.wakes = self.wakes + 1 if now_ns == self.woken_ns else 1
        self.woken_ns = now_ns
        if self.wakes > MOST_WAKES:
            raise ValueError(f"woken {MOST_WAKES:,} times at one instant: deadline_ns must move on")

    def raise_failure(self) -> None:
        """Raise what a verb raised."""
        if self.failure:
            raise own_or_fault(self.failure, f"policy {type(self.verbs).__name__} failed {self.place}")


def _call_arrive(key: int, now_ns: int, unit: int, order: int, merged: int, quiet: bool, cpu: int) -> int:
    return _running[key].call("arrive", now_ns, unit, order, merged, quiet, cpu)


def _call_wake(key: int, now_ns: int) -> int:
    return _running[key].call("wake", now_ns)


def _call_tell(key: int, now_ns: int, what: int, where: int) -> None:
    _running[key].call("tell", now_ns, what, where)


# Not `compiled`: to make Python objects of numbers, Numba needs what that leaves out.
@nb.njit(ARRIVE, cache=True)
def _arrive(
    _s: State, memory: Words, now_ns: Int, unit: Int, order: Int, merged: Int, quiet: bool, cpu: Int
) -> Int:
    key = memory[_KEY]
    with nb.objmode(action="int64"):
        action = _call_arrive(key, now_ns, unit, order, merged, quiet, cpu)
    return action  # noqa: RET504 - objmode hands out what has a name


@nb.njit(WAKE, cache=True)
def _wake(_s: State, memory: Words, now_ns: Int) -> Int:
    key = memory[_KEY]
    with nb.objmode(action="int64"):
        action = _call_wake(key, now_ns)
    return action  # noqa: RET504 - likewise


@nb.njit(TELL, cache=True)
def _tell(_s: State, memory: Words, now_ns: Int, what: Int, where: Int) -> None:
    key = memory[_KEY]
    with nb.objmode():
        _call_tell(key, now_ns, what, where)

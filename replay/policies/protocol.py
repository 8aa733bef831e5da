"""What a policy is: parameters in, three compiled verbs out.

A policy says what to report and when; the engine does it. `arrive` is called after each insertion into
the free lists, `wake` at the policy's deadline and again when its report is done, `tell` when the device
comes or goes and when compaction has searched a zone's lists. All get the state, of which they use the
lists (`State.area`) and `replay.isolation`, never the host, and the policy's own memory, whose first
word is the deadline.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numba as nb
import numpy as np

from replay.bundles import Bundle, bundle_type
from replay.geometry import Geometry
from replay.parameters import Parameter, Value, word_of
from replay.state import NEVER, STATE, State
from tracer import Fault, Guest

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEADLINE = 0  # in every policy's memory: when to wake it, ns
MEMORY = nb.int64[::1]

# What a verb asks the engine for.
SLEEP = 0  # nothing until the deadline
REPORT = 1  # give the slots to the device, then wake again when it is done
INSTANT = 2  # arrive: report what just became free, at once and without isolating it; wake: all
# that is wholly free. For bounds, which no kernel can do.

# What a verb is told of.
SETTLED = 0  # the replay begins; the device registered long ago, and nothing is asked for
REGISTERED = 1  # the device registers: also when a replay begins cold
UNREGISTERED = 2  # it is gone: a report under way comes back, nothing that waits is done any more
RESHUFFLED = 3  # compaction has searched the lists of the zone `where`, and may have reordered them

# arrive: of state, memory, now_ns, unit, order of the entry, order after merging, quiet, cpu; an action.
# Only while a device is registered. quiet: an isolated block returns, of which the kernel notifies nobody
# (FPI_SKIP_REPORT_NOTIFY).
ARRIVE = nb.int64(STATE, MEMORY, nb.int64, nb.int64, nb.int64, nb.int64, nb.boolean, nb.int64)
# wake: of state, memory, now_ns; an action. After a report, state.device[0].failed says how it went
WAKE = nb.int64(STATE, MEMORY, nb.int64)
# tell: of state, memory, now_ns, what, where.
TELL = nb.void(STATE, MEMORY, nb.int64, nb.int64, nb.int64)

# How the engine gets them: plain function pointers, so that its own compiled code fits any policy.
ARRIVE_TYPE = nb.types.FunctionType(ARRIVE)
WAKE_TYPE = nb.types.FunctionType(WAKE)
TELL_TYPE = nb.types.FunctionType(TELL)


@dataclass(frozen=True, eq=False)
class Code(Bundle):
    """What compiled code runs of a program."""

    memory: Annotated[Any, MEMORY]
    arrive: Annotated[Any, ARRIVE_TYPE]
    wake: Annotated[Any, WAKE_TYPE]
    tell: Annotated[Any, TELL_TYPE]


CODE = bundle_type(Code)

STARTS = ("steady", "cold", "recorded")

FLOOR, CEILING, FORESIGHT = BOUNDS = "floor", "ceiling", "foresight"  # nothing, all at once, the future known


@dataclass(frozen=True)
class Setting:
    """A policy with all its parameters settled for one guest."""

    policy: "Policy"
    params: Mapping[str, Value]

    @property
    def written(self) -> dict[str, Value]:
        """The parameters as a user writes them."""
        kinds = {parameter.name: parameter for parameter in self.policy.parameters}
        return {name: kinds[name].written(value) for name, value in self.params.items()}

    @property
    def text(self) -> str:
        """The parameters in a line."""
        return ", ".join(f"{name}={word_of(value)}" for name, value in self.written.items())

    @property
    def named(self) -> str:
        """The policy and its parameters, as a user writes them."""
        return f"{self.policy.name}:{self.text.replace(', ', ',')}"

    @property
    def order(self) -> int:
        """Reporting order R."""
        return int(self.params["order"])


def _nothing() -> None:
    pass


def _unbound(_state: State) -> None:
    pass


@dataclass(frozen=True)
class Program:
    """What the engine runs.

    Attributes:
        arrive, wake, tell: compiled verbs.
        memory: the policy's own words, see `new_memory`.
        capacity: blocks that it hands over at once.
        per_call: of them, those that the device takes in one call; None: all.
        forward: the list is in the order of isolation; False: the first one isolated is its last.
        reports: False when the policy never reports anything, not even at the start.
        to_tail: what it isolated goes back to the tail of the lists, else as any free.
        imposes: what it takes besides the work that is measured, in numbers, by name.
        bind: hears of the world that the verbs will be called with, before the first one is.
        in_python: its verbs run in the interpreter, so it stays in the thread of whoever replays.
        raise_failure: raises what a verb raised. Compiled ones raise nothing.
    """

    arrive: Any
    wake: Any
    tell: Any
    memory: "NDArray[np.int64]"
    capacity: int = 1
    per_call: int | None = None
    forward: bool = False
    reports: bool = True
    to_tail: bool = True
    imposes: Mapping[str, int] = field(default_factory=dict)
    bind: Callable[[State], None] = _unbound
    in_python: bool = False
    raise_failure: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Knob:
    """A parameter of a policy that a released kernel has: how one would turn it there.

    Attributes:
        how: what it takes, in words that follow "with".
        since: the first Linux release that can be set so; empty while it takes a patch.
        shown: a value worth showing beside the default, as a user writes it; empty for none.
    """

    how: str
    since: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Policy:
    """A registered policy.

    Attributes:
        needs_of_kernel: what a kernel would need for it, in words.
        build: (guest, geometry, params) -> Program, called for each replay, and once before to see its size.
        requires: what a trace must have for it (`replay.capabilities`).
        without: of what a trace may have and this one has not, what its result then does not show.
        presets: by parameter and value of it, the defaults of others that come with it.
        since: the first Linux release that has it; empty while none does.
        bound: what it bounds (`BOUNDS`); empty for what a kernel could do.
        caution: why one would not run it all the time, in words; empty where nothing speaks against it.
        knobs: of a policy that a released kernel has, by parameter: how it is turned there. What is not
            among them is fixed in the kernel's source.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    source: str
    needs_of_kernel: str
    build: Callable[[Guest, Geometry, Mapping[str, Value]], Program]
    requires: frozenset[str] = frozenset()
    without: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[Value, Mapping[str, Value]]] = field(default_factory=dict)
    since: str = ""
    bound: str = ""
    caution: str = ""
    knobs: Mapping[str, Knob] = field(default_factory=dict)

    def settle(self, guest: Guest, given: Mapping[str, Any]) -> Setting:
        """All parameters, from what was given (see `Parameter.settled`) and the defaults of this guest.

        Raises:
            Fault: for a parameter this policy does not have, or a value that it cannot have.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise Fault(
                    f"policy {self.name} has no parameter {name}",
                    f"it has {', '.join(sorted(known)) or 'none'}",
                    "pagetide policies lists them",
                )
        params = {parameter.name: parameter.default_for(guest) for parameter in self.parameters}
        chosen = {name: known[name].settled(value) for name, value in given.items()}
        for name in self.presets:
            params |= self.presets[name].get(chosen.get(name, params[name]), {})
        return Setting(self, {**params, **chosen})


ORDER = Parameter(
    "order",
    "int",
    None,
    "reporting order; default: the guest's pageblock order",
    of_guest="pageblock_order",
)


def new_memory(words: int) -> "NDArray[np.int64]":
    """A policy's memory with no deadline."""
    memory = np.zeros(words, np.int64)
    memory[DEADLINE] = NEVER
    return memory

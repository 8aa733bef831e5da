"""Policies in plain Python: the adapter gives the compiled ones' numbers, and failures reach the user."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.engine import Group
from replay.policies.plain import Verbs, blocks, free_lists, is_reported, listed_order, plain_program, room
from replay.policies.protocol import ORDER, REGISTERED, REPORT, SLEEP, Policy, new_memory
from replay.state import NEVER
from tests.pure.plain_upstream import PLAIN_ORACLE, PLAIN_UPSTREAM
from tests.pure.same_answer import lists_of
from tests.pure.small_guests import T0_NS, Case, How, cases, guest, left_behind, run_engine, zone
from tests.pure.test_engine_against_oracle import hows
from tracer import Fault

MS = 1_000_000
PLAIN = {"upstream": PLAIN_UPSTREAM, "oracle": PLAIN_ORACLE}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cases(),
    hows().filter(lambda how: how.policy in PLAIN),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_a_plain_policy_leaves_the_same_world_behind_as_the_compiled_one(
    case: Case, how: How, batch: int, random: Any
) -> None:
    if how.order > case.guest.max_order:
        return
    heads = [frame for frame in case.state if random.random() < 0.5]
    compiled = left_behind(run_engine(case, how, batch, heads).schedules[0])
    plain = left_behind(run_engine(case, how, batch, heads, PLAIN[how.policy]).schedules[0])
    assert [name for name in compiled if not np.array_equal(compiled[name], plain[name])] == []


# One small guest by hand: two blocks of order 2 become free, one after the other.

EVENTS = [(T0_NS + MS, "enter", 16, 2, 1), (T0_NS + 2 * MS, "enter", 24, 2, 1)]
USED = dict.fromkeys(range(64), "used")
CASE = Case(guest(4, 3, None, None), [zone("A", 0, 64)], USED, EVENTS, T0_NS + 9 * MS)


def policy_of(build: Any, **more: Any) -> Policy:
    return Policy("mine", "a test", (ORDER,), "here", "nothing", build, **more)


def lived(verbs: Verbs, **program: Any) -> Group:
    how = How("mine", 2, "cold", "4k", {})
    return run_engine(CASE, how, 1, [], policy_of(lambda *_: plain_program(verbs, **program)))


class Notebook(Verbs):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def arrive(self, s, now_ns, unit, order, merged, quiet, cpu):
        self.heard.append(("arrive", now_ns - T0_NS, unit, order, merged, quiet, cpu))
        self.deadline_ns = now_ns + 3 * MS

    def wake(self, s, now_ns):
        self.heard.append(("wake", now_ns - T0_NS, self.deadline_ns))

    def tell(self, s, now_ns, what, where):
        self.heard.append(("tell", now_ns - T0_NS, what, where))


def test_the_verbs_hear_of_entries_deadlines_and_the_device() -> None:
    verbs = Notebook()
    lived(verbs)
    assert verbs.heard == [
        ("tell", 0, REGISTERED, 0),
        ("arrive", 1 * MS, 4, 2, 2, False, 1),
        ("arrive", 2 * MS, 6, 2, 2, False, 1),
        ("wake", 5 * MS, NEVER),  # once
    ]


def test_the_helpers_tell_of_the_lists() -> None:
    class Looks(Verbs):
        def arrive(self, s, now_ns, unit, order, merged, quiet, cpu):
            self.found = {of: list(blocks(s, *of)) for of in free_lists(s, 0)}
            self.of_units = [(listed_order(s, unit), is_reported(s, unit)) for unit in (4, 5, 6)]
            self.room = room(s)

    verbs = Looks()
    group = lived(verbs, capacity=3)
    units = {of: [head >> 2 for head in heads] for of, heads in lists_of(group.schedules[0]).items()}
    assert {of: found for of, found in verbs.found.items() if found} == units == {(0, 2, 1): [6, 4]}
    assert {order for _, order, _ in verbs.found} == {2, 3, 4}
    assert {kind for _, _, kind in verbs.found} == {0, 1, 2, 3}  # without ISOLATE
    assert (verbs.of_units, verbs.room) == ([(2, False), (-1, False), (2, False)], 3)


# What goes wrong


class Failing(Verbs):
    """Does what it was given, in one verb, and counts its calls."""

    def __init__(self, verb: str, does: Any) -> None:
        self.verb, self.does, self.calls = verb, does, 0

    def go(self, verb: str) -> Any:
        self.calls += 1
        return self.does(self) if verb == self.verb else None

    def arrive(self, s, now_ns, *_):
        self.deadline_ns = now_ns + MS
        return self.go("arrive")

    def wake(self, s, now_ns):
        return self.go("wake")

    def tell(self, s, now_ns, what, where):
        return self.go("tell")


def failed(verb: str, does: Any) -> Any:
    verbs = Failing(verb, does)
    with pytest.raises(Fault) as caught:
        lived(verbs)
    return caught.value, verbs.calls


@pytest.mark.parametrize(("verb", "at_ns", "calls"), [("tell", 0, 1), ("arrive", MS, 2), ("wake", 3 * MS, 4)])
def test_an_exception_ends_the_replay_as_a_fault_that_names_its_line(verb, at_ns, calls) -> None:
    nothing: dict[str, int] = {}
    fault, called = failed(verb, lambda _: nothing["no such key"])
    assert fault.what == f"policy Failing failed in {verb} at {T0_NS + at_ns} ns"
    assert fault.how.startswith("KeyError: 'no such key'")
    assert __file__ in fault.how
    assert isinstance(fault.__cause__, KeyError)
    assert called == calls  # and is not called again


def test_ctrl_c_in_a_verb_is_ctrl_c() -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lived(Failing("wake", interrupt))


def test_a_fault_of_the_policy_is_raised_as_it_is() -> None:
    mine = Fault("what", "how", "fix")

    def refuse(_: Any) -> None:
        raise mine

    assert failed("wake", refuse)[0] is mine


def set_deadline(value: Any) -> Any:
    return lambda verbs: setattr(verbs, "deadline_ns", value)


@pytest.mark.parametrize(
    ("verb", "does", "told"),
    [
        ("wake", lambda _: 7, "wake returned 7"),
        ("arrive", lambda _: REPORT, "arrive returned 1"),
        ("wake", lambda _: REPORT, "a report of nothing"),
        ("wake", set_deadline(T0_NS), "that is over"),
        ("arrive", set_deadline(T0_NS), "that is over"),
        ("arrive", set_deadline(1.5), "cannot be interpreted as an integer"),
        ("arrive", set_deadline(1 << 64), "too"),
    ],
)
def test_what_the_engine_could_not_live_with_is_a_fault(verb, does, told) -> None:
    assert told in failed(verb, does)[0].how


def test_a_policy_that_is_woken_for_ever_at_one_instant_is_a_fault(monkeypatch) -> None:
    monkeypatch.setattr("replay.policies.plain.MOST_WAKES", 50)
    fault, called = failed("wake", set_deadline(T0_NS + 3 * MS))
    assert "woken 50 times at one instant" in fault.how
    assert called == 3 + 50


# Programs


def refused(build: Any) -> Any:
    with pytest.raises(Fault) as caught:
        run_engine(CASE, How("mine", 2, "cold", "4k", {}), 1, [], policy_of(build))
    return caught.value


def test_a_policy_that_cannot_be_built_is_a_fault_that_names_its_line() -> None:
    fault = refused(lambda *_: 1 // 0)
    assert fault.what == "policy mine cannot be built"
    assert fault.how.startswith("ZeroDivisionError")
    assert __file__ in fault.how


GOOD = plain_program(Verbs())


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (None, "its build returned a NoneType"),
        (replace(GOOD, wake=lambda *_: SLEEP), "its wake is not compiled with the signature WAKE"),
        (replace(GOOD, arrive=GOOD.wake), "its arrive is not compiled with the signature ARRIVE"),
        (replace(GOOD, memory=new_memory(3).astype(float)), "its memory"),
        (replace(GOOD, memory=new_memory(1)[:0]), "its memory"),
        (replace(GOOD, capacity=0), "0 blocks at once, 0 a call"),
        (replace(GOOD, capacity=2, per_call=0), "2 blocks at once, 0 a call"),
    ],
)
def test_what_is_no_program_is_refused(program, told) -> None:
    fault = refused(lambda *_: program)
    assert fault.what == "policy mine cannot be run"
    assert told in fault.how

"""What a replay finds depends on nothing but the trace: not on threads, batches, or what else is replayed."""

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.buddy.ops import meaning_table
from replay.crew import Crew
from replay.engine import Group, Options
from replay.geometry import Geometry
from replay.policies import policy_named, registry
from replay.policies.protocol import Setting
from replay.schedule import Schedule
from tests.pure.plain_upstream import PLAIN_ORACLE, PLAIN_UPSTREAM
from tests.pure.small_guests import Case, cases, healed, left_behind, live_through, start_of

PLAIN = {"plain upstream": PLAIN_UPSTREAM, "plain oracle": PLAIN_ORACLE}
ORDERS = [0, 0, 1, 2, 5]


def lived(case: Case, chosen: list[Setting], options: Options, batch: int) -> list[Schedule]:
    """The schedules of one pass, at its end."""
    geometry = Geometry.of(case.guest, case.zones, chosen[0].order)
    meaning = meaning_table(case.guest)
    group = Group(case.guest, meaning, geometry, start_of(case), case.end_ns, chosen, options)
    live_through(group, case, batch)
    return group.schedules


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(cases(), healed()),
    st.sampled_from(ORDERS),
    st.sampled_from(["steady", "cold"]),
    st.sampled_from(["4k", "2m", "thp"]),
    st.integers(2, 5),
    st.integers(1, 40),
    st.permutations([*registry(), *PLAIN]),
)
def test_no_result_depends_on_threads_batches_or_what_else_is_replayed(
    case: Case, order: int, start: str, backing: str, threads: int, batch: int, names: list[str]
) -> None:
    params = {"order": min(order, case.guest.max_order)}
    chosen = [(PLAIN.get(name) or policy_named(name)).settle(case.guest, params) for name in names]
    options = Options(start, backing, logging=True, threads=1)
    together = lived(case, chosen, replace(options, threads=threads), batch)
    for setting, schedule in zip(chosen, together, strict=True):
        want = left_behind(lived(case, [setting], options, max(len(case.events), 1))[0])
        got = left_behind(schedule)
        assert [(setting.named, key) for key in want if not np.array_equal(want[key], got[key])] == []


@dataclass
class Fake:
    """What a crew sees of a schedule, and the thread that it lived in."""

    name: str
    in_python: bool = False
    thread: int = 0


def crew(fakes: list[Fake], threads: int) -> Crew:
    made: Any = fakes
    return Crew(made, threads)


def test_two_live_at_the_same_time_in_two_threads() -> None:
    fakes, both = [Fake("a"), Fake("b")], threading.Barrier(2, timeout=60)

    def live(fake: Any) -> None:
        both.wait()  # breaks unless the other one comes, too
        fake.thread = threading.get_ident()

    crew(fakes, 2).each(live)
    assert fakes[0].thread != fakes[1].thread
    assert threading.get_ident() in (fakes[0].thread, fakes[1].thread)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_plain_python_stays_in_the_thread_of_the_caller(threads: int) -> None:
    fakes = [Fake(str(number), in_python=number % 3 == 0) for number in range(12)]

    def live(fake: Any) -> None:
        fake.thread = threading.get_ident()

    crew(fakes, threads).each(live)
    assert {fake.thread for fake in fakes if fake.in_python} == {threading.get_ident()}
    assert all(fake.thread for fake in fakes)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_the_first_that_fails_is_told_of_when_all_have_lived(
    threads: int, failure: type[BaseException]
) -> None:
    fakes = [Fake(name, in_python=name in "df") for name in "abcdefgh"]

    def live(fake: Any) -> None:
        fake.thread = threading.get_ident()
        if fake.name in "cdg":
            raise failure(fake.name)

    with pytest.raises(failure, match=r"^c$"):
        crew(fakes, threads).each(live)
    assert all(fake.thread for fake in fakes)

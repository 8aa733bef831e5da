"""The fast engine and the plain-Python oracle tell the same of the same events, in every number."""

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.engine import Run
from replay.invariants import violations
from tests.pure.same_answer import assert_same, assert_same_composition
from tests.pure.small_guests import (
    Case,
    How,
    cases,
    healed,
    listed,
    run_engine,
    run_oracle,
    searched,
)

EXAMPLES = 20_000 if os.environ.get("PAGETIDE_SOAK") else 250


def hows() -> st.SearchStrategy[How]:
    upstream = st.fixed_dictionaries(
        {
            "delay": st.sampled_from([0, 1_000_000, 7_000_000, 90_000_000]),
            "capacity": st.integers(1, 5),
            "budget": st.integers(1, 3),
            "gate": st.booleans(),
            "rounding": st.sampled_from(["none", "wheel"]),
            "putback": st.sampled_from(["tail", "head"]),
        }
    )
    boundary = st.fixed_dictionaries(
        {
            "high_water": st.integers(1, 4),
            "delay": st.sampled_from([0, 300_000, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
            "rounding": st.sampled_from(["none", "wheel"]),
        }
    )
    bitmap = st.fixed_dictionaries(
        {"threshold": st.sampled_from([1, 1, 2, 3, 6]), "capacity": st.integers(1, 4)}
    )
    hints = st.fixed_dictionaries(
        {
            "container": st.sampled_from(["set", "ring", "array"]),
            "size": st.integers(1, 8),
            "delay": st.sampled_from([0, 300_000, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
        }
    )
    order, start = st.integers(0, 5), st.sampled_from(["steady", "cold", "recorded"])
    backing, call_ns = (
        st.sampled_from(["4k", "2m", "thp"]),
        st.sampled_from([0, 1000, 600_000, 5_000_000]),
    )
    fail_every = st.sampled_from([0, 0, 1, 2, 3])
    switches = st.lists(st.integers(1, 40_000_000), max_size=4, unique=True).map(sorted).map(tuple)
    trouble = fail_every, st.one_of(st.just(()), switches)
    hinting = st.fixed_dictionaries(
        {
            "first": st.sampled_from([0, 300_000, 2_000_000]),
            "every": st.sampled_from([0, 1_000_000, 7_000_000]),
            "capacity": st.integers(1, 4),
            "hold": st.sampled_from([0, 0, 400_000, 5_000_000]),
        }
    )
    horizon = st.fixed_dictionaries(
        {"horizon": st.sampled_from([0, 1000, 200_000, 1_000_000, 3_000_000, 40_000_000])}
    )
    plain = order, start, backing
    return st.one_of(
        st.builds(How, st.just("upstream"), *plain, upstream, call_ns, *trouble),
        st.builds(How, st.just("boundary"), *plain, boundary, call_ns, *trouble),
        st.builds(How, st.just("bitmap"), *plain, bitmap, call_ns, *trouble),
        st.builds(How, st.just("hints"), *plain, hints, call_ns, *trouble),
        st.builds(How, st.just("balloon-hinting"), *plain, hinting, call_ns, *trouble),
        st.builds(How, st.just("clairvoyant"), *plain, horizon, call_ns, *trouble),
        st.builds(How, st.sampled_from(["oracle", "never"]), *plain, st.just({}), call_ns, *trouble),
    )


def check(case: Case, how: How, batch: int, random: Any) -> None:
    if how.order > case.guest.max_order:
        return
    if how.backing in {"oracle": ["2m"], "clairvoyant": ["2m", "thp"]}.get(how.policy, []) and how.order < 3:
        return  # the oracle has no answer for units smaller than a host page
    heads = [frame for frame in case.state if random.random() < 0.5]
    want = run_oracle(case, how, heads)
    group = run_engine(case, how, batch, heads)
    run = Run(None, group.schedules[0], group)  # type: ignore[arg-type] # no setting is needed
    assert_same(run, want)
    assert_same_composition(run, want)
    assert violations(run) == []


thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@thorough
@given(cases(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_and_list_is_the_same(case: Case, how: How, batch: int, random: Any) -> None:
    check(case, how, batch, random)


@thorough
@given(healed(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_snapshots_heal_what_was_lost_or_never_known(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)


@thorough
@given(listed(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_the_lists_were_read_at_the_start(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)


@thorough
@given(searched(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_compaction_searches_the_lists(
    case: Case, how: How, batch: int, random: Any
) -> None:
    check(case, how, batch, random)

"""The front against what its definition says, point by point."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replay.sweeping.pareto import front, objectives

FEW = st.sampled_from([0.0, 0.1, 0.1 + 2**-56, 1.0, 2.5, math.inf])
POINTS = st.tuples(FEW | st.floats(0, 1e6), st.integers(-3, 3) | FEW, st.integers(0, 4))


def beats(one: Any, other: Any) -> bool:
    """As good everywhere, and better somewhere."""
    nowhere_worse = not any(mine > yours for mine, yours in zip(one, other, strict=True))
    return nowhere_worse and any(mine < yours for mine, yours in zip(one, other, strict=True))


@given(st.lists(POINTS, max_size=30))
def test_on_the_front_is_what_nobody_beats(points):
    assert front(points) == [not any(beats(other, point) for other in points) for point in points]


@given(st.lists(POINTS, min_size=1, max_size=30))
def test_there_is_always_a_front_and_it_beats_the_rest(points):
    best = [point for point, on in zip(points, front(points), strict=True) if on]
    assert best
    for point, on in zip(points, front(points), strict=True):
        assert on or any(beats(other, point) for other in best)


@given(st.lists(POINTS, max_size=20), st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_of_the_settings(points, random):
    places = list(range(len(points)))
    random.shuffle(places)
    shuffled = front([points[place] for place in places])
    assert [shuffled[places.index(k)] for k in range(len(points))] == front(points)


def summary(mean_s: float | None, byte_seconds: float, refaulted: int) -> dict[str, Any]:
    return {
        "latency_s": {"mean": mean_s},
        "reclaimed": {"byte_seconds": byte_seconds},
        "refaults": {"bytes": refaulted},
    }


def fronts(*told: tuple[float | None, float, int]) -> list[bool]:
    return front([objectives(summary(*each)) for each in told])


def test_nothing_is_a_front_of_nothing():
    assert fronts() == []


def test_equal_settings_are_both_on_it():
    assert fronts((1.0, 5.0, 3), (1.0, 5.0, 3), (2.0, 5.0, 3)) == [True, True, False]


def test_the_last_bit_counts():
    assert fronts((0.1, 5.0, 3), (math.nextafter(0.1, 1), 5.0, 3)) == [True, False]


def test_what_reported_nothing_is_later_than_all_and_on_the_front_only_for_something_else():
    assert fronts((None, 5.0, 3), (9e9, 5.0, 3)) == [False, True]
    assert fronts((None, 0.0, 0), (1.0, 5.0, 3)) == [True, True]  # nobody has as few refaults
    assert fronts((None, 0.0, 0), (1.0, 0.0, 0)) == [False, True]
    assert fronts((None, 0.0, 0), (None, 0.0, 0)) == [True, True]

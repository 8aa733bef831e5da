"""Bundles of arrays: compiled code sees the very arrays that Python does."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numba as nb
import numpy as np
import pytest

from replay.bundles import NUMBERS, NUMBERS_2D, Bundle, bundle_type, records

PAIR = np.dtype([("a", np.uint8), ("b", np.int64)], align=True)
DOUBLE = nb.int64(nb.int64)


@dataclass(frozen=True, eq=False)
class Inner(Bundle):
    table: Annotated[Any, NUMBERS_2D]


INNER = bundle_type(Inner)


@dataclass(frozen=True, eq=False)
class Outer(Bundle):
    numbers: Annotated[Any, NUMBERS]
    inner: Annotated[Any, INNER]
    pairs: Annotated[Any, records(PAIR)]
    double: Annotated[Any, nb.types.FunctionType(DOUBLE)]


OUTER = bundle_type(Outer)


@nb.njit(DOUBLE)
def double(number):
    return 2 * number


@nb.njit(nb.int64(INNER))
def corner(inner):
    rows, columns = inner.table.shape
    return inner.table[rows - 1, columns - 1] + inner.table[-1, 0]


@nb.njit(nb.int64(OUTER, nb.int64))
def work(outer, at):
    outer.numbers[at] = outer.double(outer.pairs[at].b) + corner(outer.inner)
    outer.pairs[at].a = 7
    return len(outer.numbers)


def made() -> Outer:
    table = np.arange(12).reshape(3, 4)
    return Outer(np.zeros(5, np.int64), Inner(table), np.array([(1, 10), (2, 20)], PAIR), double)


def test_compiled_code_reads_and_writes_the_arrays_themselves() -> None:
    outer = made()
    assert work(outer, 1) == 5
    assert outer.numbers.tolist() == [0, 2 * 20 + 11 + 8, 0, 0, 0]
    assert outer.pairs["a"].tolist() == [1, 7]
    assert outer.nbytes == 5 * 8 + 12 * 8 + 2 * 16


@pytest.mark.parametrize("copied", [deepcopy, replace])
def test_a_copy_has_its_own_addresses(copied: Any) -> None:
    outer = made()
    copy = copied(outer, **({"numbers": np.zeros(5, np.int64)} if copied is replace else {}))
    work(copy, 0)
    assert copy.numbers[0] == 2 * 10 + 11 + 8
    assert not outer.numbers.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"numbers": np.zeros(5, np.int32)},
        {"numbers": np.zeros(10, np.int64)[::2]},
        {"numbers": np.zeros((5, 1), np.int64)},
        {"inner": np.zeros((3, 4), np.int64)},
        {"pairs": np.zeros(2, [("a", np.uint8), ("b", np.int64)])},
    ],
)
def test_what_is_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="a field is"):
        replace(made(), **wrong)

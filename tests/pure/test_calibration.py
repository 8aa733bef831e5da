"""How a struct page becomes a pfn: told from pairs, and not told where they do not agree."""

from typing import Any

import numpy as np
import pytest

from tracer.probes.calibration import MIN_PAIRS, PageMap, page_map, split
from tracer.probes.program import MISMATCH, PAIR

VMEMMAP = 0xFFFFEA0000000000


def pairs(size=64, base=VMEMMAP, count=200, seed=1, op=PAIR) -> Any:
    rng = np.random.default_rng(seed)
    pfn = rng.integers(1, 6 << 20, count, np.uint64)
    made = np.zeros((count, 3), np.uint64)
    made[:, 0] = np.uint64(base) + pfn * np.uint64(size)
    made[:, 1] = pfn | np.uint64(op << 56) | np.uint64(3 << 48 | 9 << 40)  # probe 3, order 9
    return made


@pytest.mark.parametrize("size", [56, 64, 80])
@pytest.mark.parametrize("base", [VMEMMAP, 0xFFFFFDFFC0000000, 1 << 20])
def test_pages_on_one_line_tell_the_map(size, base):
    assert page_map(pairs(size, base)) == PageMap(base, size)


def test_a_base_may_lie_below_zero():
    base = (1 << 64) - 4096 * 64  # the first frames of the line are not there
    assert page_map(pairs(base=base)) == PageMap(base, 64)


def test_the_map_gives_each_pair_its_pfn():
    some = pairs(80)
    told = page_map(some)
    assert isinstance(told, PageMap)
    pfn = (some[:, 0] - np.uint64(told.base)) // np.uint64(told.size)
    assert (pfn == some[:, 1] & np.uint64((1 << 40) - 1)).all()


@pytest.mark.parametrize(("size", "shift"), [(64, 6), (128, 7), (16, 4), (56, 0), (80, 0)])
def test_a_size_that_is_a_power_of_two_is_told_as_a_shift(size, shift):
    assert PageMap(0, size).shift == shift


@pytest.mark.parametrize("where", [slice(0, 1), slice(0, 4), slice(-4, None), slice(None, None, 50)])
def test_a_few_pairs_off_the_line_do_not_hide_it_wherever_they_are(where):
    some = pairs()
    some[where, 0] += np.uint64(7 * 64)
    assert page_map(some) == PageMap(VMEMMAP, 64)


def test_many_pairs_off_the_line_are_refused():
    some = pairs()
    some[::20, 0] += np.uint64(64)
    assert page_map(some) == "pages and frames do not lie on one line"


def test_pages_in_sections_of_their_own_are_refused():
    some = pairs()
    high = some[:, 1] & np.uint64((1 << 40) - 1) >= np.uint64(3 << 20)
    some[high, 0] += np.uint64(1 << 30)
    assert isinstance(page_map(some), str)


@pytest.mark.parametrize(("count", "told"), [(MIN_PAIRS, PageMap), (MIN_PAIRS - 1, str), (0, str)])
def test_too_few_pairs_tell_nothing(count, told):
    assert isinstance(page_map(pairs(count=count)), told)


@pytest.mark.parametrize(("wrong", "told"), [(4, PageMap), (5, str)])
def test_arguments_that_are_not_the_tracepoints_fields_are_refused(wrong, told):
    some = pairs()
    some[:wrong, 1] = pairs(op=MISMATCH)[:wrong, 1]
    assert isinstance(page_map(some), told)


def test_one_page_alone_tells_no_map():
    assert page_map(np.repeat(pairs(count=1), 200, axis=0)) == "all events were of one page"


@pytest.mark.parametrize("size", [0, 8, 4096])
def test_a_size_that_no_struct_page_has_is_refused(size):
    assert "bytes apart" in str(page_map(pairs(size)))


def test_frames_that_fall_while_pages_rise_are_refused():
    some = pairs()
    some[:, 0] = np.uint64(VMEMMAP + (8 << 20) * 64) - (some[:, 0] - np.uint64(VMEMMAP))
    assert isinstance(page_map(some), str)


def test_random_words_are_refused():
    some = np.random.default_rng(2).integers(0, 1 << 63, (500, 3), np.uint64)
    some[:, 1] = some[:, 1] & np.uint64((1 << 40) - 1) | np.uint64(PAIR << 56)
    assert isinstance(page_map(some), str)


def test_calibration_records_are_told_from_events():
    some = np.concatenate([pairs(count=2), pairs(count=1, op=MISMATCH), pairs(count=3, op=4)])
    about, others = split(some)
    assert (len(about), len(others)) == (3, 3)
    assert set((others[:, 1] >> np.uint64(56)).tolist()) == {4}

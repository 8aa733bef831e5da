"""The checker of free lists notices each way in which they can be broken."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from replay.buddy.area import HELD, REPORTED
from replay.buddy.checks import violations
from replay.buddy.full import FullModel
from replay.buddy.ops import meaning_table
from replay.buddy.rules import Rules
from replay.geometry import Geometry
from replay.start import Start
from tests.pure.small_traces import FRAMES, GUEST, ZONES
from tracer import FrameState


def area() -> Any:
    """Four blocks of order 10 from 4096 on, a pair of order 9 apart, and a single frame."""
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    for first, count in ((4096, 4096), (0, 512), (1024, 512), (2000, 1)):
        state[first : first + count] = FrameState.BUDDY
    start = Start(0, state, np.empty(0, np.int64))
    return FullModel.at(start, meaning_table(GUEST), Geometry.of(GUEST, ZONES), Rules()).full.area


def broken_link(a: Any) -> None:
    a.blocks["prev"][5120] = 7168


def lost_tail(a: Any) -> None:
    a.lists["tail"][0, 10, 1] = 4096


def wrong_count(a: Any) -> None:
    a.nr_free[0, 9] += 1


def wrong_list(a: Any) -> None:
    a.blocks["migratetype"][0] = 2


def wrong_order(a: Any) -> None:
    a.blocks["order"][2000] = 9


def overlap(a: Any) -> None:
    a.blocks["order"][4608] = 3
    a.blocks["flags"][4608] = HELD


def stray_flag(a: Any) -> None:
    a.blocks["flags"][3000] = REPORTED


def off_its_list(a: Any) -> None:
    a.lists["head"][0, 0, 1] = a.lists["tail"][0, 0, 1] = -1
    a.nr_free[0, 0] = 0


def not_merged(a: Any) -> None:
    for slot in (2000, 2001):
        a.blocks["order"][slot] = 0
        a.blocks["migratetype"][slot] = 1
    a.blocks["next"][2000], a.blocks["prev"][2001] = 2001, 2000
    a.blocks["next"][2001] = -1
    a.lists["tail"][0, 0, 1] = 2001
    a.nr_free[0, 0] = 2


DAMAGES = [
    broken_link, lost_tail, wrong_count, wrong_list, wrong_order, overlap, stray_flag, off_its_list,
    not_merged,
]  # fmt: skip


def test_whole_lists_have_nothing_to_tell() -> None:
    assert list(violations(area())) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_broken_is_told(damage: Callable[[Any], None]) -> None:
    lists = area()
    damage(lists)
    assert list(violations(lists)) != []

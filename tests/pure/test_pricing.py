"""What guessed types cost: the model's lists beside /proc/pagetypeinfo."""

import numpy as np

from replay.buddy.full import FullModel
from replay.buddy.ops import meaning_table
from replay.buddy.rules import Rules
from replay.geometry import Geometry
from replay.pricing import Price, price_of
from replay.start import Start
from tests.pure.small_traces import FRAMES, GUEST, ZONES
from tracer import FrameState, PageTypes

NOTHING = [0] * 11


def model(types: list[int]) -> FullModel:
    """Frames 4096 to 8192 are free: four blocks of order 10 in eight pageblocks of these types."""
    state = np.full(FRAMES, FrameState.USED, np.uint8)
    state[FRAMES // 2 :] = FrameState.BUDDY
    all_types = np.array([1] * 8 + types, np.int8)
    start = Start(0, state, np.empty(0, np.int64), types=all_types)
    return FullModel.at(start, meaning_table(GUEST), Geometry.of(GUEST, ZONES), Rules())


def told(*top: int, cut_off: list[list[int]] | None = None, zone: str = "Normal") -> PageTypes:
    """So many free blocks of order 10 of each type."""
    blocks = [[*NOTHING[:10], count] for count in top]
    return PageTypes(0, zone, blocks, cut_off or [], [0] * len(top), 1, 2)


def test_a_right_guess_costs_nothing() -> None:
    area = model([1] * 8).full.area
    assert price_of(area, ZONES, [told(0, 4, 0, 0, 0)]) == Price(4096, 0)


def test_blocks_on_another_types_list_are_counted_in_frames() -> None:
    area = model([0, 0, *[1] * 6]).full.area
    assert price_of(area, ZONES, [told(0, 4, 0, 0, 0)]) == Price(4096, 1024)
    assert price_of(area, ZONES, [told(1, 3, 0, 0, 0)]) == Price(4096, 0)
    assert price_of(area, ZONES, [told(0, 1, 3, 0, 0)]) == Price(4096, 3072)


def test_orders_that_were_not_counted_to_the_end_and_other_zones_are_left_out() -> None:
    area = model([1] * 8).full.area
    assert price_of(area, ZONES, [told(0, 4, 0, 0, 0, cut_off=[[1, 10]])]) is None
    assert price_of(area, ZONES, [told(0, 4, 0, 0, 0, zone="Other")]) is None
    assert price_of(area, ZONES, []) is None

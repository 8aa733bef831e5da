"""Step 1's state: small for any guest, and exact for units that became wholly free very often."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.buddy import memory
from replay.buddy.occupancy import Occupancy
from replay.buddy.ops import meaning_table
from replay.buddy.reduced import TOUCH
from replay.buddy.rules import Rules
from replay.geometry import Geometry
from tests.pure.small_guests import T0_NS, cases, columns, guest, healed, zone
from tests.pure.test_engine_against_oracle import check, hows, thorough
from tracer import FrameState, Guest, Zone

NO_BINS = np.zeros(0, np.int64)


@pytest.fixture
def narrow() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "WIDEST", 2)
        yield


@thorough
@given(cases() | healed(), hows(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_every_number_is_the_same_when_frames_epochs_are_widened_on_the_way(
    narrow: None, case: Any, how: Any, batch: int, random: Any
) -> None:
    check(case, how, batch, random)


def test_a_frames_last_exit_is_told_exactly_after_more_epochs_than_16_bits_count() -> None:
    size, epochs = 8, 70_000
    shape = Geometry.of(guest(3, 3, None, None), [zone("A", 0, size)], 3)
    free = np.full(size, FrameState.BUDDY, np.uint8)
    occupancy = Occupancy(meaning_table(guest(3, 3, None, None)), shape, Rules(), free, T0_NS, NO_BINS)
    moves = [("exit", 0), ("enter", 0)] * epochs + [("exit", 0), ("exit", 7)]
    events = [(T0_NS + 1 + i, kind, pfn, 0, -1) for i, (kind, pfn) in enumerate(moves)]
    told = [part.events.copy() for part in occupancy.reduce(columns(events))]
    touched = np.concatenate(told)
    touched = touched[touched["kind"] == TOUCH]
    assert touched["before"][touched["pfn"] == 0].tolist() == list(range(epochs + 1))
    assert touched["before"][touched["pfn"] == 7].tolist() == [0]


def tebibyte() -> tuple[Guest, list[Zone]]:
    """1 TiB of 4 KiB frames in x86's shape."""
    x86 = guest(10, 9, None, None)
    return x86, [zone("DMA32", 1, 1 << 20), zone("Normal", 1 << 20, 1 << 28)]


def test_the_state_of_a_tebibyte_of_small_pages_takes_less_than_a_gibibyte() -> None:
    state = memory.empty_memory(Geometry.of(*tebibyte(), 9), Rules(), T0_NS, NO_BINS)
    assert sum(array.nbytes for array in state) < 0.6 * (1 << 30)
    assert sum(array.nbytes for array in memory.widened(state)) < 1.1 * (1 << 30)

import mmap
import os
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.probes.ring import RECORD_WORDS, Ring

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE
STRIDE = 32
SLOTS = SIZE // STRIDE
BUSY = 1 << 31


class Kernel:
    """The producer's side: a file laid out as kernel/bpf/ringbuf.c does, as the consumer maps it: once."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + SIZE)
        self.position = 0

    def write(self, number: int, *, busy: bool = False) -> int:
        at = self.position
        self._put(at, struct.pack("<IIQQQ", 24 | (BUSY if busy else 0), 7, number, number + 1, number + 2))
        self.position += STRIDE
        os.pwrite(self.fd, struct.pack("<Q", self.position), PAGE)
        return at

    def submit(self, at: int) -> None:
        self._put(at, struct.pack("<I", 24))

    def _put(self, at: int, data: bytes) -> None:
        os.pwrite(self.fd, data, 2 * PAGE + at % SIZE)

    @property
    def consumed(self) -> int:
        return int.from_bytes(os.pread(self.fd, 8, 0), "little")


@pytest.fixture
def kernel() -> Any:
    made = Kernel()
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(kernel) -> Any:
    made = Ring(kernel.fd, SIZE, PAGE)
    yield made
    made.close()


def drain(ring, room=SLOTS) -> Any:
    """Numbers of the records drained into `room` rows; checks that no row behind them is touched."""
    out = np.full((room, RECORD_WORDS), 1 << 60, np.uint64)
    count = ring.drain_into(out)
    assert (out[count:] == 1 << 60).all()
    assert (out[:count] - out[:count, :1] == [0, 1, 2]).all()  # whole records, header left out
    return out[:count, 0].tolist()


def write(kernel, count, first=0) -> None:
    for number in range(count):
        kernel.write(first + number)


def test_an_empty_ring_drains_to_nothing(ring):
    assert (drain(ring), ring.waiting) == ([], 0)


def test_records_come_in_order_and_once(kernel, ring):
    write(kernel, 3)
    assert ring.waiting == 3
    assert drain(ring) == [0, 1, 2]
    assert (drain(ring), ring.waiting) == ([], 0)
    assert kernel.consumed == kernel.position


def test_a_record_still_being_written_holds_back_all_behind_it(kernel, ring):
    kernel.write(0)
    unfinished = kernel.write(1, busy=True)
    kernel.write(2)
    assert drain(ring) == [0]
    assert drain(ring) == []
    assert ring.waiting == 2
    kernel.submit(unfinished)
    assert drain(ring) == [1, 2]


@pytest.mark.parametrize("before_the_end", [2, 1, 0])
def test_a_record_being_written_at_the_wrap_holds_back_all_behind_it(kernel, ring, before_the_end):
    write(kernel, SLOTS - before_the_end)
    drain(ring)
    unfinished = kernel.write(1000, busy=True)
    write(kernel, 4, 1001)
    assert drain(ring) == []
    kernel.submit(unfinished)
    assert drain(ring) == [1000, 1001, 1002, 1003, 1004]


def test_what_does_not_fit_stays_for_the_next_time(kernel, ring):
    write(kernel, 5)
    assert drain(ring, room=2) == [0, 1]
    assert (ring.waiting, kernel.consumed) == (3, 2 * STRIDE)
    assert drain(ring, room=0) == []
    assert drain(ring, room=2) == [2, 3]
    assert drain(ring, room=2) == [4]


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_room_may_end_before_at_or_behind_the_wrap(kernel, ring, room):
    write(kernel, SLOTS - 2)
    drain(ring)
    write(kernel, 4)
    assert drain(ring, room) == list(range(room))
    assert drain(ring) == list(range(room, 4))


def test_what_was_drained_survives_the_producer_writing_over_it(kernel, ring):
    kernel.write(7)
    out = np.zeros((1, RECORD_WORDS), np.uint64)
    ring.drain_into(out)
    write(kernel, SLOTS, 100)
    assert out.tolist() == [[7, 8, 9]]


def test_a_full_ring_is_drained_whole_from_any_position(kernel, ring):
    write(kernel, 5)
    drain(ring)
    write(kernel, SLOTS)
    assert ring.waiting == SLOTS
    assert drain(ring) == list(range(SLOTS))


def test_positions_far_beyond_the_ring_still_count(kernel, ring):
    kernel.position = 5 * (1 << 40) * SIZE - 3 * STRIDE
    for page in (0, PAGE):
        os.pwrite(kernel.fd, struct.pack("<Q", kernel.position), page)
    write(kernel, 6)
    assert drain(ring) == list(range(6))


STEPS = st.lists(st.tuples(st.integers(0, SLOTS), st.integers(0, SLOTS), st.booleans()), max_size=40)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_lost_repeated_or_reordered_over_many_turns_of_the_ring(steps):
    kernel = Kernel()
    ring = Ring(kernel.fd, SIZE, PAGE)
    got, sent, busy = [], 0, []
    for wanted, room, unfinished in steps:
        for _ in range(min(wanted, SLOTS - (kernel.position - kernel.consumed) // STRIDE)):
            at = kernel.write(sent, busy=unfinished and sent % 7 == 0)
            busy += [at] if unfinished and sent % 7 == 0 else []
            sent += 1
        got += drain(ring, room)
        if room % 2:
            for at in busy:
                kernel.submit(at)
            busy = []
    for at in busy:
        kernel.submit(at)
    got += drain(ring)
    assert got == list(range(sent))
    ring.close()
    os.close(kernel.fd)

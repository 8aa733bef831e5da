import mmap
import os
import struct
from typing import Any

import numpy as np
import pytest

from tracer.probes.ring import RECORD_WORDS, Ring, columns

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE
STRIDE = 32
BUSY = 1 << 31


def packed(pfn=0, order=0, migratetype=0, op=1, cpu=0, aux=0, ts_ns=0) -> Any:
    """A record as the BPF program packs it (`keep` in tracer/probes/program.py)."""
    block = pfn | order << 40 | (migratetype & 0xFF) << 48 | op << 56
    return [ts_ns, block, cpu | aux << 16]


def unpacked(**fields) -> Any:
    row = columns(np.array([packed(**fields)], np.uint64))
    return {name: values[0].item() for name, values in row.items()}


class Kernel:
    """The producer's side: a file laid out as kernel/bpf/ringbuf.c does, its data mapped twice."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.position = 0

    def write(self, number: int, *, busy: bool = False) -> int:
        at = self.position
        self._put(at, struct.pack("<IIQQQ", 24 | (BUSY if busy else 0), 0, number, 0, 0))
        self.position += STRIDE
        os.pwrite(self.fd, struct.pack("<Q", self.position), PAGE)
        return at

    def submit(self, at: int) -> None:
        self._put(at, struct.pack("<I", 24))

    def _put(self, at: int, data: bytes) -> None:
        for copy in (0, SIZE):
            os.pwrite(self.fd, data, 2 * PAGE + at % SIZE + copy)

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


def numbers(records) -> Any:
    return records[:, 0].tolist()


def test_each_field_comes_out_as_it_went_in():
    row = unpacked(pfn=0x12_3456_789A, order=10, migratetype=1, op=2, cpu=3, aux=0x0102_0304, ts_ns=99)
    assert row == {"ts_ns": 99, "op": 2, "pfn": 0x12_3456_789A, "order": 10, "migratetype": 1, "cpu": 3,
                   "aux": 0x0102_0304}  # fmt: skip


def test_an_unknown_migratetype_stays_negative_and_does_not_leak_into_op():
    row = unpacked(migratetype=-1, op=4)
    assert (row["migratetype"], row["op"], row["order"]) == (-1, 4, 0)


def test_the_largest_pfn_aux_and_cpu_fit_and_do_not_leak():
    row = unpacked(pfn=(1 << 40) - 1, aux=(1 << 48) - 1, cpu=0xFFFF)
    assert (row["pfn"], row["aux"], row["cpu"]) == ((1 << 40) - 1, (1 << 48) - 1, 0xFFFF)
    assert (row["order"], row["migratetype"]) == (0, 0)


def test_columns_have_the_types_of_the_format_and_keep_the_order():
    made = columns(np.array([packed(pfn=n, ts_ns=9 - n) for n in range(5)], np.uint64))
    types = {name: str(values.dtype) for name, values in made.items()}
    assert types == {"ts_ns": "int64", "op": "uint8", "pfn": "uint64", "order": "uint8",
                     "migratetype": "int8", "cpu": "uint16", "aux": "uint64"}  # fmt: skip
    assert made["pfn"].tolist() == list(range(5))


def test_no_records_make_empty_columns():
    made = columns(np.empty((0, RECORD_WORDS), np.uint64))
    assert {len(values) for values in made.values()} == {0}


def test_columns_of_a_slice_of_records_are_those_of_its_rows():
    records = np.array([packed(pfn=n, order=n) for n in range(6)], np.uint64)
    assert columns(records[1::2])["order"].tolist() == [1, 3, 5]


def test_an_empty_ring_drains_to_nothing(ring):
    assert ring.drain().shape == (0, RECORD_WORDS)
    assert ring.fill == 0


def test_records_come_in_order_and_once(kernel, ring):
    for number in range(3):
        kernel.write(number)
    assert ring.fill == 3 * STRIDE / SIZE
    assert numbers(ring.drain()) == [0, 1, 2]
    assert numbers(ring.drain()) == []
    assert kernel.consumed == kernel.position


def test_a_record_still_being_written_holds_back_all_behind_it(kernel, ring):
    kernel.write(0)
    unfinished = kernel.write(1, busy=True)
    kernel.write(2)
    assert numbers(ring.drain()) == [0]
    assert numbers(ring.drain()) == []
    kernel.submit(unfinished)
    assert numbers(ring.drain()) == [1, 2]


def test_what_was_drained_survives_the_producer_writing_over_it(kernel, ring):
    kernel.write(7)
    drained = ring.drain()
    for number in range(SIZE // STRIDE):
        kernel.write(100 + number)
    assert numbers(drained) == [7]


def test_nothing_is_lost_or_repeated_over_many_turns_of_the_ring(kernel, ring):
    got, sent = [], 0
    for turn in range(60):
        for _ in range((turn * 37) % (SIZE // STRIDE) + 1):
            kernel.write(sent)
            sent += 1
        got += numbers(ring.drain())
    assert sent * STRIDE > 10 * SIZE
    assert got == list(range(sent))


def test_a_full_ring_is_drained_whole_from_any_position(kernel, ring):
    for number in range(5):
        kernel.write(number)
    ring.drain()
    for number in range(SIZE // STRIDE):
        kernel.write(number)
    assert ring.fill == 1
    assert numbers(ring.drain()) == list(range(SIZE // STRIDE))

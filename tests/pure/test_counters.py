"""The probes' counters, read from a mapping laid out as the kernel's array is."""

import mmap
import os
from typing import Any

import numpy as np
import pytest

from tracer.probes import counters as module
from tracer.probes.counters import FILTERED, HITS, RING_FULL, WORDS, Counters, possible_cpus, recursion_misses

PAGE = mmap.PAGESIZE
PROBES, CPUS = 7, 40  # more than one page


class Array:
    """The kernel's side: struct counter per slot; slot = (copy * probes + probe) * cpus + cpu."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("counters")
        size = 2 * PROBES * CPUS * WORDS * 8
        os.ftruncate(self.fd, -(-size // PAGE) * PAGE)

    def set(self, probe, cpu, values, copy=0) -> None:
        slot = (copy * PROBES + probe) * CPUS + cpu
        os.pwrite(self.fd, np.array([*values, 99], np.int64).tobytes(), slot * WORDS * 8)


@pytest.fixture
def array() -> Any:
    made = Array()
    yield made
    os.close(made.fd)


@pytest.fixture
def counters(array) -> Any:
    made = Counters(array.fd, PROBES, CPUS, PAGE)
    yield made
    made.close()


def test_counters_begin_at_nothing(counters):
    assert counters.read().shape == (PROBES, CPUS, 3)
    assert counters.read().sum() == 0
    assert counters.ring_full == 0
    assert counters.second_hits.shape == (PROBES,)


def test_both_copies_of_a_probe_count_together(array, counters):
    array.set(6, 39, (10, 2, 3))
    array.set(6, 39, (5, 1, 0), copy=1)
    array.set(0, 1, (7, 0, 7))
    read = counters.read()
    assert read[6, 39].tolist() == [15, 3, 3]
    assert read[0, 1].tolist() == [7, 0, 7]
    assert read.sum() == 15 + 3 + 3 + 7 + 7
    assert read[6, 39, [HITS, RING_FULL, FILTERED]].tolist() == [15, 3, 3]


def test_second_hits_are_those_of_the_second_copies_alone(array, counters):
    array.set(2, 0, (10, 0, 0))
    array.set(2, 3, (4, 0, 0), copy=1)
    array.set(2, 5, (1, 0, 0), copy=1)
    assert counters.second_hits.tolist() == [0, 0, 5, 0, 0, 0, 0]


def test_losses_of_all_are_one_number(array, counters):
    array.set(1, 1, (9, 2, 0))
    array.set(3, 2, (9, 5, 0), copy=1)
    assert counters.ring_full == 7


def test_what_was_read_stays_as_it_was(array, counters):
    before = counters.read()
    array.set(0, 0, (1, 1, 1))
    assert before.sum() == 0
    assert counters.read().sum() == 3


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0-3,8-255\n", 256), ("0,2\n", 3)])
def test_there_is_a_slot_for_every_cpu_that_can_ever_be(tmp_path, text, count):
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    (tmp_path / "devices/system/cpu/possible").write_text(text)
    assert possible_cpus(tmp_path) == count


def fdinfo(monkeypatch, text) -> None:
    class Info:
        def __init__(self, _path) -> None:
            pass

        def read_text(self) -> str:
            if text is None:
                raise OSError(2, "No such file or directory")
            return str(text)

    monkeypatch.setattr(module, "Path", Info)


@pytest.mark.parametrize(
    ("text", "misses"),
    [
        ("pos:\t0\nprog_type:\t17\nrecursion_misses:\t12\nverified_insns:\t5\n", 12),
        ("recursion_misses:\t0\n", 0),
        ("prog_type:\t5\nrun_cnt:\t3\n", None),
        (None, None),
    ],
)
def test_skipped_runs_are_told_where_the_kernel_counts_them(monkeypatch, text, misses):
    fdinfo(monkeypatch, text)
    assert recursion_misses(7) == misses


def test_who_reads_after_the_end_gets_the_last_counts(array):
    counters = Counters(array.fd, PROBES, CPUS, PAGE)
    array.set(0, 1, (7, 2, 0))
    counters.close()
    array.set(0, 1, (9, 9, 9))
    assert counters.read()[0, 1].tolist() == [7, 2, 0]
    assert counters.ring_full == 2

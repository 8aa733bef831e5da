"""Draining: nothing dropped, nothing repeated, losses located, and never more than its share of a CPU."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tracer.format import Loss
from tracer.probes.ring import RECORD_WORDS
from tracer.recording import drainer as module
from tracer.recording.blocks import Blocks
from tracer.recording.drainer import CPU_CAP, MAX_PAUSE_S, MIN_PAUSE_S, Drainer, longest_pause_s

MS = 1_000_000


class Clock:
    """Monotonic time that only moves when told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000 * MS
        self.slept: list[float] = []

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)


class Source:
    """A ring of `size` records; what does not fit is lost. Each drain takes `drain_ns`."""

    def __init__(self, clock, size=1000, drain_ns=0) -> None:
        self.clock, self.size, self.drain_ns = clock, size, drain_ns
        self.ring: list[int] = []
        self.numbers: list[int] = []
        self.sent = self.ring_full = 0

    def send(self, count) -> None:
        for _ in range(count):
            if len(self.ring) < self.size:
                self.ring.append(self.clock.now_ns)
                self.numbers.append(self.sent)
                self.sent += 1
            else:
                self.ring_full += 1

    @property
    def waiting(self) -> int:
        return len(self.ring)

    @property
    def fill(self) -> Any:
        return len(self.ring) / self.size

    def drain_into(self, out) -> int:
        self.clock.now_ns += self.drain_ns
        count = min(len(self.ring), len(out))
        for row in range(count):
            out[row] = [self.ring.pop(0), self.numbers.pop(0), 0]
        return count


class Bench:
    def __init__(self, monkeypatch, blocks=3, rows=10, **source) -> None:
        self.clock = Clock()
        monkeypatch.setattr(module, "time", self.clock)
        self.source, self.blocks = Source(self.clock, **source), Blocks(blocks, rows)
        self.got: list[int] = []
        self.sizes: list[int] = []
        self.give_back = True
        self.drainer = Drainer(self.source, self.blocks, self.take, time.monotonic_ns())

    def take(self, block, rows) -> None:
        self.got += block[:rows, 1].tolist()
        self.sizes.append(rows)
        if self.give_back:
            self.blocks.give(block)

    def turn(self, after_ms=5) -> None:
        self.clock.now_ns += after_ms * MS
        self.drainer.turn()


@pytest.fixture
def bench(monkeypatch) -> Any:
    return lambda **options: Bench(monkeypatch, **options)


# Blocks


def test_blocks_are_handed_out_once_each_and_again_when_given_back():
    blocks = Blocks(2, 5)
    first, second = blocks.take(), blocks.take()
    assert first is not None and second is not None
    assert first.shape == (5, RECORD_WORDS) and first.dtype == np.uint64
    assert blocks.take() is None
    blocks.give(second)
    assert blocks.take() is second


def test_the_memory_told_to_the_user_is_what_the_blocks_take():
    from tracer.recording.blocks import BLOCK_ROWS, BLOCKS, BLOCKS_BYTES

    blocks = Blocks()
    taken = [block for _ in range(BLOCKS + 1) if (block := blocks.take()) is not None]
    assert len(taken) == BLOCKS
    assert sum(block.nbytes for block in taken) == BLOCKS_BYTES == BLOCKS * BLOCK_ROWS * 24


# Moving


def test_records_go_into_full_blocks_and_the_rest_when_flushed(bench):
    b = bench()
    for count in (7, 8, 9):
        b.source.send(count)
        b.turn()
    assert b.sizes == [10, 10]
    assert b.drainer.events == 24
    b.drainer.flush()
    b.drainer.flush()
    assert b.sizes == [10, 10, 4]
    assert b.got == list(range(24))


def test_a_turn_moves_only_what_was_there_when_it_began(bench):
    b = bench()
    b.source.send(5)
    really = b.source.drain_into

    def and_another(out) -> int:
        moved = really(out)
        b.source.send(1)
        return int(moved)

    b.source.drain_into = and_another
    b.turn()
    assert (b.drainer.events, b.source.waiting) == (5, 1)


def test_without_a_free_block_records_stay_in_the_source_and_none_is_dropped(bench):
    b = bench(blocks=2, size=100)
    b.give_back = False
    taken = []
    b.drainer._hand_over = lambda block, rows: taken.append((block, rows))
    b.source.send(50)
    b.turn()
    b.turn()
    assert (b.drainer.events, b.source.waiting, b.source.ring_full) == (20, 30, 0)
    b.drainer._hand_over = b.take
    b.give_back = True
    for block, rows in taken:
        b.take(block, rows)
    for _ in range(3):
        b.turn()
    b.drainer.flush()
    assert b.got == list(range(50))


def test_finish_moves_all_and_waits_for_blocks(bench):
    b = bench(blocks=1, size=100)
    b.give_back = False
    held = []

    def hold(block, rows) -> None:
        held.append(block)
        b.got += block[:rows, 1].tolist()

    b.drainer._hand_over = hold
    b.source.send(35)

    def encoder_goes_on() -> bool:
        if held:
            b.blocks.give(held.pop())
        return True

    b.drainer.finish(encoder_goes_on)
    assert b.got == list(range(35))
    assert b.source.waiting == 0


def test_finish_ends_when_nothing_can_be_stored_any_more(bench):
    b = bench(blocks=1, size=100)
    b.give_back = False
    b.source.send(35)
    answers = iter([True, True, True, False])
    b.drainer.finish(lambda: next(answers))
    assert (b.drainer.events, b.source.waiting) == (10, 25)


def test_finish_notices_the_last_losses(bench):
    b = bench(size=10)
    b.source.send(12)
    b.drainer.finish(lambda: True)
    assert [loss.events for loss in b.drainer.take_losses()] == [2]


# Losses


def test_a_loss_lies_between_the_newest_record_in_the_ring_and_now(bench):
    b = bench(size=10)
    b.turn()
    b.clock.now_ns += 3 * MS
    b.source.send(10)
    newest_ns = b.clock.now_ns
    b.clock.now_ns += MS
    b.source.send(4)
    b.turn(after_ms=1)
    assert b.drainer.take_losses() == [Loss(newest_ns, b.clock.now_ns, 4)]
    assert b.drainer.last_loss_ns == b.clock.now_ns
    assert b.drainer.take_losses() == []


def test_a_loss_without_a_record_moved_lies_after_the_last_turn(bench):
    b = bench(size=10, blocks=1)
    b.give_back = False
    b.source.send(10)
    b.turn()  # the only block is gone
    last_turn_ns = b.clock.now_ns
    b.source.send(12)
    b.turn()
    assert b.drainer.take_losses() == [Loss(last_turn_ns, b.clock.now_ns, 2)]


def test_a_loss_never_begins_before_the_last_turn(bench):
    b = bench(size=10)
    b.source.send(3)  # older than the turn before the loss
    b.drainer._blocks, free = Blocks(0), b.drainer._blocks
    b.turn()
    last_turn_ns = b.clock.now_ns
    b.drainer._blocks = free
    b.source.ring_full += 1
    b.turn()
    assert b.drainer.take_losses() == [Loss(last_turn_ns, b.clock.now_ns, 1)]


@pytest.mark.parametrize(("gap_ms", "told"), [(90, 1), (110, 2)])
def test_losses_close_together_are_told_as_one(bench, gap_ms, told):
    b = bench(size=10)
    b.source.send(11)
    b.turn()
    end_ns = b.clock.now_ns
    b.turn(after_ms=gap_ms - 1)
    b.clock.now_ns += MS
    b.source.send(13)
    b.turn(after_ms=1)
    losses = b.drainer.take_losses()
    assert sum(loss.events for loss in losses) == 4
    assert len(losses) == told
    assert losses[0].end_ns == (b.clock.now_ns if told == 1 else end_ns)
    assert losses[-1].end_ns == b.clock.now_ns


def test_every_lost_event_is_in_one_loss_and_losses_are_in_order(bench):
    b = bench(size=20, rows=7)
    told = []
    for turn in range(200):
        b.source.send(turn * 7 % 31)
        b.turn(after_ms=turn % 13 * 20)
        if turn % 11 == 0:
            told += b.drainer.take_losses()
    told += b.drainer.take_losses()
    assert sum(loss.events for loss in told) == b.source.ring_full > 0
    assert all(one.begin_ns <= one.end_ns <= two.begin_ns for one, two in pairwise(told))
    b.drainer.flush()
    assert b.got == list(range(b.source.sent))


def test_what_was_lost_before_it_began_is_its_loss_since_the_probes_came(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    source = Source(clock, size=1)
    since_ns = clock.monotonic_ns()
    source.send(5)
    drainer = Drainer(source, Blocks(1, 10), lambda _block, _rows: None, since_ns)
    drainer.turn()
    (loss,) = drainer.losses
    assert loss.events == 4
    assert since_ns <= loss.begin_ns <= loss.end_ns <= clock.monotonic_ns()


@pytest.mark.parametrize(("ring_bytes", "pause_s"), [(4096, 0.005), (2 << 20, 0.016384), (64 << 20, 0.05)])
def test_a_small_ring_is_looked_at_more_often(ring_bytes, pause_s):
    assert longest_pause_s(ring_bytes) == pause_s


# Pauses


def pauses(b, turns=20, events=0) -> Any:
    b.clock.slept.clear()
    for _ in range(turns):
        b.source.send(events)
        b.drainer.pause()
        b.drainer.turn()
    return b.clock.slept


def test_with_little_to_do_it_sleeps_longer_and_longer_up_to_the_most(bench):
    assert (MIN_PAUSE_S, MAX_PAUSE_S, CPU_CAP) == (0.005, 0.05, 0.25)
    assert pauses(bench(), 6) == [0.005, 0.01, 0.02, 0.04, 0.05, 0.05]


def test_when_the_ring_fills_it_is_there_often(bench):
    b = bench()
    pauses(b, 6)
    assert pauses(b, 4, events=20)[1:] == [0.005, 0.005, 0.005]


@pytest.mark.parametrize("drain_ms", [1, 4, 100])
def test_it_never_takes_more_than_its_share_of_a_cpu(bench, drain_ms):
    b = bench(drain_ns=drain_ms * MS, rows=1000)
    slept = pauses(b, 20, events=100)[1:]
    assert drain_ms / (drain_ms + min(slept) * 1000) <= CPU_CAP + 1e-9
    assert min(slept) >= MIN_PAUSE_S


def test_after_a_long_drain_it_is_soon_as_quick_as_before(bench):
    b = bench(drain_ns=100 * MS, rows=1000)
    pauses(b, 3, events=100)
    b.source.drain_ns = 0
    assert pauses(b, 4, events=100)[1:] == [0.005, 0.005, 0.005]

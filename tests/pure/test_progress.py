"""Ctrl-C while compiled code runs: held back until nothing is half done, but never for good."""

import os
import signal
import threading
from typing import Any

import pytest

from replay.progress import interrupts_held_back, progress
from tracer import Fault


@pytest.fixture(autouse=True)
def handler() -> Any:
    """What Ctrl-C did before, it does again."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_for_the_next_check():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held_back() as check:  # noqa: PT012
        check()
        press()
        done.append("the batch is over")
        check()
        done.append("never")
    assert done == ["the batch is over"]


def test_a_second_one_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():  # noqa: PT012
        press()
        done.append("one")
        press()
        done.append("never")
    assert done == ["one"]


def test_it_is_not_forgotten_at_the_end():
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        press()


def test_another_error_is_not_replaced_by_it():
    with pytest.raises(ValueError, match="another"), interrupts_held_back():  # noqa: PT012
        press()
        raise ValueError("another")


def test_a_trace_that_could_not_be_read_since_was_interrupted():
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():  # noqa: PT012
        press()
        raise Fault("it was not read to its end", "nothing came", "replay it again")


def test_it_comes_when_the_bar_is_told_of_events():
    with pytest.raises(KeyboardInterrupt), progress(10, "testing") as under_way:  # noqa: PT012
        under_way.tell(5)
        press()
        under_way.tell(5)


def test_in_another_thread_signals_are_left_alone():
    def work() -> None:
        with interrupts_held_back() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[Any] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]

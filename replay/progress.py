"""How far a long command is: a bar on stderr, and Ctrl-C at a moment when nothing is half done."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tracer import Fault


class Progress:
    """A tqdm bar of events done, rate and time left; nothing when stderr is no terminal."""

    def __init__(self, bar: Any, check: Callable[[], None]) -> None:  # noqa: ANN401 - tqdm's
        self._bar, self._check = bar, check

    def tell(self, rows: int) -> None:
        """So many events more are done.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
        """
        self._bar.update(rows)
        self._check()

    def expect(self, rows: int) -> None:
        """So many events are left."""
        self._bar.total = self._bar.n + rows
        self._bar.refresh()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text, file=sys.stderr)


@contextmanager
def progress(rows: int, doing: str) -> Iterator[Progress]:
    """A bar for so many events. Ctrl-C comes when it is told of some (`interrupts_held_back`)."""
    from tqdm import tqdm

    with (
        tqdm(total=rows, unit=" events", unit_scale=True, leave=False, disable=None, desc=doing) as bar,
        interrupts_held_back() as check,
    ):
        yield Progress(bar, check)


@contextmanager
def interrupts_held_back() -> Iterator[Callable[[], None]]:
    """Ctrl-C waits for the next call of what this gives, or for the end; a second one does not wait.

    Where numba hands Python functions to compiled code it runs Python code in which an exception is lost, or
    becomes another: KeyboardInterrupt, which may come anywhere, would be sometimes.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not its business
        yield lambda: None
        return
    pending: list[int] = []

    def hold_back(number: int, frame: FrameType | None) -> None:
        pending.append(number)
        if len(pending) > 1:
            signal.default_int_handler(number, frame)

    def check() -> None:
        if pending:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hold_back)
    try:
        yield check
        check()
    except Fault as error:
        if pending:  # polars heard it, too, and ended a stream
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Ctrl-C ends a command that has to put things away: once. Who presses it again does not disturb that.

    Unless there was one, all is as before afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)

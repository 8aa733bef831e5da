"""The traced COMMAND: found before anything is recorded, run in the foreground, its code passed on.

A small process, forked before anything else is done, waits to start it. So the command runs with the
privileges its user had, although the recorder has given up its own by then, and can still be ended.
"""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tracer.faults import Fault

NOT_FOUND = 127
NOT_EXECUTABLE = 126
_GRACE_S = 5.0
_GO, _TERM, _KILL = b"g", b"t", b"k"
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandNotFound(Fault):
    """COMMAND does not exist: exits with the shell's code for that."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"command not found: {name}",
            "no such program on PATH; nothing was recorded",
            "check its name",
        )
        self.exit_status = NOT_FOUND


class CommandRefused(Fault):
    """COMMAND is there but is no program: exits with the shell's code for that."""

    def __init__(self, name: str, number: int) -> None:
        """`number`: the errno that running it gave, or would give."""
        said = {errno.EISDIR: "it is a directory", errno.ENOENT: "its interpreter is missing"}
        how = f"{said.get(number, os.strerror(number))} (errno {number})"
        super().__init__(
            f"{name} cannot be run", how, "name a program, or its interpreter; a trace that was begun is kept"
        )
        self.exit_status = NOT_EXECUTABLE


class Command:
    """A command that runs while the guest is recorded. Make it before there are threads."""

    def __init__(self, argv: list[str], *, quiet_stdout: bool) -> None:
        """Check that `argv[0]` exists. `quiet_stdout`: stdout is ours alone, its output goes to stderr.

        Raises:
            CommandNotFound: when it does not.
            CommandRefused: when it is a directory, or not executable.
        """
        if shutil.which(argv[0]) is None and Path(argv[0]).exists() and os.sep in argv[0]:
            raise CommandRefused(argv[0], errno.EISDIR if Path(argv[0]).is_dir() else errno.EACCES)
        if shutil.which(argv[0]) is None:
            raise CommandNotFound(argv[0])
        self._argv = argv
        self._returncode: int | None = None
        self._started = self._stopped_by_us = False
        # Packets, so that two messages never run into one.
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if sys.stdout is not None:
            sys.stdout.flush()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # until the keeper handles them
        self._keeper = os.fork()
        if self._keeper == 0:
            self._line.close()
            _keep(argv, theirs, mask, quiet_stdout=quiet_stdout)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def start(self) -> None:
        """Start it.

        Raises:
            CommandRefused: when the kernel does not run such a file.
        """
        self._say(_GO)
        number = json.loads(self._hear() or b"5")  # EIO: the keeper was killed
        if number:
            raise CommandRefused(self._argv[0], number)
        self._started = True

    @property
    def running(self) -> bool:
        """Started and not ended yet."""
        return self._started and self._returncode is None and not self._ended_within(0)

    def stop(self) -> None:
        """End it if it still runs: SIGTERM, then SIGKILL."""
        if not self.running:
            return
        self._stopped_by_us = True
        for word in (_TERM, _KILL):
            self._say(word)
            if self._ended_within(_GRACE_S):
                return

    def close(self) -> None:
        """Let the waiting process go, and the command live on if it runs."""
        self._line.close()
        if self._returncode is not None or not self._started:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._keeper, 0)

    @property
    def cut_short(self) -> str | None:
        """What it was denied, in words; None when it ran to its own end."""
        if not self._started:
            return "was not started"
        return "was ended before it was done" if self._stopped_by_us else None

    @property
    def exit_status(self) -> int:
        """Its exit code as a shell tells it (128 + n for signal n); 0 if the recorder ended it."""
        if not self._started or self._stopped_by_us:
            return 0
        code = self._returncode or 0
        return 128 - code if code < 0 else code

    def _ended_within(self, seconds: float) -> bool:
        if select.select([self._line], [], [], seconds)[0]:
            told = self._hear()
            self._returncode = json.loads(told) if told else -signal.SIGKILL
            return True
        return False

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is there: what it said last tells why
            self._line.sendall(word)

    def _hear(self) -> bytes:
        """The next message; empty when the keeper is gone."""
        try:
            return self._line.recv(64)
        except ConnectionResetError:  # it went without reading ours; its last word is still there
            return self._line.recv(64)


def _keep(
    argv: list[str], line: socket.socket, mask: set[int | signal.Signals], *, quiet_stdout: bool
) -> None:
    """The waiting process: start the command when told to, pass signals on, tell its code. No return."""
    try:
        # Handled, not ignored: what is ignored stays so in the command, under nohup say.
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if line.recv(1) == _GO:
            _run(argv, line, quiet_stdout=quiet_stdout)
    finally:
        os._exit(0)


def _run(argv: list[str], line: socket.socket, *, quiet_stdout: bool) -> None:
    try:
        process = subprocess.Popen(argv, stdout=sys.stderr if quiet_stdout else None)
    except OSError as error:
        line.sendall(json.dumps(error.errno or errno.ENOEXEC).encode())
        return
    line.sendall(b"0")
    ended = os.pidfd_open(process.pid)
    listened: list[int | socket.socket] = [ended, line]
    while ended not in (ready := select.select(listened, [], [])[0]):
        if word := line.recv(1):
            process.send_signal(signal.SIGTERM if word == _TERM else signal.SIGKILL)
        elif ready:
            listened.remove(line)  # the recorder is gone; the command lives on
    with contextlib.suppress(OSError):
        line.sendall(json.dumps(process.wait()).encode())


class StopSignals:
    """SIGINT and SIGTERM end a recording cleanly; a second one does too, it cannot tear a file."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._saved: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                self._saved[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal() returned

    def _note(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number)

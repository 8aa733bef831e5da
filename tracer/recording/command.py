"""The traced COMMAND: found before anything is recorded, run in the foreground, its code passed on."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tracer.faults import Fault

NOT_FOUND = 127
NOT_EXECUTABLE = 126
_GRACE_S = 5.0


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

    def __init__(self, name: str, error: OSError) -> None:
        how = f"{error.strerror} (errno {error.errno})"
        super().__init__(
            f"{name} cannot be run", how, "name a program, or its interpreter; a trace that was begun is kept"
        )
        self.exit_status = NOT_EXECUTABLE


class Command:
    """A command that runs while the guest is recorded."""

    def __init__(self, argv: list[str], *, quiet_stdout: bool) -> None:
        """Check that `argv[0]` exists. `quiet_stdout`: stdout is ours alone, its output goes to stderr.

        Raises:
            CommandNotFound: when it does not.
        """
        if shutil.which(argv[0]) is None and Path(argv[0]).is_file() and os.sep in argv[0]:
            raise CommandRefused(argv[0], PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        if shutil.which(argv[0]) is None:
            raise CommandNotFound(argv[0])
        self._argv, self._quiet = argv, quiet_stdout
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_by_us = False

    def start(self) -> None:
        """Start it.

        Raises:
            CommandRefused: when the kernel does not run such a file.
        """
        if sys.stdout is not None:
            sys.stdout.flush()
        try:
            self._process = subprocess.Popen(self._argv, stdout=sys.stderr if self._quiet else None)
        except OSError as error:
            raise CommandRefused(self._argv[0], error) from error

    @property
    def running(self) -> bool:
        """Started and not ended yet."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it if it still runs: SIGTERM, then SIGKILL."""
        if self._process is None or self._process.poll() is not None:
            return
        self._stopped_by_us = True
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def exit_status(self) -> int:
        """Its exit code as a shell tells it (128 + n for signal n); 0 if the recorder ended it."""
        if self._process is None or self._stopped_by_us:
            return 0
        code = self._process.returncode or 0
        return 128 - code if code < 0 else code


class StopSignals:
    """SIGINT and SIGTERM end a recording cleanly; a second one does too, it cannot tear a file."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._saved: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._saved[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal() returned

    def _note(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number)

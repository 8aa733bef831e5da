"""The one exception for foreseeable faults: what happened, how we know, what to do."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command says with its exit code."""

    DONE = 0
    USAGE = 1  # wrong use or wrong input
    ENVIRONMENT = 2  # this machine does not allow it
    LOSSY = 3  # done, but the recording or the trace read is lossy, recovered or partly unreadable


class Fault(Exception):  # noqa: N818 - a fault of the input or the machine, not a program error
    """A fault a user can cause or meet, shown as three short lines and never as a traceback.

    Attributes:
        what: what went wrong, in one line.
        how: how we know (the file, the value, the errno).
        fix: the one thing to do about it.
        code: the exit code it ends the command with.
    """

    def __init__(self, what: str, how: str, fix: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(what)
        self.what, self.how, self.fix, self.code = what, how, fix, code

    def __str__(self) -> str:
        from tracer.terminal import plain  # what a terminal needs is imported when something is shown there

        what, how, fix = map(plain, (self.what, self.how, self.fix))
        return f"{what}\n  how we know: {how}\n  what to do:  {fix}"


def environment(what: str, how: str, fix: str) -> Fault:
    """A fault of the machine rather than of the input (exit code 2)."""
    return Fault(what, how, fix, ExitCode.ENVIRONMENT)

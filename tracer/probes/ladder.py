"""How far this kernel lets us look: the highest kind of probe it allows, found by trying, and why no higher.

The trial programs do nothing and need no compiler. They are put on a function that hardly ever runs.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tracer.faults import Fault
from tracer.probes import library
from tracer.probes.functions import ENTRY, FENTRY, KPROBE
from tracer.probes.hooks import FENTRY_PREFIXES, Hooks
from tracer.probes.prints import captured

TRACEPOINTS, KPROBES = "tracepoints", "kprobes"
RUNGS = (TRACEPOINTS, KPROBES, FENTRY)  # from the lowest
# Holds the rung down, for tests and for kernels whose higher rungs give trouble.
HELD = "PAGETIDE_RUNG"
_TARGET = b"ksys_sync"
_RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit


@dataclass(frozen=True)
class Ladder:
    """Where this kernel stands.

    Attributes:
        rung: one of RUNGS.
        reason: why no higher one; None on the highest.
    """

    rung: str
    reason: str | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of function probes to try, best first."""
        return {TRACEPOINTS: (), KPROBES: (KPROBE,), FENTRY: (FENTRY, KPROBE)}[self.rung]


def highest_wanted(environ: Mapping[str, str] = os.environ) -> str:
    """The rung above which nothing is tried.

    Raises:
        Fault: when PAGETIDE_RUNG names none.
    """
    top = environ.get(HELD) or RUNGS[-1]
    if top not in RUNGS:
        raise Fault(f"there is no rung {top}", f"{HELD}={top}", f"one of {', '.join(RUNGS)}, or unset it")
    return top


def climb(environ: Mapping[str, str] = os.environ) -> Ladder:
    """Try from the highest rung down.

    Raises:
        Fault: when PAGETIDE_RUNG names no rung, or BCC is missing.
    """
    top = highest_wanted(environ)
    lib = library.load().lib
    reasons = [f"held down by {HELD}"] if top != RUNGS[-1] else []
    trials = {FENTRY: _try_fentry, KPROBES: _try_kprobe}
    for rung in reversed(RUNGS[: RUNGS.index(top) + 1]):
        refusal = _refusal(trials[rung], lib) if rung in trials else None
        if refusal is None:
            return Ladder(rung, "; ".join(reasons) or None)
        reasons.append(f"{rung}: {refusal}")
    raise AssertionError("the lowest rung needs no trial")


def rung_of(ladder: Ladder, hooks: Hooks) -> Ladder:
    """The rung that is really in use: of the best kind of probe that is attached."""
    used = FENTRY if FENTRY in hooks.kinds else KPROBES if KPROBE in hooks.kinds else TRACEPOINTS
    if used == ladder.rung:
        return ladder
    reasons = [f"{name}: {reason}" for name, reason in hooks.left_out.items()]
    return Ladder(used, "; ".join([*filter(None, [ladder.reason]), *reasons]) or None)


def _refusal(trial: Callable[[Any], None], lib: Any) -> str | None:  # noqa: ANN401 - BCC has no types
    """Why it does not work, or None."""
    said: list[str] = []
    try:
        with captured() as said:
            trial(lib)
    except OSError as error:
        detail = f" ({said[0].strip()[:120]})" if said else ""
        return f"{error.strerror}{detail}"
    return None


def _try_fentry(lib: Any) -> None:  # noqa: ANN401
    bpf = library.load().BPF
    error: OSError | None = None
    for prefix in FENTRY_PREFIXES[ENTRY]:
        try:
            program = _load(lib, bpf.TRACING, prefix + _TARGET)
        except OSError as refusal:
            error = error or refusal
            continue
        try:
            os.close(_checked(lib.bpf_attach_kfunc(program)))
        finally:
            os.close(program)
        return
    assert error is not None  # noqa: S101 - there are prefixes
    raise error


def _try_kprobe(lib: Any) -> None:  # noqa: ANN401
    program = _load(lib, library.load().BPF.KPROBE, b"trial")
    event = b"p_pagetide_%d" % os.getpid()
    try:
        os.close(_checked(lib.bpf_attach_kprobe(program, 0, event, _TARGET, 0, 0)))
        lib.bpf_detach_kprobe(event)  # old kernels keep the event under its name
    finally:
        os.close(program)


def _load(lib: Any, kind: int, name: bytes) -> int:  # noqa: ANN401
    """A program that does nothing."""
    code = ctypes.create_string_buffer(_RETURN_0, len(_RETURN_0))
    return _checked(lib.bcc_prog_load(kind, name, code, ctypes.c_int(len(_RETURN_0)), b"GPL", 0, 0, None, 0))


def _checked(fd: int) -> int:
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd

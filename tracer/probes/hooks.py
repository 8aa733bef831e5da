"""Attaching the programs of `functions` one unit at a time, and what the kernel says when it refuses."""

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tracer.format import Op
from tracer.probes import functions, library
from tracer.probes.functions import FENTRY, KPROBE, RETURN, Form, Plan, Program, Unit
from tracer.probes.prints import captured

# libbcc finds the target of fentry programs in their names; newer versions want the kernel's name, too.
FENTRY_PREFIXES = {
    "entry": (b"kfunc__", b"kfunc__vmlinux__"),
    "return": (b"kretfunc__", b"kretfunc__vmlinux__"),
}


class Refused(Exception):  # noqa: N818 - a fact of the kernel, told as a reason
    """A program cannot be loaded or attached here."""


@dataclass(frozen=True)
class Attached:
    """One unit that runs."""

    unit: Unit
    kind: str

    @property
    def ops(self) -> tuple[Op, ...]:
        """What its events are called."""
        return self.unit.function.ops


@dataclass
class Hooks:
    """What is attached.

    Attributes:
        attached: the units that run.
        left_out: name of a unit -> why it does not.
        fds: what holds it, in the order in which it was attached. To detach is to close them, the last
            one first: who asks for a state goes before who marks it.
    """

    attached: list[Attached] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        """Of all units that run."""
        return {one.kind for one in self.attached}

    @property
    def ops(self) -> set[Op]:
        """Of all units that run."""
        return {op for one in self.attached for op in one.ops}

    def detach(self) -> None:
        """Stop the events."""
        while self.fds:
            os.close(self.fds.pop())


def attach(bpf: Any, plan: Plan, hooks: Hooks, *, pages_known: bool) -> None:  # noqa: ANN401 - BCC has no types
    """Attach what the kernel lets us, and note it in `hooks`.

    `pages_known`: a page can be turned into its pfn.
    """
    hooks.left_out.update(plan.left_out)
    if plan.units:
        mark(bpf, hooks, functions.COMPACTION)
    for unit in plan.units:
        name = unit.function.name
        try:
            _check(unit, plan, hooks, pages_known=pages_known)
            kind, fds = _attach_best(bpf, unit)
        except Refused as reason:
            hooks.left_out[name] = str(reason)
        else:
            hooks.attached.append(Attached(unit, kind))
            hooks.fds += fds


def _check(unit: Unit, plan: Plan, hooks: Hooks, *, pages_known: bool) -> None:
    after = unit.function.after
    have = {one.unit.function.name for one in hooks.attached}
    if after and after not in have | plan.absent:
        raise Refused(f"it means nothing without {after}")
    if functions.NEEDS_PAGE_MAP in unit.function.reads and not pages_known:
        raise Refused("pages cannot be turned into frame numbers here")


def mark(bpf: Any, hooks: Hooks, events: Iterable[tuple[str, str]]) -> None:  # noqa: ANN401
    """Attach C functions to the raw tracepoints between which something is noted: all of them, or none.

    Without the one of compaction every isolation has the other cause; without that of softirqs no
    order-0 free is in one.
    """
    lib, kind = library.load().lib, library.load().BPF.RAW_TRACEPOINT
    links: list[int] = []
    for event, function in events:
        said: list[str] = []
        try:
            with captured() as said:
                program = bpf.load_func(function.encode(), kind)
                links.append(_checked(lib.bpf_attach_raw_tracepoint(program.fd, event.encode())))
        except Exception as error:
            hooks.left_out[event] = _reason(error, said)
            while links:
                os.close(links.pop())  # one without the other would mark for ever
            return
    hooks.fds += links


def _attach_best(bpf: Any, unit: Unit) -> tuple[str, list[int]]:  # noqa: ANN401
    reasons = []
    for form in unit.forms:
        try:
            return form.kind, _attach_form(bpf, form)
        except Refused as reason:
            reasons.append(f"{form.kind}: {reason}")
    raise Refused("; ".join(reasons) or "no kind of probe is allowed")


def _attach_form(bpf: Any, form: Form) -> list[int]:  # noqa: ANN401
    """All programs of a form, or none. The return comes first: no entry without its return."""
    fds: list[int] = []
    for program in reversed(form.programs):
        said: list[str] = []
        try:
            with captured() as said:
                fds += _ATTACH[form.kind](bpf, program)
        except Exception as error:
            while fds:
                os.close(fds.pop())
            raise Refused(_reason(error, said)) from error
    return fds


def _attach_fentry(bpf: Any, program: Program) -> list[int]:  # noqa: ANN401
    lib = library.load().lib
    fd = _load_fentry(bpf, lib, program)
    try:
        return [fd, _checked(lib.bpf_attach_kfunc(fd))]
    except OSError:
        os.close(fd)
        raise


def _load_fentry(bpf: Any, lib: Any, program: Program) -> int:  # noqa: ANN401
    """As BCC's load_func, but the C function need not have the name that says where it goes."""
    name = program.function.encode()
    for prefix in FENTRY_PREFIXES[program.at]:
        fd: int = lib.bcc_func_load(
            bpf.module,
            library.load().BPF.TRACING,
            prefix + program.target.encode(),
            lib.bpf_function_start(bpf.module, name),
            lib.bpf_function_size(bpf.module, name),
            lib.bpf_module_license(bpf.module),
            lib.bpf_module_kern_version(bpf.module),
            0,
            None,
            0,
            None,
            -1,
        )
        if fd >= 0:
            return fd
    return _checked(fd)


def _attach_kprobe(bpf: Any, program: Program) -> list[int]:  # noqa: ANN401
    """Kernels with a BPF ring buffer attach by a perf event of its own; to close it is to detach."""
    bcc = library.load()
    target, name = program.target.encode(), program.function.encode()
    event = b"pagetide_%d_%s" % (os.getpid(), name)
    loaded = bpf.load_func(name, bcc.BPF.KPROBE)
    at = int(program.at == RETURN)
    return [_checked(bcc.lib.bpf_attach_kprobe(loaded.fd, at, event, target, 0, 0))]


def _checked(fd: int) -> int:
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


_ATTACH = {FENTRY: _attach_fentry, KPROBE: _attach_kprobe}


def _reason(error: Exception, said: Iterable[str]) -> str:
    """One line: what BCC printed if it says more than its exception."""
    lines = [line.strip() for line in said if line.strip()]
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{first} ({lines[0][:160]})" if lines else first

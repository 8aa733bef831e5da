"""Attaching the programs of `functions` one unit at a time, and what the kernel says when it refuses."""

import ctypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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


@dataclass
class Hooks:
    """What is attached.

    Attributes:
        attached: the units that run.
        left_out: name of a unit -> why it does not.
    """

    attached: list[Attached] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    _undo: list[Callable[[], None]] = field(default_factory=list)

    def detach(self) -> None:
        """Stop the events."""
        while self._undo:
            self._undo.pop()()


def attach(bpf: Any, plan: Plan, *, pages_known: bool = True) -> Hooks:  # noqa: ANN401 - BCC has no types
    """Attach what the kernel lets us. `pages_known`: a page can be turned into its pfn."""
    hooks = Hooks(left_out=dict(plan.left_out))
    _mark_compaction(bpf, hooks)
    for unit in plan.units:
        name = unit.function.name
        try:
            _check(unit, plan, hooks, pages_known=pages_known)
            kind, undo = _attach_best(bpf, unit)
        except Refused as reason:
            hooks.left_out[name] = str(reason)
        else:
            hooks.attached.append(Attached(unit, kind))
            hooks._undo += undo  # noqa: SLF001 - this function fills it
    return hooks


def _check(unit: Unit, plan: Plan, hooks: Hooks, *, pages_known: bool) -> None:
    after = unit.function.after
    have = {one.unit.function.name for one in hooks.attached}
    if after and after not in have | plan.absent:
        raise Refused(f"it means nothing without {after}")
    if functions.NEEDS_PAGE_MAP in unit.function.reads and not pages_known:
        raise Refused("pages cannot be turned into frame numbers here")


def _mark_compaction(bpf: Any, hooks: Hooks) -> None:  # noqa: ANN401
    """Note who is compacting. Without these events every isolation has the other cause."""
    for event, function in (
        (functions.COMPACTION_BEGIN, b"begin_compaction"),
        (functions.COMPACTION_END, b"end_compaction"),
    ):
        with captured() as said:
            try:
                bpf.load_func(function, library.load().BPF.RAW_TRACEPOINT)
                bpf.attach_raw_tracepoint(tp=event.encode(), fn_name=function)
            except Exception as error:
                hooks.left_out[event] = _reason(error, said)
                return
        hooks._undo.append(partial(bpf.detach_raw_tracepoint, event.encode()))  # noqa: SLF001


def _attach_best(bpf: Any, unit: Unit) -> tuple[str, list[Callable[[], None]]]:  # noqa: ANN401
    reasons = []
    for form in unit.forms:
        try:
            return form.kind, _attach_form(bpf, form)
        except Refused as reason:
            reasons.append(f"{form.kind}: {reason}")
    raise Refused("; ".join(reasons) or "no kind of probe is allowed")


def _attach_form(bpf: Any, form: Form) -> list[Callable[[], None]]:  # noqa: ANN401
    """All programs of a form, or none. The return comes first: no entry without its return."""
    undo: list[Callable[[], None]] = []
    for program in reversed(form.programs):
        said: list[str] = []
        try:
            with captured() as said:
                undo.append(_ATTACH[form.kind](bpf, program))
        except Exception as error:
            for step in reversed(undo):
                step()
            raise Refused(_reason(error, said)) from error
    return undo


def _attach_fentry(bpf: Any, program: Program) -> Callable[[], None]:  # noqa: ANN401
    lib = library.load().lib
    fd = _load_fentry(bpf, lib, program)
    link = lib.bpf_attach_kfunc(fd)
    if link < 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number))

    def detach() -> None:
        os.close(link)
        os.close(fd)

    return detach


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
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _attach_kprobe(bpf: Any, program: Program) -> Callable[[], None]:  # noqa: ANN401
    target, name = program.target.encode(), program.function.encode()
    if program.at == RETURN:
        bpf.attach_kretprobe(event=target, fn_name=name)
        return lambda: bpf.detach_kretprobe(event=target, fn_name=name)
    bpf.attach_kprobe(event=target, fn_name=name)
    return lambda: bpf.detach_kprobe(event=target, fn_name=name)


_ATTACH = {FENTRY: _attach_fentry, KPROBE: _attach_kprobe}


def _reason(error: Exception, said: Iterable[str]) -> str:
    """One line: what BCC printed if it says more than its exception."""
    lines = [line.strip() for line in said if line.strip()]
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{first} ({lines[0][:160]})" if lines else first

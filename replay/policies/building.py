"""A setting's program, built and checked: a policy may be anybody's."""

import traceback
from typing import TYPE_CHECKING, Any

from replay.geometry import Geometry
from replay.policies.protocol import ARRIVE, MEMORY, TELL, WAKE, Program, Setting
from tracer import Fault, Guest

if TYPE_CHECKING:
    from numba.core.typing.templates import Signature


def build(setting: Setting, guest: Guest, geometry: Geometry) -> Program:
    """The program of a setting.

    Raises:
        Fault: when it cannot be built, or is none that the engine can run.
    """
    name = setting.policy.name
    try:
        program = setting.policy.build(guest, geometry, setting.params)
    except Exception as error:
        raise own_or_fault(error, f"policy {name} cannot be built") from error
    for wrong in _faults(program):
        raise Fault(f"policy {name} cannot be run", wrong, "docs/policies.md says what a program is")
    return program


def own_or_fault(error: BaseException, what: str) -> BaseException:
    """What to raise for an exception of a policy: the same when it is a Fault already or no error, else a
    Fault that names the line, with the exception as its cause.
    """
    if isinstance(error, Fault) or not isinstance(error, Exception):
        return error
    fault = Fault(what, where(error), "mend it there, or ask the policy's author to")
    fault.__cause__ = error
    return fault


def where(error: BaseException) -> str:
    """An exception and the line that it comes from, in a line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else said


def _faults(program: Any) -> "list[str]":  # noqa: ANN401 - that is the question
    """What is wrong with a program, a line each."""
    if not isinstance(program, Program):
        return [f"its build returned a {type(program).__name__}, not a Program"]
    found = [
        f"its {verb} is not compiled with the signature {verb.upper()}: @compiled({verb.upper()})"
        for verb, signature in (("arrive", ARRIVE), ("wake", WAKE), ("tell", TELL))
        if not _has(getattr(program, verb), signature)
    ]
    memory = program.memory
    if getattr(memory, "dtype", None) != "int64" or memory.ndim != 1 or not len(memory):
        found.append(f"its memory is no array of {MEMORY.dtype} words: new_memory makes one")
    per_call = program.capacity if program.per_call is None else program.per_call
    if min(per_call, program.capacity) < 1:
        found.append(f"{program.capacity} blocks at once, {per_call} a call: it could report nothing")
    return found


def _has(verb: Any, signature: "Signature") -> bool:  # noqa: ANN401 - that is the question
    compiled = getattr(verb, "nopython_signatures", [])
    return (signature.args, signature.return_type) in [(each.args, each.return_type) for each in compiled]

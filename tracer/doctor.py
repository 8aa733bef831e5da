"""What this guest allows, how we know, and the one command that fixes what it does not."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracer.faults import Fault, environment
from tracer.guest.files import PROC, GuestFiles
from tracer.guest.lists import FreeLists, NoLists, find
from tracer.guest.procfs import SYS, read_reporting, read_zones
from tracer.probes import library, points
from tracer.probes.attachment import Wanted, kernel_headers
from tracer.probes.functions import FENTRY
from tracer.probes.kernel import KernelProbes
from tracer.probes.ladder import KPROBES, TRACEPOINTS, climb, highest_wanted
from tracer.probes.points import LAYERS
from tracer.probes.tracefs import MOUNT_COMMAND, TRACEFS, ensure_mounted, is_mounted

CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39


@dataclass(frozen=True)
class Check:
    """One thing looked at. `state`: ok, missing (recording needs it) or note."""

    name: str
    state: str
    how: str
    fix: str | None = None


def examine() -> list[Check]:
    """Look at everything recording needs; the last check really loads the programs.

    Raises:
        Fault: when PAGETIDE_RUNG names no rung: a mistake of the caller's, not of the guest.
    """
    highest_wanted()
    checks = list(_requirements())
    if all(check.state != "missing" for check in checks):
        checks.append(_load())
    return [*checks, *_notes()]


def ensure_recordable() -> None:
    """Check all that can be checked without loading a program; mounts tracefs if nobody did yet.

    Raises:
        Fault: for the first thing that is missing, or when PAGETIDE_RUNG names no rung.
    """
    highest_wanted()
    ensure_mounted()
    for check in _requirements():
        if check.state == "missing":
            what = f"this guest cannot be recorded: {check.name} missing"
            raise environment(what, check.how, check.fix or "pagetide doctor")


def ready(checks: list[Check]) -> bool:
    """Can this guest be recorded?"""
    return all(check.state != "missing" for check in checks)


def _requirements() -> Iterator[Check]:
    yield _privileges()
    yield _bcc()
    yield _tracepoints()
    yield _kpageflags()
    little = sys.byteorder == "little"
    yield Check(
        "byte order",
        "ok" if little else "missing",
        sys.byteorder,
        None if little else "not supported here",
    )


def _privileges(proc: Path = PROC) -> Check:
    effective = int(re.findall(r"CapEff:\s+(\w+)", (proc / "self/status").read_text())[0], 16)
    if effective >> CAP_SYS_ADMIN & 1:
        return Check("privileges", "ok", f"uid {os.geteuid()} with CAP_SYS_ADMIN")
    if effective >> CAP_BPF & 1 and effective >> CAP_PERFMON & 1:
        return Check("privileges", "ok", f"uid {os.geteuid()} with CAP_BPF and CAP_PERFMON")
    how = f"uid {os.geteuid()} has neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON"
    return Check("privileges", "missing", how, "run it as root, with sudo")


def _bcc() -> Check:
    try:
        return Check("BCC", "ok", library.version())
    except Fault as fault:
        return Check("BCC", "missing", f"{fault.what}: {fault.how}", fault.fix)


def _tracepoints() -> Check:
    if not is_mounted():
        how = f"tracefs is not mounted at {TRACEFS}, or not readable"
        return Check("tracepoints", "missing", how, MOUNT_COMMAND)
    if required := points.missing(LAYERS["both"]):
        how = f"tracefs has no {', '.join(required)}"
        return Check("tracepoints", "missing", how, "use a kernel with CONFIG_TRACING")
    have = points.available(points.TRACEPOINTS)
    names = ", ".join(p.name for p in points.TRACEPOINTS if p not in have)
    how = f"{len(have)} of {len(points.TRACEPOINTS)}" + (f"; recorded without {names}" if names else "")
    return Check("tracepoints", "ok", how)


def _kpageflags(proc: Path = PROC) -> Check:
    try:
        with (proc / "kpageflags").open("rb") as file:
            file.read(8)
    except OSError as error:
        return Check("frame states", "missing", f"/proc/kpageflags: {error.strerror}", "run it with sudo")
    return Check("frame states", "ok", "/proc/kpageflags is readable")


def _load() -> Check:
    try:
        KernelProbes(Wanted("both", 1 << 20)).close()
    except Fault as fault:
        return Check("BPF programs", "missing", fault.how, fault.fix)
    return Check("BPF programs", "ok", "compiled, loaded and attached")


_SEEN = {
    TRACEPOINTS: "isolation by compaction and reporting is not seen",
    KPROBES: "isolation by compaction and reporting is seen",
    FENTRY: "isolation by compaction and reporting is seen, at the least cost",
}


def _rung() -> str:
    """How far the kernel lets us look, and why no further."""
    try:
        ladder = climb()
    except Fault as fault:
        return f"unknown: {fault.what}"
    return f"{ladder.rung}: {_SEEN[ladder.rung]}" + (f"; {ladder.reason}" if ladder.reason else "")


def _lists() -> str:
    try:
        with GuestFiles() as files:
            nodes = {zone.node for zone in read_zones(files)}
        FreeLists(find(nodes)).close()
    except Fault as fault:
        return f"their order is unknown: {fault.how}"
    except NoLists as reason:
        return f"their order is unknown: {reason}"
    return "their order can be read"


def _notes() -> Iterator[Check]:
    headers = kernel_headers()
    yield Check("kernel headers", "note", str(headers) if headers else "none; Pagetide's own are used")
    btf = (SYS / "kernel/btf/vmlinux").is_file()
    yield Check("BTF", "note", "present" if btf else "absent; not needed for tracepoints")
    try:
        lockdown = (SYS / "kernel/security/lockdown").read_text().strip()
    except OSError:
        lockdown = "not built in or not visible"
    yield Check("lockdown", "note", lockdown)
    yield Check("rung", "note", _rung())
    yield Check("free lists", "note", _lists())
    reporting = read_reporting()
    active = {True: "active", False: "not active", None: "unknown"}[reporting.active]
    yield Check("own reporting", "note", f"{active}, page_reporting_order {reporting.order}")

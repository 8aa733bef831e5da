"""The probes of one recording: compiled, attached, counted, drained, detached."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracer.faults import Fault, environment
from tracer.format import Probe
from tracer.probes import library
from tracer.probes.program import BUDDY_LAYER, REQUIRED, Tracepoint, available, source
from tracer.probes.ring import Ring
from tracer.probes.tracefs import MOUNT_COMMAND, ensure_mounted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADERS = Path(__file__).parent / "headers"
KERNEL_SOURCE = "BCC_KERNEL_SOURCE"


def kernel_headers(release: str | None = None) -> Path | None:
    """The guest's own kernel headers when they are present and fit, else None."""
    build = Path("/lib/modules") / (release or os.uname().release) / "build"
    return build if (build / "include/linux/kconfig.h").is_file() else None


@contextlib.contextmanager
def _header_tree() -> Iterator[None]:
    """Point BCC at our own header tree unless real ones are there or the user named some."""
    if KERNEL_SOURCE in os.environ or kernel_headers():
        yield
        return
    os.environ[KERNEL_SOURCE] = str(HEADERS)
    try:
        yield
    finally:
        del os.environ[KERNEL_SOURCE]


@contextlib.contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """What the compiler prints to file descriptor 2, as lines, instead of on the terminal."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _refusal(error: Exception, output: list[str]) -> Fault:
    """Why BCC could not compile, load or attach, from its own words."""
    telling = [line.strip() for line in output if "error" in line.lower() or "not permitted" in line]
    first = (str(error).splitlines() or [type(error).__name__])[0]
    how = (telling[0] if telling else first)[:200]
    if "not permitted" in str(error) or "not permitted" in how:
        return environment(
            "the kernel refuses to load BPF programs",
            how,
            "record as root (CAP_BPF and CAP_PERFMON); else look for lockdown or a seccomp filter:"
            " pagetide doctor",
        )
    return environment("the BPF program does not compile or attach here", how, "pagetide doctor")


class KernelProbes:
    """Attached probes and their ring.

    Raises (on creation):
        Fault: when a required tracepoint is missing, or BPF is refused.
    """

    def __init__(self, ring_bytes: int, probes: tuple[Tracepoint, ...] = BUDDY_LAYER) -> None:
        page_size = os.sysconf("SC_PAGE_SIZE")
        ensure_mounted()
        self.probes = available(probes)
        missing = [p.name for p in probes if p.op in REQUIRED and p not in self.probes]
        if missing:
            raise environment(
                f"this kernel shows no {', '.join(missing)}",
                "tracefs has no such event",
                f"{MOUNT_COMMAND} (as root), or use a kernel with CONFIG_TRACING",
            )
        bcc = library.load()
        text = source(self.probes, ring_bytes, page_size)
        with _header_tree(), _captured_stderr() as output:
            try:
                self._bpf = bcc.BPF(text=text.encode())
            except Exception as error:
                failure: Exception | None = error
            else:
                failure = None
        if failure is not None:
            raise _refusal(failure, output)
        self.ring = Ring(self._bpf[b"events"].map_fd, ring_bytes, page_size)

    def counters(self) -> list[Probe]:
        """Each probe with its hits, ring losses and filtered events so far, summed over CPUs."""
        table = self._bpf[b"counters"]
        return [self._counted(table, index, probe) for index, probe in enumerate(self.probes)]

    @staticmethod
    def _counted(table: object, index: int, probe: Tracepoint) -> Probe:
        per_cpu = list(table[index])  # type: ignore[index] # BCC's tables have no types
        hits, lost, filtered = (
            sum(getattr(c, name) for c in per_cpu) for name in ("hits", "lost", "filtered")
        )
        return Probe(
            name=probe.name,
            kind="tracepoint",
            op=int(probe.op),
            hits=hits,
            kept=hits - lost - filtered,
            lost=lost,
            filtered=filtered,
        )

    def drain(self) -> "NDArray[np.uint64]":
        """Take every finished record from the ring: shape (n, 3)."""
        return self.ring.drain()

    def detach(self) -> None:
        """Stop the events; what is in the ring can still be drained, and counters read."""
        for probe in self.probes:
            self._bpf.detach_tracepoint(probe.name.encode())

    def close(self) -> None:
        """Free the ring and the programs."""
        self.ring.close()
        self._bpf.cleanup()

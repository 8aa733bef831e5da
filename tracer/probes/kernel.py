"""The probes of one recording, as the recorder holds them: drained, counted, detached.

They are compiled and attached by a child process that ends before recording begins and leaves only
open files behind: so neither the compiler's memory nor the privilege to load programs stays.
"""

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.faults import ExitCode, Fault, environment
from tracer.format import Probe
from tracer.probes.attachment import Attachment, Slot, Wanted
from tracer.probes.calibration import PageMap
from tracer.probes.counters import FILTERED, HITS, RING_FULL, Counters, recursion_misses
from tracer.probes.ladder import Ladder
from tracer.probes.ring import RECORD_WORDS, STRIDE_BYTES, Ring

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of what a child hands over, these do not stop events when they are closed.
_QUIET = ("bpf-map", "bpf-prog")
_MAX_FDS = 250  # SCM_MAX_FD in include/net/scm.h is 253
_MESSAGE_BYTES = 1 << 16


class KernelProbes:
    """Attached probes and their ring.

    Attributes:
        ring: where records come out.
        slots: what each counter in use counts.
        ladder: the rung that is in use, and why no higher one.
        notes: what of the kernel's functions is not recorded on it, a line each.
        pages: where struct pages lie, if that was found out.
    """

    def __init__(self, wanted: Wanted) -> None:
        """Compile and attach them.

        Raises:
            Fault: when a required tracepoint is missing, or BPF is refused.
        """
        told, fds, early = _attach_apart(wanted)
        page_size = os.sysconf("SC_PAGE_SIZE")
        self._fds = {int(theirs): ours for theirs, ours in zip(told["fds"], fds, strict=True)}
        self.slots = [Slot(**slot) for slot in told["slots"]]
        self.reasons: dict[str, str] = told["reasons"]
        self._quiet = [self._fds[theirs] for theirs in told["quiet_fds"]]
        self._hook_fds: list[int] = told["hook_fds"][::-1]
        self._early = early
        self.ring = Ring(self._fds[told["ring_fd"]], wanted.ring_bytes, page_size)
        self._counters = Counters(self._fds[told["counters_fd"]], told["rows"], told["cpus"], page_size)
        self._rows = [slot.row for slot in self.slots]
        self.ladder = Ladder(**told["ladder"])
        self.notes: list[str] = told["notes"]
        self.pages = PageMap(**told["pages"]) if told["pages"] else None

    def counted(self) -> "NDArray[np.int64]":
        """Counters so far, shape (probes, CPUs, 3): HITS, RING_FULL, FILTERED."""
        return self._counters.read()[self._rows]

    @property
    def waiting(self) -> int:
        """Records that can be drained now."""
        return len(self._early) + self.ring.waiting

    @property
    def fill(self) -> float:
        """Share of the ring in use."""
        return self.ring.waiting * STRIDE_BYTES / self.ring.size_bytes

    @property
    def ring_full(self) -> int:
        """Events lost so far because the ring was full."""
        return self._counters.ring_full

    def counters(self) -> list[Probe]:
        """Each probe with its hits, losses and filtered events so far, summed over CPUs."""
        sums = self.counted().sum(axis=1).tolist()
        second = self._counters.second_hits[self._rows].tolist()
        return [self._sum(*row) for row in zip(self.slots, sums, second, strict=True)]

    def _sum(self, slot: Slot, row: list[int], second_hits: int) -> Probe:
        """Runs that the kernel skipped, and that no second copy made good, escaped."""
        misses = None if slot.prog_fd is None else recursion_misses(self._fds[slot.prog_fd])
        known = misses is not None and slot.misses_before is not None
        escaped = max((misses or 0) - (slot.misses_before or 0) - second_hits, 0) if known else 0
        unseen = escaped if slot.unseen_filtered else 0
        return Probe(
            name=slot.name,
            kind=slot.kind,
            op=slot.op,
            hits=row[HITS] + escaped,
            kept=row[HITS] - row[RING_FULL] - row[FILTERED],
            lost=row[RING_FULL] + escaped - unseen,
            filtered=row[FILTERED] + unseen,
            skipped=escaped if known else None,
        )

    def drain_into(self, out: "NDArray[np.uint64]") -> int:
        """Move finished records to the front of `out`, shape (room, 3); returns how many."""
        if len(self._early):
            now = min(len(self._early), len(out))
            out[:now] = self._early[:now]
            self._early = self._early[now:]
            return now
        return self.ring.drain_into(out)

    def detach(self) -> None:
        """Stop the events; what is in the ring can still be drained, and counters read."""
        for theirs in self._hook_fds:
            os.close(self._fds.pop(theirs))
        self._hook_fds = []
        for theirs, ours in list(self._fds.items()):
            if ours not in self._quiet:
                os.close(self._fds.pop(theirs))

    def close(self) -> None:
        """Free the ring and the programs."""
        self.ring.close()
        self._counters.close()
        while self._fds:
            os.close(self._fds.popitem()[1])


def _attach_apart(wanted: Wanted) -> "tuple[dict[str, Any], list[int], NDArray[np.uint64]]":
    """What a child attached: what it tells, its open files, and early records."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        _serve(theirs, wanted)
    theirs.close()
    with ours:
        data, fds, _, _ = socket.recv_fds(ours, _MESSAGE_BYTES, _MAX_FDS)
        parts = []
        while part := ours.recv(_MESSAGE_BYTES):
            parts.append(part)
    _, status = os.waitpid(child, 0)
    if not data:
        raise environment(
            "the BPF compiler ended without a word", f"wait status {status:#x}", "pagetide doctor"
        )
    told = json.loads(data)
    if "fault" in told:
        what, how, fix, code = told["fault"]
        raise Fault(what, how, fix, ExitCode(code))
    return told, fds, np.frombuffer(b"".join(parts), np.uint64).reshape(-1, RECORD_WORDS)


def _serve(line: socket.socket, wanted: Wanted) -> None:
    """The child: attach, hand over, end. No return, and none of BCC's own cleaning up."""
    try:
        try:
            made = Attachment(wanted)
        except Fault as fault:
            line.send(json.dumps({"fault": [fault.what, fault.how, fault.fix, int(fault.code)]}).encode())
        else:
            _hand_over(line, made)
    finally:
        os._exit(0)


def _hand_over(line: socket.socket, made: Attachment) -> None:
    fds = dict(_bpf_files())
    told = {
        "fds": list(fds),
        "quiet_fds": [fd for fd, kind in fds.items() if kind in _QUIET],
        "hook_fds": made.hooks.fds,
        "slots": [asdict(slot) for slot in made.slots],
        "reasons": {str(op): reason for op, reason in made.reasons.items()},
        "ring_fd": made.ring_fd,
        "counters_fd": made.counters_fd,
        "cpus": made.cpus,
        "rows": made.rows,
        "ladder": asdict(made.ladder),
        "notes": made.notes,
        "pages": asdict(made.page_map) if made.page_map else None,
    }
    socket.send_fds(line, [json.dumps(told).encode()], list(fds))
    early = np.concatenate(made.early).tobytes() if made.early else b""
    for at in range(0, len(early), _MESSAGE_BYTES // 2):
        line.send(early[at : at + _MESSAGE_BYTES // 2])


def _bpf_files() -> Iterable[tuple[int, str]]:
    """Open maps, programs, links and perf events of this process: (descriptor, what it is)."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        try:
            target = str(Path(f"/proc/self/fd/{name}").readlink())
        except FileNotFoundError:
            continue
        kind = target.removeprefix("anon_inode:").strip("[]")
        if target.startswith("anon_inode:") and ("bpf" in kind or "perf" in kind):
            yield int(name), kind

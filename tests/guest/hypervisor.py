"""The hypervisor's side of a machine: what it got back from the guest, when, and what memory it still holds.

with Hypervisor(memory_mib=2048) as hypervisor, Machine(qemu_args=hypervisor.qemu_args, …) as machine:
    hypervisor.watch(machine)
    …
    seen = hypervisor.seen()
"""

import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.guest.clocks import GuestClock, Pinger, fit
from tests.guest.discards import TRACED, Call, read_calls
from tests.guest.machine import Machine

SAMPLE_S = 0.01
MOST_MIB = 3 << 10  # up to there the machine's memory is one piece: host addresses follow guest addresses
BACKING = "4k, memfd"
LINE_IN_GUEST = "/dev/ttyS2"
_PROBED = (16 << 20, 1 << 30)
_SERVER = Path(__file__).with_name("clock_server.py")


@dataclass(frozen=True)
class Sample:
    """The guest memory that the host holds, at a time of the host's CLOCK_MONOTONIC."""

    host_ns: int
    resident_bytes: int


@dataclass(frozen=True)
class Seen:
    """All the hypervisor saw of one machine. `base`: the host's address of the guest's pfn 0;
    `wall_to_monotonic_ns`: add it to a time of the log; `wall_step_ns`: by how much that changed meanwhile.
    """

    calls: list[Call]
    samples: list[Sample]
    base: int
    clock: GuestClock
    wall_to_monotonic_ns: int
    wall_step_ns: int
    qemu: str


class Hypervisor:
    """Watches one machine. Leaving the `with` block ends its threads and removes its files."""

    def __init__(self, *, memory_mib: int) -> None:
        """Nothing runs yet."""
        assert 1 << 10 < memory_mib < MOST_MIB, "the guest's memory must be one piece, with room to probe it"
        self._memory_mib = memory_mib
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._samples: list[Sample] = []
        self._pinger: Pinger | None = None
        self._log_read = 0
        self._discarded_at_s = 0.0

    def __enter__(self) -> "Hypervisor":
        self.folder = Path(tempfile.mkdtemp(prefix="pagetide-guest-"))
        self._log = self.folder / "trace"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def qemu_args(self) -> tuple[str, ...]:
        """Guest memory in a file of its own, a trace, a monitor, a third serial line."""
        ram = f"memory-backend-memfd,id=ram,size={self._memory_mib}M,share=on,prealloc=off"
        traced = [word for event in TRACED for word in ("--trace", event)]
        return (
            *("-object", ram, "-machine", "memory-backend=ram"),
            *(*traced, "-D", str(self._log), "-msg", "timestamp=on"),
            *("-monitor", f"unix:{self.folder / 'monitor'},server=on,wait=off"),
            *("-serial", f"unix:{self.folder / 'line'},server=on,wait=off"),
        )

    def watch(self, machine: Machine, folder: Path) -> None:
        """Begin to sample and to ask for the time. `folder`: one that the guest may write to."""
        self._wall_ns = _wall_to_monotonic_ns()
        with _Monitor(self.folder / "monitor") as monitor:
            self._base = self._find_base(monitor)
            self._qemu = monitor.ask("info version").strip()
        memory = _memory_file(machine.pid)
        self._sample(memory)
        sampler = threading.Thread(target=self._sample_on, args=(memory,), daemon=True)
        self._threads.append(sampler)
        sampler.start()
        ready = folder / "clock-ready"
        line = f"/usr/bin/python3 {_SERVER} {LINE_IN_GUEST} {ready} >/dev/null 2>{folder}/clock.err &"
        machine.run(["sh", "-c", line], timeout_s=20)
        wait_for(ready.exists, 60, "the guest's clock server")
        self._pinger = Pinger(self.folder / "line")

    def quiet_s(self) -> float:
        """For how long no range has been discarded; seen from the first call on."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log_read - len(TRACED[0])))
            new = file.read()
            self._log_read = file.tell()
        if TRACED[0].encode() in new or not self._discarded_at_s:
            self._discarded_at_s = time.monotonic()
        return time.monotonic() - self._discarded_at_s

    def stop(self) -> None:
        """The last pings; the machine must still run."""
        assert self._pinger
        self._pinger.close()
        if self._pinger.failure:
            raise self._pinger.failure

    def seen(self) -> Seen:
        """All of it, once the machine is off.

        Raises:
            UnexpectedTrace: when QEMU's trace is not what reporting looks like.
        """
        assert self._pinger
        step_ns = _wall_to_monotonic_ns() - self._wall_ns
        return Seen(
            calls=read_calls(self._log),
            samples=self._samples,
            base=self._base,
            clock=fit(self._pinger.pings),
            wall_to_monotonic_ns=self._wall_ns,
            wall_step_ns=step_ns,
            qemu=self._qemu,
        )

    def _find_base(self, monitor: "_Monitor") -> int:
        """The host's address of the guest's first byte; the same wherever it is asked for."""
        bases = set()
        for address in _PROBED:
            answer = monitor.ask(f"gpa2hva {address:#x}")
            found = re.search(r"is (0x[0-9a-f]+)", answer)
            assert found, answer
            bases.add(int(found[1], 16) - address)
        assert len(bases) == 1, "the guest's memory is not one piece"
        return bases.pop()

    def _sample_on(self, memory: Path) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                self._sample(memory)
            except OSError:  # the machine is off
                return

    def _sample(self, memory: Path) -> None:
        before_ns = time.monotonic_ns()
        size_bytes = os.stat(memory).st_blocks * 512  # noqa: PTH116 - Path.stat takes longer
        self._samples.append(Sample((before_ns + time.monotonic_ns()) // 2, size_bytes))


class _Monitor:
    """QEMU's human monitor on a socket."""

    _PROMPT = b"(qemu) "

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._until_prompt()

    def __enter__(self) -> "_Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, command: str) -> str:
        """What it says to a command, without the echo of it."""
        self._socket.sendall(command.encode() + b"\n")
        return self._until_prompt().partition("\n")[2]

    def _until_prompt(self) -> str:
        text = b""
        while not text.endswith(self._PROMPT):
            got = self._socket.recv(4096)
            assert got, "the monitor is gone"
            text += got
        return text.removesuffix(self._PROMPT).decode().replace("\r", "")


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Until it holds.

    Raises:
        TimeoutError: when it does not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{timeout_s:g} s passed without {what}")
        time.sleep(0.05)


def _memory_file(pid: int) -> Path:
    """The memfd behind the guest's memory, as QEMU has it open."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it is closed by now: the guest opens and closes the host's files
            if str(file.readlink()).startswith("/memfd:memory-backend"):
                found.append(file)
    assert len(found) == 1, f"{len(found)} files hold the guest's memory"
    return found[0]


def _wall_to_monotonic_ns() -> int:
    """What to add to the wall clock's time; of several tries the one least interrupted."""
    tries = []
    for _ in range(20):
        before_ns, wall_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        tries.append((after_ns - before_ns, (before_ns + after_ns) // 2 - wall_ns))
    return min(tries)[1]

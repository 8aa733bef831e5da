"""A stock kernel under QEMU's software emulation, with this machine's own userland inside.

    with Machine(files_out=folder) as machine:
        done = machine.run(["uname", "-a"], timeout_s=20)

The root is the host's, shared read-only, with all writes kept in memory; only `files_out` is the host's
own folder, at the same path inside and outside. `run` below is one boot for one command.
"""

import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.guest import initramfs, stock

REPO = Path(__file__).parents[2]
QEMU = "qemu-system-x86_64"
# Last nets: what takes long on a busy host is waited for.
BOOT_TIMEOUT_S = 600.0
SHORT_S = 300.0  # for a command that takes no time by itself
MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_balloon")
# Free page reporting needs a device that asks for it: then the guest's own reporting is active.
BALLOON = ("-device", "virtio-balloon-pci,free-page-reporting=on")
_OFF_S = 60.0
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root", "LANG": "C.UTF-8"}


class MachineFailed(Exception):
    """The machine did not boot, or died; the end of its console, and what the command had to complain
    about, is in the text.
    """


class CommandTimedOut(MachineFailed):
    """A command took too long; the machine is gone with it."""


@dataclass(frozen=True)
class Completed:
    """What a command left behind. `console`: all the kernel said so far."""

    returncode: int
    stdout: str
    stderr: str
    console: str


def missing(kernel: str = stock.SERIES) -> str | None:
    """Why no machine with this kernel can be booted here, or None."""
    if os.uname().machine != "x86_64":
        return f"the stock kernel is for x86-64, this is {os.uname().machine}"
    lacking = [program for program in (QEMU, "busybox", "setpriv") if shutil.which(program) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (make setup)"
    try:
        stock.fetch(kernel)
    except stock.NoKernel as reason:
        return str(reason)
    return None


class Machine:
    """A booted machine. Whatever happens, leaving the `with` block ends QEMU and removes its files."""

    def __init__(
        self,
        *,
        files_out: Path,
        memory_mib: int = 2048,
        cpus: int = 2,
        append: str = "",
        qemu_args: Sequence[str] = (),
        kernel: str = stock.SERIES,
    ) -> None:
        """Describe it; `with` boots it.

        `kernel`: its series, as `stock.fetch` takes it.
        `append` goes to the kernel's command line, `qemu_args` to QEMU's: trace events and monitors
        that watch the machine from the hypervisor's side belong there.
        """
        self._out = files_out.absolute()
        self._size = ("-m", str(memory_mib), "-smp", str(cpus))
        self._append, self._extra = append, tuple(qemu_args)
        self._series = kernel
        self._commands = 0
        self._ended: str | None = None  # why and when, once it did

        self.folder = Path()  # its temporary files, while it runs

    def __enter__(self) -> "Machine":
        self.folder = Path(tempfile.mkdtemp(prefix="pagetide-guest-"))
        self._control = self.folder / "control"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = None
        try:
            self._boot()
        except BaseException:
            self._end(gently=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(gently=kind is None)

    @property
    def ended(self) -> str | None:
        """Why and when it ended by itself, or was ended for what it did; None while it runs."""
        if self._ended is None and self._process and self._process.poll() is not None:
            self._failed(f"ended by itself, with code {self._process.returncode}")
        return self._ended

    @property
    def pid(self) -> int:
        """QEMU's."""
        assert self._process, "the machine is not running"
        return self._process.pid

    @property
    def console(self) -> str:
        """What the kernel wrote to its console so far."""
        try:
            return (self.folder / "console").read_text(errors="replace").replace("\r", "")
        except OSError:
            return ""

    def run(
        self, argv: Sequence[str | Path], *, timeout_s: float, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in the machine, in this checkout, as root, to its end.

        Raises:
            CommandTimedOut: after `timeout_s`; the machine is ended with it.
            MachineFailed: when the machine died under it, or earlier: then why and when.
        """
        if self.ended or not self._process:
            reason = self.ended or "the machine is not running"
            raise MachineFailed(f"{shlex.join(map(str, argv))} was not run: {reason}")
        self._commands += 1
        stem = self._control / str(self._commands)
        variables = [f"{name}={value}" for name, value in {**_ENVIRONMENT, **(env or {})}.items()]
        line = shlex.join(["env", "-i", *variables, *map(str, argv)])
        stem.with_suffix(".sh").write_text(f"cd {shlex.quote(str(REPO))} && exec {line}\n")
        answer = self._ask(str(self._commands), timeout_s, doing=f"ran {shlex.join(map(str, argv))}")
        out, err = (stem.with_suffix(s).read_text(errors="replace") for s in (".out", ".err"))
        return Completed(int(answer.split()[1]), out, err, self.console)

    def _boot(self) -> None:
        kernel = stock.fetch(self._series)
        shares = [initramfs.Share("out", self._out)]
        self._control.mkdir()
        self._out.mkdir(parents=True, exist_ok=True)
        busybox = Path(shutil.which("busybox") or "busybox")
        needed = dict.fromkeys([REPO, Path(sys.prefix), Path(sys.base_prefix)])
        first = initramfs.build(busybox, kernel.in_load_order(MODULES), shares, needed)
        (self.folder / "initramfs").write_bytes(first)
        self._process = subprocess.Popen(
            self._command(kernel), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._wait_for("ready", BOOT_TIMEOUT_S, doing="booted")

    def _command(self, kernel: stock.Kernel) -> list[str]:
        """QEMU's command line. It ends with the thread that started it, even when that is killed."""
        folder = self.folder
        kernel_line = f"console=ttyS0 loglevel=5 panic=-1 {self._append}".strip()
        return [
            *("setpriv", "--pdeathsig", "KILL", "--", QEMU, "-accel", "tcg,thread=multi"),
            # Five-level page tables would only make emulation slower.
            *("-cpu", "max,la57=off", *self._size),
            *("-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-serial", f"file:{folder / 'console'}", "-serial", "stdio"),
            *("-kernel", str(kernel.image), "-initrd", str(folder / "initramfs"), "-append", kernel_line),
            *_share("root", Path("/"), "readonly=on,multidevs=remap"),
            *_share("control", self._control),
            *_share("out", self._out),
            *BALLOON,
            *self._extra,
        ]

    def _ask(self, number: str, timeout_s: float, doing: str) -> str:
        assert self._process and self._process.stdin, "the machine is not running"
        try:
            self._process.stdin.write(f"{number}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failed(f"was gone before it {doing}") from error
        return self._wait_for(number, timeout_s, doing)

    def _wait_for(self, word: str, timeout_s: float, doing: str) -> str:
        """The machine's line that begins with this word."""
        assert self._process and self._process.stdout
        deadline, text = time.monotonic() + timeout_s, b""
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._process.stdout], [], [], left_s)[0]:
                fault = self._failed(f"was ended: {timeout_s:g} s passed while it {doing}", CommandTimedOut)
                self._end(gently=False)
                raise fault
            got = os.read(self._process.stdout.fileno(), 4096)
            if not got:
                raise self._failed(f"ended while it {doing}")
            text += got
            for line in text.decode(errors="replace").splitlines():
                if line.split()[:1] == [word] and text.endswith(b"\n"):
                    return line

    def _failed(self, what: str, kind: type[MachineFailed] = MachineFailed) -> MachineFailed:
        said = f"the machine {what}, at {time.strftime('%H:%M:%S')}; the end of its console:\n"
        said += "\n".join(self.console.splitlines()[-15:])
        with suppress(OSError):
            complaint = (self._control / f"{self._commands}.err").read_text(errors="replace")
            said += f"\nthe end of the command's stderr:\n{complaint[-4000:]}"
        self._ended = said
        return kind(said)

    def _end(self, *, gently: bool) -> None:
        """Power off when `gently`, kill otherwise or when it takes too long; remove the files."""
        process, self._process = self._process, None
        try:
            if process:
                _end_process(process, gently=gently)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def _end_process(process: subprocess.Popen[bytes], *, gently: bool) -> None:
    try:
        if gently and process.stdin:
            with suppress(BrokenPipeError):
                process.stdin.write(b"off\n")
                process.stdin.flush()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_OFF_S)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()


def _share(tag: str, folder: Path, options: str = "multidevs=remap") -> tuple[str, str]:
    path = str(folder).replace(",", ",,")
    return "-virtfs", f"local,path={path},mount_tag={tag},security_model=none,{options}"


def run(
    argv: Sequence[str | Path],
    *,
    files_out: Path,
    timeout_s: float,
    memory_mib: int = 2048,
    cpus: int = 2,
    append: str = "",
    qemu_args: Sequence[str] = (),
    kernel: str = stock.SERIES,
) -> Completed:
    """Boot a machine, run one command in it, power it off.

    Raises:
        MachineFailed: as `Machine.run`.
    """
    machine = Machine(
        files_out=files_out,
        memory_mib=memory_mib,
        cpus=cpus,
        append=append,
        qemu_args=qemu_args,
        kernel=kernel,
    )
    with machine:
        return machine.run(argv, timeout_s=timeout_s)

"""From a file, a pipe or a perf.data to blocks of whole lines, in bounded memory."""

import contextlib
import gzip
import io
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from tracer.faults import Fault, environment

BLOCK_BYTES = 8 << 20
STDIN = "-"

_PERF_DATA = (b"PERFILE2", b"2ELIFREP", b"PERFFILE")
_TRACE_DAT = b"\x17\x08Dtracing"
_GZIP = b"\x1f\x8b"
_PACKED = {b"\x28\xb5\x2f\xfd": "zstd -d", b"\xfd7zXZ": "xz -d", b"BZh": "bzip2 -d"}


def is_perf_data(name: str) -> bool:
    """Does this file begin as a perf.data does? No for what can be read only once."""
    try:
        with Path(name).open("rb") as file:
            return Path(name).is_file() and file.read(8).startswith(_PERF_DATA)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def opened(name: str, *, with_pid: bool = False) -> Iterator[Iterator[bytes]]:
    """Blocks of whole lines of a file; the last may lack its newline.

    `name`: text, gzipped text, a perf.data (read by `perf script`), or `-` for text on stdin.

    Raises:
        Fault: when it cannot be read, is empty, or holds something else.
    """
    with contextlib.ExitStack() as open_files:
        stream = _open(name, open_files)
        first = stream.peek(16)
        if first.startswith(_PERF_DATA) and name != STDIN:
            yield open_files.enter_context(_perf_script(name, with_pid=with_pid))
            return
        if first.startswith(_GZIP):
            stream = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=stream)), BLOCK_BYTES)
        yield _text(_blocks(stream, name), name)


def _open(name: str, open_files: contextlib.ExitStack) -> io.BufferedReader:
    if name == STDIN:
        return cast("io.BufferedReader", sys.stdin.buffer)
    try:
        # Named pipes and tracefs files are fine: neither seeks nor sizes are asked for.
        return open_files.enter_context(Path(name).open("rb"))
    except (OSError, ValueError) as error:
        how = getattr(error, "strerror", None) or str(error)
        raise Fault(f"{name} cannot be read", how, "check its name and rights") from error


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Blocks that end with a line."""
    carry = b""
    while block := _read(stream, name):
        end = block.rfind(b"\n") + 1
        if end:
            yield carry + block[:end]
            carry = block[end:]
        elif len(carry) > BLOCK_BYTES:
            raise Fault(f"{name} is not text", f"a line of it is longer than {BLOCK_BYTES} bytes", _TEXT)
        else:
            carry += block
    if carry:
        yield carry


def _read(stream: BinaryIO, name: str) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Fault(f"{name} is damaged", f"gzip: {error}", "copy or make it again") from error
    except OSError as error:
        raise Fault(f"{name} cannot be read", str(error.strerror), "check the disk it is on") from error


_TEXT = "name the text that perf script, trace-cmd report or tracefs' trace gave, or a perf.data"


def _text(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same blocks, once they are known to be text."""
    first = next(blocks, b"")
    if not first:
        raise Fault(f"{name} is empty", "it has no bytes", _TEXT)
    if first.startswith(_TRACE_DAT):
        how, fix = (
            "it begins as trace-cmd's own files do",
            f"trace-cmd report {name} > {name}.txt; import that",
        )
        raise Fault(f"{name} is no text", how, fix)
    if first.startswith(_PERF_DATA):
        how = "it begins as a perf.data does, but inside another file or a pipe"
        raise Fault(f"{name} cannot be given to perf", how, "unpack it and name the file itself")
    for magic, command in _PACKED.items():
        if first.startswith(magic):
            raise Fault(f"{name} is packed", "its first bytes say so", f"{command} it first")
    if b"\0" in first:
        raise Fault(f"{name} is not text", "it has bytes 0", _TEXT)
    yield first
    yield from blocks


@contextlib.contextmanager
def _perf_script(name: str, *, with_pid: bool) -> Iterator[Iterator[bytes]]:
    """What `perf script` says of a perf.data; a fault with its first complaint when it fails."""
    if shutil.which("perf") is None:
        raise environment(
            f"{name} is a perf.data, and perf is not installed here",
            "no `perf` on the PATH",
            "as root: apt-get install linux-perf; or import the text of `perf script` made elsewhere",
        )
    fields = "trace:" + ("comm,pid," if with_pid else "") + "cpu,time,event,trace"
    command = ["perf", "script", "-i", name, "--header", "--show-lost-events", "--ns", "-F", fields]
    with tempfile.TemporaryFile() as errors, _started(command, errors) as process:
        out = cast("BinaryIO", process.stdout)
        yield _until_it_ends(process, _blocks(out, f"perf script of {name}"), errors, name)


@contextlib.contextmanager
def _started(command: list[str], errors: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, bufsize=BLOCK_BYTES
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _until_it_ends(
    process: subprocess.Popen[bytes], blocks: Iterator[bytes], errors: BinaryIO, name: str
) -> Iterator[bytes]:
    yield from blocks
    if process.wait() == 0:
        return
    errors.seek(0)
    said = [line.strip() for line in errors.read(1 << 16).decode(errors="replace").splitlines()]
    complaint = next((line for line in said if line), f"it exited with {process.returncode}")
    raise Fault(
        f"perf cannot read {name}",
        f"perf script: {complaint}",
        "read it with the perf that recorded it, and import that perf script's text",
    )
